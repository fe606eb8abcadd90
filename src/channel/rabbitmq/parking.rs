//! Parking queues, for operators. Each operation has a connection of its own, which ends with it:
//! messages that it held then are in their queue again.

mod answer;
mod lock;
mod queue_names;
mod queue_pass;

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use lapin::Connection;
use lapin::message::Delivery;

use super::address::{RabbitmqAddress, ReachedNode};
use super::message::amqp_value::short_string;
use super::message::event_decoder;
use super::message::parked_headers::decode_parked_headers;
use super::queue_inspection::inspect_queue;
use crate::channel::parked::{
    ParkedAction, ParkedChange, ParkedError, ParkedEvent, ParkedFuture, ParkedListing,
    ParkedOperation, ParkedStore, ParkingSubscription,
};
use crate::event::AttributeLimit;
use answer::{await_answer, unavailable_error};
use queue_names::ParkingQueueNames;
use queue_pass::ParkingQueuePass;

/// Queues that are counted at once.
const COUNTING: usize = 16;
/// Longest time that an operation which only shows events waits for another one on the same queue.
const SHOW_LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that an operation which changes events waits for another one on the same queue.
const CHANGE_LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// The parking queues of a RabbitMQ.
#[derive(Clone, Debug)]
pub(crate) struct ParkingQueues {
    address: RabbitmqAddress,
}

impl ParkingQueues {
    /// Makes the store of the parking queues of the RabbitMQ at this address.
    #[must_use]
    pub(crate) fn new(address: RabbitmqAddress) -> Self {
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
        let names: Vec<String> = owners
            .iter()
            .map(|owner| ParkingQueueNames::for_subscription(owner).parking_queue)
            .collect();
        let each: Vec<_> = names
            .iter()
            .map(|name| count_ready(&connection, name))
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
        let connection = self.connect().await?;
        let queues = ParkingQueueNames::for_subscription(owner);
        // The lock comes before the count: another operation holds messages that would not be
        // counted.
        if limit > 0 {
            lock::take(&connection, &queues, SHOW_LOCK_TIMEOUT).await?;
        }
        let parked = count_ready(&connection, &queues.parking_queue).await?;
        let mut listing = ParkedListing {
            parked: parked.unwrap_or_default(),
            ..ParkedListing::default()
        };
        if limit > 0 && listing.parked > 0 {
            let mut pass = ParkingQueuePass::begin(&connection, &queues, listing.parked).await?;
            list_messages(&mut pass, limit, operation, &mut listing).await?;
            pass.finish().await?;
        }
        close(connection).await;
        Ok(listing)
    }

    async fn change_events(
        &self,
        owner: &ParkingSubscription,
        action: ParkedAction,
        operation: &ParkedOperation,
    ) -> Result<ParkedChange, ParkedError> {
        let connection = self.connect().await?;
        let queues = ParkingQueueNames::for_subscription(owner);
        // The queue is looked for first, so that nothing is replayed into one that does not exist.
        if action == ParkedAction::Replay
            && count_ready(&connection, &queues.queue).await?.is_none()
        {
            return Err(ParkedError::NoQueue(owner.subscription.clone()));
        }
        lock::take(&connection, &queues, CHANGE_LOCK_TIMEOUT).await?;
        let Some(parked) = count_ready(&connection, &queues.parking_queue).await? else {
            return Ok(ParkedChange::default());
        };
        let mut pass = ParkingQueuePass::begin(&connection, &queues, parked).await?;
        let done = change_messages(&mut pass, action, operation).await?;
        // Asked before the pass is finished, which consumes it.
        let stopped = operation.stop.is_cancelled() && pass.is_cut_short();
        pass.finish().await?;
        close(connection).await;
        Ok(ParkedChange { done, stopped })
    }
}

/// Adds the first `limit` messages of a pass to the listing, if the operation is meant for them.
/// Events that are parked in the meantime are left for the next time. All others are passed, so that
/// they keep their order.
async fn list_messages(
    pass: &mut ParkingQueuePass<'_>,
    limit: usize,
    operation: &ParkedOperation,
    listing: &mut ParkedListing,
) -> Result<(), ParkedError> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    while let Some(message) = pass.next_message(&operation.stop).await? {
        if listing.examined < limit {
            listing.examined += 1;
            if operation.selects(decode_parked_headers(&message.properties).parked_at) {
                let event = describe_parked_event(&message, operation);
                listing.events.push(event);
            }
        }
        pass.leave_parked(message).await?;
    }
    Ok(())
}

/// Does this with the messages of a pass for which the operation is meant. Gives their number.
async fn change_messages(
    pass: &mut ParkingQueuePass<'_>,
    action: ParkedAction,
    operation: &ParkedOperation,
) -> Result<u64, ParkedError> {
    let mut done = 0;
    while let Some(message) = pass.next_message(&operation.stop).await? {
        if !operation.selects(decode_parked_headers(&message.properties).parked_at) {
            pass.leave_parked(message).await?;
            continue;
        }
        match action {
            ParkedAction::Replay => pass.replay(message).await?,
            ParkedAction::Discard => pass.discard(message).await?,
        }
        done += 1;
    }
    Ok(done)
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

    fn change<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
        action: ParkedAction,
        operation: &'a ParkedOperation,
    ) -> ParkedFuture<'a, ParkedChange> {
        self.change_events(owner, action, operation).boxed()
    }
}

/// Number of messages that a queue has ready; `None` if there is no such queue.
async fn count_ready(connection: &Connection, queue: &str) -> Result<Option<u64>, ParkedError> {
    let counts = await_answer(inspect_queue(connection, queue)).await?;
    Ok(counts.map(|counts| u64::from(counts.ready)))
}

/// Closes the connection of an operation. All questions have been answered; an error of the close
/// does not change that.
async fn close(connection: Connection) {
    if let Err(error) = await_answer(connection.close(200, short_string("done"))).await {
        tracing::debug!(%error, "The connection for parked events ended by itself");
    }
}

/// Describes a parked message for operators.
fn describe_parked_event(message: &Delivery, operation: &ParkedOperation) -> ParkedEvent {
    let (properties, data) = (&message.properties, &message.data[..]);
    let body = Bytes::copy_from_slice(data);
    let decoded = event_decoder::decode(properties, body, AttributeLimit::new(usize::MAX)).ok();
    let event = decoded.map(|(event, _retry_headers)| event);
    let headers = decode_parked_headers(properties);
    ParkedEvent {
        status: headers.status,
        attempts: headers.attempts,
        bytes: data.len(),
        ..ParkedEvent::describe(
            event.as_ref(),
            &headers.reason,
            headers.parked_at,
            operation,
        )
    }
}
