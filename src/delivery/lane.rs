//! One subscription while events are delivered to it, and one delivery on it.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Leg;
use super::dead_letter::Failure;
use crate::channel::Outcome;
use crate::model::{Order, Subscription};
use crate::router::Door;
use crate::telemetry::series::SubscriptionSeries;
use crate::telemetry::trace::Span;

/// One subscription while events are delivered to it: its newest configuration, how many attempts may run, and what is
/// counted.
pub struct Lane {
    current: ArcSwap<Subscription>,
    attempts: Arc<Semaphore>,
    series: Arc<SubscriptionSeries>,
    /// Of a subscription that is gone: the channels that went with it and that it leads into.
    onward: OnceLock<Vec<Arc<Door>>>,
}

impl Lane {
    /// A lane on which at most `concurrency` attempts run at once, counted for nobody.
    #[must_use]
    pub fn new(subscription: Arc<Subscription>, concurrency: usize) -> Self {
        let (current, attempts) = (ArcSwap::new(subscription), Arc::new(Semaphore::new(concurrency.max(1))));
        Self { current, attempts, series: Arc::default(), onward: OnceLock::new() }
    }

    /// The same lane, counted here.
    #[must_use]
    pub fn counted(self, series: Arc<SubscriptionSeries>) -> Self {
        Self { series, ..self }
    }

    /// What is counted.
    #[must_use]
    pub fn series(&self) -> &SubscriptionSeries {
        &self.series
    }

    /// The configuration from now on: the next attempt uses it, even of an event that has been tried before.
    pub fn configure(&self, subscription: Arc<Subscription>) {
        self.current.store(subscription);
    }

    /// The configuration now.
    #[must_use]
    pub fn current(&self) -> Arc<Subscription> {
        self.current.load_full()
    }

    /// The subscription is gone: what is left of its events goes on into these channels, which are there as long as the lane
    /// is.
    pub fn leave(&self, onward: Vec<Arc<Door>>) {
        // A lane leaves once.
        drop(self.onward.set(onward));
    }

    /// Whether its events wait for those before them.
    #[must_use]
    pub fn order(&self) -> Order {
        self.current.load().delivery.order
    }

    /// Remembers a failed attempt.
    pub(super) fn failed(&self, leg: Leg, failure: &Failure) {
        self.series.failed(leg.counted(), &failure.place(), failure.reason());
    }

    /// Notes that the last attempt, which began then, was taken.
    pub(super) fn succeeded(&self, leg: Leg, began: Instant) {
        self.series.succeeded(leg.counted(), began);
    }

    /// Waits until an attempt may run. First come, first served.
    pub async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.attempts).acquire_owned().await.ok()
    }
}

/// One delivery on a lane, and how its last hop went.
pub(super) struct Story<'l> {
    pub(super) lane: &'l Lane,
    /// What is told of it; its steps are steps of this.
    pub(super) span: Span,
    /// Of the last attempt; 0 if there was no answer.
    status: AtomicU16,
    /// Of the last hop, in nanoseconds.
    took: AtomicU64,
}

impl<'l> Story<'l> {
    pub(super) fn new(lane: &'l Lane, span: Span) -> Self {
        Self { lane, span, status: AtomicU16::new(0), took: AtomicU64::new(0) }
    }

    /// An attempt ended with this status, or without one.
    pub(super) fn answered(&self, status: Option<u16>) {
        self.status.store(status.unwrap_or(0), Ordering::Relaxed);
    }

    /// A hop ended after so long, with its retries.
    pub(super) fn hopped(&self, took: Duration) {
        self.took.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts the last hop (contract OB-6), and tells how it ended.
    pub(super) fn ended(mut self, outcome: &Outcome) {
        let status = Some(self.status.load(Ordering::Relaxed)).filter(|status| *status != 0);
        self.lane.series.dispatched(status, Duration::from_nanos(self.took.load(Ordering::Relaxed)));
        let end = match outcome {
            Outcome::Delivered => "delivered",
            Outcome::DeadLettered => "dead_lettered",
            Outcome::Lost(_) => "lost",
            Outcome::Deferred(_) => "deferred",
        };
        self.span.tell(|| [("sealpost.outcome", end.into())]);
        if let Outcome::Lost(loss) = outcome {
            self.span.failed(|| loss.reason.clone().into());
        }
    }
}
