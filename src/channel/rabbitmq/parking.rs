//! Parking queues, for whoever looks after them: what is in them, back to its queue with it, or away.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytes::Bytes;
use lapin::message::BasicGetMessage;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, Connection};

use super::Address;
use super::message;
pub use super::message::Remark;
use super::outbox::{is_missing, short};
use super::topology::Place;
use crate::model::{RoutingTable, Storage, SubscriptionKey};

/// The parking queue of a subscription.
#[derive(Clone, Debug)]
pub struct Lot {
    /// Whose it is.
    pub subscription: SubscriptionKey,
    place: Place,
}

/// The parking queues of every subscription on RabbitMQ.
#[must_use]
pub fn lots(table: &RoutingTable) -> Vec<Lot> {
    let channels = table.channels().iter().filter(|channel| channel.storage == Storage::Rabbitmq);
    let lot = |(key, subscription): (_, &std::sync::Arc<crate::model::Subscription>)| Lot {
        subscription: subscription.key.clone(),
        place: Place::new(key, subscription),
    };
    channels.flat_map(|channel| channel.subscriptions.iter().map(|each| (&channel.key, each))).map(lot).collect()
}

/// A parked message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// `id` of the event; `None` if it is none.
    pub id: Option<String>,
    /// `type` of the event.
    pub ty: Option<String>,
    /// Why it was parked, with the last status and the number of attempts if it was tried.
    pub remark: Remark,
    /// Bytes of its body.
    pub bytes: usize,
}

/// What to do with parked messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave them.
    Show,
    /// Put them back into the queue of their subscription.
    Replay,
    /// Delete them.
    Drop,
}

/// Works on parking queues.
pub struct Parking {
    connection: Connection,
}

impl Parking {
    /// Connects.
    ///
    /// # Errors
    /// If there is no connection to be had.
    pub async fn open(address: &Address) -> anyhow::Result<Self> {
        let (connection, _node) = address.connect("parked").await.map_err(anyhow::Error::msg).context("RabbitMQ")?;
        Ok(Self { connection })
    }

    /// Messages in a parking queue; `None` if there is no such queue.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn count(&self, lot: &Lot) -> anyhow::Result<Option<u32>> {
        let channel = self.connection.create_channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        match channel.queue_declare(short(&lot.place.parked), passive, FieldTable::default()).await {
            Ok(queue) => Ok(Some(queue.message_count())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Does this with every message that has been parked for so long; the others stay. Gives those that it was done with.
    ///
    /// # Errors
    /// Those of the connection; what was done until then is done.
    pub async fn visit(&self, lot: &Lot, action: Action, older_than: Duration) -> anyhow::Result<Vec<Parked>> {
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let mut done = Vec::new();
        // What is parked in the meantime is left for the next time.
        for _ in 0..self.count(lot).await?.unwrap_or(0) {
            let got = channel.basic_get(short(&lot.place.parked), BasicGetOptions::default()).await?;
            let Some(message) = got else { break };
            let parked = describe(&message);
            if parked.remark.parked_for(now()) < older_than {
                continue;
            }
            match action {
                Action::Show => {}
                Action::Replay => replay(&channel, &lot.place.queue, &message).await?,
                Action::Drop => drop(message.delivery.acker.ack(BasicAckOptions::default()).await?),
            }
            done.push(parked);
        }
        // What was not acknowledged goes back to where it was.
        channel.close(200, short("done")).await?;
        Ok(done)
    }
}

/// Acknowledged only when its queue has it.
async fn replay(channel: &Channel, queue: &str, message: &BasicGetMessage) -> anyhow::Result<()> {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = message::unparked(&message.delivery.properties);
    let published = channel.basic_publish(short(""), short(queue), options, &message.delivery.data, properties);
    match published.await?.await? {
        Confirmation::Ack(None) => {}
        _ => anyhow::bail!("the queue {queue} did not take a message: run sealpost, so that it is declared"),
    }
    message.delivery.acker.ack(BasicAckOptions::default()).await?;
    Ok(())
}

fn describe(message: &BasicGetMessage) -> Parked {
    let data = Bytes::copy_from_slice(&message.delivery.data);
    let bytes = data.len();
    let event = message::decode(&message.delivery.properties, data).ok().map(|(event, _)| event);
    let text = |name: &str| event.as_ref().and_then(|event| event.get(name).map(std::borrow::Cow::into_owned));
    Parked { id: text("id"), ty: text("type"), remark: message::remark(&message.delivery.properties), bytes }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
