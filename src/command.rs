//! The commands besides `run`: clients of a dispatcher, or programs that need none. Their results
//! go to standard output.

mod admin;
pub mod check;
pub mod completions;
pub mod disk;
pub mod display;
pub mod env;
mod event_text;
pub mod exec;
pub mod filter;
pub mod get;
pub mod man;
pub mod parked;
pub mod replay;
pub mod schema;
pub mod send;
mod sink;
pub mod tap;
pub mod top;

use std::error::Error;
use std::io::{self, Write};
use std::ops::ControlFlow;

use anyhow::Context;

use crate::tls::refusal;
use crate::wire_text;

/// Writes a result. A reader that has gone away is no failure; a result that could not be written
/// is one.
fn print(text: &str) -> anyhow::Result<()> {
    print_on(text).map(|_| ())
}

/// Writes a part of a result, of which more may follow; breaks if the reader has gone away.
fn print_on(text: &str) -> anyhow::Result<ControlFlow<()>> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            tracing::debug!("Standard output is closed");
            Ok(ControlFlow::Break(()))
        }
        written => {
            written.context("standard output")?;
            Ok(ControlFlow::Continue(()))
        }
    }
}

/// Prints a remark for the person who typed the command; it is no part of the result.
#[expect(
    clippy::print_stderr,
    reason = "standard output is for the result alone, which programs read"
)]
fn print_remark(text: &str) {
    eprintln!("{text}");
}

/// The reason why there is no response, in words: the cause at the end of the chain of errors.
fn request_failure_reason(error: &reqwest::Error) -> String {
    if let Some(told) = refusal::describe_tls_error(error) {
        return told;
    }
    let mut cause: &(dyn Error + 'static) = error;
    let mut is_no_http = false;
    while let Some(deeper) = cause.source() {
        cause = deeper;
        is_no_http |= cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse);
    }
    if is_no_http && error.url().is_some_and(|url| url.scheme() == "http") {
        return "what it answers is not HTTP: is this its port for https?".to_owned();
    }
    cause.to_string()
}

/// A text from elsewhere, whole, and escaped so that it is safe for a terminal.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    wire_text::escape(&mut shown, text);
    shown
}
