//! The flag of commands that print lines about events: as text, or as JSON.

use clap::{Args, ValueEnum};

/// The format of lines about events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LineOutput {
    /// Text for people.
    Text,
    /// One JSON object on each line.
    Json,
}

/// The options of what is printed.
#[derive(Clone, Debug, Args)]
pub struct LineOptions {
    /// How lines are printed
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT",
        env = "SEALPOST_OUTPUT",
        default_value = "text"
    )]
    pub output: LineOutput,
}
