//! The command line, compared with the interface (contract IF-1).

use clap::{CommandFactory, Parser};

use super::{Cli, CliCommand, ListenAddresses, RunOptions};
use crate::tls::MinTlsVersion;

/// Parses the flags of `run`.
pub(super) fn run(arguments: &[&str]) -> Result<RunOptions, clap::Error> {
    let arguments = ["sealpost", "run"].iter().chain(arguments);
    match Cli::try_parse_from(arguments)?.command {
        CliCommand::Run(options) => Ok(*options),
        _ => unreachable!("run was asked for"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

/// Contract IF-1: every flag has an environment variable of its name.
#[test]
fn every_flag_has_its_variable() {
    for command in Cli::command().get_subcommands() {
        let flags = command
            .get_arguments()
            .filter(|argument| argument.get_id() != "help");
        for (argument, flag) in flags.filter_map(|argument| Some((argument, argument.get_long()?)))
        {
            // A variable that holds data to send is none that asks to see data.
            let name = match (command.get_name(), flag) {
                ("tap", "data") => "tap-data",
                _ => flag,
            };
            let variable = format!("SEALPOST_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(
                argument.get_env().and_then(|env| env.to_str()),
                Some(variable.as_str())
            );
            assert!(argument.get_help().is_some(), "{flag}");
        }
    }
}

/// A variable that several commands read means the same to each of them, in about the same words.
#[test]
fn a_variable_means_one_thing() {
    let mut meanings =
        std::collections::BTreeMap::<String, std::collections::BTreeSet<String>>::new();
    for command in Cli::command().get_subcommands() {
        for argument in command.get_arguments() {
            let Some(variable) = argument.get_env().and_then(|env| env.to_str()) else {
                continue;
            };
            let kind = argument
                .get_value_names()
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect();
            meanings
                .entry(variable.to_owned())
                .or_default()
                .insert(kind);
        }
    }
    assert!(
        meanings.values().all(|kinds| kinds.len() == 1),
        "{meanings:?}"
    );
    let commands = Cli::command();
    let concurrency = commands.get_subcommands().filter(|command| {
        command.get_arguments().any(|argument| {
            argument
                .get_env()
                .is_some_and(|env| env == "SEALPOST_CONCURRENCY")
        })
    });
    assert_eq!(
        concurrency.map(clap::Command::get_name).collect::<Vec<_>>(),
        ["run"]
    );
}

#[test]
fn defaults_are_those_of_the_interface() {
    let options = run(&["-f", "x"]).expect("options");
    let [http, https, admin] =
        ["127.0.0.1:8080", "127.0.0.1:8443", "127.0.0.1:9090"].map(str::to_owned);
    assert_eq!(
        options.listen_addresses(),
        Ok(ListenAddresses { http, https, admin })
    );
    assert_eq!(options.state_dir.to_str(), Some(".sealpost"));
    assert_eq!(options.drain_timeout.as_secs(), 20);
    assert_eq!(
        (options.served.transport_encryption, options.log_format),
        (None, None)
    );
    assert_eq!(options.limits.max_body_bytes, 10 * 1024 * 1024);
    assert_eq!(options.broker_max_ttl(), Ok(255));
    assert_eq!(options.min_tls_version(), Ok(MinTlsVersion::Tls12));
    assert!(options.validate().is_ok());
}

/// Contract IF-1: in a pod, everybody may connect.
#[test]
fn defaults_in_a_cluster() {
    let options = run(&["--kubernetes"]).expect("options");
    let [http, https, admin] = ["0.0.0.0:8080", "0.0.0.0:8443", "0.0.0.0:9090"].map(str::to_owned);
    assert_eq!(
        options.listen_addresses(),
        Ok(ListenAddresses { http, https, admin })
    );
    assert_eq!(
        options.min_tls_version(),
        Ok(MinTlsVersion::Tls13),
        "contract TL-5"
    );
    let older = run(&["--kubernetes", "--tls-min-version", "1.2"]).expect("options");
    assert_eq!(older.min_tls_version(), Ok(MinTlsVersion::Tls12));
    let given = run(&["--kubernetes", "--http-addr", "127.0.0.1:1"]).expect("options");
    assert_eq!(
        given.listen_addresses().map(|addresses| addresses.http),
        Ok("127.0.0.1:1".to_owned())
    );
    assert!(
        options
            .validate()
            .is_err_and(|error| error.contains("SYSTEM_NAMESPACE"))
    );
}

#[test]
fn wrong_values_are_usage_errors() {
    for arguments in [
        &["--drain-timeout", "20s"][..],
        &["--transport-encryption", "tls"],
        &["--max-body-bytes", "10MB"],
        &["--retry-jitter", "2"],
        &["--broker-max-ttl", "0"],
        &["--tls-cert", "x"],
        &["--tls-min-version", "1.1"],
        &["--resolve", "x"],
        &["--no-such-flag"],
        &["--log-level", "warning"],
        &["--log-level", ""],
        &["--max-connections", "0"],
        &["--max-connections", "18446744073709551615"],
        &["--max-body-bytes", "0"],
        &["--max-header-bytes", "0KiB"],
        &["--max-buffered-bytes", "0"],
        &["--queue-capacity", "0"],
        &["--concurrency", "0"],
        &["--delivery-timeout", "PT0S"],
        &["--header-read-timeout", "PT0S"],
        &["--body-read-timeout", "PT0S"],
        &["--idle-timeout", "PT0S"],
        &["--rabbitmq-consumer-timeout", "PT0S"],
        &["--metrics-export-interval", "PT0S"],
        &["--http-addr", ":8080"],
    ] {
        assert!(
            run(arguments).is_err_and(|error| error.exit_code() == 2),
            "{arguments:?}"
        );
    }
    assert!(run(&["-f", "x", "--kubernetes"]).is_err_and(|error| error.exit_code() == 2));
    for arguments in [
        &[][..],
        &["--kubernetes"],
        &["-f", "x", "--default-channel", "rabbitmq"],
    ] {
        assert!(
            run(arguments).is_ok_and(|options| options.validate().is_err()),
            "{arguments:?}"
        );
    }
}
