//! The flags of `sealpost run` (contract IF-1).

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::{
    ClusterOptions, DiskOptions, ManifestOptions, RabbitmqOptions, RoleArg, ServedOptions,
    TelemetryOptions, log_level, value,
};
use crate::control::ServedChannelKind;
use crate::event::AttributeLimit;
use crate::model::ObservabilityConfig;
use crate::tls::MinTlsVersion;

const EXAMPLES: &str = "Examples:
  sealpost run --kubernetes
  sealpost run --kubernetes --role filter
  sealpost run -f deploy/standalone/
  sealpost run -f broker.yaml --transport-encryption strict
  kubectl get channels,subscriptions -A -o yaml | sealpost run -f -

Every flag can be given as an environment variable: --http-addr as SEALPOST_HTTP_ADDR.
Durations are ISO 8601 (PT20S, PT1M30S), sizes are bytes or 64KiB, 10MiB.";

/// The format of log lines, as the flag names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The options of `sealpost run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunOptions {
    /// The manifests, and how they are read.
    #[command(flatten)]
    pub manifests: ManifestOptions,

    /// Take the configuration from the Kubernetes API, in place of one of Knative's pods
    #[arg(long, env = "SEALPOST_KUBERNETES", conflicts_with = "filename")]
    pub kubernetes: bool,

    /// The part of the configuration that is served.
    #[command(flatten)]
    pub served: ServedOptions,

    /// The options of a cluster, which count with `--kubernetes`.
    #[command(flatten)]
    pub cluster: ClusterOptions,

    /// Address of the plain HTTP listener for events (HTTP/1.1 and h2c); port 0 takes any free one
    /// [default: 127.0.0.1:8080; with --kubernetes 0.0.0.0 and INGRESS_PORT or FILTER_PORT, else
    /// 8080]
    #[arg(long, value_name = "HOST:PORT", env = "SEALPOST_HTTP_ADDR", value_parser = value::parse_listen_address)]
    pub http_addr: Option<String>,

    /// Address of the HTTPS listener for events (h2 and HTTP/1.1 by ALPN) [default:
    /// 127.0.0.1:8443; with --kubernetes 0.0.0.0 and INGRESS_PORT_HTTPS or FILTER_PORT_HTTPS,
    /// else 8443]
    #[arg(long, value_name = "HOST:PORT", env = "SEALPOST_HTTPS_ADDR", value_parser = value::parse_listen_address)]
    pub https_addr: Option<String>,

    /// Address for the status page, /healthz, /readyz, /metrics and /api/v1. On loopback everybody
    /// on this machine may read all of it, as localhost or by an address of loopback; on any other
    /// address all but /healthz, /readyz and /metrics needs the token [default: 127.0.0.1:9090;
    /// with --kubernetes 0.0.0.0:9090, of the roles ingress and filter 0.0.0.0:9092]
    #[arg(long, value_name = "HOST:PORT", env = "SEALPOST_ADMIN_ADDR", value_parser = value::parse_listen_address)]
    pub admin_addr: Option<String>,

    /// File with the token that operators show to change something, and to read anything but
    /// /healthz, /readyz and /metrics where --admin-addr is not on loopback; 16 characters or
    /// more, re-read when it is needed
    #[arg(long, value_name = "FILE", env = "SEALPOST_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,

    /// Unix socket, mode 0600, on which whoever can open it may do everything [default: admin.sock
    /// in the state directory; with --kubernetes none]
    #[arg(long, value_name = "PATH", env = "SEALPOST_ADMIN_SOCKET")]
    pub admin_socket: Option<PathBuf>,

    /// File that gets the bound addresses as JSON, once all are bound
    #[arg(long, value_name = "FILE", env = "SEALPOST_PORTS_FILE")]
    pub ports_file: Option<PathBuf>,

    /// Take events over HTTPS also while transport encryption is disabled
    #[arg(long, env = "SEALPOST_HTTPS_WHEN_DISABLED")]
    pub https_when_disabled: bool,

    /// Send tokens of ServiceAccounts over http, too, as Knative's own dispatchers do: whoever is
    /// on the way can use them
    #[arg(long, env = "SEALPOST_TOKENS_OVER_HTTP")]
    pub tokens_over_http: bool,

    /// Lowest TLS version, 1.2 or 1.3, in both directions [default: TLS_MIN_VERSION, else 1.2; with
    /// --kubernetes 1.3, as upstream's]
    #[arg(
        long,
        value_name = "VERSION",
        value_parser = PossibleValuesParser::new(["1.2", "1.3"])
            .try_map(|version| version.parse::<MinTlsVersion>()),
        env = "SEALPOST_TLS_MIN_VERSION"
    )]
    pub tls_min_version: Option<MinTlsVersion>,

    /// Where the development CA and its key are kept; with --kubernetes there is none
    #[arg(
        long,
        value_name = "DIR",
        env = "SEALPOST_STATE_DIR",
        default_value = ".sealpost"
    )]
    pub state_dir: PathBuf,

    /// The RabbitMQ that is used, and its queues.
    #[command(flatten)]
    pub rabbitmq: RabbitmqOptions,

    /// The directory of channels on disk.
    #[command(flatten)]
    pub disk: DiskOptions,

    /// How long a stop may take
    #[arg(long, value_name = "DURATION", env = "SEALPOST_DRAIN_TIMEOUT", default_value = "PT20S", value_parser = value::parse_duration_value)]
    pub drain_timeout: Duration,

    /// text or json [default: text on a terminal, else json; with --kubernetes json]
    #[arg(long, value_name = "FORMAT", env = "SEALPOST_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What is logged: error, warn, info, debug or trace, and parts that differ, such as
    /// info,sealpost::delivery=debug; overrides the ConfigMap config-logging [default: from there,
    /// else info]
    #[arg(long, value_name = "LEVEL", env = "SEALPOST_LOG_LEVEL", value_parser = log_level::parse_directives)]
    pub log_level: Option<String>,

    /// Broker or channel that gets events for operators: a destination begins to fail or takes
    /// events again, events are parked, a certificate expires soon, a part of the configuration is
    /// refused
    #[arg(long, value_name = "NAMESPACE/NAME", env = "SEALPOST_SYSTEM_EVENTS", value_parser = value::parse_namespaced_name)]
    pub system_events: Option<String>,
    /// File for the audit log, as lines of JSON that are appended, mode 0600: what was changed, by
    /// whom, and what was refused. The log has these lines, too
    #[arg(long, value_name = "FILE", env = "SEALPOST_AUDIT_LOG")]
    pub audit_log: Option<PathBuf>,

    /// The collectors of traces and metrics.
    #[command(flatten)]
    pub telemetry: TelemetryOptions,

    /// The limits of what senders and subscribers may cost.
    #[command(flatten)]
    pub limits: LimitOptions,
}

