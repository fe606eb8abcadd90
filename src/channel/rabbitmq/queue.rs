//! One subscription's queue, as its publishers, its consumer and its worker share it.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::health::{LastFailure, QueueHealth, QueueState, TellLimit, TrialLimit};
use super::outbox::CONFIRM_TIMEOUT;
use super::queue_way::QueueWay;
use super::topology::Place;
use crate::channel::Deferral;
use crate::event::Event;
use crate::model::Order;
use crate::telemetry::series::SubscriptionSeries;

/// One subscription's queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) place: Place,
    /// Messages that are asked for at once, at most.
    pub(super) prefetch: u16,
    /// Messages that are asked for now.
    pub(super) window_open: AtomicU16,
    pub(super) health: QueueHealth,
    /// Whether messages for it were not confirmed.
    pub(super) unconfirmed: LastFailure,
    /// Limits how often it is tried meanwhile.
    pub(super) trial: TrialLimit,
    /// Limits how often it is said that RabbitMQ gave up a message of it.
    pub(super) given_up: TellLimit,
    pub(super) way: Arc<QueueWay>,
    /// Messages of this process on their way into it.
    pub(super) window: Semaphore,
    /// What RabbitMQ said when it refused to declare or to deliver it.
    pub(super) refusal: Mutex<Option<String>>,
    /// How often its consumer has begun.
    pub(super) begun: AtomicU64,
    /// Messages that this process has put into it.
    pub(super) published: AtomicU64,
    /// Whether what is parked beside it has been counted.
    pub(super) parked_counted: AtomicBool,
    /// Whether somebody looks at it to learn why it refuses messages.
    pub(super) asked: AtomicBool,
    /// Told when RabbitMQ turns out not to have it.
    pub(super) missing: Notify,
    /// Told when RabbitMQ turns out not to answer for it.
    pub(super) doubted: Notify,
    /// Messages that were handed to the worker and have not been settled.
    pub(super) unsettled: AtomicUsize,
    /// The event that an ordered queue was given back last.
    pub(super) given_back: Mutex<Option<GivenBack>>,
    pub(super) series: Arc<SubscriptionSeries>,
    pub(super) stop: CancellationToken,
}

impl Queue {
    /// RabbitMQ does not have it: it is to be declared again.
    pub(super) fn declare_again(&self) {
        if self.health.set(QueueState::Undeclared) != QueueState::Undeclared {
            self.missing.notify_one();
        }
    }

    pub(super) fn refusal(&self) -> MutexGuard<'_, Option<String>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// RabbitMQ does not answer for it. That is told once, and again after a minute.
    pub(super) fn does_not_answer(&self) {
        if self.health.set(QueueState::Away) != QueueState::Away && self.health.telling.is_due() {
            tracing::warn!(
                queue = self.place.queue,
                refusal = self.refusal().as_deref(),
                "RabbitMQ does not answer for a queue: events for it wait in other queues until it does"
            );
        }
        self.doubted.notify_one();
    }

    /// RabbitMQ has not confirmed a message for it in time. It is away until one is confirmed, whatever else RabbitMQ may
    /// answer, as long as messages are tried: a node that is cut off from most of the others answers everything but this.
    pub(super) fn does_not_confirm(&self) {
        self.unconfirmed.set();
        self.does_not_answer();
    }

    /// RabbitMQ does not begin to consume it. It is away if nothing is confirmed for it, either.
    pub(super) fn is_not_consumed(&self) {
        let lately = Instant::now().checked_sub(CONFIRM_TIMEOUT);
        if lately.is_some_and(|lately| self.way.has_confirmed_since(lately)) {
            self.health.set(QueueState::Unconsumed);
        } else {
            self.does_not_answer();
        }
    }

    /// Whether RabbitMQ takes nothing for it. It takes messages again when it has confirmed one, however late.
    pub(super) fn is_away(&self) -> bool {
        let Some(since) = self.health.away_since() else { return false };
        let is_away = !self.way.has_confirmed_since(since);
        if !is_away {
            self.unconfirmed.clear();
            self.health.takes_messages();
            // Its consumer looks whether it is served as well.
            self.doubted.notify_one();
        }
        is_away
    }

    /// What is known of it.
    pub(super) fn state(&self) -> QueueState {
        if self.is_away() { QueueState::Away } else { self.health.state() }
    }

    /// Whether a message should not be published to it: it is away, and was tried a moment ago.
    pub(super) fn is_left_alone(&self) -> bool {
        self.is_away() && !self.trial.is_due()
    }

    /// RabbitMQ answers for it. Whether it takes messages again that it did not, only a confirm can say.
    pub(super) fn answers(&self) {
        if self.unconfirmed.is_failing() && self.is_away() {
            return;
        }
        *self.refusal() = None;
        if self.health.set(QueueState::Served) == QueueState::Away {
            tracing::debug!(queue = self.place.queue, "RabbitMQ answers for a queue again");
        }
    }

    /// Takes back what its consumer was told before it has begun.
    pub(super) fn forget_doubts(&self) {
        for told in [&self.missing, &self.doubted] {
            if told.notified().now_or_never().is_some() {
                tracing::trace!(queue = self.place.queue, "Its consumer was told of what has been mended since");
            }
        }
    }

    /// How many messages RabbitMQ would send, if there were any. An ordered queue is consumed one message after the other.
    pub(super) fn room(&self) -> usize {
        let unsettled = self.unsettled.load(Ordering::Acquire);
        match self.place.order {
            Order::Unordered => usize::from(self.window_open.load(Ordering::Acquire)).saturating_sub(unsettled),
            Order::Ordered => usize::from(unsettled == 0),
        }
    }

    /// Notes how far an event got that goes back into the queue; only an ordered one gives some back.
    pub(super) fn remember(&self, event: &Event, deferral: &Deferral) {
        let (id, source) = identity(event);
        let given_back = GivenBack { id, source, deferral: deferral.clone(), due: Instant::now() + deferral.wait };
        *self.given_back.lock().unwrap_or_else(PoisonError::into_inner) = Some(given_back);
    }

    /// How far an event got before it went back into the queue, with what is left of its wait.
    pub(super) fn recall(&self, event: &Event) -> Option<Deferral> {
        if self.place.order == Order::Unordered {
            return None;
        }
        let (id, source) = identity(event);
        let mut given_back = self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |given_back: &mut GivenBack| given_back.id == id && given_back.source == source;
        let GivenBack { deferral, due, .. } = given_back.take_if(is_it)?;
        Some(Deferral { wait: due.saturating_duration_since(Instant::now()), ..deferral })
    }
}

/// `id` and `source` of an event.
fn identity(event: &Event) -> (String, String) {
    (event.id().into_owned(), event.get("source").unwrap_or_default().into_owned())
}

/// An event that went back into its ordered queue, since it could not be held for longer.
#[derive(Debug)]
pub(super) struct GivenBack {
    id: String,
    source: String,
    deferral: Deferral,
    due: Instant,
}
