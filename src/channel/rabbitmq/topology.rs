//! Declaration of RabbitMQ's queues: a queue for each subscription, a parking queue for each that
//! needs one, and delay queues. Declaring a queue that exists changes nothing; one that exists with
//! other arguments is logged and used.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::options::QueueDeclareOptions;
use lapin::{Channel, Connection};
use tokio::sync::OnceCell;

use super::amqp_channel::open_amqp_channel;
use super::amqp_error::{error_text, is_not_found, is_precondition_failed};
use super::message::amqp_value::short_string;
use super::options::RabbitmqQueueType;
use super::publish_route::PublishRoute;
use super::queue_arguments::{DELIVERY_LIMIT, QueuePurpose};
use super::queue_names;

/// A queue that is declared when it is needed for the first time.
#[derive(Debug, Default)]
pub(super) struct OnDemandQueue {
    /// Set once the queue has been declared.
    pub(super) declared: OnceCell<()>,
    pub(super) publish_route: Arc<PublishRoute>,
}

/// Declares queues, and remembers which have been declared.
pub(super) struct RabbitmqTopology {
    queue_type: RabbitmqQueueType,
    /// Queues that are declared once, when they are needed, by name.
    on_demand: Mutex<HashMap<String, Arc<OnDemandQueue>>>,
    /// Names of queues that were found with other arguments.
    mismatched_queues: Mutex<HashSet<String>>,
}

impl RabbitmqTopology {
    pub(super) fn new(queue_type: RabbitmqQueueType) -> Self {
        Self {
            queue_type,
            on_demand: Mutex::default(),
            mismatched_queues: Mutex::default(),
        }
    }

    /// Declares a queue, and gives the channel on which that was done. A queue that exists with
    /// other arguments is logged once, and used as it is.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn declare(
        &self,
        connection: &Connection,
        name: &str,
        purpose: QueuePurpose,
    ) -> lapin::Result<Channel> {
        loop {
            let channel = open_amqp_channel(connection).await?;
            let passive = self.mismatched_queues().contains(name);
            let options = QueueDeclareOptions {
                durable: true,
                passive,
                ..QueueDeclareOptions::default()
            };
            let arguments = purpose.arguments(self.queue_type);
            let declared = channel
                .queue_declare(short_string(name), options, arguments)
                .await;
            match declared {
                Ok(_queue) => return Ok(channel),
                Err(error) if passive && is_not_found(&error) => {
                    self.mismatched_queues().remove(name);
                }
                Err(error) if !passive && is_precondition_failed(&error) => {
                    self.mismatched_queues().insert(name.to_owned());
                    let vhost = connection.status().vhost();
                    log_mismatched_queue(name, vhost.as_str(), &error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Declares a queue, and closes the channel on which that was done.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn declare_and_close(
        &self,
        connection: &Connection,
        name: &str,
        purpose: QueuePurpose,
    ) -> lapin::Result<()> {
        self.declare(connection, name, purpose)
            .await?
            .close(200, short_string("declared"))
            .await
    }

    /// Gives the state of a queue that is declared on demand.
    pub(super) fn on_demand(&self, name: &str) -> Arc<OnDemandQueue> {
        Arc::clone(
            self.on_demand
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(name.to_owned())
                .or_default(),
        )
    }

    /// Declares a queue once in the life of this process. A declaration that hangs holds up no
    /// other.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn declare_once(
        &self,
        connection: &Connection,
        name: &str,
        purpose: QueuePurpose,
    ) -> lapin::Result<()> {
        let queue = self.on_demand(name);
        queue
            .declared
            .get_or_try_init(|| self.declare_and_close(connection, name, purpose))
            .await
            .copied()
    }

    /// Forgets that a queue was declared, since somebody has deleted it.
    pub(super) fn forget_declared(&self, name: &str) {
        self.on_demand
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }

    fn mismatched_queues(&self) -> MutexGuard<'_, HashSet<String>> {
        self.mismatched_queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logs which arguments a queue lacks that somebody else, or an older version, has declared, and
/// the remedy.
fn log_mismatched_queue(name: &str, vhost: &str, error: &lapin::Error) {
    let reason = error_text(error);
    if reason.contains("x-single-active-consumer") || reason.contains("x-queue-type") {
        let remedy = format!("when it is empty: rabbitmqctl -p '{vhost}' delete_queue '{name}'");
        tracing::error!(
            queue = name,
            reason,
            remedy,
            "A queue is there with other arguments: it is used as it is"
        );
        return;
    }
    let remedy = format!(
        r#"rabbitmqctl -p '{vhost}' set_policy --priority 1 --apply-to queues sealpost '^sealpost:(channel|broker):' '{{"delivery-limit":{DELIVERY_LIMIT},"dead-letter-exchange":"","dead-letter-routing-key":"{}","dead-letter-strategy":"at-least-once","overflow":"reject-publish"}}'"#,
        queue_names::DEAD_LETTERED
    );
    tracing::error!(
        queue = name,
        reason,
        remedy,
        "A queue is there with other arguments, perhaps made by an older version: it is used \
         as it is, but RabbitMQ may drop messages of it, unless the policy of the remedy has \
         been set"
    );
}
