//! Telemetry, for operators: logs, metrics, traces.

pub(crate) mod audit;
mod audit_file;
pub(crate) mod backend_metrics;
pub(crate) mod cluster_metrics;
pub(crate) mod configuration_metrics;
pub(crate) mod counter;
pub mod counters;
pub(crate) mod data_point;
pub(crate) mod exemplar;
pub(crate) mod gauge;
pub(crate) mod histogram;
mod log_format;
pub(crate) mod log_rate_limit;
pub(crate) mod metric_family;
mod namespace_metrics;
pub(crate) mod otlp;
pub(crate) mod process;
pub mod series;
pub mod span_attributes;
pub(crate) mod span_queue;
pub mod tracer;

use std::io::IsTerminal;

use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

pub use audit_file::AuditFile;
use log_format::{JsonLines, SpanIdFormat, TextFieldFormat, WithSpanIds};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStyle {
    /// Text for people.
    Text,
    /// One JSON object on each line.
    Json,
    /// Text if standard error is a terminal, else JSON.
    Auto,
}

/// The level of the running log. Clones share it.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// Sets the level from now on: `debug`, `info`, `warn` or `error`. Crates of others log no more
    /// at `debug` than at `info`.
    pub(crate) fn set(&self, level: &str) {
        let directives = if level == "debug" {
            "info,sealpost=debug"
        } else {
            level
        };
        let changed = log_filter(directives)
            .and_then(|filter| self.0.reload(filter).map_err(|error| error.to_string()));
        match changed {
            Ok(()) => tracing::info!(log_level = level, "Level of logs"),
            Err(error) => tracing::warn!(log_level = level, error, "The level of logs stays"),
        }
    }
}

/// Crates whose own lines say less than ours about the same: a failure is logged by the caller,
/// together with its effect.
const SILENT: [&str; 11] = [
    "lapin",
    "kube",
    "kube_client",
    "kube_core",
    "kube_runtime",
    "tower",
    "tower_http",
    "hyper",
    "hyper_util",
    "hyper_rustls",
    "h2",
];

/// Makes the filter for these directives. The crates that are silent log only if the directives
/// name them, or are `trace`, which is none of our levels.
fn log_filter(directives: &str) -> Result<EnvFilter, String> {
    let silent = if directives.eq_ignore_ascii_case("trace") {
        1
    } else {
        SILENT.len()
    };
    let silent: String = SILENT
        .iter()
        .take(silent)
        .map(|name| format!("{name}=off,"))
        .collect();
    // The audit log has no level of its own, unless the directives set one.
    EnvFilter::try_new(format!("{silent}{}=info,{directives}", audit::TARGET))
        .map_err(|error| error.to_string())
}

/// Starts logging to standard error. `directives` is a level, or directives such as
/// `info,sealpost::delivery=debug`. What is audited goes to the file `audited`, too.
///
/// # Errors
/// Fails if the directives cannot be read, or if logging has been started before.
pub fn start_logging(
    style: LogStyle,
    directives: &str,
    audited: Option<AuditFile>,
) -> Result<LogLevel, String> {
    let filter =
        log_filter(directives).map_err(|error| format!("--log-level {directives:?}: {error}"))?;
    let (filter, handle) = reload::Layer::new(filter);
    let started = match style {
        LogStyle::Json => start_json(filter, audited),
        LogStyle::Auto if !std::io::stderr().is_terminal() => start_json(filter, audited),
        LogStyle::Text | LogStyle::Auto => start_text(filter, audited),
    };
    started
        .map(|()| LogLevel(handle))
        .map_err(|error| error.to_string())
}

/// The filter of a log whose level can be changed.
type LiveFilter = reload::Layer<EnvFilter, Registry>;

/// Layer that writes what is audited into its file, as lines of JSON; `None` without a file.
fn audit_layer<S>(file: Option<AuditFile>) -> Option<impl Layer<S>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let is_audited = |line: &Metadata<'_>| line.target() == audit::TARGET;
    file.map(|file| {
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(JsonLines(file))
            .with_target(false)
            .with_filter(filter_fn(is_audited))
    })
}

fn start_json(filter: LiveFilter, audited: Option<AuditFile>) -> Result<(), TryInitError> {
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(JsonLines(std::io::stderr))
        .with_target(false)
        .map_event_format(|format| WithSpanIds {
            format,
            ids: SpanIdFormat::Json,
        });
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .with(audit_layer(audited))
        .try_init()
}

fn start_text(filter: LiveFilter, audited: Option<AuditFile>) -> Result<(), TryInitError> {
    let is_terminal = std::io::stderr().is_terminal();
    // A line with ids is formatted apart, where the layer's colours are not known.
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .fmt_fields(TextFieldFormat)
        .with_target(false)
        .map_event_format(|format| WithSpanIds {
            format: format.with_ansi(is_terminal),
            ids: SpanIdFormat::Text,
        });
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .with(audit_layer(audited))
        .try_init()
}
