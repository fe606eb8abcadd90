//! Channels of AMQP, over which messages are published or consumed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lapin::{Channel, Connection, ErrorKind};

use super::connection::OpenAmqpConnection;

/// Number of channels that a connection can have, which bounds the search for a channel number.
const MAX_CHANNEL_NUMBERS: u16 = u16::MAX;
/// Period in which the state of a channel is read.
pub(super) const PERIOD: Duration = Duration::from_millis(50);

/// Opens a channel.
///
/// `lapin` does not forget that RabbitMQ has closed a channel with an error, which every look at a
/// queue that does not exist brings about, and gives that error again to whoever opens a channel of
/// the same number: then the next number is tried.
///
/// # Errors
/// If the connection fails, or no number is left.
pub(super) async fn open_amqp_channel(connection: &Connection) -> lapin::Result<Channel> {
    let mut opened = connection.create_channel().await;
    for _ in 0..MAX_CHANNEL_NUMBERS {
        if !opened
            .as_ref()
            .is_err_and(|error| matches!(error.kind(), ErrorKind::ProtocolError(_)))
        {
            break;
        }
        opened = connection.create_channel().await;
    }
    opened
}

/// An open channel, and the connection that it is on. It is shared, since a clone of a channel is a
/// dozen of counted pointers. It is closed when the last message that was published on it has been
/// confirmed.
pub(super) struct OpenAmqpChannel {
    pub(super) channel: Channel,
    pub(super) connection: Arc<OpenAmqpConnection>,
}

impl fmt::Debug for OpenAmqpChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAmqpChannel")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

impl OpenAmqpChannel {
    /// Returns when the channel is closed, or its connection is broken.
    pub(super) async fn until_closed(&self) {
        while self.channel.status().connected() && !self.connection.broken.is_cancelled() {
            tokio::time::sleep(PERIOD).await;
        }
    }
}
