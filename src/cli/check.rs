//! The flags of `sealpost check`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ManifestOptions, RabbitmqConnectionOptions, ServedOptions};

const RULES: &str = "Prints a line for each problem, as file:line: kind namespace/name: field: message, and a summary on standard error.
Exits 1 if there is an error, with --strict also if there is a warning, else 0. Needs no network.

What run says of these manifests with the same flags and variables is the same:
- error: the object is not served as it is written. A field that its kind does not have is one, at any depth, also in
  the ConfigMaps of Knative, and so is a value of a wrong type; annotations and labels are free, but for those that begin
  with sealpost.dev/. --unknown-fields warn makes unknown fields warnings, for manifests of a newer Knative; never in
  filters, policies and flags, where ignoring one would let more pass, nor of what is nearly called CACerts, audience,
  labels or namespace.
- warning: it is served, but probably not what was meant.
- note: worth knowing.

Examples:
  sealpost check --rabbitmq-uri amqp://localhost deploy/standalone/
  sealpost check --strict -o json manifests/
  kubectl get triggers -A -o yaml | sealpost check -";

/// How problems are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// A line each.
    #[value(alias = "table")]
    Text,
    /// One JSON object: problems, and how many of each severity.
    Json,
}

/// The options of `sealpost check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = RULES)]
pub struct CheckOptions {
    /// Manifest file or directory, - for standard input, as with -f
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// The manifests, and how they are read.
    #[command(flatten)]
    pub manifests: ManifestOptions,

    /// The part of the configuration that would be served.
    #[command(flatten)]
    pub served: ServedOptions,

    /// The RabbitMQ that the configuration would be served with.
    #[command(flatten)]
    pub rabbitmq: RabbitmqConnectionOptions,

    /// How problems are printed
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT",
        env = "SEALPOST_OUTPUT",
        default_value = "text"
    )]
    pub output: CheckOutput,

    /// Exit 1 also if there are warnings
    #[arg(long, env = "SEALPOST_STRICT")]
    pub strict: bool,
}

impl CheckOptions {
    /// The paths that are read, in this order: those of `-f`, then the arguments.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.manifests.filename.iter().chain(&self.paths)
    }

    /// Checks the flags before anything is read.
    ///
    /// # Errors
    /// Fails if no manifest is named, or flags contradict each other.
    pub fn validate(&self) -> Result<(), String> {
        if self.paths.is_empty() {
            self.manifests.validate()?;
        }
        self.served.validate(&self.rabbitmq)
    }
}
