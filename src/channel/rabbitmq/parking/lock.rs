//! One errand at a time for each parking queue, whichever process it comes from: messages that one of them holds are
//! seen by no other, which would find less than there is.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ErrorKind};
use tokio::time::Instant;

use super::{Queues, answer, unavailable};
use crate::channel::parked::ParkedError;
use crate::channel::rabbitmq::connection::open_channel;
use crate::channel::rabbitmq::outbox::short;

/// How often somebody who waits asks again.
const PERIOD: Duration = Duration::from_millis(100);

/// Takes the lock, which ends with the connection: a queue that is this connection's alone. Waits for somebody else no
/// longer than so long.
pub(super) async fn take(connection: &Connection, queues: &Queues<'_>, patience: Duration) -> Result<(), ParkedError> {
    let name = format!("{}:look", queues.parked);
    let deadline = Instant::now() + patience;
    loop {
        if let Some(channel) = try_take(connection, &name).await? {
            return probe(&channel, &name).await;
        }
        if Instant::now() >= deadline {
            return Err(ParkedError::Busy(queues.owner.subscription.clone()));
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// A channel on which the lock was taken; `None` if somebody else has it.
async fn try_take(connection: &Connection, name: &str) -> Result<Option<Channel>, ParkedError> {
    let channel = answer(open_channel(connection)).await?;
    let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let declared = async { Ok(channel.queue_declare(short(name), own, FieldTable::default()).await) };
    match answer(declared).await? {
        Ok(_queue) => Ok(Some(channel)),
        Err(error) if is_locked(&error) => Ok(None),
        Err(error) => Err(unavailable(error)),
    }
}

/// Whether RabbitMQ takes messages now, which it does not while it is short of memory or disk: then nothing is begun that
/// could not be brought to its end. The message that it takes goes with the lock.
async fn probe(channel: &Channel, name: &str) -> Result<(), ParkedError> {
    answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let confirm = answer(channel.basic_publish(short(""), short(name), options, b"", properties)).await;
    let confirmed = match confirm {
        Ok(confirm) => answer(confirm).await,
        Err(error) => Err(error),
    };
    let alarm =
        |error| unavailable(format!("it takes no messages now, is there an alarm of memory or disk? ({error})"));
    confirmed.map(drop).map_err(alarm)
}

/// Whether the queue is another connection's (405).
fn is_locked(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 405)
}
