//! Reads every record of a log, and sees that what queues need is there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use bytes::Bytes;

use super::LogInspection;
use crate::channel::disk::log::format::record::LogRecord;
use crate::channel::disk::log::{LogError, Sequence};

/// What was found in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogVerification {
    /// Segments that were read.
    pub segments: u64,
    /// Records in them.
    pub records: u64,
    /// Events among the records.
    pub events: u64,
    /// What is damaged, the first place of each segment.
    pub damage: Vec<LogError>,
}

impl LogInspection {
    /// Reads every record. `check` looks into each event, and says what is wrong with it.
    #[must_use]
    pub fn verify(&self, mut check: impl FnMut(&Bytes) -> Result<(), String>) -> LogVerification {
        let mut found = LogVerification::default();
        let mut needed = self.needed();
        for segment in self.log.state.segments.iter() {
            found.segments += 1;
            let mut wrong = None;
            let mut visit = |record: &LogRecord| {
                found.records += 1;
                if let Some(sequence) = record.sequence() {
                    needed.remove(&sequence);
                }
                let LogRecord::Event(event) = record else {
                    return ControlFlow::Continue(());
                };
                found.events += 1;
                if let Err(what) = check(&event.body) {
                    let sequence = event.sequence;
                    wrong.get_or_insert(format!("event {sequence}: {what}"));
                }
                ControlFlow::Continue(())
            };
            let visited = self.visit_segment(segment, &mut visit);
            found.damage.extend(visited.err());
            let path = &segment.file.path;
            let wrong = wrong.map(|what| LogError::damaged(path, 0, what));
            found.damage.extend(wrong);
        }
        // What is missing may be in a segment that could not be read to its end.
        if found.damage.is_empty()
            && let Some((sequence, queue)) = needed.first_key_value()
        {
            let what = format!("sequence {sequence} is missing, which the queue {queue} needs");
            let damage = LogError::damaged(&self.directory, 0, what);
            found.damage.push(damage);
        }
        found
    }

    /// Reads every record of one segment, if the log has it.
    ///
    /// # Errors
    /// If it is damaged, or cannot be read.
    pub(crate) fn verify_segment(&self, path: &Path) -> Result<(), LogError> {
        let mut segments = self.log.state.segments.iter();
        match segments.find(|segment| *segment.file.path == *path) {
            Some(segment) => {
                let visited = self.visit_segment(segment, &mut |_record| ControlFlow::Continue(()));
                visited.map(drop)
            }
            None => Ok(()),
        }
    }

    /// Sequences of the records that unfinished events need, with a queue that needs each.
    fn needed(&self) -> BTreeMap<Sequence, String> {
        let mut needed = BTreeMap::new();
        for queue in self.log.state.queues.values() {
            for (sequence, event) in &queue.unfinished {
                needed.insert(*sequence, queue.name.clone());
                if let Some(record) = event.progress.record() {
                    needed.insert(record, queue.name.clone());
                }
            }
        }
        needed
    }
}
