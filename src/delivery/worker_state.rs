//! One subscription while events are delivered to it, and one delivery on it.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::DeliveryDestinationRole;
use super::dead_letter::DeliveryFailure;
use crate::channel::DeliveryOutcome;
use crate::model::{DeliveryOrder, Subscription};
use crate::router::RoutedChannel;
use crate::telemetry::series::SubscriptionSeries;
use crate::telemetry::tracer::Span;

/// One subscription while events are delivered to it: its newest configuration, how many attempts may run, and what is
/// counted.
pub struct SubscriptionWorkerState {
    subscription: ArcSwap<Subscription>,
    attempt_permits: Arc<Semaphore>,
    series: Arc<SubscriptionSeries>,
    /// Of a subscription that is gone: the channels that went with it and that it leads into.
    onward_channels: OnceLock<Vec<Arc<RoutedChannel>>>,
}

impl SubscriptionWorkerState {
    /// A lane on which at most `concurrency` attempts run at once, counted for nobody.
    #[must_use]
    pub fn new(subscription: Arc<Subscription>, concurrency: usize) -> Self {
        let (subscription, attempt_permits) =
            (ArcSwap::new(subscription), Arc::new(Semaphore::new(concurrency.max(1))));
        Self { subscription, attempt_permits, series: Arc::default(), onward_channels: OnceLock::new() }
    }

    /// The same lane, counted here.
    #[must_use]
    pub fn with_series(self, series: Arc<SubscriptionSeries>) -> Self {
        Self { series, ..self }
    }

    /// What is counted.
    #[must_use]
    pub fn series(&self) -> &SubscriptionSeries {
        &self.series
    }

    /// The configuration from now on: the next attempt uses it, even of an event that has been tried before.
    pub fn set_subscription(&self, subscription: Arc<Subscription>) {
        self.subscription.store(subscription);
    }

    /// The configuration now.
    #[must_use]
    pub fn subscription(&self) -> Arc<Subscription> {
        self.subscription.load_full()
    }

    /// The subscription is gone: what is left of its events goes on into these channels, which are there as long as the lane
    /// is.
    pub fn set_onward_channels(&self, onward: Vec<Arc<RoutedChannel>>) {
        // A lane leaves once.
        drop(self.onward_channels.set(onward));
    }

    /// Whether its events wait for those before them.
    #[must_use]
    pub fn order(&self) -> DeliveryOrder {
        self.subscription.load().delivery.order
    }

    /// Remembers a failed attempt.
    pub(super) fn record_failure(&self, leg: DeliveryDestinationRole, failure: &DeliveryFailure) {
        self.series.record_failure(leg.series_destination(), &failure.scrubbed_destination(), failure.reason());
    }

    /// Notes that the last attempt, which began then, was taken.
    pub(super) fn record_success(&self, leg: DeliveryDestinationRole, began: Instant) {
        self.series.record_success(leg.series_destination(), began);
    }

    /// Waits until an attempt may run. First come, first served.
    pub async fn acquire_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.attempt_permits).acquire_owned().await.ok()
    }
}

/// One delivery on a lane, and how its last hop went.
pub(super) struct DeliveryRecord<'l> {
    pub(super) worker: &'l SubscriptionWorkerState,
    /// What is told of it; its steps are steps of this.
    pub(super) span: Span,
    /// Of the last attempt; 0 if there was no answer.
    last_status: AtomicU16,
    /// Of the last hop, in nanoseconds.
    last_duration_nanos: AtomicU64,
}

impl<'l> DeliveryRecord<'l> {
    pub(super) fn new(worker: &'l SubscriptionWorkerState, span: Span) -> Self {
        Self { worker, span, last_status: AtomicU16::new(0), last_duration_nanos: AtomicU64::new(0) }
    }

    /// An attempt ended with this status, or without one.
    pub(super) fn record_status(&self, status: Option<u16>) {
        self.last_status.store(status.unwrap_or(0), Ordering::Relaxed);
    }

    /// A hop ended after so long, with its retries.
    pub(super) fn record_duration(&self, took: Duration) {
        self.last_duration_nanos.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts the last hop (contract OB-6), and tells how it ended.
    pub(super) fn finish(mut self, outcome: &DeliveryOutcome) {
        let status = Some(self.last_status.load(Ordering::Relaxed)).filter(|status| *status != 0);
        self.worker
            .series
            .record_dispatch(status, Duration::from_nanos(self.last_duration_nanos.load(Ordering::Relaxed)));
        let end = match outcome {
            DeliveryOutcome::Delivered => "delivered",
            DeliveryOutcome::DeadLettered => "dead_lettered",
            DeliveryOutcome::Lost(_) => "lost",
            DeliveryOutcome::Deferred(_) => "deferred",
        };
        self.span.set_attributes(|| [("sealpost.outcome", end.into())]);
        if let DeliveryOutcome::Lost(loss) = outcome {
            self.span.set_error(|| loss.reason.clone().into());
        }
    }
}
