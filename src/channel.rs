//! Where events rest between the sender and the subscribers: the seam between what publishes, what consumes, and the
//! backend that keeps the queues.

pub mod backends;
#[cfg(test)]
pub(crate) mod conformance;
mod cooperative_yield;
pub mod memory;
pub mod metrics;
pub mod parked;
pub mod rabbitmq;
pub mod trouble;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;
use trouble::TroubleReason;

use crate::event::Event;
use crate::model::{Channel, Subscription, SubscriptionKey};
use crate::telemetry::series::{DestinationRole, DropReason, Dropped, SubscriptionSeries};
use crate::wire_text::WireText;

/// When a sender that met a full queue should try again.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why events were not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// A queue is full; nothing was enqueued anywhere.
    #[error("the queue of {subscription} is full: try again later")]
    Full {
        /// Whose queue.
        subscription: SubscriptionKey,
    },
    /// Not every subscription, or its dead letter sink, got what it should (contract FO-4, FO-5).
    #[error("{failed} of {total} deliveries failed and no dead letter sink took the event: see the log for each")]
    Undelivered {
        /// Deliveries that ended without a home.
        failed: usize,
        /// All deliveries of the request.
        total: usize,
    },
    /// The queues cannot be reached, or do not answer.
    #[error("the event could not be put into its queue ({0}): try again later")]
    Unavailable(String),
}

/// Puts events into the queues of a channel's subscriptions.
pub trait ChannelPublisher: Send + Sync {
    /// Publishes all of `events` or none. Returns when they are as safe as the channel can make them.
    fn publish<'a>(&'a self, events: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>>;
}

/// Takes one subscription's events out of its queue. Ends when the subscription is retired and the queue is empty.
///
/// Messages are boxed, since a queue has room for 32 of them even while it is empty.
pub type QueueConsumer = mpsc::Receiver<Box<EventDelivery>>;

/// How the delivery of an event ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The subscriber has it, and the reply destination has the reply.
    Delivered,
    /// The dead letter sink has it.
    DeadLettered,
    /// Nobody took it.
    Lost(Box<LostDelivery>),
    /// It is to be tried again, later than [`DeliveryProgress::patience`] allows to wait for here.
    Deferred(DeferredDelivery),
}

/// What is known of an event that nobody took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostDelivery {
    /// Whose event it was.
    pub subscription: SubscriptionKey,
    /// The destination that failed last, without what may be a secret of its URL.
    pub destination: String,
    /// Its last status; 500 if there was no answer, -1 if nothing could be sent (contract DP-30).
    pub code: i32,
    /// Attempts made there.
    pub attempts: u32,
    /// What happened.
    pub reason: String,
    /// The destination that failed last, and why, as they are counted.
    pub counted_as: (DestinationRole, DropReason),
}

impl LostDelivery {
    /// Counts it by its reason.
    pub fn count_dropped(&self, series: &SubscriptionSeries, drop: Dropped) {
        let (destination, why) = self.counted_as;
        series.count_drop(drop, destination, why);
    }

    /// Says that nobody has the event: of several within a minute, in full of the first one only.
    pub fn log_lost(&self, event: &Event, series: &SubscriptionSeries) {
        let Self { subscription, destination, attempts, reason, .. } = self;
        if series.is_first_loss() {
            tracing::error!(%subscription, event.id = %WireText::new(event.id()), destination, attempts, reason, "Event lost: delivery failed");
        } else {
            tracing::debug!(%subscription, event.id = %WireText::new(event.id()), destination, attempts, reason, "Another event lost");
        }
    }
}

/// Which of its destinations an event is on the way to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeliveryStage {
    /// The subscriber.
    #[default]
    Subscriber,
    /// The reply address: with this, which the subscriber answered.
    Reply(Arc<Event>),
    /// The dead letter sink: with this, the event and what is known of the failure.
    DeadLetterSink(Arc<Event>),
}

/// When an event is to be tried again, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeferredDelivery {
    /// The destination.
    pub stage: DeliveryStage,
    /// Attempts made there until now.
    pub attempts: u32,
    /// How long to wait before the next one.
    pub wait: Duration,
}

