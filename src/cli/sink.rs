//! The flags of `sealpost exec` and `sealpost env`: the sink of a command's events, and how its
//! address is found.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::{ManifestOptions, RabbitmqConnectionOptions, ServedOptions, value};
use crate::control::SinkName;

const REMEDY: &str = "write a URL that begins with http:// or https://, or broker:NAME, channel:NAME, svc:NAME (a Service of \
     Kubernetes) or ksvc:NAME (one of Knative Serving), each with :NAMESPACE behind it if need be";

const EXEC: &str =
    "The command has in its environment what Knative's SinkBinding and ContainerSource give to a container:
  K_SINK          the URL that it posts CloudEvents to
  K_CA_CERTS      PEM that an https URL is verified with; not there if the system's roots will do
  K_CE_OVERRIDES  {\"extensions\":{…}} of --ce-override, which the command adds to its events; else empty

Channels and Brokers are reached where run listens: give exec the manifests and flags of run, or --ports-file. Signals
are passed on. The exit code is the command's, 128 and its number if a signal has ended it, 127 if there is no such
command, 126 if it cannot be executed; 1 if SINK leads nowhere.

Examples:
  sealpost exec --sink broker:default -f manifests/ -- ./heartbeats --period=1
  sealpost exec --sink channel:invoices:orders -f manifests/ --ce-override tenant=a -- python3 source.py
  sealpost exec --sink https://sink.example/in -- sh -c 'curl \"$K_SINK\" …'";

const ENV: &str = "Prints what `sealpost exec` gives to a command, for a shell to read:
  eval \"$(sealpost env --sink broker:default -f manifests/)\"";

/// The options of `sealpost exec`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXEC)]
pub struct ExecOptions {
    /// The sink of the command's events.
    #[command(flatten)]
    pub sink: SinkOptions,

    /// The command and its arguments, behind --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// The options of `sealpost env`.
#[derive(Clone, Debug, Args)]
#[command(after_help = ENV)]
pub struct EnvOptions {
    /// The sink of the command's events.
    #[command(flatten)]
    pub sink: SinkOptions,
}

/// The sink of a command's events, and all that its address depends on.
#[derive(Clone, Debug, Args)]
pub struct SinkOptions {
    /// Who gets the events: a URL, broker:NAME, channel:NAME, svc:NAME or ksvc:NAME, each with
    /// :NAMESPACE behind it if need be; NAME alone is ksvc:NAME, as for kn
    #[arg(short = 's', long, value_name = "SINK", env = "SEALPOST_SINK")]
    pub sink: SinkName,

    /// Extension attribute that the command is to add to its events, name=value; repeatable
    #[arg(long, value_name = "K=V", env = "SEALPOST_CE_OVERRIDE", value_parser = value::parse_override_extension)]
    pub ce_override: Vec<(String, String)>,

    /// The manifests, and how they are read.
    #[command(flatten)]
    pub manifests: ManifestOptions,

    /// The part of the configuration that is served.
    #[command(flatten)]
    pub served: ServedOptions,

    /// The RabbitMQ that the configuration is served with.
    #[command(flatten)]
    pub rabbitmq: RabbitmqConnectionOptions,

    /// Where run listens for events over HTTP
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "SEALPOST_HTTP_ADDR",
        default_value = "127.0.0.1:8080",
        value_parser = value::parse_listen_address
    )]
    pub http_addr: String,

    /// Where run listens for events over HTTPS
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "SEALPOST_HTTPS_ADDR",
        default_value = "127.0.0.1:8443",
        value_parser = value::parse_listen_address
    )]
    pub https_addr: String,

    /// File in which run has written where it listens; goes before --http-addr and --https-addr
    #[arg(long, value_name = "FILE", env = "SEALPOST_PORTS_FILE")]
    pub ports_file: Option<PathBuf>,

    /// Where run keeps its development CA
    #[arg(
        long,
        value_name = "DIR",
        env = "SEALPOST_STATE_DIR",
        default_value = ".sealpost"
    )]
    pub state_dir: PathBuf,
}

/// The error for a text that is no sink: its message says what to write.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkNameError(String);

impl FromStr for SinkName {
    type Err = SinkNameError;

    /// Reads a sink as `kn` reads its flag `--sink`, and `svc` besides.
    fn from_str(text: &str) -> Result<Self, SinkNameError> {
        if text.contains("://") || text.starts_with("http:") || text.starts_with("https:") {
            let address = value::parse_http_address(text);
            return address.map(Self::Url).map_err(SinkNameError);
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (prefix, name, namespace) = match parts[..] {
            [name] => ("ksvc", name, None),
            [prefix, name] => (prefix, name, None),
            [prefix, name, namespace] => (prefix, name, Some(namespace)),
            _ => {
                let reason = format!("it has more than three parts: {REMEDY}");
                return Err(SinkNameError(reason));
            }
        };
        let (api_version, kind) = object_type(prefix)?;
        if name.is_empty() || namespace.is_some_and(str::is_empty) {
            return Err(SinkNameError(format!("it names nothing: {REMEDY}")));
        }
        Ok(Self::Object {
            api_version,
            kind,
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
        })
    }
}

/// The `apiVersion` and kind that a prefix stands for.
fn object_type(prefix: &str) -> Result<(&'static str, &'static str), SinkNameError> {
    match prefix {
        "broker" => Ok(("eventing.knative.dev/v1", "Broker")),
        "channel" => Ok(("messaging.knative.dev/v1", "Channel")),
        "svc" => Ok(("v1", "Service")),
        "ksvc" => Ok(("serving.knative.dev/v1", "Service")),
        other => Err(SinkNameError(format!(
            "{other:?} is no kind of sink: {REMEDY}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinks_are_read_as_kn_reads_them() {
        let object = |api_version, kind, name: &str, namespace: Option<&str>| SinkName::Object {
            api_version,
            kind,
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
        };
        let (eventing, messaging, serving) = (
            "eventing.knative.dev/v1",
            "messaging.knative.dev/v1",
            "serving.knative.dev/v1",
        );
        for (text, expected) in [
            (
                "broker:default",
                object(eventing, "Broker", "default", None),
            ),
            (
                "broker:default:orders",
                object(eventing, "Broker", "default", Some("orders")),
            ),
            ("channel:pipe", object(messaging, "Channel", "pipe", None)),
            ("svc:s:n", object("v1", "Service", "s", Some("n"))),
            ("ksvc:s", object(serving, "Service", "s", None)),
            ("receiver", object(serving, "Service", "receiver", None)),
            (
                "https://Sink/a:b",
                SinkName::Url("https://Sink/a:b".to_owned()),
            ),
        ] {
            assert_eq!(text.parse::<SinkName>().expect(text), expected);
        }
        for (text, words) in [
            ("", "names nothing"),
            ("broker:", "names nothing"),
            ("broker:a:", "names nothing"),
            ("broker:a:b:c", "more than three parts"),
            ("Broker:a", "\"Broker\" is no kind of sink: write a URL"),
            ("trigger:a", "\"trigger\" is no kind of sink"),
            ("ftp://a", "begins with http:// or https://"),
            ("http:///", "begins with http:// or https://"),
            (
                "localhost:8080",
                "\"localhost\" is no kind of sink: write a URL",
            ),
        ] {
            let refused = text.parse::<SinkName>().expect_err(text).to_string();
            assert!(refused.contains(words), "{text}: {refused}");
        }
    }
}
