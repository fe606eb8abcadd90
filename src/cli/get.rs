//! The flags of `sealpost get`.

use clap::{Args, ValueEnum};

use super::AdminOptions;

/// Which objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GetResource {
    /// Channels of every kind.
    Channels,
    /// Brokers.
    Brokers,
    /// Triggers.
    Triggers,
    /// Subscriptions.
    Subscriptions,
    /// Sequences.
    Sequences,
    /// Parallels.
    Parallels,
    /// RequestReplies.
    #[value(name = "requestreplies")]
    RequestReplies,
}

impl GetResource {
    const ALL: [Self; 7] = [
        Self::Channels,
        Self::Brokers,
        Self::Triggers,
        Self::Subscriptions,
        Self::Sequences,
        Self::Parallels,
        Self::RequestReplies,
    ];

    /// Its name in the admin API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Channels => "channels",
            Self::Brokers => "brokers",
            Self::Triggers => "triggers",
            Self::Subscriptions => "subscriptions",
            Self::Sequences => "sequences",
            Self::Parallels => "parallels",
            Self::RequestReplies => "requestreplies",
        }
    }

    /// The same of one.
    fn singular(self) -> &'static str {
        match self {
            Self::RequestReplies => "requestreply",
            other => other.as_str().trim_end_matches('s'),
        }
    }
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GetOutput {
    /// A line each.
    Table,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// What `sealpost get` is told.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sealpost get channels\n  sealpost get broker br -n default -o yaml\n  sealpost get triggers -o json --admin http://127.0.0.1:9090"
)]
pub struct GetOptions {
    /// channels, brokers, triggers, subscriptions, sequences, parallels or requestreplies
    #[arg(value_name = "KIND", ignore_case = true, value_parser = parse_resource)]
    pub resource: GetResource,

    /// Only the object of this name
    pub name: Option<String>,

    /// Only objects of this namespace [default: all]
    #[arg(short = 'n', long, value_name = "NS", env = "SEALPOST_NAMESPACE")]
    pub namespace: Option<String>,

    /// How objects are printed
    #[arg(short = 'o', long, value_name = "FORMAT", env = "SEALPOST_OUTPUT", default_value = "table")]
    pub output: GetOutput,

    /// The dispatcher that is asked.
    #[command(flatten)]
    pub admin: AdminOptions,
}

/// A kind, in the plural or the singular.
fn parse_resource(text: &str) -> Result<GetResource, String> {
    let text = text.to_ascii_lowercase();
    GetResource::ALL.into_iter().find(|resource| resource.as_str() == text || resource.singular() == text).ok_or_else(
        || "use channels, brokers, triggers, subscriptions, sequences, parallels or requestreplies".to_owned(),
    )
}
