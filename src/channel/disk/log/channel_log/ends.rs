//! What a log is told of events in flight.

use std::borrow::Borrow;

use super::{ChannelLog, LogCore};
use crate::channel::disk::log::commit::operation::{
    EndedEvents, EventDeferral, EventParking, LogOperation,
};
use crate::channel::disk::log::format::record::SettledOutcome;
use crate::channel::disk::log::{LogError, QueueId, Sequence};

impl LogCore {
    /// Says that the ends of events of several queues are to be written: of each queue all of them,
    /// or none.
    fn begin_settling_each(&self, ended: &[impl Borrow<EndedEvents>]) -> Vec<Result<(), LogError>> {
        let mut state = self.state();
        let each = ended.iter().map(Borrow::borrow);
        each.map(|it| state.begin_settling(it.queue, &it.events))
            .collect()
    }
}

impl ChannelLog {
    /// Says how an event in flight ended.
    ///
    /// # Errors
    /// If it is not in flight, or this cannot be written: it is in flight then.
    pub async fn settle(
        &self,
        queue: QueueId,
        event: Sequence,
        outcome: SettledOutcome,
    ) -> Result<(), LogError> {
        self.settle_all(queue, vec![event], outcome).await
    }

    /// Says how events in flight ended, of several queues in one frame: of each queue all at once,
    /// or none.
    ///
    /// # Errors
    /// In the place of each queue, what [`ChannelLog::settle_all`] says of it.
    pub async fn settle_each(
        &self,
        ended: &[impl Borrow<EndedEvents> + Sync],
    ) -> Vec<Result<(), LogError>> {
        let core = self.core();
        let mut results = core.begin_settling_each(ended);
        let begun = ended.iter().zip(&results).filter(|(_, it)| it.is_ok());
        let operations = begun.map(|(ended, _)| LogOperation::Settle(ended.borrow().clone()));
        let receivers = core.request_all(operations.collect());
        let begun = results.iter_mut().filter(|it| it.is_ok());
        for (result, receiver) in begun.zip(receivers) {
            let committed = receiver.await.unwrap_or(Err(LogError::Closed));
            *result = committed.map(drop);
        }
        results
    }

    /// Says how events in flight ended: of all of them at once, or of none.
    ///
    /// # Errors
    /// If one is not in flight, or this cannot be written: all that were are in flight then.
    pub async fn settle_all(
        &self,
        queue: QueueId,
        events: Vec<Sequence>,
        outcome: SettledOutcome,
    ) -> Result<(), LogError> {
        let core = self.core();
        core.state().begin_settling(queue, &events)?;
        let operation = LogOperation::Settle(EndedEvents {
            queue,
            events,
            outcome,
        });
        core.commit(operation).await.map(drop)
    }

    /// Puts an event in flight off: it is taken again after a wait, with what is recorded here.
    ///
    /// # Errors
    /// If it is not in flight, or this cannot be written: it is in flight then.
    pub async fn defer(
        &self,
        queue: QueueId,
        event: Sequence,
        deferral: EventDeferral,
    ) -> Result<(), LogError> {
        let operation = LogOperation::Defer {
            queue,
            event,
            deferral,
        };
        self.end(queue, event, operation).await
    }

    /// Parks an event in flight.
    ///
    /// # Errors
    /// If it is not in flight, or this cannot be written: it is in flight then.
    pub async fn park(
        &self,
        queue: QueueId,
        event: Sequence,
        parking: EventParking,
    ) -> Result<(), LogError> {
        let operation = LogOperation::Park {
            queue,
            event,
            parking,
        };
        self.end(queue, event, operation).await
    }

    async fn end(
        &self,
        queue: QueueId,
        event: Sequence,
        operation: LogOperation,
    ) -> Result<(), LogError> {
        let core = self.core();
        core.state().begin_settling(queue, &[event])?;
        core.commit(operation).await.map(drop)
    }

    /// Gives an event in flight back unfinished: it is taken again. Nothing is written, since what
    /// is in flight comes back anyway when the log is opened.
    ///
    /// # Errors
    /// If it is not in flight.
    pub fn release(&self, queue: QueueId, event: Sequence) -> Result<(), LogError> {
        self.core().state().release(queue, event)
    }
}
