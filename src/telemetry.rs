//! What operators see: logs and counters.

pub mod counters;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// What is not logged unless it is asked for: errors of the AMQP client, of which the connection's own log line tells.
const QUIET: &str = "lapin=off";

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStyle {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// Text on a terminal, else JSON.
    Automatic,
}

/// Starts logging to standard error. `directives` is a level, or directives such as `info,sealpost::delivery=debug`.
///
/// # Errors
/// If the directives cannot be read, or logging has been started before.
pub fn start_logging(style: LogStyle, directives: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{directives}"))
        .map_err(|error| format!("--log-level {directives:?}: {error}"))?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match style {
        LogStyle::Text => builder.with_ansi(terminal).finish().try_init(),
        LogStyle::Automatic if terminal => builder.finish().try_init(),
        LogStyle::Json | LogStyle::Automatic => builder.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(|error| error.to_string())
}
