//! Acknowledger of one queue: it writes the ends of deliveries that nothing follows from, all of
//! those at once that came while the disk was busy.

use std::sync::Arc;

use super::context::DiskContext;
use super::log::{LogError, Sequence, SettledOutcome};
use super::queue::{DeclaredQueue, DiskQueue};
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
        events: Vec<Sequence>,
        outcome: SettledOutcome,
    ) {
        let DeclaredQueue { log, id } = declared;
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
        for _ in &events {
            self.context.counters.count_end(&self.queue.series, end);
        }
        self.queue.count_settled(events.len());
    }
}
