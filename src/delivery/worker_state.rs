//! State of one subscription's worker.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::dead_letter::DeliveryFailure;
use super::unfinished_events::UnfinishedEvents;
use crate::model::{DeliveryOrder, DestinationRole, Subscription};
use crate::router::RoutedChannel;
use crate::telemetry::series::SubscriptionSeries;

/// State of one subscription while events are delivered to it: its newest configuration, the
/// permits for attempts, and its counters.
pub(crate) struct SubscriptionWorkerState {
    subscription: ArcSwap<Subscription>,
    attempt_permits: Arc<Semaphore>,
    /// Number of attempts that may run at once.
    concurrency: usize,
    /// The oldest events that take long.
    unfinished: UnfinishedEvents,
    series: Arc<SubscriptionSeries>,
    /// Set for a subscription that is no longer configured: channels that were removed with it and
    /// that its events go on into. It keeps them open.
    onward_channels: OnceLock<Vec<Arc<RoutedChannel>>>,
}

/// The places for attempts at a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttemptPlaces {
    pub(crate) taken: usize,
    pub(crate) all: usize,
}

impl SubscriptionWorkerState {
    /// Makes a state with which at most `concurrency` attempts run at once, and whose counters
    /// nobody sees.
    #[must_use]
    pub(crate) fn new(subscription: Arc<Subscription>, concurrency: usize) -> Self {
        let concurrency = concurrency.max(1);
        Self {
            subscription: ArcSwap::new(subscription),
            attempt_permits: Arc::new(Semaphore::new(concurrency)),
            concurrency,
            unfinished: UnfinishedEvents::default(),
            series: Arc::default(),
            onward_channels: OnceLock::new(),
        }
    }

    /// Sets the counters of the subscription.
    #[must_use]
    pub(crate) fn with_series(self, series: Arc<SubscriptionSeries>) -> Self {
        Self { series, ..self }
    }

    /// Counters of the subscription.
    #[must_use]
    pub(crate) fn series(&self) -> &SubscriptionSeries {
        &self.series
    }

    /// Replaces the configuration: the next attempt uses the new one, even for an event that has
    /// been tried before.
    pub(crate) fn set_subscription(&self, subscription: Arc<Subscription>) {
        self.subscription.store(subscription);
    }

    /// Newest configuration of the subscription.
    #[must_use]
    pub(crate) fn subscription(&self) -> Arc<Subscription> {
        self.subscription.load_full()
    }

    /// Sets the channels into which the rest of the events of a removed subscription goes on; they
    /// stay open as long as this state does.
    pub(crate) fn set_onward_channels(&self, onward: Vec<Arc<RoutedChannel>>) {
        // It is set once: a subscription is removed once.
        drop(self.onward_channels.set(onward));
    }

    /// Order of delivery: in an ordered queue, each event waits for those before it.
    #[must_use]
    pub(crate) fn order(&self) -> DeliveryOrder {
        self.subscription.load().delivery.order
    }

    /// Records a failed attempt, for the metrics and the log of failure spells.
    pub(super) fn record_failure(&self, role: DestinationRole, failure: &DeliveryFailure) {
        self.series
            .record_failure(role, &failure.scrubbed_destination(), failure.reason());
    }

    /// Records that the last attempt, which began at `began`, succeeded.
    pub(super) fn record_success(&self, role: DestinationRole, began: Instant) {
        self.series.record_success(role, began);
    }

    /// The oldest events that take long.
    #[must_use]
    pub(crate) fn unfinished(&self) -> &UnfinishedEvents {
        &self.unfinished
    }

    /// How many attempts may run at once, and how many do, or are about to.
    #[must_use]
    pub(crate) fn places(&self) -> AttemptPlaces {
        let free = self.attempt_permits.available_permits();
        AttemptPlaces {
            taken: self.concurrency.saturating_sub(free),
            all: self.concurrency,
        }
    }

    /// Waits for the permit of an attempt. First come, first served.
    pub(crate) async fn acquire_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.attempt_permits).acquire_owned().await.ok()
    }
}
