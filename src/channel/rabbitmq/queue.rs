//! Queue of one subscription, as its publishers, its consumer and its worker share it.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::health::{LastFailure, OncePerMinute, OncePerSecond, QueueHealth, QueueState};
use super::publish_error::CONFIRM_TIMEOUT;
use super::publish_route::PublishRoute;
use super::queue_names::RabbitmqQueueNames;
use crate::budget::{MemoryBudget, QueueShare};
use crate::channel::DeferredDelivery;
use crate::channel::subscription_queues::CountedQueue;
use crate::event::Event;
use crate::model::DeliveryOrder;
use crate::telemetry::series::SubscriptionSeries;

/// Messages of one queue that may be on their way to RabbitMQ at once. If a quorum queue has more
/// than 32 that it has not confirmed, RabbitMQ blocks the whole channel (its
/// `quorum_commands_soft_limit`), and with it the other queues that are published to there.
pub(super) const WINDOW: usize = 32;

/// State of one subscription's queue in this process.
#[derive(Debug)]
pub(super) struct RabbitmqQueue {
    pub(super) names: RabbitmqQueueNames,
    /// Largest prefetch of its consumer.
    pub(super) max_prefetch: u16,
    /// Current prefetch of its consumer.
    pub(super) current_prefetch: AtomicU16,
    pub(super) health: QueueHealth,
    /// Last time that a message for the queue was not confirmed.
    pub(super) last_unconfirmed: LastFailure,
    /// Limits how often publishing is tried while RabbitMQ does not answer for the queue.
    pub(super) trial_limit: OncePerSecond,
    /// Limits the log line about messages that RabbitMQ gave up.
    pub(super) given_up_log_limit: OncePerMinute,
    pub(super) publish_route: Arc<PublishRoute>,
    /// Permits for messages of this process on their way into the queue.
    pub(super) publish_window: Semaphore,
    /// RabbitMQ's reason for refusing to declare or to deliver the queue.
    pub(super) refusal: Mutex<Option<String>>,
    /// Number of times that its consumer has begun.
    pub(super) consumer_starts: AtomicU64,
    /// Messages that this process has put into the queue since it was found empty.
    pub(super) published: AtomicU64,
    /// True if the messages in its parking queue have been counted.
    pub(super) parked_counted: AtomicBool,
    /// True if a task inspects the queue to learn why it refuses messages.
    pub(super) being_inspected: AtomicBool,
    /// Notified when RabbitMQ turns out not to have the queue.
    pub(super) missing_notify: Notify,
    /// Notified when RabbitMQ turns out not to answer for the queue.
    pub(super) unanswered_notify: Notify,
    /// Deliveries that were handed to the worker and have not been settled.
    pub(super) unsettled: AtomicUsize,
    /// The event that was requeued last, if the queue is ordered.
    pub(super) last_requeued: Mutex<Option<RequeuedEvent>>,
    pub(super) series: Arc<SubscriptionSeries>,
    /// The memory budget of its namespace.
    pub(super) budget: Arc<MemoryBudget>,
    /// Its unfinished events at the last look, as they count for the namespace.
    pub(super) places: QueueShare,
    pub(super) stop: CancellationToken,
}

impl CountedQueue for RabbitmqQueue {
    fn series(&self) -> &SubscriptionSeries {
        &self.series
    }
}

