//! The commands that are not `run`: clients of a dispatcher, or of nothing at all. Their results go to standard output.

mod admin;
pub mod check;
pub mod display;
pub mod filter;
pub mod get;
pub mod parked;
pub mod send;

use std::io::{self, Write};

/// Writes a result. A reader that has gone away is no failure of ours.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        tracing::debug!("Standard output is closed");
    }
}

/// Text that came from elsewhere, safe for a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
