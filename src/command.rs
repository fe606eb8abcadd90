//! The commands that are not `run`: clients of a dispatcher, or of nothing at all. Their results go to standard output.

mod admin;
pub mod check;
pub mod display;
pub mod filter;
pub mod get;
pub mod parked;
pub mod send;

use std::io::{self, Write};

use anyhow::Context;

/// Writes a result. A reader that has gone away is no failure of ours; a result that could not be written is one.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            tracing::debug!("Standard output is closed");
            Ok(())
        }
        written => written.context("standard output"),
    }
}

/// Text that came from elsewhere, safe for a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
