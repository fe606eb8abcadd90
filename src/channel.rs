//! Where events rest between the sender and the subscribers: the seam between what publishes, what consumes, and the
//! backend that keeps the queues.

pub mod memory;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::event::Event;
use crate::model::{Channel, Subscription, SubscriptionKey};

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
    /// Not every subscription, or its dead letter sink, got what it should (data-plane.md FO-4, FO-5).
    #[error("{failed} of {total} deliveries failed and no dead letter sink took the event: see the log for each")]
    Undelivered {
        /// Deliveries that ended without a home.
        failed: usize,
        /// All deliveries of the request.
        total: usize,
    },
}

/// Puts events into the queues of a channel's subscriptions.
pub trait Publisher: Send + Sync {
    /// Publishes all of `events` or none. Returns when they are as safe as the channel can make them.
    fn publish<'a>(&'a self, events: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>>;
}

/// Takes one subscription's events out of its queue. Ends when the subscription is retired and the queue is empty.
pub type Consumer = mpsc::Receiver<Message>;

/// How the delivery of an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The subscriber has it, and the reply destination has the reply.
    Delivered,
    /// The dead letter sink has it.
    DeadLettered,
    /// Nobody has it.
    Lost,
}

/// An event on its way to one subscription. Whoever takes it must settle it.
#[derive(Debug)]
pub struct Message {
    /// The event.
    pub event: Arc<Event>,
    ticket: memory::Ticket,
}

impl Message {
    /// Tells the queue how the delivery ended.
    pub fn settle(self, outcome: Outcome) {
        self.ticket.settle(outcome);
    }
}

/// A channel that is ready to take events.
pub struct Opened {
    /// Where to put them.
    pub publisher: Arc<dyn Publisher>,
    /// The queues that are new, and whose they are.
    pub consumers: Vec<(Arc<Subscription>, Consumer)>,
}

/// A kind of channel. Queues are named by subscription and outlive changes of everything but that name.
pub trait ChannelBackend: Send + Sync + 'static {
    /// Makes sure that every subscription of the channel has its queue. Never deletes one.
    fn open(&self, channel: &Channel) -> Opened;

    /// Gives up the queue of a subscription that is no longer configured: what is in it can still be consumed.
    fn retire(&self, subscription: &SubscriptionKey);
}
