//! Channels: they keep events between the sender and the subscribers. This is the seam between what
//! publishes, what consumes, and the backend that keeps the queues.

pub mod backends;
#[cfg(test)]
pub(crate) mod conformance;
mod cooperative_yield;
pub mod disk;
mod event_delivery;
pub mod memory;
pub(crate) mod metrics;
pub(crate) mod parked;
pub mod rabbitmq;
pub(crate) mod replay;
mod subscription_queues;
pub(crate) mod trouble;
pub(crate) mod trouble_reason;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use crate::budget::LimitExceeded;
use crate::event::Event;
use crate::model::{Channel, DestinationRole, Subscription, SubscriptionKey};
use crate::observation::{ObservedEnd, ObservedFact};
use crate::telemetry::series::{DropReason, Dropped, SubscriptionSeries};
use crate::wire_text::WireText;
pub use event_delivery::EventDelivery;
use parked::ParkedStore;
use replay::ReplayStore;
use trouble_reason::{BackendConnection, TroubleReason};

/// Time after which a sender that met a full queue should try again: sent as `Retry-After`.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Reason for which events were not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The queue of a subscription is full; nothing was enqueued in any queue.
    #[error("the queue of {subscription} is full: try again later")]
    Full {
        /// Subscription whose queue is full.
        subscription: SubscriptionKey,
    },
    /// The disk has no room for the events; nothing was enqueued in any queue. Holds the cause in
    /// words.
    #[error("{0}: try again later")]
    NoRoom(String),
    /// The events of one request are more than a queue or the disk takes at once; nothing was
    /// enqueued in any queue. Holds the cause in words.
    #[error("{0}: send fewer or smaller events in one request")]
    TooLarge(String),
    /// A limit of a namespace lets no more events pass; nothing was enqueued in any queue.
    #[error(transparent)]
    OverLimit(#[from] LimitExceeded),
    /// On a channel that acknowledges after delivery, at least one subscription and its dead letter
    /// sink did not get what they should (contract FO-4, FO-5).
    #[error(
        "{failed} of {total} deliveries failed and no dead letter sink took the event: see \
         the log for each"
    )]
    Undelivered {
        /// Deliveries that ended as lost, out of those of the request.
        failed: usize,
        /// All deliveries of the events of the request.
        total: usize,
    },
    /// The queues cannot be reached, or do not answer; holds the cause in words.
    #[error("the event could not be put into its queue ({0}): try again later")]
    Unavailable(String),
}

/// Puts events into the queues of the subscriptions of one channel.
pub trait ChannelPublisher: Send + Sync {
    /// Publishes all of `events` or none, each to every subscription whose filter it passes.
    /// Returns when they are as safe as the channel can make them.
    fn publish<'a>(&'a self, events: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>>;
}

/// Receiver of the event deliveries of one subscription's queue. It ends when the subscription is
/// retired and the queue is empty.
///
/// Deliveries are boxed, since a queue has room for 32 of them even while it is empty.
pub(crate) type QueueConsumer = mpsc::Receiver<Box<EventDelivery>>;

/// Outcome of an event delivery, with which it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The subscriber has the event, and the reply address has the reply, if there is one.
    Delivered,
    /// The dead letter sink has the event.
    DeadLettered,
    /// Neither the subscriber nor a dead letter sink took the event.
    Lost(Box<LostDelivery>),
    /// The event is to be tried again, after a longer wait than [`DeliveryProgress::max_wait`] lets
    /// it be held for here.
    Deferred(DeferredDelivery),
}

/// Details of an event that nobody took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostDelivery {
    /// Subscription to which the event could not be delivered.
    pub subscription: SubscriptionKey,
    /// URL of the destination that failed last, without those parts that may be secret.
    pub destination: String,
    /// Last status of that destination; 500 if there was no response, -1 if no request could be
    /// sent (contract DP-30).
    pub code: i32,
    /// Attempts that were made at that destination.
    pub attempts: u32,
    /// Description of the last failure, for the log and for the parked event.
    pub reason: String,
    /// Labels of the drop in metrics.
    pub counted_as: CountedDrop,
}