impl RabbitmqQueue {
    /// Makes the state of a queue that is not declared yet. It is given up when `stop` is
    /// cancelled.
    pub(super) fn new(
        names: RabbitmqQueueNames,
        max_prefetch: u16,
        series: Arc<SubscriptionSeries>,
        budget: Arc<MemoryBudget>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            max_prefetch,
            current_prefetch: AtomicU16::new(0),
            publish_route: Arc::new(PublishRoute::new(names.order)),
            names,
            health: QueueHealth::default(),
            last_unconfirmed: LastFailure::default(),
            trial_limit: OncePerSecond::default(),
            given_up_log_limit: OncePerMinute::default(),
            publish_window: Semaphore::new(WINDOW),
            refusal: Mutex::default(),
            consumer_starts: AtomicU64::new(0),
            published: AtomicU64::new(0),
            parked_counted: AtomicBool::new(false),
            being_inspected: AtomicBool::new(false),
            missing_notify: Notify::new(),
            unanswered_notify: Notify::new(),
            unsettled: AtomicUsize::new(0),
            last_requeued: Mutex::default(),
            series,
            places: budget.queue_share(),
            budget,
            stop,
        }
    }

    /// Records that RabbitMQ does not have the queue, so that it is declared again.
    pub(super) fn mark_missing(&self) {
        if self.health.replace_state(QueueState::Undeclared) != QueueState::Undeclared {
            self.missing_notify.notify_one();
        }
    }

    pub(super) fn refusal(&self) -> MutexGuard<'_, Option<String>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that RabbitMQ does not answer for the queue. That is logged once, and again after a
    /// minute.
    pub(super) fn mark_unavailable(&self) {
        if self.health.replace_state(QueueState::Unavailable) != QueueState::Unavailable
            && self.health.log_limit.is_due()
        {
            tracing::warn!(
                queue = self.names.queue,
                refusal = self.refusal().as_deref(),
                "RabbitMQ does not answer for a queue: events for it wait in other queues \
                 until it does"
            );
        }
        self.unanswered_notify.notify_one();
    }

    /// Records that RabbitMQ has not confirmed a message in time. The queue is unavailable until a
    /// message is confirmed, whatever else RabbitMQ may answer, as long as messages are tried: a
    /// node that is cut off from most of the others answers everything but this.
    pub(super) fn mark_unconfirmed(&self) {
        self.last_unconfirmed.record_failure();
        self.mark_unavailable();
    }

    /// Records that RabbitMQ does not begin to deliver from the queue. It is unavailable if no
    /// message is confirmed for it, either.
    pub(super) fn mark_unconsumed(&self) {
        let lately = Instant::now().checked_sub(CONFIRM_TIMEOUT);
        if lately.is_some_and(|lately| self.publish_route.has_confirmed_since(lately)) {
            self.health.replace_state(QueueState::Unconsumed);
        } else {
            self.mark_unavailable();
        }
    }

    /// True if RabbitMQ takes no messages for the queue. It is available again when RabbitMQ has
    /// confirmed one, however late.
    pub(super) fn is_unavailable(&self) -> bool {
        let Some(since) = self.health.unavailable_since() else {
            return false;
        };
        let is_away = !self.publish_route.has_confirmed_since(since);
        if !is_away {
            self.last_unconfirmed.record_success();
            self.health.mark_accepting();
            // The consumer inspects the queue, to see if it is delivered from as well.
            self.unanswered_notify.notify_one();
        }
        is_away
    }

    /// Current state of the queue.
    pub(super) fn state(&self) -> QueueState {
        if self.is_unavailable() {
            QueueState::Unavailable
        } else {
            self.health.state()
        }
    }

    /// True if a message should not be published to the queue: it is unavailable, and was tried a
    /// moment ago.
    pub(super) fn is_publishing_suspended(&self) -> bool {
        self.is_unavailable() && !self.trial_limit.is_due()
    }

    /// Records that RabbitMQ answers for the queue. If it did not confirm messages before, only a
    /// confirm can show that it takes them again.
    pub(super) fn mark_answering(&self) {
        if self.last_unconfirmed.is_failing() && self.is_unavailable() {
            return;
        }
        *self.refusal() = None;
        if self.health.replace_state(QueueState::Served) == QueueState::Unavailable {
            tracing::debug!(
                queue = self.names.queue,
                "RabbitMQ answers for a queue again"
            );
        }
    }

    /// Takes back notifications for the consumer from before it has begun.
    pub(super) fn clear_notifications(&self) {
        for told in [&self.missing_notify, &self.unanswered_notify] {
            if told.notified().now_or_never().is_some() {
                tracing::trace!(
                    queue = self.names.queue,
                    "Its consumer was told of what has been mended since"
                );
            }
        }
    }

    /// Number of messages that RabbitMQ would send, if there were any. An ordered queue is consumed
    /// one message after the other.
    pub(super) fn remaining_prefetch(&self) -> usize {
        let unsettled = self.unsettled.load(Ordering::Acquire);
        match self.names.order {
            DeliveryOrder::Unordered => {
                usize::from(self.current_prefetch.load(Ordering::Acquire)).saturating_sub(unsettled)
            }
            DeliveryOrder::Ordered => usize::from(unsettled == 0),
        }
    }

    /// Remembers the deferral of an event that is requeued; that happens in an ordered queue only.
    pub(super) fn remember_deferred(&self, event: &Event, deferral: &DeferredDelivery) {
        let (id, source) = event_identity(event);
        let given_back = RequeuedEvent {
            id,
            source,
            deferral: deferral.clone(),
            due: Instant::now() + deferral.wait,
        };
        *self
            .last_requeued
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(given_back);
    }

    /// Takes the deferral of an event that was requeued, with the wait that is left; `None` for any
    /// other event.
    pub(super) fn take_deferred(&self, event: &Event) -> Option<DeferredDelivery> {
        if self.names.order == DeliveryOrder::Unordered {
            return None;
        }
        let (id, source) = event_identity(event);
        let mut given_back = self
            .last_requeued
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_it =
            |given_back: &mut RequeuedEvent| given_back.id == id && given_back.source == source;
        let RequeuedEvent { deferral, due, .. } = given_back.take_if(is_it)?;
        Some(DeferredDelivery {
            wait: due.saturating_duration_since(Instant::now()),
            ..deferral
        })
    }
}

/// Attributes `id` and `source`, which identify an event.
fn event_identity(event: &Event) -> (String, String) {
    (
        event.id().into_owned(),
        event.get("source").unwrap_or_default().into_owned(),
    )
}

/// An event that was requeued into its ordered queue, since it could not be held for longer.
#[derive(Debug)]
pub(super) struct RequeuedEvent {
    id: String,
    source: String,
    deferral: DeferredDelivery,
    due: Instant,
}
