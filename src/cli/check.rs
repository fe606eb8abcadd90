//! The flags of `sealpost check`.

use std::path::PathBuf;

use clap::Args;

use crate::control::ResolveOverride;

/// What `sealpost check` is told.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Prints a line for each problem, as file:line: kind namespace/name: field: message.\n\
    Exits 1 if one of them is an error, else 0. Needs no network.\n\nExample:\n  sealpost check -f deploy/standalone/")]
pub struct CheckOptions {
    /// Manifest file or directory, - for standard input
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "PATH",
        env = "SEALPOST_FILENAME",
        value_delimiter = ',',
        required = true
    )]
    pub filename: Vec<PathBuf>,

    /// Where a host name really is, as for run: HOST[:PORT]=ADDR:PORT
    #[arg(long, value_name = "HOST[:PORT]=ADDR:PORT", env = "SEALPOST_RESOLVE", value_delimiter = ',')]
    pub resolve: Vec<ResolveOverride>,

    /// Namespace of objects that name none
    #[arg(short = 'n', long, value_name = "NS", env = "SEALPOST_NAMESPACE", default_value = "default")]
    pub namespace: String,

    /// Namespace of config-features, trust bundles and TLS Secrets
    #[arg(long, value_name = "NS", env = "SEALPOST_SYSTEM_NAMESPACE", default_value = "knative-eventing")]
    pub system_namespace: String,

    /// Domain of cluster host names
    #[arg(long, value_name = "DOMAIN", env = "SEALPOST_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
}
