//! One subscription's queue, as its publishers, its consumer and its worker share it.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::confirming_publisher::CONFIRM_TIMEOUT;
use super::health::{LastFailure, OncePerMinute, OncePerSecond, QueueHealth, QueueState};
use super::publish_route::PublishRoute;
use super::topology::RabbitmqQueueNames;
use crate::channel::DeferredDelivery;
use crate::event::Event;
use crate::model::DeliveryOrder;
use crate::telemetry::series::SubscriptionSeries;

/// One subscription's queue.
#[derive(Debug)]
pub(super) struct RabbitmqQueue {
    pub(super) names: RabbitmqQueueNames,
    /// Messages that are asked for at once, at most.
    pub(super) max_prefetch: u16,
    /// Messages that are asked for now.
    pub(super) current_prefetch: AtomicU16,
    pub(super) health: QueueHealth,
    /// Whether messages for it were not confirmed.
    pub(super) last_unconfirmed: LastFailure,
    /// Limits how often it is tried meanwhile.
    pub(super) trial_limit: OncePerSecond,
    /// Limits how often it is said that RabbitMQ gave up a message of it.
    pub(super) given_up_log_limit: OncePerMinute,
    pub(super) publish_route: Arc<PublishRoute>,
    /// Messages of this process on their way into it.
    pub(super) publish_window: Semaphore,
    /// What RabbitMQ said when it refused to declare or to deliver it.
    pub(super) refusal: Mutex<Option<String>>,
    /// How often its consumer has begun.
    pub(super) consumer_starts: AtomicU64,
    /// Messages that this process has put into it.
    pub(super) published: AtomicU64,
    /// Whether what is parked beside it has been counted.
    pub(super) parked_counted: AtomicBool,
    /// Whether somebody looks at it to learn why it refuses messages.
    pub(super) being_inspected: AtomicBool,
    /// Told when RabbitMQ turns out not to have it.
    pub(super) missing_notify: Notify,
    /// Told when RabbitMQ turns out not to answer for it.
    pub(super) unanswered_notify: Notify,
    /// Messages that were handed to the worker and have not been settled.
    pub(super) unsettled: AtomicUsize,
    /// The event that an ordered queue was given back last.
    pub(super) last_requeued: Mutex<Option<RequeuedEvent>>,
    pub(super) series: Arc<SubscriptionSeries>,
    pub(super) stop: CancellationToken,
}

impl RabbitmqQueue {
    /// RabbitMQ does not have it: it is to be declared again.
    pub(super) fn mark_missing(&self) {
        if self.health.replace_state(QueueState::Undeclared) != QueueState::Undeclared {
            self.missing_notify.notify_one();
        }
    }

    pub(super) fn refusal(&self) -> MutexGuard<'_, Option<String>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// RabbitMQ does not answer for it. That is told once, and again after a minute.
    pub(super) fn mark_unavailable(&self) {
        if self.health.replace_state(QueueState::Unavailable) != QueueState::Unavailable
            && self.health.log_limit.is_due()
        {
            tracing::warn!(
                queue = self.names.queue,
                refusal = self.refusal().as_deref(),
                "RabbitMQ does not answer for a queue: events for it wait in other queues until it does"
            );
        }
        self.unanswered_notify.notify_one();
    }

    /// RabbitMQ has not confirmed a message for it in time. It is away until one is confirmed, whatever else RabbitMQ may
    /// answer, as long as messages are tried: a node that is cut off from most of the others answers everything but this.
    pub(super) fn mark_unconfirmed(&self) {
        self.last_unconfirmed.record_failure();
        self.mark_unavailable();
    }

    /// RabbitMQ does not begin to consume it. It is away if nothing is confirmed for it, either.
    pub(super) fn mark_unconsumed(&self) {
        let lately = Instant::now().checked_sub(CONFIRM_TIMEOUT);
        if lately.is_some_and(|lately| self.publish_route.has_confirmed_since(lately)) {
            self.health.replace_state(QueueState::Unconsumed);
        } else {
            self.mark_unavailable();
        }
    }

    /// Whether RabbitMQ takes nothing for it. It takes messages again when it has confirmed one, however late.
    pub(super) fn is_unavailable(&self) -> bool {
        let Some(since) = self.health.unavailable_since() else { return false };
        let is_away = !self.publish_route.has_confirmed_since(since);
        if !is_away {
            self.last_unconfirmed.record_success();
            self.health.mark_accepting();
            // Its consumer looks whether it is served as well.
            self.unanswered_notify.notify_one();
        }
        is_away
    }

    /// What is known of it.
    pub(super) fn state(&self) -> QueueState {
        if self.is_unavailable() { QueueState::Unavailable } else { self.health.state() }
    }

    /// Whether a message should not be published to it: it is away, and was tried a moment ago.
    pub(super) fn is_publishing_suspended(&self) -> bool {
        self.is_unavailable() && !self.trial_limit.is_due()
    }

    /// RabbitMQ answers for it. Whether it takes messages again that it did not, only a confirm can say.
    pub(super) fn mark_answering(&self) {
        if self.last_unconfirmed.is_failing() && self.is_unavailable() {
            return;
        }
        *self.refusal() = None;
        if self.health.replace_state(QueueState::Served) == QueueState::Unavailable {
            tracing::debug!(queue = self.names.queue, "RabbitMQ answers for a queue again");
        }
    }

    /// Takes back what its consumer was told before it has begun.
    pub(super) fn clear_notifications(&self) {
        for told in [&self.missing_notify, &self.unanswered_notify] {
            if told.notified().now_or_never().is_some() {
                tracing::trace!(queue = self.names.queue, "Its consumer was told of what has been mended since");
            }
        }
    }

    /// How many messages RabbitMQ would send, if there were any. An ordered queue is consumed one message after the other.
    pub(super) fn remaining_prefetch(&self) -> usize {
        let unsettled = self.unsettled.load(Ordering::Acquire);
        match self.names.order {
            DeliveryOrder::Unordered => {
                usize::from(self.current_prefetch.load(Ordering::Acquire)).saturating_sub(unsettled)
            }
            DeliveryOrder::Ordered => usize::from(unsettled == 0),
        }
    }

    /// Notes how far an event got that goes back into the queue; only an ordered one gives some back.
    pub(super) fn remember_deferred(&self, event: &Event, deferral: &DeferredDelivery) {
        let (id, source) = event_identity(event);
        let given_back = RequeuedEvent { id, source, deferral: deferral.clone(), due: Instant::now() + deferral.wait };
        *self.last_requeued.lock().unwrap_or_else(PoisonError::into_inner) = Some(given_back);
    }

    /// How far an event got before it went back into the queue, with what is left of its wait.
    pub(super) fn take_deferred(&self, event: &Event) -> Option<DeferredDelivery> {
        if self.names.order == DeliveryOrder::Unordered {
            return None;
        }
        let (id, source) = event_identity(event);
        let mut given_back = self.last_requeued.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |given_back: &mut RequeuedEvent| given_back.id == id && given_back.source == source;
        let RequeuedEvent { deferral, due, .. } = given_back.take_if(is_it)?;
        Some(DeferredDelivery { wait: due.saturating_duration_since(Instant::now()), ..deferral })
    }
}

/// `id` and `source` of an event.
fn event_identity(event: &Event) -> (String, String) {
    (event.id().into_owned(), event.get("source").unwrap_or_default().into_owned())
}

/// An event that went back into its ordered queue, since it could not be held for longer.
#[derive(Debug)]
pub(super) struct RequeuedEvent {
    id: String,
    source: String,
    deferral: DeferredDelivery,
    due: Instant,
}
