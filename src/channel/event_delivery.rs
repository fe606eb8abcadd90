//! One event on its way to one subscription, from its queue to its settlement.

use std::sync::Arc;

use tokio::time::Instant;

use super::{DeliveryOutcome, DeliveryProgress, DeliverySettlement};
use crate::event::Event;

/// One event on its way to one subscription. Whoever takes it must settle it.
#[derive(Debug)]
pub struct EventDelivery<S: DeliverySettlement + ?Sized = dyn DeliverySettlement> {
    /// The event, shared with the deliveries to other subscriptions.
    pub event: Arc<Event>,
    /// Progress of the delivery in an earlier process or before a deferral; the default for a new
    /// event.
    pub progress: DeliveryProgress,
    /// Time at which the event came into its queue; if that is outside of the process, at which it
    /// was taken out of it.
    pub received_at: Instant,
    is_settled: bool,
    /// The backend's part. It is the last field, so that one box holds a delivery of any backend.
    settlement: S,
}

impl<S: DeliverySettlement + ?Sized> Drop for EventDelivery<S> {
    fn drop(&mut self) {
        if !self.is_settled {
            let why = if std::thread::panicking() {
                "its delivery panicked, which the log has"
            } else {
                ""
            };
            self.settlement.observe_abandoned(&self.event, why);
        }
    }
}

impl<S: DeliverySettlement + 'static> EventDelivery<S> {
    pub(super) fn new(
        event: Arc<Event>,
        progress: DeliveryProgress,
        settlement: S,
    ) -> Box<EventDelivery> {
        Box::new(Self {
            event,
            progress,
            received_at: Instant::now(),
            is_settled: false,
            settlement,
        })
    }
}

impl EventDelivery {
    /// Returns when the queue has given the event to another consumer, so that its delivery should
    /// end here; never, if that cannot happen.
    pub(crate) async fn until_revoked(&self) {
        self.settlement.until_revoked().await;
    }

    /// Tells the queue the outcome of the delivery. Returns when the queue has recorded it, or
    /// cannot.
    pub(crate) async fn settle(mut self: Box<Self>, outcome: DeliveryOutcome) {
        let Self {
            event,
            settlement,
            is_settled,
            ..
        } = &mut *self;
        settlement.settle(event, outcome).await;
        *is_settled = true;
    }
}
