//! The flags of `sealpost get`.

use clap::{Args, ValueEnum};

use super::{AdminOptions, ObjectScope};

/// The kind of objects that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GetResource {
    /// The channels of every kind.
    Channels,
    /// The Brokers that are served.
    Brokers,
    /// The Triggers that are served.
    Triggers,
    /// The Subscriptions that are served.
    Subscriptions,
    /// The Sequences that are served.
    Sequences,
    /// The Parallels that are served.
    Parallels,
    /// The RequestReplies that are served.
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

    /// The name of the list in the admin API, which is the plural.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
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

    /// The name of one object of the list, in the singular.
    fn singular(self) -> &'static str {
        match self {
            Self::RequestReplies => "requestreply",
            other => other.as_str().trim_end_matches('s'),
        }
    }

    /// The short names of the list, which are Knative's where it has some.
    fn short_names(self) -> &'static [&'static str] {
        match self {
            Self::Channels => &["ch", "imc", "inmemorychannel", "inmemorychannels"],
            Self::Brokers => &["br"],
            Self::Triggers => &["tr"],
            Self::Subscriptions => &["sub", "subs"],
            Self::Sequences => &["seq"],
            Self::Parallels => &["par"],
            Self::RequestReplies => &["rr"],
        }
    }
}

/// The format in which objects are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GetOutput {
    /// A line each.
    Table,
    /// A line each, with more columns.
    Wide,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// The options of `sealpost get`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  sealpost get channels\n  sealpost get broker br -n default -o yaml\n  sealpost get sub -w\n  sealpost get triggers -o json --admin http://127.0.0.1:9090"
)]
pub struct GetOptions {
    /// channels (ch, imc), brokers (br), triggers (tr), subscriptions (sub), sequences (seq),
    /// parallels (par) or requestreplies (rr)
    #[arg(value_name = "KIND", ignore_case = true, value_parser = parse_resource)]
    pub resource: GetResource,

    /// Only the object of this name
    pub name: Option<String>,

    /// The namespaces whose objects are listed.
    #[command(flatten)]
    pub scope: ObjectScope,

    /// Go on, and print each object again when it has changed
    #[arg(short = 'w', long, env = "SEALPOST_WATCH")]
    pub watch: bool,

    /// How objects are printed
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT",
        env = "SEALPOST_OUTPUT",
        default_value = "table"
    )]
    pub output: GetOutput,

    /// The dispatcher that is asked.
    #[command(flatten)]
    pub admin: AdminOptions,
}

/// Reads a kind, in the plural, the singular or a short form, whatever its case.
fn parse_resource(text: &str) -> Result<GetResource, String> {
    let text = text.to_ascii_lowercase();
    GetResource::ALL
        .into_iter()
        .find(|resource| {
            [resource.as_str(), resource.singular()].contains(&text.as_str())
                || resource.short_names().contains(&text.as_str())
        })
        .ok_or_else(|| {
            "use channels, brokers, triggers, subscriptions, sequences, parallels or requestreplies"
                .to_owned()
        })
}
