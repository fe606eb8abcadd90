//! `sealpost check`: every problem of the manifests, a line each.

use std::process::ExitCode;

use crate::cli::CheckOptions;
use crate::control::{self, CaCerts, Problem};

/// Reads manifests as `run` would, prints their problems, and fails if one of them is an error.
///
/// # Errors
/// If the problems cannot be printed.
pub fn run(options: &CheckOptions) -> anyhow::Result<ExitCode> {
    let settings = options.manifests.settings(None, None, CaCerts::Unknown);
    let problems = control::check(&options.manifests.filename, &settings);
    let text: String = problems.iter().map(|problem| super::printable(&problem.to_string()) + "\n").collect();
    super::print(&text)?;
    Ok(if problems.iter().any(Problem::is_error) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
