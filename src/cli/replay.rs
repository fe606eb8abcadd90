//! The flags of `sealpost replay`.

use std::num::NonZeroU32;

use clap::{ArgGroup, Args};

use super::{AdminOptions, value};

/// The options of `sealpost replay`.
#[derive(Clone, Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).args(["from", "stop", "progress"]),
    after_help = "Sends what a channel on disk has retained (annotation sealpost.dev/retain) to one subscription again, in \
        order, after live events. Each event carries the extension sealpostreplay with the id of the replay. Once begun, a \
        replay goes on whatever becomes of this command or of the process; Ctrl-C or --stop end it, and say where to go on.\n\n\
        Examples:\n  \
        sealpost replay orders/mailer --from PT1H --dry-run\n  \
        sealpost replay orders/mailer --from 2026-11-29T10:00:00Z --until 2026-11-29T11:00:00Z --filter \"type = 'order'\"\n  \
        sealpost replay orders/mailer --from @4711 --rate 100/s --admin-socket .sealpost/admin.sock\n  \
        sealpost replay orders/mailer --stop"
)]
pub struct ReplayOptions {
    /// The subscription or Trigger that gets the events
    #[arg(value_name = "NAMESPACE/NAME", value_parser = value::parse_namespaced_name)]
    pub subscription: String,

    /// Since when: a time, a duration that has passed since, earliest, or the @POSITION that a stopped replay tells
    #[arg(long, value_name = "TIME|DURATION-AGO", env = "SEALPOST_FROM", value_parser = value::parse_history_point)]
    pub from: Option<String>,

    /// Up to when [default: all that is there now]
    #[arg(long, value_name = "TIME|DURATION-AGO", env = "SEALPOST_UNTIL", value_parser = value::parse_history_point, requires = "from")]
    pub until: Option<String>,

    /// Only what passes this expression, besides the filter of a Trigger
    #[arg(long, value_name = "CESQL", env = "SEALPOST_FILTER", requires = "from")]
    pub filter: Option<String>,

    /// Events per second at most [default: 1000/s]
    #[arg(long, value_name = "N/s", env = "SEALPOST_RATE", value_parser = value::parse_whole_rate, requires = "from")]
    pub rate: Option<NonZeroU32>,

    /// Count what would be sent, and send nothing
    #[arg(long, env = "SEALPOST_DRY_RUN", requires = "from")]
    pub dry_run: bool,

    /// End the replay that is under way, and say where to go on
    #[arg(long, env = "SEALPOST_STOP")]
    pub stop: bool,

    /// Show the latest replay
    #[arg(long, env = "SEALPOST_PROGRESS")]
    pub progress: bool,

    /// trigger or subscription, if there are both of this name
    #[arg(long, value_name = "KIND", env = "SEALPOST_KIND")]
    pub kind: Option<String>,

    /// The dispatcher that is asked.
    #[command(flatten)]
    pub admin: AdminOptions,
}
