//! Events that nobody took, and that are kept.

use std::sync::Arc;

use bytes::Bytes;

use crate::channel::disk::log::channel_log::LogCore;
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::format::checkpoint::EventProgress;
use crate::channel::disk::log::format::record::LogRecord;
use crate::channel::disk::log::{LogError, QueueId, Sequence};

/// An event that is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedLogEvent {
    /// Its sequence in the log.
    pub sequence: Sequence,
    /// Time at which it was written.
    pub received_at: EpochMillis,
    /// Time at which it was parked.
    pub parked_at: EpochMillis,
    /// Attempts that were made.
    pub attempts: u32,
    /// Last status of the destination.
    pub code: i32,
    /// Description of the last failure.
    pub reason: String,
    /// The destination that failed last.
    pub destination: String,
    /// The event, as it was published.
    pub event: Bytes,
}

impl LogCore {
    pub(crate) async fn read_parked(
        self: &Arc<Self>,
        queue: QueueId,
        after: Sequence,
        most: usize,
    ) -> Result<Vec<ParkedLogEvent>, LogError> {
        let core = Arc::clone(self);
        let read = self.lanes.reads.run(move || {
            let mut events = Vec::new();
            for (event, record) in core.parked_records(queue, after, most)? {
                match core.read_one_parked(event, record) {
                    Ok(parked) => events.push(parked),
                    // It may have been replayed and finished in the meantime.
                    Err(error) if core.is_parked(queue, event, record) => return Err(error),
                    Err(_finished) => {}
                }
            }
            Ok(events)
        });
        read.await?
    }

    fn parked_records(
        &self,
        id: QueueId,
        after: Sequence,
        most: usize,
    ) -> Result<Vec<(Sequence, Sequence)>, LogError> {
        let state = self.state();
        let queue = state.queues.get(&id).ok_or(LogError::UnknownQueue(id))?;
        let later = queue.unfinished.range(after.saturating_add(1)..);
        let parked = later.filter_map(|(event, unfinished)| match unfinished.progress {
            EventProgress::Parked { record } => Some((*event, record)),
            EventProgress::Fresh | EventProgress::Deferred { .. } => None,
        });
        Ok(parked.take(most).collect())
    }

    fn is_parked(&self, id: QueueId, event: Sequence, record: Sequence) -> bool {
        let state = self.state();
        let queue = state.queues.get(&id);
        let unfinished = queue.and_then(|queue| queue.unfinished.get(&event));
        unfinished.is_some_and(|it| it.progress == EventProgress::Parked { record })
    }

    fn read_one_parked(
        &self,
        event: Sequence,
        record: Sequence,
    ) -> Result<ParkedLogEvent, LogError> {
        let (event_path, event_record) = self.read_record(event)?;
        let (_, parked_record) = self.read_record(record)?;
        let (LogRecord::Event(event_record), LogRecord::Parked(parked)) =
            (event_record, parked_record)
        else {
            return Err(super::wrong_record(&event_path, event));
        };
        Ok(ParkedLogEvent {
            sequence: event,
            received_at: event_record.received_at,
            parked_at: parked.parked_at,
            attempts: parked.attempts,
            code: parked.code,
            reason: parked.reason,
            destination: parked.destination,
            event: Bytes::copy_from_slice(&event_record.body),
        })
    }
}
