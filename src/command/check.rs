//! `sealpost check`: every problem of the manifests, a line each.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::CheckOptions;
use crate::control::{self, CaCerts, Severity};

/// Reads manifests as `run` would, prints their problems, and fails if one of them is an error.
#[must_use]
pub fn run(options: &CheckOptions) -> ExitCode {
    let settings = control::Settings {
        system_namespace: options.system_namespace.clone(),
        cluster_domain: options.cluster_domain.clone(),
        default_namespace: options.namespace.clone(),
        transport_encryption: None,
        resolve: options.resolve.clone(),
        urls: None,
        ca_certs: CaCerts::Unknown,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let problems = control::check(&options.filename, &settings, i64::try_from(now).unwrap_or(i64::MAX));
    let text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    super::print(&text);
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