/// The flags that bound what senders and subscribers may cost.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitOptions {
    /// Size of one request's body, and of a subscriber's reply
    #[arg(long, value_name = "BYTES", env = "SEALPOST_MAX_BODY_BYTES", default_value = "10MiB", value_parser = value::parse_nonzero_size)]
    pub max_body_bytes: usize,

    /// Size of one request's head, and of all attributes of one event together, names and values,
    /// in whichever mode it comes
    #[arg(long, value_name = "BYTES", env = "SEALPOST_MAX_HEADER_BYTES", default_value = "64KiB", value_parser = value::parse_head_size)]
    pub max_header_bytes: usize,

    /// From the first byte of a request to the end of its head
    #[arg(long, value_name = "DURATION", env = "SEALPOST_HEADER_READ_TIMEOUT", default_value = "PT10S", value_parser = value::parse_nonzero_duration)]
    pub header_read_timeout: Duration,

    /// From the end of the head to the end of the body
    #[arg(long, value_name = "DURATION", env = "SEALPOST_BODY_READ_TIMEOUT", default_value = "PT60S", value_parser = value::parse_nonzero_duration)]
    pub body_read_timeout: Duration,

    /// How long a connection may be open without a request
    #[arg(long, value_name = "DURATION", env = "SEALPOST_IDLE_TIMEOUT", default_value = "PT5M", value_parser = value::parse_nonzero_duration)]
    pub idle_timeout: Duration,

    /// Connections open at once on each listener; further ones wait
    #[arg(long, value_name = "N", env = "SEALPOST_MAX_CONNECTIONS", default_value = "10000", value_parser = value::parse_count)]
    pub max_connections: usize,

    /// Bytes of events, headers and bodies, held in memory at once; beyond, senders get 429
    #[arg(long, value_name = "BYTES", env = "SEALPOST_MAX_BUFFERED_BYTES", default_value = "256MiB", value_parser = value::parse_nonzero_size)]
    pub max_buffered_bytes: usize,

    /// Bytes for what became of the latest events, which `sealpost explain` shows: the latest
    /// 100,000, as far as this goes; 0 keeps nothing
    #[arg(long, value_name = "BYTES", env = "SEALPOST_EXPLAIN_MAX_BYTES", default_value = "32MiB", value_parser = value::parse_size)]
    pub explain_max_bytes: usize,

    /// Unfinished events that one subscription may have, and requests that may wait at one
    /// RequestReply; beyond, senders get 429
    #[arg(long, value_name = "N", env = "SEALPOST_QUEUE_CAPACITY", default_value = "10000", value_parser = value::parse_count)]
    pub queue_capacity: usize,

    /// Requests under way at once to one subscriber
    #[arg(long, value_name = "N", env = "SEALPOST_CONCURRENCY", default_value = "256", value_parser = value::parse_count)]
    pub concurrency: usize,

    /// Longest attempt where a delivery spec has no timeout
    #[arg(long, value_name = "DURATION", env = "SEALPOST_DELIVERY_TIMEOUT", default_value = "PT15M", value_parser = value::parse_nonzero_duration)]
    pub delivery_timeout: Duration,

    /// Part of each wait between retries that is left to chance, 0 to 1
    #[arg(long, value_name = "PART", env = "SEALPOST_RETRY_JITTER", default_value = "0", value_parser = value::parse_fraction)]
    pub retry_jitter: f64,

    /// Brokers that an event may pass through (knativebrokerttl) [default: of the role ingress
    /// with --kubernetes MAX_TTL, else 255]
    #[arg(long, value_name = "N", env = "SEALPOST_BROKER_MAX_TTL", value_parser = clap::value_parser!(i32).range(1..))]
    pub broker_max_ttl: Option<i32>,
}

