//! The flags of `sealpost parked`.

use std::path::{Path, PathBuf};
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

/// The directory that `run` uses where nothing else is said.
const DEFAULT_DATA_DIR: &str = ".sealpost/data";

const EXAMPLES: &str = "Examples:
  sealpost parked list
  sealpost parked replay orders/mailer --older-than PT1H --admin-socket .sealpost/admin.sock
  kubectl -n knative-eventing exec deploy/imc-dispatcher -- /sealpost parked list
  SEALPOST_RABBITMQ_URI=amqp://… sealpost parked list -f manifests/
  sealpost parked list -f manifests/ --data-dir .sealpost/data

A running dispatcher is asked, at --admin or --admin-socket. With -f, RabbitMQ and the data directory are asked, of the
subscriptions in these manifests; no dispatcher needs to run, and none may use the directory.";

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

    /// With -f, the directory of channels on disk, as for `run` [default: .sealpost/data]
    #[arg(long, value_name = "DIR", env = "SEALPOST_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
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
    /// True if a running dispatcher is asked, instead of RabbitMQ and the disk by manifests.
    #[must_use]
    pub(crate) fn asks_dispatcher(&self) -> bool {
        self.manifests.filename.is_empty()
    }

    /// The directory of channels on disk.
    #[must_use]
    pub(crate) fn data_directory(&self) -> &Path {
        let given = self.data_dir.as_deref();
        given.unwrap_or(Path::new(DEFAULT_DATA_DIR))
    }

    /// Checks the flags before anything is asked.
    ///
    /// # Errors
    /// Says which flag to change.
    pub fn validate(&self) -> Result<(), String> {
        match &self.subscription {
            Some(name) if !name.contains('/') => Err(format!("{name} is no NAMESPACE/NAME")),
            _ => Ok(()),
        }
    }
}
