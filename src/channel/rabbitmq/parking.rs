//! Parking queues, for whoever looks after them. Each errand has a connection of its own, which ends with it: what it
//! held then is in its queue again.

mod lock;
mod visit;

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use lapin::{BasicProperties, Connection};

use super::address::Reached;
use super::connection::LONGEST_ERROR;
use super::outbox::short;
use super::topology::look;
use super::{Address, RabbitmqBackend, message, names};
use crate::channel::parked::{
    ParkedAnswer, ParkedChange, ParkedErrand, ParkedError, ParkedEvent, ParkedLook, ParkedOwner, ParkedStore, rfc3339,
};
use crate::event::AttributeLimit;
use crate::wire_text::{WireText, excerpt};
use visit::Visit;

/// Queues that are counted at once.
const COUNTING: usize = 16;
/// How long any one answer of RabbitMQ may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How long somebody who looks waits for somebody else.
const LOOKER_WAITS: Duration = Duration::from_secs(10);
/// How long somebody who changes waits for somebody else.
const CHANGER_WAITS: Duration = Duration::from_millis(500);

/// The parking queues of a RabbitMQ.
#[derive(Clone, Debug)]
pub struct Parking {
    address: Address,
}

/// The queues of one subscription.
struct Queues<'o> {
    owner: &'o ParkedOwner,
    /// Where its events wait.
    queue: String,
    /// Where those are that nobody took.
    parked: String,
}

impl<'o> Queues<'o> {
    fn of(owner: &'o ParkedOwner) -> Self {
        let queue = names::queue(&owner.channel, &owner.subscription);
        Self { owner, parked: names::parked(&queue), queue }
    }
}

impl RabbitmqBackend {
    /// Its parking queues.
    #[must_use]
    pub fn parking(&self) -> Parking {
        Parking::new(self.shared.options.address.clone())
    }
}

impl Parking {
    /// The parking queues of the RabbitMQ that is there.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address }
    }

    async fn open(&self) -> Result<Connection, ParkedError> {
        let Reached { connection, .. } = self.address.connect("parked", None).await.map_err(unavailable)?;
        Ok(connection)
    }

    async fn count_all(&self, owners: &[ParkedOwner]) -> Result<Vec<u64>, ParkedError> {
        if owners.is_empty() {
            return Ok(Vec::new());
        }
        let connection = self.open().await?;
        let each: Vec<_> = owners.iter().map(|owner| count(&connection, Queues::of(owner).parked)).collect();
        let counts = stream::iter(each).buffered(COUNTING).try_collect::<Vec<_>>().await?;
        close(connection).await;
        Ok(counts.into_iter().map(Option::unwrap_or_default).collect())
    }

    async fn look(&self, owner: &ParkedOwner, limit: usize, errand: &ParkedErrand) -> Result<ParkedLook, ParkedError> {
        let (connection, queues) = (self.open().await?, Queues::of(owner));
        let mut look = ParkedLook::default();
        if limit > 0 {
            lock::take(&connection, &queues, LOOKER_WAITS).await?;
        }
        look.parked = count(&connection, queues.parked.clone()).await?.unwrap_or_default();
        if limit == 0 || look.parked == 0 {
            close(connection).await;
            return Ok(look);
        }
        let mut visit = Visit::begin(&connection, &queues, look.parked).await?;
        // What is parked in the meantime is left for the next time. All are passed, so that they keep their order.
        while let Some(message) = visit.next(&errand.stop).await? {
            if look.looked < u64::try_from(limit).unwrap_or(u64::MAX) {
                look.looked += 1;
                if errand.is_meant(message::remark(&message.properties).parked_at) {
                    look.events.push(describe(&message.properties, &message.data));
                }
            }
            visit.leave(message).await?;
        }
        visit.end().await?;
        close(connection).await;
        Ok(look)
    }

    async fn change(
        &self,
        owner: &ParkedOwner,
        fate: Fate,
        errand: &ParkedErrand,
    ) -> Result<ParkedChange, ParkedError> {
        let (connection, queues) = (self.open().await?, Queues::of(owner));
        if fate == Fate::Replay && count(&connection, queues.queue.clone()).await?.is_none() {
            return Err(ParkedError::NoQueue(owner.subscription.clone()));
        }
        lock::take(&connection, &queues, CHANGER_WAITS).await?;
        let mut change = ParkedChange::default();
        let Some(parked) = count(&connection, queues.parked.clone()).await? else { return Ok(change) };
        let mut visit = Visit::begin(&connection, &queues, parked).await?;
        while let Some(message) = visit.next(&errand.stop).await? {
            if !errand.is_meant(message::remark(&message.properties).parked_at) {
                visit.leave(message).await?;
                continue;
            }
            match fate {
                Fate::Replay => visit.replay(message).await?,
                Fate::Discard => visit.discard(message).await?,
            }
            change.done += 1;
        }
        change.stopped = errand.stop.is_cancelled() && visit.is_cut_short();
        visit.end().await?;
        close(connection).await;
        Ok(change)
    }
}

