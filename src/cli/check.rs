//! The flags of `sealpost check`.

use clap::Args;

use super::ManifestOptions;

/// What `sealpost check` is told.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Prints a line for each problem, as file:line: kind namespace/name: field: message.\nExits 1 if one of them is an error, else 0. Needs no network.\n\nExample:\n  sealpost check -f deploy/standalone/"
)]
pub struct CheckOptions {
    /// What the configuration is.
    #[command(flatten)]
    pub manifests: ManifestOptions,
}
