//! One errand at a time for each parking queue, whichever process it comes from: messages that one of them holds are
//! seen by no other, which would find less than there is.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ErrorKind};
use tokio::time::Instant;

use super::{ParkingQueueNames, await_answer, unavailable_error};
use crate::channel::parked::ParkedError;
use crate::channel::rabbitmq::confirming_publisher::short_string;
use crate::channel::rabbitmq::connection::open_amqp_channel;

/// How often somebody who waits asks again.
const PERIOD: Duration = Duration::from_millis(100);

/// Takes the lock, which ends with the connection: a queue that is this connection's alone. Waits for somebody else no
/// longer than so long.
pub(super) async fn take(
    connection: &Connection,
    queues: &ParkingQueueNames<'_>,
    patience: Duration,
) -> Result<(), ParkedError> {
    let name = format!("{}:look", queues.parking_queue);
    let deadline = Instant::now() + patience;
    loop {
        if let Some(channel) = try_take(connection, &name).await? {
            return probe_publish(&channel, &name).await;
        }
        if Instant::now() >= deadline {
            return Err(ParkedError::Busy(queues.owner.subscription.clone()));
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// A channel on which the lock was taken; `None` if somebody else has it.
async fn try_take(connection: &Connection, name: &str) -> Result<Option<Channel>, ParkedError> {
    let channel = await_answer(open_amqp_channel(connection)).await?;
    let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let declared = async { Ok(channel.queue_declare(short_string(name), own, FieldTable::default()).await) };
    match await_answer(declared).await? {
        Ok(_queue) => Ok(Some(channel)),
        Err(error) if is_locked(&error) => Ok(None),
        Err(error) => Err(unavailable_error(error)),
    }
}

/// Whether RabbitMQ takes messages now, which it does not while it is short of memory or disk: then nothing is begun that
/// could not be brought to its end. The message that it takes goes with the lock.
async fn probe_publish(channel: &Channel, name: &str) -> Result<(), ParkedError> {
    await_answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let confirm =
        await_answer(channel.basic_publish(short_string(""), short_string(name), options, b"", properties)).await;
    let confirmed = match confirm {
        Ok(confirm) => await_answer(confirm).await,
        Err(error) => Err(error),
    };
    let alarm =
        |error| unavailable_error(format!("it takes no messages now, is there an alarm of memory or disk? ({error})"));
    confirmed.map(drop).map_err(alarm)
}

/// Whether the queue is another connection's (405).
fn is_locked(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 405)
}
