//! Finds variables that nothing reads: a misspelled name is worse than none, since its author
//! believes in it.

use std::collections::BTreeSet;

use clap::CommandFactory;

use super::Cli;
use crate::control::suggest_word;

const PREFIX: &str = "SEALPOST_";

/// A variable with the prefix of this program that nothing reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadVariable {
    /// The name of the variable; its value may be a secret.
    pub name: String,
    /// The variable that was probably meant; `None` if none is like it.
    pub suggestion: Option<String>,
}

/// The prefixes of variables that this program's tests and benches read.
const OF_TESTS: [&str; 3] = ["SEALPOST_TEST_", "SEALPOST_BENCH_", "SEALPOST_HISTORY_"];

/// The unread variables in the environment of the process, sorted by name.
#[must_use]
pub fn unread_variables() -> Vec<UnreadVariable> {
    let names = std::env::vars_os().filter_map(|(name, _value)| name.into_string().ok());
    find_unread(&names.collect())
}

fn find_unread(names: &BTreeSet<String>) -> Vec<UnreadVariable> {
    let known = flag_variables(&Cli::command());
    // Kubernetes sets such variables for each Service in a pod's namespace, one of which may have
    // the name of this program.
    let services: Vec<String> = names
        .iter()
        .filter_map(|name| name.strip_suffix("_SERVICE_HOST"))
        .map(service_prefix)
        .collect();
    let is_for_tests = |name: &str| OF_TESTS.iter().any(|start| name.starts_with(start));
    let is_ours = |name: &str| {
        name.get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
    };
    let is_read =
        |name: &str| known.contains(name) || is_of_service(name, &services) || is_for_tests(name);
    let unread = names.iter().filter(|name| is_ours(name) && !is_read(name));
    unread
        .map(|name| UnreadVariable {
            name: name.clone(),
            suggestion: suggest_variable(name, &known),
        })
        .collect()
}

/// True for the variables of a Service that Kubernetes sets besides its host.
fn is_of_service(name: &str, services: &[String]) -> bool {
    let mut rests = services
        .iter()
        .filter_map(|service| name.strip_prefix(service.as_str()));
    rests.any(|rest| rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_"))
}

fn suggest_variable(name: &str, known: &BTreeSet<String>) -> Option<String> {
    let name = name.to_ascii_uppercase();
    known
        .get(&name.replace('-', "_"))
        .cloned()
        .or_else(|| suggest_word(&name, known.iter().map(String::as_str)).map(str::to_owned))
}

fn service_prefix(service: &str) -> String {
    format!("{service}_")
}

/// The variables of the flags of a command, and of every command below it.
fn flag_variables(command: &clap::Command) -> BTreeSet<String> {
    let own = command
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned));
    let below = command.get_subcommands().flat_map(flag_variables);
    own.chain(below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_reads_is_named() {
        let names = [
            "PATH",
            "SEALPOST_HTTP_ADDR",
            "SEALPOST_COUNT",
            "SEALPOST_HTTP_ADRR",
            "SEALPOST_LOGLEVEL",
            "SEALPOST_SOMETHING_ELSE",
            "sealpost_log_level",
            "SEALPOST_SERVICE_HOST",
            "SEALPOST_SERVICE_PORT_HTTP",
            "SEALPOST_PORT",
            "SEALPOST_PORT_80_TCP_ADDR",
            "SEALPOST_UNLIKE_PORT",
        ];
        let found = find_unread(&names.map(str::to_owned).into());
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.name.as_str(), found.suggestion.as_deref()))
            .collect();
        assert_eq!(
            found,
            [
                ("SEALPOST_HTTP_ADRR", Some("SEALPOST_HTTP_ADDR")),
                ("SEALPOST_LOGLEVEL", Some("SEALPOST_LOG_LEVEL")),
                ("SEALPOST_SOMETHING_ELSE", None),
                ("SEALPOST_UNLIKE_PORT", None),
                ("sealpost_log_level", Some("SEALPOST_LOG_LEVEL")),
            ]
        );
    }
}
