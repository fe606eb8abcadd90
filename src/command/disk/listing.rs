//! `sealpost disk ls`: a line for each channel, and one for each of its queues.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::{FoundLog, time_text};
use crate::channel::disk::log::{InspectedQueue, LogInspection};
use crate::channel::disk::queue_owner;
use crate::command::{print, printable};

/// Lists logs with their queues. One that cannot be read has a line that says why.
pub(super) fn list(logs: &[FoundLog]) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for log in logs {
        let owner = printable(&log.owner);
        match LogInspection::read(&log.path) {
            Ok(inspection) => print(&describe(&owner, &inspection))?,
            Err(error) => {
                print(&format!("{owner}: {}\n", printable(&error.to_string())))?;
                code = ExitCode::FAILURE;
            }
        }
    }
    if logs.is_empty() {
        print("No channels\n")?;
    }
    Ok(code)
}

fn describe(owner: &str, log: &LogInspection) -> String {
    let usage = log.usage();
    let mut lines = format!(
        "{owner}: {} events, {} bytes in {} segments",
        usage.events, usage.bytes, usage.segments
    );
    if let Some(oldest) = log.oldest() {
        push(&mut lines, &format!(", oldest {}", time_text(oldest)));
    }
    if log.torn_end().is_some() {
        lines.push_str(", with an end that is torn or being written");
    }
    lines.push('\n');
    for queue in log.queues() {
        push(&mut lines, &describe_queue(&queue));
    }
    lines
}

fn describe_queue(queue: &InspectedQueue) -> String {
    let counts = &queue.counts;
    let mut line = format!(
        "  {}: {} waiting",
        printable(&queue_owner(&queue.name)),
        counts.depth
    );
    if let Some(oldest) = counts.oldest {
        push(&mut line, &format!(" since {}", time_text(oldest)));
    }
    if counts.deferred > 0 {
        push(
            &mut line,
            &format!(", {} of them to be tried again", counts.deferred),
        );
    }
    push(&mut line, &format!(", {} parked", counts.parked));
    if !queue.is_active {
        line.push_str(", not subscribed any more");
    }
    line.push('\n');
    line
}

fn push(text: &mut String, more: &str) {
    // A string takes everything.
    let _taken = text.write_str(more);
}
