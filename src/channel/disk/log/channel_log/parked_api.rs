//! What can be done with the parked events of a log.

use super::ChannelLog;
use crate::channel::disk::log::commit::operation::{Committed, LogOperation};
use crate::channel::disk::log::ranges::exact_ranges;
use crate::channel::disk::log::read::parked::ParkedLogEvent;
use crate::channel::disk::log::{LogError, QueueId, Sequence};

impl ChannelLog {
    /// Reads up to `most` parked events of a queue that come after a sequence, in their order.
    ///
    /// # Errors
    /// If there is no such queue, the disk fails, or the log is damaged.
    pub async fn parked(
        &self,
        queue: QueueId,
        after: Sequence,
        most: usize,
    ) -> Result<Vec<ParkedLogEvent>, LogError> {
        self.core().read_parked(queue, after, most).await
    }

    /// Puts those of the events back into their queue that are parked. Gives their number.
    ///
    /// # Errors
    /// If there is no such queue, or it cannot be written.
    pub async fn replay_parked(
        &self,
        queue: QueueId,
        events: &[Sequence],
    ) -> Result<u64, LogError> {
        let ranges = sorted_ranges(events);
        let operation = LogOperation::Replay(queue, ranges);
        self.change_parked(operation).await
    }

    /// Gives up those of the events that are parked. Gives their number.
    ///
    /// # Errors
    /// If there is no such queue, or it cannot be written.
    pub async fn discard_parked(
        &self,
        queue: QueueId,
        events: &[Sequence],
    ) -> Result<u64, LogError> {
        let ranges = sorted_ranges(events);
        let operation = LogOperation::Discard(queue, ranges);
        self.change_parked(operation).await
    }

    async fn change_parked(&self, operation: LogOperation) -> Result<u64, LogError> {
        match self.core().commit(operation).await? {
            Committed::Changed(count) => Ok(count),
            _ => Err(LogError::Closed),
        }
    }
}

fn sorted_ranges(events: &[Sequence]) -> Vec<(Sequence, Sequence)> {
    let mut sorted = events.to_vec();
    sorted.sort_unstable();
    exact_ranges(&sorted)
}
