//! Acknowledger of one queue: it writes the ends of deliveries that nothing follows from, all of
//! those at once that came while the disk was busy.

use std::sync::Arc;

use super::context::DiskContext;
use super::log::{LogError, Sequence, SettledOutcome};
use super::queue::{DeclaredQueue, DiskQueue, EndedDelivery};
use crate::observation::{ObservedEnd, ObservedFact};
use crate::telemetry::series::DeliveryEnd;

/// Acknowledger of one queue.
pub(super) struct DiskAcknowledger {
    pub(super) queue: Arc<DiskQueue>,
    pub(super) context: Arc<DiskContext>,
}

impl DiskAcknowledger {
    /// Acknowledges until the queue is given up and its last delivery has ended.
    pub(super) async fn run(self) {
        // Without a declared queue, there are no deliveries.
        let declared = self.queue.declared.wait();
        let stop = self.queue.stop.clone();
        let Some(declared) = stop.run_until_cancelled(declared).await.cloned() else {
            return;
        };
        loop {
            let ended = self.queue.take_ended();
            if !ended.is_empty() {
                for (outcome, events) in ended.by_outcome() {
                    self.write(&declared, events, outcome).await;
                }
            } else if !self.until_work().await {
                return;
            }
        }
    }

    /// Waits until there may be something to write; false if there will be nothing any more.
    async fn until_work(&self) -> bool {
        let DiskQueue { stop, settled, .. } = &*self.queue;
        if !stop.is_cancelled() {
            tokio::select! {
                () = settled.notified() => {}
                () = stop.cancelled() => {}
            }
            return true;
        }
        if self.queue.unsettled() == 0 {
            return false;
        }
        settled.notified().await;
        true
    }

    async fn write(
        &self,
        declared: &DeclaredQueue,
        ended: Vec<EndedDelivery>,
        outcome: SettledOutcome,
    ) {
        let DeclaredQueue { log, id } = declared;
        let events: Vec<Sequence> = ended.iter().map(|one| one.sequence).collect();
        let mut written = log.settle_all(*id, events.clone(), outcome).await;
        // What ends events has room unless the file system itself is full.
        while let Err(LogError::Full { .. }) = written {
            tokio::time::sleep(super::settlement::PAUSE).await;
            written = log.settle_all(*id, events.clone(), outcome).await;
        }
        let end = match (&written, outcome) {
            (Err(_), _) => DeliveryEnd::Requeued,
            (Ok(()), SettledOutcome::Delivered) => DeliveryEnd::Delivered,
            (Ok(()), SettledOutcome::DeadLettered) => DeliveryEnd::DeadLettered,
            (Ok(()), SettledOutcome::Lost) => DeliveryEnd::Lost,
        };
        if let Err(error) = written {
            tracing::debug!(queue = self.queue.name, %error, "Ends of deliveries are not on the disk");
            self.queue.abandon(&events);
        }
        let observed = match end {
            DeliveryEnd::Delivered => ObservedFact::Ended(ObservedEnd::Delivered, ""),
            DeliveryEnd::DeadLettered => ObservedFact::Ended(ObservedEnd::DeadLettered, ""),
            _ => ObservedFact::Ended(ObservedEnd::Requeued, "its end is not on the disk"),
        };
        let (counters, series) = (&self.context.counters, &self.queue.series);
        for one in &ended {
            counters.count_end(series, end);
            let observer = &counters.observer;
            observer.observe_later(&one.note, series.observed(), &observed);
        }
        self.queue.count_settled(events.len());
    }
}
