//! Parking queues, for operators. Each operation has a connection of its own, which ends with it:
//! messages that it held then are in their queue again.

mod lock;
mod queue_pass;

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use lapin::{BasicProperties, Connection};

use super::address::ReachedNode;
use super::confirming_publisher::short_string;
use super::connection::LONGEST_ERROR;
use super::topology::inspect_queue;
use super::{RabbitmqAddress, RabbitmqBackend, message, queue_names};
use crate::channel::parked::{
    ParkedChange, ParkedError, ParkedEvent, ParkedFuture, ParkedListing, ParkedOperation,
    ParkedStore, ParkingSubscription, rfc3339,
};
use crate::event::AttributeLimit;
use crate::wire_text::{WireText, escaped_excerpt};
use queue_pass::ParkingQueuePass;

/// Queues that are counted at once.
const COUNTING: usize = 16;
/// Longest time for each answer of RabbitMQ.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest time that an operation which only shows events waits for another one on the same queue.
const SHOW_LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that an operation which changes events waits for another one on the same queue.
const CHANGE_LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// The parking queues of a RabbitMQ.
#[derive(Clone, Debug)]
pub struct ParkingQueues {
    address: RabbitmqAddress,
}

/// Names of the queues of one subscription.
struct ParkingQueueNames<'o> {
    owner: &'o ParkingSubscription,
    /// Queue in which the subscription's events wait.
    queue: String,
    /// Parking queue of the events that nobody took.
    parking_queue: String,
}

impl<'o> ParkingQueueNames<'o> {
    fn for_subscription(owner: &'o ParkingSubscription) -> Self {
        let queue = queue_names::subscription_queue(&owner.channel, &owner.subscription);
        Self {
            owner,
            parking_queue: queue_names::parking_queue(&queue),
            queue,
        }
    }
}

impl RabbitmqBackend {
    /// Store of the parked events of this backend.
    #[must_use]
    pub fn parking(&self) -> ParkingQueues {
        ParkingQueues::new(self.context.options.address.clone())
    }
}

impl ParkingQueues {
    /// Makes the store of the parking queues of the RabbitMQ at this address.
    #[must_use]
    pub fn new(address: RabbitmqAddress) -> Self {
        Self { address }
    }

    async fn connect(&self) -> Result<Connection, ParkedError> {
        let ReachedNode { connection, .. } = self
            .address
            .connect("parked", None)
            .await
            .map_err(unavailable_error)?;
        Ok(connection)
    }

    async fn count_all(&self, owners: &[ParkingSubscription]) -> Result<Vec<u64>, ParkedError> {
        if owners.is_empty() {
            return Ok(Vec::new());
        }
        let connection = self.connect().await?;
        let each: Vec<_> = owners
            .iter()
            .map(|owner| {
                count_ready(
                    &connection,
                    ParkingQueueNames::for_subscription(owner).parking_queue,
                )
            })
            .collect();
        let counts = stream::iter(each)
            .buffered(COUNTING)
            .try_collect::<Vec<_>>()
            .await?;
        close(connection).await;
        Ok(counts.into_iter().map(Option::unwrap_or_default).collect())
    }

    async fn list_events(
        &self,
        owner: &ParkingSubscription,
        limit: usize,
        operation: &ParkedOperation,
    ) -> Result<ParkedListing, ParkedError> {
        let (connection, queues) = (
            self.connect().await?,
            ParkingQueueNames::for_subscription(owner),
        );
        let mut listing = ParkedListing::default();
        // The lock comes before the count: another operation holds messages that would not be
        // counted.
        if limit > 0 {
            lock::take(&connection, &queues, SHOW_LOCK_TIMEOUT).await?;
        }
        listing.parked = count_ready(&connection, queues.parking_queue.clone())
            .await?
            .unwrap_or_default();
        if limit == 0 || listing.parked == 0 {
            close(connection).await;
            return Ok(listing);
        }
        let mut pass = ParkingQueuePass::begin(&connection, &queues, listing.parked).await?;
        // Events that are parked in the meantime are left for the next time. All others are passed,
        // so that they keep their order.
        while let Some(message) = pass.next_message(&operation.stop).await? {
            if listing.examined < u64::try_from(limit).unwrap_or(u64::MAX) {
                listing.examined += 1;
                if operation.selects(message::decode_parked_headers(&message.properties).parked_at)
                {
                    listing
                        .events
                        .push(describe_parked_event(&message.properties, &message.data));
                }
            }
            pass.leave_parked(message).await?;
        }
        pass.finish().await?;
        close(connection).await;
        Ok(listing)
    }

