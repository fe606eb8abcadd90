//! The flags of channels on disk.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

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
