//! `sealpost completions`: prints what a shell completes this program's command lines by.

use std::process::ExitCode;

use crate::cli::{CompletionOptions, completion_script};

/// Prints the script for a shell.
///
/// # Errors
/// Fails if nothing can be printed.
pub fn run(options: &CompletionOptions) -> anyhow::Result<ExitCode> {
    super::print(&completion_script(options.shell))?;
    Ok(ExitCode::SUCCESS)
}