/// How far the delivery of an event got before, and how it may go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryProgress {
    /// The destination that it got to.
    pub stage: DeliveryStage,
    /// Attempts made there.
    pub attempts: u32,
    /// What is left to wait before the next one.
    pub wait: Duration,
    /// The longest wait between two attempts that its queue allows; a longer one ends in [`Outcome::Deferred`]. `None`
    /// allows any.
    pub max_wait: Option<Duration>,
    /// How long its queue lets the event be held; `None` lets it for ever.
    pub hold_time: Option<HoldTime>,
}

/// How long an event may be held by who delivers it. What would take longer ends in [`Outcome::Deferred`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldTime {
    /// Until when.
    pub until: Instant,
    /// How long that is from the beginning: no attempt can take longer.
    pub longest: Duration,
}

impl HoldTime {
    /// How long an attempt may take that begins now and would like to take `timeout`; `None` if there is not enough time
    /// left for it, but would be if the event came anew.
    #[must_use]
    pub fn attempt_timeout(&self, timeout: Duration) -> Option<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        let fresh = self.longest.mul_f64(0.9);
        (left >= timeout.min(fresh)).then_some(timeout.min(left))
    }
}

/// How a backend is told what became of a message. One that is dropped before was abandoned: its queue decides what follows.
pub trait DeliverySettlement: fmt::Debug + Send + Sync {
    /// Tells the queue how the delivery ended. Returns when the queue has noted it, or cannot. Called once.
    fn settle<'a>(&'a mut self, event: &'a Event, outcome: DeliveryOutcome) -> BoxFuture<'a, ()>;

    /// Returns when the queue has given the event to somebody else; never, if that cannot happen.
    fn until_revoked(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }
}

/// An event on its way to one subscription. Whoever takes it must settle it.
#[derive(Debug)]
pub struct EventDelivery<S: ?Sized = dyn DeliverySettlement> {
    /// The event.
    pub event: Arc<Event>,
    /// What was tried before.
    pub progress: DeliveryProgress,
    /// When it came into its queue; of RabbitMQ's, when it came from there.
    pub received_at: Instant,
    /// The last field, so that one box holds a message of any backend.
    settlement: S,
}

impl<S: DeliverySettlement + 'static> EventDelivery<S> {
    fn new(event: Arc<Event>, progress: DeliveryProgress, settlement: S) -> Box<EventDelivery> {
        Box::new(Self { event, progress, received_at: Instant::now(), settlement })
    }
}

impl EventDelivery {
    /// Returns when the queue has given the event to somebody else, so that what is done with it here should end; never,
    /// if that cannot happen.
    pub async fn until_revoked(&self) {
        self.settlement.until_revoked().await;
    }

    /// Tells the queue how the delivery ended. Returns when the queue has noted it, or cannot.
    pub async fn settle(mut self: Box<Self>, outcome: DeliveryOutcome) {
        let Self { event, settlement, .. } = &mut *self;
        settlement.settle(event, outcome).await;
    }
}

/// A channel that is ready to take events.
pub struct OpenedChannel {
    /// Where to put them.
    pub publisher: Arc<dyn ChannelPublisher>,
    /// The queues that are new, and whose they are.
    pub consumers: Vec<(Arc<Subscription>, QueueConsumer)>,
}

/// A kind of channel. Queues are named by subscription and outlive changes of everything but that name.
pub trait ChannelBackend: Send + Sync + 'static {
    /// Makes sure that every subscription of the channel has its queue. Never deletes one.
    fn open(&self, channel: &Channel) -> OpenedChannel;

    /// Gives up the queue of a subscription that is no longer configured.
    fn retire_subscription(&self, subscription: &SubscriptionKey);

    /// Events of a subscription that this process holds and has not finished: waiting, in flight or between retries.
    /// What waits outside of the process does not count. `None` if the subscription has no queue here.
    fn unfinished(&self, subscription: &SubscriptionKey) -> Option<usize>;

    /// Why events for a subscription cannot be put into its queue, or taken out of it, now; `None` if they can.
    fn trouble(&self, subscription: &SubscriptionKey) -> Option<TroubleReason>;

    /// The process stops: consumers end as soon as what is durable can be left to the next process. From now on,
    /// [`ChannelBackend::retire`] says nothing about the configuration.
    fn close(&self);
}
