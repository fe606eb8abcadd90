//! The flags of `sealpost parked`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{AdminOptions, ManifestOptions, RabbitmqConnectionOptions, value};
use crate::model::BackendKind;

/// The commands below `sealpost parked`.
#[derive(Clone, Debug, Subcommand)]
pub enum ParkedCommand {
    /// Count the parked events of each subscription
    List(ParkedOptions),
    /// Show parked events, and why they were parked
    Show(ParkedOptions),
    /// Put parked events back into the queue of their subscription, to be delivered as any other
    Replay(ParkedOptions),
    /// Delete parked events, after asking
    Drop(ParkedDropOptions),
}

const EXAMPLES: &str = "Examples:
  sealpost parked list
  sealpost parked replay orders/mailer --older-than PT1H --admin-socket .sealpost/admin.sock
  kubectl -n knative-eventing exec deploy/imc-dispatcher -- /sealpost parked list
  SEALPOST_RABBITMQ_URI=amqp://… sealpost parked list -f manifests/

A running dispatcher is asked, at --admin or --admin-socket. With -f, RabbitMQ is asked, of the subscriptions in these
manifests; no dispatcher needs to run.";

/// The parked events that a command is about, and where they are looked for.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ParkedOptions {
    /// Those of this subscription or Trigger [default: of all]
    #[arg(value_name = "NAMESPACE/NAME")]
    pub subscription: Option<String>,

    /// Only what has been parked for so long
    #[arg(long, value_name = "DURATION", env = "SEALPOST_OLDER_THAN", default_value = "PT0S", value_parser = value::parse_duration_value)]
    pub older_than: Duration,

    /// The dispatcher that is asked.
    #[command(flatten)]
    pub admin: AdminOptions,

    /// The manifests with the subscriptions, if no dispatcher is asked.
    #[command(flatten)]
    pub manifests: ManifestOptions,

    /// With -f, what channels are made of where nothing says so, as for `run`
    #[arg(
        long,
        value_name = "KIND",
        env = "SEALPOST_DEFAULT_CHANNEL",
        default_value = "inmemory"
    )]
    pub default_channel: BackendKind,

    /// The RabbitMQ that is asked, if no dispatcher is.
    #[command(flatten)]
    pub access: RabbitmqConnectionOptions,
}

/// The options of `sealpost parked drop`.
#[derive(Clone, Debug, Args)]
pub struct ParkedDropOptions {
    /// The parked events that are deleted.
    #[command(flatten)]
    pub parked: ParkedOptions,

    /// Do not ask
    #[arg(long, env = "SEALPOST_YES")]
    pub yes: bool,
}

impl ParkedCommand {
    /// The options that all of these commands have.
    #[must_use]
    pub fn options(&self) -> &ParkedOptions {
        match self {
            Self::List(options) | Self::Show(options) | Self::Replay(options) => options,
            Self::Drop(options) => &options.parked,
        }
    }
}

impl ParkedOptions {
    /// True if a running dispatcher is asked, instead of RabbitMQ by manifests.
    #[must_use]
    pub(crate) fn asks_dispatcher(&self) -> bool {
        self.manifests.filename.is_empty()
    }

    /// Checks the flags before anything is asked.
    ///
    /// # Errors
    /// Says which flag to change.
    pub fn validate(&self) -> Result<(), String> {
        if !self.asks_dispatcher() && self.access.rabbitmq_uri.is_none() {
            return Err(
                "no RabbitMQ is given: set SEALPOST_RABBITMQ_URI, or --rabbitmq-uri; or leave out -f to ask a \
                        running dispatcher"
                    .to_owned(),
            );
        }
        match &self.subscription {
            Some(name) if !name.contains('/') => Err(format!("{name} is no NAMESPACE/NAME")),
            _ => Ok(()),
        }
    }
}
