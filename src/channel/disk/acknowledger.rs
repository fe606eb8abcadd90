//! Acknowledger of one log: it writes the ends of deliveries that nothing follows from, those of all
//! queues at once.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::context::DiskContext;
use super::kept_log::KeptLog;
use super::log::{ChannelLog, EndedEvents, LogError, SettledOutcome};
use super::queue::{DiskQueue, EndedDelivery};
use super::settlement::PAUSE;
use crate::observation::{EventNote, ObservedEnd, ObservedFact};
use crate::telemetry::series::DeliveryEnd;

/// Time for which ends are gathered: they are written with events that come meanwhile, and a kill
/// doubles no more than what ended in it.
const GATHERING: Duration = Duration::from_millis(2);

/// Acknowledger of one log.
pub(super) struct DiskAcknowledger {
    pub(super) log: Arc<KeptLog>,
    pub(super) context: Arc<DiskContext>,
    /// Cancelled when no more deliveries begin.
    pub(super) settling: CancellationToken,
}

/// Deliveries of one queue that have ended, in one way.
struct EndedPart {
    queue: Arc<DiskQueue>,
    ended: EndedEvents,
    /// What observers are told of each, when the log has its end.
    notes: Vec<EventNote>,
}

impl DiskAcknowledger {
    /// Acknowledges until no more deliveries begin and the last has ended.
    pub(super) async fn run(self) {
        while self.until_work().await {
            let queues = self.log.ends.take();
            // Without a declared queue, there are no deliveries.
            let mut declared = queues.iter().filter_map(|queue| queue.declared.get());
            if let Some(log) = declared.next().map(|declared| declared.log.clone()) {
                self.write(&log, parts_of(queues)).await;
            }
        }
    }

    /// Waits until there is something to write; false if there will be nothing any more.
    async fn until_work(&self) -> bool {
        let ends = &self.log.ends;
        while ends.is_empty() {
            let is_ending = self.settling.is_cancelled();
            if is_ending && ends.unsettled() == 0 {
                return false;
            }
            tokio::select! {
                () = ends.changed.notified() => {}
                () = self.settling.cancelled(), if !is_ending => {}
            }
        }
        // Either way, what there is by then is written.
        let _elapsed = tokio::time::timeout(GATHERING, ends.is_awaited.notified()).await;
        true
    }

    async fn write(&self, log: &ChannelLog, mut parts: Vec<EndedPart>) {
        loop {
            let ended: Vec<&EndedEvents> = parts.iter().map(|part| &part.ended).collect();
            let results = log.settle_each(&ended).await;
            let mut left = Vec::new();
            for (part, result) in parts.into_iter().zip(results) {
                match result {
                    Err(LogError::Full { .. }) => left.push(part),
                    written => self.finish(&part, written),
                }
            }
            if left.is_empty() {
                return;
            }
            // What ends events has room unless the file system itself is full.
            tokio::time::sleep(PAUSE).await;
            parts = left;
        }
    }

    fn finish(&self, part: &EndedPart, written: Result<(), LogError>) {
        let EndedPart {
            queue,
            ended,
            notes,
        } = part;
        let end = match (&written, ended.outcome) {
            (Err(_), _) => DeliveryEnd::Requeued,
            (Ok(()), SettledOutcome::Delivered) => DeliveryEnd::Delivered,
            (Ok(()), SettledOutcome::DeadLettered) => DeliveryEnd::DeadLettered,
            (Ok(()), SettledOutcome::Lost) => DeliveryEnd::Lost,
        };
        if let Err(error) = written {
            tracing::debug!(queue = queue.name, %error, "Ends of deliveries are not on the disk");
            queue.abandon(&ended.events);
        }
        let observed = match end {
            DeliveryEnd::Delivered => ObservedFact::Ended(ObservedEnd::Delivered, ""),
            DeliveryEnd::DeadLettered => ObservedFact::Ended(ObservedEnd::DeadLettered, ""),
            _ => ObservedFact::Ended(ObservedEnd::Requeued, "its end is not on the disk"),
        };
        let (counters, series) = (&self.context.counters, &queue.series);
        for note in notes {
            counters.count_end(series, end);
            let observer = &counters.observer;
            observer.observe_later(note, series.observed(), &observed);
        }
        queue.count_settled(ended.events.len());
    }
}

/// What has ended in queues.
fn parts_of(queues: Vec<Arc<DiskQueue>>) -> Vec<EndedPart> {
    let mut parts = Vec::with_capacity(queues.len());
    for queue in queues {
        let Some(id) = queue.declared.get().map(|declared| declared.id) else {
            continue;
        };
        for (outcome, deliveries) in queue.take_ended().by_outcome() {
            let pairs = deliveries.into_iter();
            let (events, notes) = pairs
                .map(|EndedDelivery { sequence, note }| (sequence, note))
                .unzip();
            let ended = EndedEvents {
                queue: id,
                events,
                outcome,
            };
            let queue = Arc::clone(&queue);
            parts.push(EndedPart {
                queue,
                ended,
                notes,
            });
        }
    }
    parts
}
