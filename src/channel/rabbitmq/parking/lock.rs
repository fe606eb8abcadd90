//! One errand at a time for each parking queue, whichever process it comes from: messages that one of them holds are
//! seen by no other, which would find less than there is.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ErrorKind};
use tokio::time::Instant;

use super::{Queues, answer, unavailable};
use crate::channel::parked::ParkedError;
use crate::channel::rabbitmq::outbox::short;

/// How often somebody who waits asks again.
const PERIOD: Duration = Duration::from_millis(100);

/// Takes the lock, which ends with the connection: a queue that is this connection's alone. Waits for somebody else no
/// longer than so long.
pub(super) async fn take(connection: &Connection, queues: &Queues<'_>, patience: Duration) -> Result<(), ParkedError> {
    let name = format!("{}:look", queues.parked);
    let deadline = Instant::now() + patience;
    while !try_take(connection, &name).await? {
        if Instant::now() >= deadline {
            return Err(ParkedError::Busy(queues.owner.subscription.clone()));
        }
        tokio::time::sleep(PERIOD).await;
    }
    Ok(())
}

/// Whether nobody else has it.
async fn try_take(connection: &Connection, name: &str) -> Result<bool, ParkedError> {
    let channel = answer(connection.create_channel()).await?;
    let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let declared = async { Ok(channel.queue_declare(short(name), own, FieldTable::default()).await) };
    match answer(declared).await? {
        Ok(_queue) => Ok(true),
        Err(error) if is_locked(&error) => Ok(false),
        Err(error) => Err(unavailable(error)),
    }
}

/// Whether the queue is another connection's (405).
fn is_locked(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 405)
}
