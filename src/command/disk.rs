//! `sealpost disk`: lists, verifies and prints what channels have on disk, without a running process
//! or beside one.

mod dump;
mod listing;
mod verification;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use crate::channel::disk::log::DirectoryInspection;
use crate::channel::disk::log_owner;
use crate::cli::{DiskCommand, DiskDirectoryOptions};

/// The log of a channel in a data directory.
struct FoundLog {
    path: PathBuf,
    /// What it belongs to: `broker NAMESPACE/NAME`.
    owner: String,
}

/// Carries out a command.
///
/// # Errors
/// Fails if the directory cannot be read, or has no channel of the name that was given.
pub fn run(command: &DiskCommand) -> anyhow::Result<ExitCode> {
    match command {
        DiskCommand::Ls(options) => listing::list(&find_logs(options)?),
        DiskCommand::Verify(options) => verification::verify(&find_logs(options)?),
        DiskCommand::Dump(options) => dump::dump(&find_logs(&options.directory)?, options),
    }
}

/// The logs that a command is about; says if a process may change them meanwhile.
fn find_logs(options: &DiskDirectoryOptions) -> anyhow::Result<Vec<FoundLog>> {
    let directory = &options.data_dir;
    let found = DirectoryInspection::read(directory)?;
    if let Some(owner) = &found.owner {
        let owner = super::printable(owner);
        super::print_remark(&format!(
            "{} is in use by {owner}: what is there may change meanwhile",
            directory.display()
        ));
    }
    let logs = found.logs.into_iter().map(|name| FoundLog {
        path: directory.join(&name),
        owner: log_owner(&name),
    });
    let is_meant = |log: &FoundLog| match &options.channel {
        Some(channel) => is_of(&log.owner, channel),
        None => true,
    };
    let logs: Vec<FoundLog> = logs.filter(is_meant).collect();
    match &options.channel {
        Some(channel) if logs.is_empty() => bail!(
            "{} has no channel {channel}: `sealpost disk ls` shows those that it has",
            directory.display()
        ),
        _ => Ok(logs),
    }
}

/// True if `owner` is `KIND NAMESPACE/NAME`, and `name` the last two of it.
fn is_of(owner: &str, name: &str) -> bool {
    owner.split_once(' ').is_some_and(|(_, it)| it == name)
}

/// A time of the wall clock, as people and programs read it.
fn time_text(millis: u64) -> String {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000).ok();
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{millis} ms"))
}