/// Drop of an event as metrics count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedDrop {
    /// Role of the destination that failed last.
    pub destination: DestinationRole,
    /// Reason of the drop.
    pub reason: DropReason,
}

impl DeliveryOutcome {
    /// The outcome as observers of the event are told of it. `lost` is what becomes of an event
    /// that nobody took.
    pub(crate) fn observed(&self, lost: ObservedEnd) -> ObservedFact<'_> {
        match self {
            Self::Delivered => ObservedFact::Ended(ObservedEnd::Delivered, ""),
            Self::DeadLettered => ObservedFact::Ended(ObservedEnd::DeadLettered, ""),
            Self::Lost(loss) => ObservedFact::Ended(lost, &loss.reason),
            Self::Deferred(_) => ObservedFact::Ended(ObservedEnd::Deferred, ""),
        }
    }
}

impl LostDelivery {
    /// Counts the drop in the subscription's series, as lost or as parked.
    pub(crate) fn count_dropped(&self, series: &SubscriptionSeries, drop: Dropped) {
        let CountedDrop {
            destination,
            reason,
        } = self.counted_as;
        series.count_drop(drop, destination, reason);
    }

    /// Logs the loss as an error with all details once a minute for each subscription; others
    /// within that minute at DEBUG only.
    pub(crate) fn log_lost(&self, event: &Event, series: &SubscriptionSeries) {
        let Self {
            subscription,
            destination,
            attempts,
            reason,
            ..
        } = self;
        if series.is_first_loss() {
            tracing::error!(
                %subscription,
                event.id = %WireText::new(event.id()),
                destination,
                attempts,
                reason,
                "Event lost: delivery failed"
            );
        } else {
            tracing::debug!(
                %subscription,
                event.id = %WireText::new(event.id()),
                destination,
                attempts,
                reason,
                "Another event lost"
            );
        }
    }
}

impl LostDelivery {
    /// Logs a parked event as a warning with all details once a minute for each subscription;
    /// others within that minute at DEBUG only.
    fn log_parked(&self, event: &Event, series: &SubscriptionSeries) {
        let Self {
            subscription,
            destination,
            attempts,
            reason,
            ..
        } = self;
        let id = WireText::new(event.id());
        if series.is_first_parked() {
            tracing::warn!(
                %subscription,
                event.id = %id,
                destination,
                attempts,
                reason,
                "Event parked: delivery failed"
            );
        } else {
            tracing::debug!(
                %subscription,
                event.id = %id,
                destination,
                attempts,
                reason,
                "Another event parked"
            );
        }
    }
}

/// Destination that an event delivery is on the way to, with the event that goes there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeliveryStage {
    /// The event itself goes to the subscriber.
    #[default]
    Subscriber,
    /// The event that the subscriber replied goes to the reply address.
    Reply(Arc<Event>),
    /// The event, with attributes that describe the failure, goes to the dead letter sink.
    DeadLetterSink(Arc<Event>),
}

/// Continuation of an event delivery that has to wait for longer than it can be held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeferredDelivery {
    /// Destination of the next attempt, and the event that goes there.
    pub stage: DeliveryStage,
    /// Attempts made at that destination until now.
    pub attempts: u32,
    /// Wait before the next attempt, from the moment of settling.
    pub wait: Duration,
}

/// Progress of an event delivery before it came here, and the limits within which it may go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryProgress {
    /// Destination that the delivery had come to.
    pub stage: DeliveryStage,
    /// Attempts made at that destination before.
    pub attempts: u32,
    /// Part of the wait before the next attempt that is left.
    pub wait: Duration,
    /// Longest wait between two attempts that the queue allows; a longer one ends in
    /// [`DeliveryOutcome::Deferred`], and if it is zero, so does every step after a failure, even
    /// one without a wait. `None` allows any wait.
    pub max_wait: Option<Duration>,
    /// Time for which the queue lets the event be held; `None` means for ever.
    pub hold_time: Option<HoldTime>,
}

/// Time for which the queue lets the event be held. A delivery that would take longer ends in
/// [`DeliveryOutcome::Deferred`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldTime {
    /// End of that time, for this event.
    pub until: Instant,
    /// Length of that time for an event that has just come: no attempt can take longer.
    pub longest: Duration,
}

