//! Lock of a parking queue, for one operation at a time, whichever process it comes from: messages
//! that one operation holds are seen by no other, which would find less than there is.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ErrorKind};
use tokio::time::Instant;

use super::answer::{await_answer, unavailable_error};
use super::queue_names::ParkingQueueNames;
use crate::channel::parked::ParkedError;
use crate::channel::rabbitmq::amqp_channel::open_amqp_channel;
use crate::channel::rabbitmq::message::amqp_value::short_string;

/// Period in which an operation that waits tries again.
const PERIOD: Duration = Duration::from_millis(100);

/// Takes the lock: an exclusive queue, which ends with its connection. Waits for another holder for
/// `timeout` at most.
///
/// # Errors
/// If another operation holds the lock until then, or RabbitMQ takes no messages.
pub(super) async fn take(
    connection: &Connection,
    queues: &ParkingQueueNames<'_>,
    timeout: Duration,
) -> Result<(), ParkedError> {
    let name = format!("{}:look", queues.parking_queue);
    let deadline = Instant::now() + timeout;
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

/// Tries to take the lock, and gives the channel on which it was taken; `None` if another operation
/// holds it.
async fn try_take(connection: &Connection, name: &str) -> Result<Option<Channel>, ParkedError> {
    let channel = await_answer(open_amqp_channel(connection)).await?;
    let own = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let declared = async {
        Ok(channel
            .queue_declare(short_string(name), own, FieldTable::default())
            .await)
    };
    match await_answer(declared).await? {
        Ok(_queue) => Ok(Some(channel)),
        Err(error) if is_locked(&error) => Ok(None),
        Err(error) => Err(unavailable_error(error)),
    }
}

/// Tries if RabbitMQ takes messages now, which it does not while it is short of memory or disk:
/// then no operation is begun that could not be brought to its end. The message of the trial is
/// deleted with the lock.
async fn probe_publish(channel: &Channel, name: &str) -> Result<(), ParkedError> {
    await_answer(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let confirm = await_answer(channel.basic_publish(
        short_string(""),
        short_string(name),
        options,
        b"",
        properties,
    ))
    .await;
    let confirmed = match confirm {
        Ok(confirm) => await_answer(confirm).await,
        Err(error) => Err(error),
    };
    let alarm = |error| {
        unavailable_error(format!(
            "it takes no messages now, is there an alarm of memory or disk? ({error})"
        ))
    };
    confirmed.map(drop).map_err(alarm)
}

/// True if the queue belongs exclusively to another connection (405).
fn is_locked(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 405)
}
