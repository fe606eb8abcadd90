//! State of one subscription's worker, and the record of one delivery.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use opentelemetry::KeyValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::dead_letter::DeliveryFailure;
use crate::channel::DeliveryOutcome;
use crate::model::{DeliveryOrder, DestinationRole, Subscription};
use crate::router::RoutedChannel;
use crate::telemetry::series::SubscriptionSeries;
use crate::telemetry::tracer::Span;

/// State of one subscription while events are delivered to it: its newest configuration, the
/// permits for attempts, and its counters.
pub struct SubscriptionWorkerState {
    subscription: ArcSwap<Subscription>,
    attempt_permits: Arc<Semaphore>,
    series: Arc<SubscriptionSeries>,
    /// Set for a subscription that is no longer configured: channels that were removed with it and
    /// that its events go on into. It keeps them open.
    onward_channels: OnceLock<Vec<Arc<RoutedChannel>>>,
}

impl SubscriptionWorkerState {
    /// Makes a state with which at most `concurrency` attempts run at once, and whose counters
    /// nobody sees.
    #[must_use]
    pub fn new(subscription: Arc<Subscription>, concurrency: usize) -> Self {
        let (subscription, attempt_permits) = (
            ArcSwap::new(subscription),
            Arc::new(Semaphore::new(concurrency.max(1))),
        );
        Self {
            subscription,
            attempt_permits,
            series: Arc::default(),
            onward_channels: OnceLock::new(),
        }
    }

    /// Sets the counters of the subscription.
    #[must_use]
    pub fn with_series(self, series: Arc<SubscriptionSeries>) -> Self {
        Self { series, ..self }
    }

    /// Counters of the subscription.
    #[must_use]
    pub fn series(&self) -> &SubscriptionSeries {
        &self.series
    }

    /// Replaces the configuration: the next attempt uses the new one, even for an event that has
    /// been tried before.
    pub fn set_subscription(&self, subscription: Arc<Subscription>) {
        self.subscription.store(subscription);
    }

    /// Newest configuration of the subscription.
    #[must_use]
    pub fn subscription(&self) -> Arc<Subscription> {
        self.subscription.load_full()
    }

    /// Sets the channels into which the rest of the events of a removed subscription goes on; they
    /// stay open as long as this state does.
    pub fn set_onward_channels(&self, onward: Vec<Arc<RoutedChannel>>) {
        // It is set once: a subscription is removed once.
        drop(self.onward_channels.set(onward));
    }

    /// Order of delivery: in an ordered queue, each event waits for those before it.
    #[must_use]
    pub fn order(&self) -> DeliveryOrder {
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

    /// Waits for the permit of an attempt. First come, first served.
    pub async fn acquire_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.attempt_permits).acquire_owned().await.ok()
    }
}

/// Record of one delivery of a worker, with the status and the duration that are counted at its
/// end.
pub(super) struct DeliveryRecord<'l> {
    pub(super) worker: &'l SubscriptionWorkerState,
    /// Span of this delivery; sends and attempts are its children.
    pub(super) span: Span,
    /// Status of the last attempt; 0 if there was no response.
    last_status: AtomicU16,
    /// Duration of the last send with its retries, in nanoseconds.
    last_duration_nanos: AtomicU64,
}

impl<'l> DeliveryRecord<'l> {
    pub(super) fn new(worker: &'l SubscriptionWorkerState, span: Span) -> Self {
        Self {
            worker,
            span,
            last_status: AtomicU16::new(0),
            last_duration_nanos: AtomicU64::new(0),
        }
    }

    /// Records the status of an attempt, or that there was no response.
    pub(super) fn record_status(&self, status: Option<u16>) {
        self.last_status
            .store(status.unwrap_or(0), Ordering::Relaxed);
    }

    /// Records how long a send took with its retries.
    pub(super) fn record_duration(&self, took: Duration) {
        self.last_duration_nanos.store(
            u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    /// Counts the last send (contract OB-6), and writes the outcome into the span.
    pub(super) fn finish(mut self, outcome: &DeliveryOutcome) {
        let status = Some(self.last_status.load(Ordering::Relaxed)).filter(|status| *status != 0);
        self.worker.series.record_dispatch(
            status,
            Duration::from_nanos(self.last_duration_nanos.load(Ordering::Relaxed)),
            self.span.recorded(),
        );
        let end = match outcome {
            DeliveryOutcome::Delivered => "delivered",
            DeliveryOutcome::DeadLettered => "dead_lettered",
            DeliveryOutcome::Lost(_) => "lost",
            DeliveryOutcome::Deferred(_) => "deferred",
        };
        self.span
            .set_attributes(|| [KeyValue::new("sealpost.outcome", end)]);
        if let DeliveryOutcome::Lost(loss) = outcome {
            self.span.set_error(|| loss.reason.clone().into());
        }
    }
}
