//! `sealpost check`: prints every problem of the manifests, as `run` would find them with the same
//! flags.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::cli::{CheckOptions, CheckOutput, RabbitmqConnectionOptions, ServedOptions};
use crate::control::{self, AdvertisedCaCerts, Problem, Severity};
use crate::tls::server_identity::ServerIdentity;

/// Reads manifests as `run` would, prints their problems, and fails if one of them is an error.
///
/// # Errors
/// Fails if the problems cannot be printed.
pub fn run(options: &CheckOptions) -> anyhow::Result<ExitCode> {
    let problems = find_problems(options);
    let count = |severity| {
        problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    };
    let counts = [Severity::Error, Severity::Warning, Severity::Note].map(count);
    match options.output {
        CheckOutput::Text => {
            let line = |problem: &Problem| super::printable(&problem.to_string()) + "\n";
            super::print(&problems.iter().map(line).collect::<String>())?;
            super::print_remark(&summary(counts));
        }
        CheckOutput::Json => super::print(&format!("{:#}\n", problems_as_json(&problems, counts)))?,
    }
    let [errors, warnings, _] = counts;
    let failed = errors > 0 || (options.strict && warnings > 0);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Every problem of the flags and the manifests, as `run` would find them.
fn find_problems(options: &CheckOptions) -> Vec<Problem> {
    let mut problems = Vec::new();
    let ca_certs = ca_certs(&options.served).unwrap_or_else(|error| {
        problems.push(Problem::of_flags(error));
        AdvertisedCaCerts::Unknown
    });
    let address = check_rabbitmq_address(&options.rabbitmq);
    problems.extend(address.err().map(Problem::of_flags));
    let settings =
        options
            .served
            .control_settings(&options.manifests, &options.rabbitmq, None, ca_certs);
    let limits = options.served.namespace_limits.as_deref();
    problems.extend(limits.into_iter().flat_map(limit_problems));
    let paths: Vec<PathBuf> = options.paths().cloned().collect();
    problems.extend(control::check_manifests(&paths, &settings));
    problems
}

/// The problems of a file of limits, as `run` would find them.
fn limit_problems(path: &Path) -> Vec<Problem> {
    let file = path.display().to_string();
    match control::read_limits_text(path) {
        Ok(text) => control::parse_namespace_limits(&file, &text)
            .err()
            .unwrap_or_default(),
        Err(error) => vec![Problem::of_flags(format!(
            "--namespace-limits {file}: {error}"
        ))],
    }
}

/// The CA of the certificate that the flags name, which is checked as `run` would load it.
pub(super) fn ca_certs(options: &ServedOptions) -> Result<AdvertisedCaCerts, String> {
    let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) else {
        return Ok(AdvertisedCaCerts::Unknown);
    };
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let ca = options.tls_ca.as_deref().map(read).transpose()?;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let replaced = ServerIdentity::default().replace(&read(certificate)?, &read(key)?, now);
    replaced.map_err(|error| format!("--tls-cert and --tls-key: {error}"))?;
    Ok(AdvertisedCaCerts::Given(ca))
}

/// Checks the address of RabbitMQ without connecting to it.
fn check_rabbitmq_address(options: &RabbitmqConnectionOptions) -> Result<(), String> {
    let address = options.address();
    address.map(drop).map_err(|error| format!("{error:#}"))
}

fn summary([errors, warnings, notes]: [usize; 3]) -> String {
    let counted =
        |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let [errors, warnings, notes] = [(errors, "error"), (warnings, "warning"), (notes, "note")]
        .map(|(count, word)| counted(count, word));
    format!("{errors}, {warnings}, {notes}")
}

/// The problems as one JSON object: `problems`, then the number of each severity. Unknown parts are
/// left out.
fn problems_as_json(problems: &[Problem], [errors, warnings, notes]: [usize; 3]) -> Value {
    let problems: Vec<Value> = problems.iter().map(problem_as_json).collect();
    json!({ "problems": problems, "errors": errors, "warnings": warnings, "notes": notes })
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn problem_as_json(problem: &Problem) -> Value {
    let severity = severity_word(problem.severity);
    let object = problem.object.as_ref();
    let text = |text: Option<&String>| {
        text.filter(|text| !text.is_empty())
            .map(|text| Value::from(control::short(text)))
    };
    let known = [
        ("severity", Some(severity.into())),
        ("file", text(problem.file.as_ref())),
        ("line", problem.line.map(Value::from)),
        ("kind", text(object.map(|object| &object.kind))),
        ("namespace", text(object.map(|object| &object.namespace))),
        ("name", text(object.map(|object| &object.name))),
        ("field", text(Some(&problem.field))),
        ("message", text(Some(&problem.message))),
    ];
    let known = known.into_iter();
    let members = known.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    members.collect::<serde_json::Map<_, _>>().into()
}
