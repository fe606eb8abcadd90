//! Reads the value of `--log-level`. A value that is not understood must not silence the log, which
//! reports losses.

use crate::control::suggest_word;

/// The levels, from the fewest lines to the most.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// The modules that log, and the libraries that do.
const TARGETS: [&str; 43] = [
    "sealpost",
    "sealpost::admin",
    "sealpost::app",
    "sealpost::auth",
    "sealpost::budget",
    "sealpost::channel",
    "sealpost::cli",
    "sealpost::client",
    "sealpost::command",
    "sealpost::control",
    "sealpost::correlation",
    "sealpost::delivery",
    "sealpost::dispatcher",
    "sealpost::display",
    "sealpost::event",
    "sealpost::event_type",
    "sealpost::filter",
    "sealpost::ingress",
    "sealpost::model",
    "sealpost::observation",
    "sealpost::relay",
    "sealpost::router",
    "sealpost::scrub",
    "sealpost::server",
    "sealpost::source",
    "sealpost::supervisor",
    "sealpost::telemetry",
    "sealpost::tls",
    "sealpost::wire_text",
    "h2",
    "hyper",
    "hyper_rustls",
    "hyper_util",
    "kube",
    "kube_client",
    "kube_runtime",
    "lapin",
    "mio",
    "reqwest",
    "rustls",
    "tokio",
    "tower",
    "audit",
];
const REMEDY: &str = "write error, warn, info, debug or trace, or such a level and parts that differ from it: \
     info,sealpost::delivery=debug";

/// Reads a level, or directives: at most one level for everything, `info` if there is none, and
/// levels for single targets.
pub(super) fn parse_directives(text: &str) -> Result<String, String> {
    let (mut everything, mut parts) = (None, Vec::new());
    for directive in text.split(',').map(str::trim) {
        match directive.split_once('=') {
            Some((target, wanted)) => parts.push(format!(
                "{}={}",
                parse_target(target.trim())?,
                parse_level(wanted.trim())?
            )),
            None => {
                if everything.replace(parse_level(directive)?).is_some() {
                    return Err(format!(
                        "{directive:?} is a second level for everything: {REMEDY}"
                    ));
                }
            }
        }
    }
    parts.insert(0, everything.unwrap_or("info").to_owned());
    Ok(parts.join(","))
}

/// Reads a level, whatever its case.
fn parse_level(text: &str) -> Result<&'static str, String> {
    let word = text.to_ascii_lowercase();
    LEVELS
        .into_iter()
        .find(|level| *level == word)
        .ok_or_else(|| match word.as_str() {
            "" => format!("there is no level: {REMEDY}"),
            "off" | "none" | "0" => {
                format!("{text:?} would hide that events are lost; the least is error: {REMEDY}")
            }
            _ => unknown_level_message(text, level_alias(&word)),
        })
}

/// The level that is known by another name elsewhere, or that is misspelled; `None` if there is
/// none.
fn level_alias(word: &str) -> Option<&'static str> {
    match word {
        "warning" => Some("warn"),
        "err" | "fatal" | "critical" | "panic" => Some("error"),
        "information" | "notice" => Some("info"),
        "verbose" => Some("debug"),
        "all" => Some("trace"),
        _ => suggest_word(word, LEVELS),
    }
}

/// Checks a target: a module of this crate or one below it, or a library that logs.
fn parse_target(text: &str) -> Result<&str, String> {
    let covers = |known: &str| {
        text.strip_prefix(known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    // This crate's modules are known one by one; modules below them, and below libraries, are not.
    let is_within = text.starts_with("sealpost") && text != "sealpost";
    let found = TARGETS
        .into_iter()
        .skip(usize::from(is_within))
        .find(|known| covers(known));
    if found.is_some() {
        Ok(text)
    } else {
        Err(unknown_level_message(
            text,
            suggest_word(text, TARGETS).or_else(|| suggest_target(text)),
        ))
    }
}

/// The target that is meant if somebody wrote one colon instead of two, or a dot.
fn suggest_target(text: &str) -> Option<&'static str> {
    let doubled = text.replace("::", ":").replace([':', '.'], "::");
    suggest_word(&doubled, TARGETS)
        .or_else(|| TARGETS.into_iter().find(|target| *target == doubled))
}

fn unknown_level_message(text: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("{text:?} is not known, did you mean {near}? Else {REMEDY}"),
        None => format!("{text:?} is not known: {REMEDY}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_parts_are_read() {
        for (text, read) in [
            ("info", "info"),
            ("ERROR", "error"),
            (
                " warn , sealpost::delivery=debug",
                "warn,sealpost::delivery=debug",
            ),
            ("sealpost::delivery=debug", "info,sealpost::delivery=debug"),
            (
                "info,sealpost=trace,hyper=warn",
                "info,sealpost=trace,hyper=warn",
            ),
            (
                "info,sealpost::channel::rabbitmq=debug",
                "info,sealpost::channel::rabbitmq=debug",
            ),
        ] {
            assert_eq!(parse_directives(text).as_deref(), Ok(read), "{text}");
        }
    }

    /// None of these may leave a process that logs nothing.
    #[test]
    fn what_would_silence_the_log_is_refused() {
        for (text, words) in [
            ("warning", "did you mean warn?"),
            ("wrn", "did you mean warn?"),
            ("verbose", "did you mean debug?"),
            ("", "there is no level"),
            ("info,", "there is no level"),
            ("off", "the least is error"),
            ("info,sealpost=off", "the least is error"),
            ("0", "the least is error"),
            ("5", "write error, warn"),
            (
                "info,sealpost:delivery=debug",
                "did you mean sealpost::delivery?",
            ),
            ("sealpots=debug", "did you mean sealpost?"),
            (
                "sealpost::delivry=debug",
                "did you mean sealpost::delivery?",
            ),
            ("info,debug", "a second level"),
            ("sealpost", "is not known"),
            ("info,[task]=debug", "is not known"),
            ("info,sealpost=", "there is no level"),
        ] {
            let refused = parse_directives(text).expect_err(text);
            assert!(refused.contains(words), "{text}: {refused}");
            assert!(
                refused.contains("error, warn, info, debug or trace"),
                "{text}: {refused}"
            );
        }
    }

    #[test]
    fn every_module_is_a_target() {
        let modules = include_str!("../lib.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod "));
        for module in modules.filter_map(|module| module.strip_suffix(';')) {
            assert!(
                TARGETS.contains(&format!("sealpost::{module}").as_str()),
                "{module}"
            );
        }
    }
}