/// What is to become of parked messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Replay,
    Discard,
}

impl ParkedStore for Parking {
    fn list<'a>(&'a self, owners: &'a [ParkedOwner]) -> ParkedAnswer<'a, Vec<u64>> {
        self.count_all(owners).boxed()
    }

    fn show<'a>(
        &'a self,
        owner: &'a ParkedOwner,
        limit: usize,
        errand: &'a ParkedErrand,
    ) -> ParkedAnswer<'a, ParkedLook> {
        self.look(owner, limit, errand).boxed()
    }

    fn replay<'a>(&'a self, owner: &'a ParkedOwner, errand: &'a ParkedErrand) -> ParkedAnswer<'a, ParkedChange> {
        self.change(owner, Fate::Replay, errand).boxed()
    }

    fn discard<'a>(&'a self, owner: &'a ParkedOwner, errand: &'a ParkedErrand) -> ParkedAnswer<'a, ParkedChange> {
        self.change(owner, Fate::Discard, errand).boxed()
    }
}

/// Messages that a queue has ready; `None` if there is no such queue.
async fn count(connection: &Connection, queue: String) -> Result<Option<u64>, ParkedError> {
    Ok(answer(look(connection, &queue)).await?.map(|look| u64::from(look.ready)))
}

/// Waits for one answer of RabbitMQ, not for ever.
async fn answer<T>(asked: impl Future<Output = lapin::Result<T>>) -> Result<T, ParkedError> {
    match tokio::time::timeout(LIMIT, asked).await {
        Ok(answer) => answer.map_err(unavailable),
        Err(_elapsed) => Err(silent()),
    }
}

/// All that was asked for has been answered; how a connection ends does not change that.
async fn close(connection: Connection) {
    if let Err(error) = answer(connection.close(200, short("done"))).await {
        tracing::debug!(%error, "The connection for parked events ended by itself");
    }
}

fn unavailable(error: impl std::fmt::Display) -> ParkedError {
    ParkedError::Unavailable(format!("RabbitMQ: {}", excerpt(error, LONGEST_ERROR)))
}

fn silent() -> ParkedError {
    ParkedError::Unavailable(format!("RabbitMQ: no answer within {LIMIT:?}"))
}

fn describe(properties: &BasicProperties, data: &[u8]) -> ParkedEvent {
    let decoded = message::decode(properties, Bytes::copy_from_slice(data), AttributeLimit::new(usize::MAX)).ok();
    let event = decoded.map(|(event, _note)| event);
    let text = |name: &str| event.as_ref().and_then(|event| event.get(name).map(|text| WireText::of(text).into()));
    let message::Remark { reason, status, attempts, parked_at } = message::remark(properties);
    let (id, ty, bytes) = (text("id"), text("type"), data.len());
    let reason = WireText::of(reason).into();
    ParkedEvent { id, ty, reason, status, attempts, parked_at: rfc3339(parked_at), bytes }
}
