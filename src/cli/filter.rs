//! The flags of `sealpost filter test`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ManifestOptions;

/// The commands below `sealpost filter`.
#[derive(Clone, Debug, Subcommand)]
pub enum FilterCommand {
    /// Tell for each Trigger whether an event passes its filter, and if not, why
    Test(FilterTestOptions),
}

/// The options of `sealpost filter test`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exits 1 if a filter is not understood or the event is none, else 0.\n\nExamples:\n  sealpost filter test -f triggers.yaml --event event.json\n  sealpost filter test -f triggers.yaml --event - < event.json"
)]
pub struct FilterTestOptions {
    /// The manifests with the Triggers.
    #[command(flatten)]
    pub manifests: ManifestOptions,

    /// File with the event, in CloudEvents JSON format; - for standard input
    #[arg(long, value_name = "FILE", env = "SEALPOST_EVENT")]
    pub event: PathBuf,
}