impl HoldTime {
    /// Time that an attempt may take which begins now and would like to take `timeout`. `None` if
    /// there is not enough time left for it, but would be if the event came anew.
    #[must_use]
    pub(crate) fn attempt_timeout(&self, timeout: Duration) -> Option<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        let fresh = self.longest.mul_f64(0.9);
        (left >= timeout.min(fresh)).then_some(timeout.min(left))
    }
}

/// Way back to the backend, which learns from it how a delivery ended. One that is dropped without
/// [`DeliverySettlement::settle`] means that the delivery was abandoned: the queue decides what
/// follows.
pub trait DeliverySettlement: fmt::Debug + Send + Sync {
    /// Tells the queue the outcome of the delivery. Returns when the queue has recorded it, or
    /// cannot. Is called once at most.
    fn settle<'a>(&'a mut self, event: &'a Event, outcome: DeliveryOutcome) -> BoxFuture<'a, ()>;

    /// Tells observers what becomes of an event whose delivery is dropped before it is settled;
    /// `why` is empty if there is nothing to say.
    fn observe_abandoned(&self, event: &Event, why: &str);

    /// Returns when the queue has given the event to another consumer; never, if that cannot
    /// happen.
    fn until_revoked(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }
}

/// A channel that is open on its backend, and ready to take events.
pub struct OpenedChannel {
    /// Publisher to the queues of all its subscriptions.
    pub publisher: Arc<dyn ChannelPublisher>,
    /// Subscriptions whose queues are new, each with the consumer of its queue; those that were
    /// open before have theirs already.
    pub consumers: Vec<(Arc<Subscription>, QueueConsumer)>,
}

/// What a backend takes of the place where it keeps events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageUsage {
    /// Bytes that it takes.
    pub used: u64,
    /// Bytes that it may take.
    pub limit: u64,
    /// Reason for which it refuses events, in words, if it does.
    pub lack: Option<String>,
}

/// Keeper of the queues of channels. Queues are named by the key of their subscription, and outlive
/// changes of everything but that key.
pub trait ChannelBackend: Send + Sync + 'static {
    /// Makes sure that every subscription of the channel has a queue. Never deletes one.
    fn open(&self, channel: &Channel) -> OpenedChannel;

    /// Gives up the queue of a subscription that is no longer configured: it gets no more events.
    fn retire_subscription(&self, subscription: &SubscriptionKey);

    /// Events of a subscription that this process holds and has not finished: waiting, in flight or
    /// between retries. Events that wait outside of the process do not count. `None` if the
    /// subscription has no queue here.
    fn unfinished(&self, subscription: &SubscriptionKey) -> Option<usize>;

    /// Events of a subscription that are not finished, wherever they wait; of a queue outside of
    /// this host only those that this process holds. `None` if the subscription has no queue here.
    fn depth(&self, subscription: &SubscriptionKey) -> Option<usize> {
        self.unfinished(subscription)
    }

    /// Time until the first event of a subscription is due that waits in its queue for another
    /// attempt; `None` if none does, or if that is not known.
    fn until_next_due(&self, _subscription: &SubscriptionKey) -> Option<Duration> {
        None
    }

    /// Reason for which events of a subscription cannot be put into its queue, or taken out of it,
    /// now; `None` if they can.
    fn trouble(&self, subscription: &SubscriptionKey) -> Option<TroubleReason>;

    /// Connection to the queues; `None` if they are in this process, so that they cannot be away.
    fn connection(&self) -> Option<BackendConnection> {
        None
    }

    /// What the backend takes of the disk; `None` if it takes nothing, or is not in use.
    fn storage_usage(&self) -> Option<StorageUsage> {
        None
    }

    /// Store of the events that nobody took; `None` if the backend keeps none of them.
    fn parked_store(&self) -> Option<Box<dyn ParkedStore>> {
        None
    }

    /// Store of replays; `None` if the backend retains nothing that it could replay.
    fn replay_store(&self) -> Option<Box<dyn ReplayStore>> {
        None
    }

    /// Begins the stop of the process: consumers end as soon as what is durable can be left to the
    /// next process. From now on, [`ChannelBackend::retire_subscription`] does not mean that the
    /// configuration has changed.
    fn close(&self);
}
