//! `sealpost disk verify`: every record is read, and what is damaged is told with its remedy.

use std::process::ExitCode;

use super::FoundLog;
use crate::channel::disk::log::{LogError, LogInspection, LogVerification};
use crate::command::{print, printable};
use crate::event::stored;

/// Verifies logs; fails if one is damaged.
pub(super) fn verify(logs: &[FoundLog]) -> anyhow::Result<ExitCode> {
    let mut damaged = 0_usize;
    for log in logs {
        let owner = printable(&log.owner);
        let found = verify_one(log);
        for damage in &found.damage {
            print(&format!("{owner}: {}\n", printable(&damage.to_string())))?;
        }
        if found.damage.is_empty() {
            print(&format!(
                "{owner}: whole, {} events in {} records of {} segments\n",
                found.events, found.records, found.segments
            ))?;
        } else {
            damaged += 1;
        }
    }
    if damaged > 0 {
        print(&format!("{damaged} of {} channels damaged\n", logs.len()))?;
        return Ok(ExitCode::FAILURE);
    }
    print(&format!("{} channels whole\n", logs.len()))?;
    Ok(ExitCode::SUCCESS)
}

fn verify_one(log: &FoundLog) -> LogVerification {
    let unreadable = |error: LogError| LogVerification {
        damage: vec![error],
        ..LogVerification::default()
    };
    let inspection = match LogInspection::read(&log.path) {
        Ok(inspection) => inspection,
        Err(error) => return unreadable(error),
    };
    inspection.verify(|event| match stored::decode(event.clone()) {
        Ok(_event) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
}
