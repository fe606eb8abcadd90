//! The command line: flags and environment become typed options. No other module reads the
//! environment.

mod admin;
mod check;
mod cluster;
mod disk;
mod display;
mod filter;
mod get;
mod line_output;
mod log_level;
mod manifests;
mod object_scope;
mod parked;
mod pod;
mod rabbitmq;
mod reference;
mod replay;
mod run;
mod schema;
mod send;
mod served;
mod sink;
mod tap;
mod task;
mod telemetry;
mod top;
mod value;
mod value_enum;
mod variables;

use clap::{Parser, Subcommand};

pub(crate) use admin::AdminOptions;
pub(crate) use check::{CheckOptions, CheckOutput};
pub(crate) use cluster::ClusterOptions;
pub use disk::DiskCommand;
pub(crate) use disk::{DiskDirectoryOptions, DiskDumpOptions, DiskOptions, DumpState};
pub(crate) use display::DisplayOptions;
pub use filter::FilterCommand;
pub(crate) use filter::FilterTestOptions;
pub(crate) use get::{GetOptions, GetOutput, GetResource};
pub(crate) use line_output::{LineOptions, LineOutput};
pub(crate) use manifests::ManifestOptions;
pub(crate) use object_scope::ObjectScope;
pub(crate) use parked::{ParkedCommand, ParkedOptions};
pub(crate) use pod::ListenAddresses;
pub(crate) use rabbitmq::{QueueTypeArg, RabbitmqConnectionOptions, RabbitmqOptions};
pub(crate) use reference::{
    CompletionOptions, ManualOptions, ManualPage, completion_script, manual_pages,
};
pub(crate) use replay::ReplayOptions;
pub(crate) use run::LimitOptions;
pub use run::LogFormat;
pub use run::RunOptions;
pub(crate) use schema::SchemaOptions;
pub(crate) use send::SendOptions;
pub(crate) use served::{RoleArg, ServedOptions};
pub(crate) use sink::{EnvOptions, ExecOptions, SinkOptions};
pub(crate) use tap::{ExplainOptions, TapOptions};
pub(crate) use telemetry::TelemetryOptions;
pub(crate) use top::{TopColumn, TopOptions};
pub use variables::unread_variables;

/// Looks up a variable of the environment by its name.
type VariableLookup<'v> = &'v dyn Fn(&str) -> Option<String>;

/// Receives CloudEvents over HTTP and HTTPS, keeps them in channels and delivers them to every
/// subscriber.
#[derive(Debug, Parser)]
#[command(name = "sealpost", version, about, long_about = None)]
pub struct Cli {
    /// The command that is run.
    #[command(subcommand)]
    pub command: CliCommand,
}

/// The commands of the program, each with its options.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the dispatcher on Knative manifests, or on a cluster
    Run(Box<RunOptions>),
    /// Read manifests as `run` would and print every problem
    Check(CheckOptions),
    /// Print the JSON Schema of a kind, for editors
    Schema(SchemaOptions),
    /// Try filters of Triggers
    #[command(subcommand)]
    Filter(FilterCommand),
    /// Look after events that nobody took, and that are kept
    #[command(subcommand)]
    Parked(ParkedCommand),
    /// Send what a channel on disk has retained to a subscription again
    Replay(Box<ReplayOptions>),
    /// Look at the files of channels on disk
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Show what a running dispatcher serves
    Get(GetOptions),
    /// Show the table of the status page in the terminal
    Top(Box<TopOptions>),
    /// Print what happens to events as it happens
    Tap(Box<TapOptions>),
    /// Print what became of an event
    Explain(Box<ExplainOptions>),
    /// Send CloudEvents
    Send(Box<SendOptions>),
    /// Print the events that arrive
    Display(DisplayOptions),
    /// Run a command that sends events, as a SinkBinding or ContainerSource would
    Exec(Box<ExecOptions>),
    /// Print what `exec` gives to a command, for a shell
    Env(Box<EnvOptions>),
    /// Print the script by which a shell completes command lines
    Completions(CompletionOptions),
    /// Print the page of a command for `man`, or write all pages
    Man(ManualOptions),
}

impl Cli {
    /// Reads the command line and the environment; ends the process with 2 on a usage error, as
    /// clap does. Without any argument in a pod, the command is `run --kubernetes` (contract 1.3).
    #[must_use]
    pub fn read() -> Self {
        // The image of a pod is started without arguments.
        let bare = std::env::args_os().len() < 2 && cluster::is_pod();
        let mut cli = if bare {
            Self::parse_from(["sealpost", "run", "--kubernetes"])
        } else {
            Self::parse()
        };
        // Knative's own variables count only in a cluster, and only where no flag says otherwise.
        if let CliCommand::Run(options) = &mut cli.command
            && options.kubernetes
        {
            cluster::complete_from_environment(options);
        }
        cli
    }
}

/// The value of a variable that is not a flag's own, such as Knative's names for what a flag says,
/// too; `None` if it is empty.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line is what may read the environment"
)]
fn environment_variable(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.to_string_lossy().into_owned();
    Some(value).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
