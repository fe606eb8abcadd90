//! The flags of `sealpost top`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{AdminOptions, ObjectScope, value};

/// The column by which rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TopColumn {
    /// What is broken first.
    State,
    /// Namespace and name.
    Name,
    /// The URL of the subscriber, else of the reply address.
    Destination,
    /// Events delivered in a second.
    Rate,
    /// Requests under way.
    InFlight,
    /// Events that are not finished.
    Unfinished,
    /// Attempts after the first.
    Retries,
    /// Events that the dead letter sink has.
    DeadLetters,
    /// Events that nobody has, or that are parked.
    Lost,
    /// The time of the last failed attempt.
    Error,
}

impl TopColumn {
    /// All columns, from left to right.
    pub(crate) const ALL: [Self; 10] = [
        Self::State,
        Self::Name,
        Self::Destination,
        Self::Rate,
        Self::InFlight,
        Self::Unfinished,
        Self::Retries,
        Self::DeadLetters,
        Self::Lost,
        Self::Error,
    ];
}

/// The options of `sealpost top`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The table of the status page in a terminal: each Subscription and Trigger with its state, what is broken first. \
Without a terminal, or with --once, it is printed as text.\n\n\
Keys: Up, Down, PageUp, PageDown, Home, End choose a row, whose reasons stand below; Left and Right choose the column to sort by, r turns \
the order round; Space looks at once; q, Esc or Ctrl-C end it.\n\n\
Examples:\n  sealpost top\n  sealpost top -n default --sort rate\n  \
kubectl -n knative-eventing exec -it deploy/imc-dispatcher -- /sealpost top"
)]
pub struct TopOptions {
    /// The namespaces whose objects are shown.
    #[command(flatten)]
    pub scope: ObjectScope,

    /// Print the table as text, and end
    #[arg(long, env = "SEALPOST_ONCE")]
    pub once: bool,

    /// How often the dispatcher is looked at
    #[arg(long, value_name = "DURATION", env = "SEALPOST_INTERVAL", default_value = "PT2S", value_parser = value::parse_nonzero_duration)]
    pub interval: Duration,

    /// The column to sort by
    #[arg(
        long,
        value_name = "COLUMN",
        env = "SEALPOST_SORT",
        default_value = "state"
    )]
    pub sort: TopColumn,

    /// The dispatcher that is asked.
    #[command(flatten)]
    pub admin: AdminOptions,
}
