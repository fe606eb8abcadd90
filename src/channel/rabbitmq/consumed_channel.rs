//! The AMQP channel that a queue is consumed on.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::BasicQosOptions;

use super::connection::OpenAmqpConnection;
use super::context::RabbitmqContext;
use super::message::amqp_value::short_string;
use super::queue::RabbitmqQueue;
use crate::model::DeliveryOrder;

/// Longest time for the close of a channel.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);

/// A channel, with the queue that is consumed on it and the connection that it belongs to.
#[derive(Clone)]
pub(super) struct ConsumedChannel {
    pub(super) queue: Arc<RabbitmqQueue>,
    pub(super) context: Arc<RabbitmqContext>,
    pub(super) connection: Arc<OpenAmqpConnection>,
    pub(super) channel: lapin::Channel,
}

impl ConsumedChannel {
    /// Closes the channel of an ordered queue before its consumer is cancelled: RabbitMQ would let
    /// the next consumer begin behind the messages that this one holds, and requeues those only
    /// when the channel ends.
    pub(super) async fn close_ordered(&self) {
        if self.queue.names.order == DeliveryOrder::Unordered || !self.channel.status().connected()
        {
            return;
        }
        let close = self.channel.close(200, short_string("beginning again"));
        if let Err(error) = self.connection.run_within(CLOSE_TIMEOUT, close).await {
            tracing::debug!(
                queue = self.queue.names.queue,
                error,
                "A channel was not closed in order"
            );
        }
    }

    /// Waits until RabbitMQ has read the acknowledgements of the channel, before it is given up.
    /// Messages of a deleted queue cannot be acknowledged: RabbitMQ closes the channel then, and
    /// where both sides close a channel at once, `lapin` takes the whole connection for broken,
    /// with the consumers of all other queues.
    pub(super) async fn flush_acknowledgements(&self) {
        let asked = self.channel.basic_qos(1, BasicQosOptions::default());
        if let Err(error) = self.connection.run_within(CLOSE_TIMEOUT, asked).await {
            tracing::debug!(
                error,
                "RabbitMQ has closed the channel of a queue that is gone"
            );
        }
    }
}
