//! The flags of `sealpost parked`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{DefaultChannel, ManifestOptions, value};

/// What to do with parked events.
#[derive(Clone, Debug, Subcommand)]
pub enum ParkedCommand {
    /// Count the parked events of each subscription
    List(ParkedOptions),
    /// Show parked events, and why they were parked
    Show(ParkedOptions),
    /// Put parked events back into the queue of their subscription, to be delivered as any other
    Replay(ParkedOptions),
    /// Delete parked events, after asking
    Drop(DropOptions),
}

/// Which parked events are meant.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  SEALPOST_RABBITMQ_URI=amqp://… sealpost parked replay -f manifests/ orders/mailer --older-than PT1H"
)]
pub struct ParkedOptions {
    /// Those of this subscription or Trigger [default: of all]
    #[arg(value_name = "NAMESPACE/NAME")]
    pub subscription: Option<String>,

    /// Only what has been parked for so long
    #[arg(long, value_name = "DURATION", env = "SEALPOST_OLDER_THAN", default_value = "PT0S", value_parser = value::duration)]
    pub older_than: Duration,

    /// Where the subscriptions are.
    #[command(flatten)]
    pub manifests: ManifestOptions,

    /// What channels are made of where nothing says so, as for `run`
    #[arg(long, value_name = "KIND", env = "SEALPOST_DEFAULT_CHANNEL", default_value = "inmemory")]
    pub default_channel: DefaultChannel,

    /// RabbitMQ to use, amqp:// or amqps://; better given by the environment
    #[arg(long, value_name = "URI", env = "SEALPOST_RABBITMQ_URI", hide_env_values = true)]
    pub rabbitmq_uri: String,

    /// CA that the certificate of amqps is verified with, PEM [default: those of the system]
    #[arg(long, value_name = "FILE", env = "SEALPOST_RABBITMQ_CA")]
    pub rabbitmq_ca: Option<PathBuf>,
}

/// What `sealpost parked drop` is told.
#[derive(Clone, Debug, Args)]
pub struct DropOptions {
    /// Which.
    #[command(flatten)]
    pub parked: ParkedOptions,

    /// Do not ask
    #[arg(long, env = "SEALPOST_YES")]
    pub yes: bool,
}

impl ParkedCommand {
    /// What the command is told.
    #[must_use]
    pub fn options(&self) -> &ParkedOptions {
        match self {
            Self::List(options) | Self::Show(options) | Self::Replay(options) => options,
            Self::Drop(options) => &options.parked,
        }
    }
}