impl LimitOptions {
    /// The limit of an event's attributes, in bytes and in number.
    #[must_use]
    pub(crate) fn attribute_limit(&self) -> AttributeLimit {
        AttributeLimit::new(self.max_header_bytes)
    }
}

impl RunOptions {
    /// The lowest TLS version: that of the flag, else of Knative's variable (contract TL-5), else
    /// 1.2, and in a cluster upstream's 1.3.
    ///
    /// # Errors
    /// Fails if the variable holds something else than a version.
    pub(crate) fn min_tls_version(&self) -> Result<MinTlsVersion, String> {
        match (
            self.tls_min_version,
            super::environment_variable("TLS_MIN_VERSION"),
        ) {
            (Some(version), _) => Ok(version),
            (None, Some(text)) => text
                .parse()
                .map_err(|error| format!("TLS_MIN_VERSION: {error}")),
            (None, None) if self.kubernetes => Ok(MinTlsVersion::Tls13),
            (None, None) => Ok(MinTlsVersion::default()),
        }
    }

    /// True if the process takes events for channels that are on RabbitMQ.
    fn needs_rabbitmq(&self) -> bool {
        self.task().served_channels() == Some(ServedChannelKind::Rabbitmq)
    }

    /// Checks the flags before anything starts: that they do not contradict each other, and that
    /// there is something to run.
    ///
    /// # Errors
    /// Says which flag or variable to change.
    pub fn validate(&self) -> Result<(), String> {
        self.served.validate(&self.rabbitmq.access)?;
        if self.kubernetes {
            self.cluster_settings()?;
            if self.needs_rabbitmq() && self.rabbitmq.access.rabbitmq_uri.is_none() {
                return Err(
                    "--channel-kind RabbitmqChannel needs --rabbitmq-uri, or SEALPOST_RABBITMQ_URI"
                        .to_owned(),
                );
            }
            let is_on_disk = self.task().served_channels() == Some(ServedChannelKind::Disk);
            if is_on_disk && self.disk.data_dir.is_none() {
                return Err(
                    "--channel-kind DiskChannel needs --data-dir, or SEALPOST_DATA_DIR: a directory \
                     on a volume"
                        .to_owned(),
                );
            }
        } else if self.served.role == Some(RoleArg::Controller) {
            return Err("--role controller needs --kubernetes".to_owned());
        } else {
            self.manifests.validate()?;
        }
        let keeps_events =
            self.task().serves_manifests() || self.task().served_channels().is_some();
        if self.served.namespace_limits.is_some() && !keeps_events {
            return Err(
                "--namespace-limits counts where events are kept: give it to the processes in the \
                 role channel"
                    .to_owned(),
            );
        }
        self.listen_addresses()?;
        self.telemetry_settings(&ObservabilityConfig::default())?;
        self.broker_max_ttl()?;
        self.min_tls_version().map(drop)
    }
}
