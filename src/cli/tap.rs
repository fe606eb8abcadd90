//! The flags of `sealpost tap` and `sealpost explain`.

use clap::Args;
use url::form_urlencoded;

use super::{AdminOptions, LineOptions, value};

/// The most bytes of an id and a source that are asked for: a URI has 65,534 at most, and the head of
/// a request, with the rest of it, 64 KiB.
const LONGEST_QUERY: usize = 63 * 1024;

/// The options of `sealpost tap`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Prints a line for each thing that happens to an event, until it is interrupted: accepted, filtered and why, each attempt \
with its status, delivered or what else became of it. It delays no event: if it reads too slowly, it loses lines, and says how many.\n\n\
Examples:\n  sealpost tap\n  sealpost tap broker br -n default\n  sealpost tap trigger mailer --filter \"type = 'order.created'\"\n  \
sealpost tap channel orders --data --admin-socket .sealpost/admin.sock\n  \
kubectl -n knative-eventing port-forward deploy/imc-dispatcher 9090:9090, then: sealpost tap --admin-token-file TOKEN"
)]
pub struct TapOptions {
    /// channel, broker, trigger or subscription [default: everything]
    #[arg(value_name = "KIND", requires = "name", ignore_case = true, value_parser = parse_kind)]
    pub kind: Option<&'static str>,

    /// Its name
    #[arg(value_name = "NAME", value_parser = value::parse_nonempty_text)]
    pub name: Option<String>,

    /// Its namespace [default: default]; without KIND and NAME, everything in this namespace
    #[arg(short = 'n', long, value_name = "NS", env = "SEALPOST_NAMESPACE")]
    pub namespace: Option<String>,

    /// Only events for which this CESQL expression is true
    #[arg(long, value_name = "CESQL", env = "SEALPOST_FILTER")]
    pub filter: Option<String>,

    /// Show the data of events, too: needs --admin-token-file or --admin-socket
    #[arg(long, env = "SEALPOST_TAP_DATA")]
    pub data: bool,

    /// How lines are printed.
    #[command(flatten)]
    pub lines: LineOptions,

    /// The dispatcher that is asked.
    #[command(flatten)]
    pub admin: AdminOptions,
}

/// The options of `sealpost explain`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Prints what became of an event: when, how and by whom it was accepted, which subscriptions wanted it, why the others did not, \
each attempt, and how each delivery ended. The dispatcher knows the latest 100,000 events, as far as --explain-max-bytes of it goes. Exits 1 \
if it does not know this one.\n\nExamples:\n  sealpost explain 6cf17c7b-30b1-45a6-80b0-4cf58c92b947\n  \
sealpost explain 42 --source /orders -o json\n  kubectl -n knative-eventing exec deploy/imc-dispatcher -- /sealpost explain 42"
)]
pub struct ExplainOptions {
    /// The id of the event
    #[arg(value_name = "ID", value_parser = value::parse_nonempty_text)]
    pub id: String,

    /// Its source, if there are several events of this id
    #[arg(long, value_name = "S", env = "SEALPOST_SOURCE", value_parser = value::parse_nonempty_text)]
    pub source: Option<String>,

    /// How lines are printed.
    #[command(flatten)]
    pub lines: LineOptions,

    /// The dispatcher that is asked.
    #[command(flatten)]
    pub admin: AdminOptions,
}

impl ExplainOptions {
    /// Fails if the id or source is too long to be asked for.
    ///
    /// # Errors
    /// Says which one, and how long it may be.
    pub fn validate(&self) -> Result<(), String> {
        let source = self.source.as_deref().unwrap_or_default();
        let [id, source] = [self.id.as_str(), source].map(encoded_length);
        if id + source <= LONGEST_QUERY {
            return Ok(());
        }
        let (what, bytes) = if id >= source {
            ("the id", id)
        } else {
            ("--source", source)
        };
        Err(format!(
            "{what} is too long to be asked for: it has {bytes} bytes, percent-encoded, and id and \
             source may have {LONGEST_QUERY} together, since they stand in a URI"
        ))
    }
}

/// Bytes of a text in the query of a URI.
fn encoded_length(text: &str) -> usize {
    form_urlencoded::byte_serialize(text.as_bytes())
        .map(str::len)
        .sum()
}

/// Reads a kind, in the plural, the singular or the short form.
fn parse_kind(text: &str) -> Result<&'static str, String> {
    match text.to_ascii_lowercase().as_str() {
        "channel" | "channels" | "ch" | "imc" => Ok("channel"),
        "broker" | "brokers" | "br" => Ok("broker"),
        "trigger" | "triggers" | "tr" => Ok("trigger"),
        "subscription" | "subscriptions" | "sub" => Ok("subscription"),
        _ => Err("use channel, broker, trigger or subscription".to_owned()),
    }
}
