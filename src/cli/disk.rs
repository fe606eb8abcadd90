//! The flags of channels on disk, and of `sealpost disk`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};

use super::value;

/// The flags of channels on disk.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Disk")]
pub struct DiskOptions {
    /// Directory of channels on disk, which one process uses at a time [default: data in the state
    /// directory; with --kubernetes none]
    #[arg(long, value_name = "DIR", env = "SEALPOST_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Bytes that all channels on disk may take; beyond, senders get 429 [default: nine tenths of
    /// what is free at the start, besides what they take then]
    #[arg(long, value_name = "BYTES", env = "SEALPOST_DISK_MAX_BYTES", value_parser = value::parse_nonzero_size)]
    pub disk_max_bytes: Option<usize>,

    /// Delete the queue of a subscription that has been gone for so long, with the events in it,
    /// unless some of them are parked [default: never]
    #[arg(long, value_name = "DURATION", env = "SEALPOST_DISK_DELETE_AFTER", value_parser = value::parse_duration_value)]
    pub disk_delete_after: Option<Duration>,
}

/// The commands below `sealpost disk`.
#[derive(Clone, Debug, Subcommand)]
pub enum DiskCommand {
    /// List the channels, with what waits in the queues of their subscriptions
    Ls(DiskDirectoryOptions),
    /// Read every record, and tell what is damaged; exits 1 if something is
    Verify(DiskDirectoryOptions),
    /// Print events in CloudEvents JSON format, one a line, with how far each subscription is
    Dump(DiskDumpOptions),
}

const EXAMPLES: &str = "Examples:
  sealpost disk ls
  sealpost disk verify --data-dir /var/lib/sealpost
  sealpost disk dump default/orders --state parked
  sealpost disk dump default/orders --from PT1H | jq .event

Nothing is changed and nothing is locked: a process may use the directory meanwhile.";

/// The directory that is read.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiskDirectoryOptions {
    /// The channel or Broker of this name [default: all]
    #[arg(value_name = "NAMESPACE/NAME")]
    pub channel: Option<String>,

    /// Directory of channels on disk
    #[arg(
        long,
        value_name = "DIR",
        env = "SEALPOST_DATA_DIR",
        default_value = ".sealpost/data"
    )]
    pub data_dir: PathBuf,
}

/// The options of `sealpost disk dump`.
#[derive(Clone, Debug, Args)]
pub struct DiskDumpOptions {
    /// The directory that is read.
    #[command(flatten)]
    pub directory: DiskDirectoryOptions,

    /// Only what was received at this time or later: RFC 3339, or a duration ago such as PT1H
    #[arg(long, value_name = "TIME", env = "SEALPOST_FROM", value_parser = value::parse_moment)]
    pub from: Option<SystemTime>,

    /// Only what was received before this time
    #[arg(long, value_name = "TIME", env = "SEALPOST_UNTIL", value_parser = value::parse_moment)]
    pub until: Option<SystemTime>,

    /// Only what this Subscription or Trigger wanted
    #[arg(long, value_name = "NAMESPACE/NAME", env = "SEALPOST_QUEUE")]
    pub queue: Option<String>,

    /// Only what is in this state in a subscription, or in the one of --queue
    #[arg(long, value_name = "STATE", env = "SEALPOST_STATE")]
    pub state: Option<DumpState>,
}

/// State of an event in a subscription's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DumpState {
    /// It waits, for another attempt perhaps, or is in flight
    Waiting,
    /// Nobody took it, and it is kept
    Parked,
    /// It was delivered, dead-lettered or given up, and is kept
    Delivered,
}

impl DiskCommand {
    /// Checks the names before anything is read.
    ///
    /// # Errors
    /// Says which one is wrong.
    pub fn validate(&self) -> Result<(), String> {
        let (directory, queue) = match self {
            Self::Ls(options) | Self::Verify(options) => (options, None),
            Self::Dump(options) => (&options.directory, options.queue.as_ref()),
        };
        match directory
            .channel
            .iter()
            .chain(queue)
            .find(|it| !it.contains('/'))
        {
            Some(name) => Err(format!("{name} is no NAMESPACE/NAME")),
            None => Ok(()),
        }
    }
}