    async fn apply_action(
        &self,
        owner: &ParkingSubscription,
        action: ParkedAction,
        operation: &ParkedOperation,
    ) -> Result<ParkedChange, ParkedError> {
        let (connection, queues) = (
            self.connect().await?,
            ParkingQueueNames::for_subscription(owner),
        );
        // The queue is looked for first, so that nothing is replayed into one that does not exist.
        if action == ParkedAction::Replay
            && count_ready(&connection, queues.queue.clone())
                .await?
                .is_none()
        {
            return Err(ParkedError::NoQueue(owner.subscription.clone()));
        }
        lock::take(&connection, &queues, CHANGE_LOCK_TIMEOUT).await?;
        let mut change = ParkedChange::default();
        let Some(parked) = count_ready(&connection, queues.parking_queue.clone()).await? else {
            return Ok(change);
        };
        let mut pass = ParkingQueuePass::begin(&connection, &queues, parked).await?;
        while let Some(message) = pass.next_message(&operation.stop).await? {
            if !operation.selects(message::decode_parked_headers(&message.properties).parked_at) {
                pass.leave_parked(message).await?;
                continue;
            }
            match action {
                ParkedAction::Replay => pass.replay(message).await?,
                ParkedAction::Discard => pass.discard(message).await?,
            }
            change.done += 1;
        }
        // Asked before the pass is finished, which consumes it.
        change.stopped = operation.stop.is_cancelled() && pass.is_cut_short();
        pass.finish().await?;
        close(connection).await;
        Ok(change)
    }
}

/// Action on parked messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParkedAction {
    Replay,
    Discard,
}

impl ParkedStore for ParkingQueues {
    fn count<'a>(&'a self, owners: &'a [ParkingSubscription]) -> ParkedFuture<'a, Vec<u64>> {
        self.count_all(owners).boxed()
    }

    fn show<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        limit: usize,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedListing> {
        self.list_events(owner, limit, operation).boxed()
    }

    fn replay<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange> {
        self.apply_action(owner, ParkedAction::Replay, operation)
            .boxed()
    }

    fn discard<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange> {
        self.apply_action(owner, ParkedAction::Discard, operation)
            .boxed()
    }
}

/// Number of messages that a queue has ready; `None` if there is no such queue.
async fn count_ready(connection: &Connection, queue: String) -> Result<Option<u64>, ParkedError> {
    Ok(await_answer(inspect_queue(connection, &queue))
        .await?
        .map(|listing| u64::from(listing.ready)))
}

/// Waits for one answer of RabbitMQ, for [`LIMIT`] at most.
async fn await_answer<T>(asked: impl Future<Output = lapin::Result<T>>) -> Result<T, ParkedError> {
    match tokio::time::timeout(LIMIT, asked).await {
        Ok(answer) => answer.map_err(unavailable_error),
        Err(_elapsed) => Err(no_answer_error()),
    }
}

/// Closes the connection of an operation. All questions have been answered; an error of the close
/// does not change that.
async fn close(connection: Connection) {
    if let Err(error) = await_answer(connection.close(200, short_string("done"))).await {
        tracing::debug!(%error, "The connection for parked events ended by itself");
    }
}

fn unavailable_error(error: impl std::fmt::Display) -> ParkedError {
    ParkedError::Unavailable(format!(
        "RabbitMQ: {}",
        escaped_excerpt(error, LONGEST_ERROR)
    ))
}

fn no_answer_error() -> ParkedError {
    ParkedError::Unavailable(format!("RabbitMQ: no answer within {LIMIT:?}"))
}

fn describe_parked_event(properties: &BasicProperties, data: &[u8]) -> ParkedEvent {
    let decoded = message::decode(
        properties,
        Bytes::copy_from_slice(data),
        AttributeLimit::new(usize::MAX),
    )
    .ok();
    let event = decoded.map(|(event, _note)| event);
    let text = |name: &str| {
        event
            .as_ref()
            .and_then(|event| event.get(name).map(|text| WireText::new(text).into()))
    };
    let message::ParkedHeaders {
        reason,
        status,
        attempts,
        parked_at,
    } = message::decode_parked_headers(properties);
    let (id, ty, bytes) = (text("id"), text("type"), data.len());
    let reason = WireText::new(reason).into();
    ParkedEvent {
        id,
        ty,
        reason,
        status,
        attempts,
        parked_at: rfc3339(parked_at),
        bytes,
    }
}
