//! Route to a queue: the connection that it is published to on. RabbitMQ may confirm nothing for a
//! queue on one connection and everything on another: a node that is cut off from most of the
//! others answers everything but what is published, and a channel may go on waiting for a leader
//! that is none any more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::amqp_channel::OpenAmqpChannel;
use crate::model::DeliveryOrder;

/// Time for which RabbitMQ may confirm and refuse nothing for a queue that messages wait for. An
/// election takes less.
const SILENCE: Duration = Duration::from_secs(3);

/// Route by which messages get to one queue.
#[derive(Debug, Default)]
pub(super) struct PublishRoute {
    /// Index of the connection to publish on.
    preferred_connection: AtomicUsize,
    order: DeliveryOrder,
    /// Number of messages on their way to the queue.
    in_flight: AtomicUsize,
    /// Time at which RabbitMQ confirmed or refused a message for the queue last.
    last_answered: Mutex<Option<Instant>>,
    /// Time at which RabbitMQ confirmed a message for the queue last.
    last_confirmed: Mutex<Option<Instant>>,
    /// For each connection, the channel on which the queue was published to last.
    known_channels: Mutex<[Weak<OpenAmqpChannel>; 2]>,
}

/// A message on its way to a queue, counted until it is dropped.
pub(super) struct MessageInFlight<'w>(&'w PublishRoute);

impl Drop for MessageInFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl PublishRoute {
    /// Makes the route to a queue in this order.
    pub(super) fn new(order: DeliveryOrder) -> Self {
        Self {
            order,
            ..Self::default()
        }
    }

    /// Counts a message as on its way, until the result is dropped.
    pub(super) fn track_message(&self) -> MessageInFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        MessageInFlight(self)
    }

    /// Prefers the other connection if the queue was never published to on its channel: RabbitMQ
    /// announces a new leader only to those channels that have published to the queue before, and
    /// others go on asking a leader that hangs (3.10.8). Does nothing if it is not `calm`, nor in
    /// an ordered queue while other messages may be overtaken.
    pub(super) fn warm_up_other_channel(
        &self,
        channels: &[Option<Arc<OpenAmqpChannel>>; 2],
        calm: impl FnOnce() -> bool,
    ) {
        let mut known = self.known_channels();
        let ([first_known, second_known], [first, second]) = (&mut *known, channels);
        let first = RouteChannel {
            known: first_known,
            open: first.as_ref(),
        };
        let second = RouteChannel {
            known: second_known,
            open: second.as_ref(),
        };
        let (this, other, place) = match self.preferred() {
            0 => (first, second, 1),
            _ => (second, first, 0),
        };
        let may_overtake =
            self.order == DeliveryOrder::Ordered && self.in_flight.load(Ordering::Acquire) > 1;
        if !may_overtake
            && let Some(channel) = other.unknown()
            && calm()
        {
            *other.known = Arc::downgrade(channel);
            self.prefer(place);
        } else if let Some(channel) = this.unknown() {
            *this.known = Arc::downgrade(channel);
        }
    }

    /// True if RabbitMQ has confirmed a message for the queue since that time.
    pub(super) fn has_confirmed_since(&self, then: Instant) -> bool {
        self.last_confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|confirmed| confirmed >= then)
    }

    /// Records that RabbitMQ has confirmed a message for the queue.
    pub(super) fn record_confirm(&self) {
        *self
            .last_confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn known_channels(&self) -> MutexGuard<'_, [Weak<OpenAmqpChannel>; 2]> {
        self.known_channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Index of the connection to publish on.
    pub(super) fn preferred(&self) -> usize {
        self.preferred_connection.load(Ordering::Relaxed)
    }

    /// Prefers the connection with this index from now on. True if that is a change.
    pub(super) fn prefer(&self, place: usize) -> bool {
        self.preferred_connection.swap(place, Ordering::Relaxed) != place
    }

    /// Records that RabbitMQ has confirmed or refused a message for the queue.
    pub(super) fn record_answer(&self) {
        *self
            .last_answered
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Waits until RabbitMQ has answered nothing for the queue for [`SILENCE`], while a message
    /// waited that was sent at `sent`.
    pub(super) async fn until_unanswered(&self, sent: Instant) {
        loop {
            let answered = *self
                .last_answered
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let due = answered.map_or(sent, |answered| answered.max(sent)) + SILENCE;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

/// AMQP channel of one of the two connections.
struct RouteChannel<'r, 'c> {
    /// Channel on which the queue was published to.
    known: &'r mut Weak<OpenAmqpChannel>,
    /// Channel that is open; `None` while the connection is away.
    open: Option<&'c Arc<OpenAmqpChannel>>,
}

impl<'c> RouteChannel<'_, 'c> {
    /// The open channel, if it is another one than the known channel.
    fn unknown(&self) -> Option<&'c Arc<OpenAmqpChannel>> {
        self.open
            .filter(|open| !std::ptr::eq(self.known.as_ptr(), Arc::as_ptr(open)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_no_answer_to_any_message() {
        let (way, sent) = (PublishRoute::default(), Instant::now());
        let silent = way.until_unanswered(sent);
        let answered = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            way.record_answer();
        };
        tokio::join!(silent, answered);
        assert_eq!(sent.elapsed(), Duration::from_secs(5));
    }
}
