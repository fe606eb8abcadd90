//! The flags of `sealpost filter test`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ManifestOptions;

/// What to do with filters.
#[derive(Clone, Debug, Subcommand)]
pub enum FilterCommand {
    /// Tell for each Trigger whether an event passes its filter, and if not, why
    Test(FilterTestOptions),
}

/// What `sealpost filter test` is told.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exits 1 if a filter is not understood or the event is none, else 0.\n\nExamples:\n  sealpost filter test -f triggers.yaml --event event.json\n  sealpost filter test -f triggers.yaml --event - < event.json"
)]
pub struct FilterTestOptions {
    /// Where the Triggers are.
    #[command(flatten)]
    pub manifests: ManifestOptions,

    /// File with the event, in CloudEvents JSON format; - for standard input
    #[arg(long, value_name = "FILE", env = "SEALPOST_EVENT")]
    pub event: PathBuf,
}
