//! Keeps the channels of a connection open that is published on. A channel that got a nack is opened
//! anew: RabbitMQ remembers for each channel which node leads a queue, and a channel that looked
//! during an election is refused for the rest of its life.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{BasicProperties, Channel};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::amqp_channel::{OpenAmqpChannel, PERIOD, open_amqp_channel};
use super::connection::{AmqpConnectionWatch, OpenAmqpConnection};
use super::metrics::RabbitmqMetrics;
use super::publication::publish_confirmed;
use super::queue_names;
use crate::doubling_wait::DoublingWait;

/// Shortest time between two openings of one channel.
const REOPEN_PERIOD: Duration = Duration::from_millis(200);
/// Longest wait between two attempts to open a channel.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Longest time for the opening of a channel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(4);

/// Keeps the channels of one connection open.
pub(super) struct AmqpChannelSetKeeper {
    pub(super) keepers: Vec<AmqpChannelKeeper>,
    pub(super) metrics: Arc<RabbitmqMetrics>,
}

impl AmqpChannelSetKeeper {
    /// Opens the channels on each new connection, for ever, and counts the time in which all are
    /// open.
    pub(super) async fn run(self, connections: AmqpConnectionWatch) {
        let mut keeping = JoinSet::new();
        let channels: Vec<_> = self
            .keepers
            .iter()
            .map(|keeper| keeper.sender.subscribe())
            .collect();
        for keeper in self.keepers {
            keeping.spawn(keeper.run(connections.clone()));
        }
        loop {
            for mut channel in channels.clone() {
                if channel.wait_for(Option::is_some).await.is_err() {
                    return;
                }
            }
            let publishing = self.metrics.link.publishing.enter();
            while channels.iter().all(|channel| channel.borrow().is_some()) {
                tokio::time::sleep(PERIOD).await;
            }
            drop(publishing);
        }
    }
}

/// Keeps one channel open on the current connection.
pub(super) struct AmqpChannelKeeper {
    pub(super) sender: watch::Sender<Option<Arc<OpenAmqpChannel>>>,
    pub(super) reopen_request: Arc<Notify>,
}

impl AmqpChannelKeeper {
    /// Opens a channel on each new connection, and again when it is closed by an error or got a
    /// nack, for ever.
    async fn run(self, mut connections: AmqpConnectionWatch) {
        while let Ok(connection) = connections
            .wait_for(Option::is_some)
            .await
            .map(|current| current.clone())
        {
            if let Some(connection) = connection {
                self.keep_open(&connection).await;
            }
            tokio::time::sleep(REOPEN_PERIOD).await;
        }
    }

    /// Keeps the channel open until the connection is broken.
    async fn keep_open(&self, connection: &Arc<OpenAmqpConnection>) {
        let mut pause = DoublingWait::new(REOPEN_PERIOD, LONGEST_PAUSE);
        while !connection.broken.is_cancelled() {
            match self.open_confirm_channel(connection).await {
                Ok(channel) => {
                    pause.reset();
                    let connection = Arc::clone(connection);
                    let open = OpenAmqpChannel {
                        channel,
                        connection,
                    };
                    self.offer_until_closed(Arc::new(open)).await;
                }
                Err(error) => {
                    self.sender.send_replace(None);
                    let is_first = pause.is_first();
                    let paused = connection
                        .broken
                        .run_until_cancelled(tokio::time::sleep(pause.take()))
                        .await;
                    // A connection that broke is noticed within the pause, and logged once for all
                    // of its channels by the one who keeps it.
                    if is_first && paused.is_some() {
                        tracing::warn!(error, "No channel to publish on, trying again");
                    } else {
                        tracing::debug!(error, "No channel to publish on, trying again");
                    }
                }
            }
        }
        self.sender.send_replace(None);
    }

    /// Shows an open channel to its users until it is closed, or is to be opened anew; then it is
    /// used until the next one is open.
    async fn offer_until_closed(&self, open: Arc<OpenAmqpChannel>) {
        self.sender.send_replace(Some(Arc::clone(&open)));
        // A channel is used for a while at least, however many nacks it gets.
        tokio::time::sleep(REOPEN_PERIOD).await;
        tokio::select! {
            () = open.until_closed() => drop(self.sender.send_replace(None)),
            () = self.reopen_request.notified() => {
                tracing::debug!(
                    "RabbitMQ refused a message: a channel to publish on is opened anew"
                );
            }
        }
    }

    async fn open_confirm_channel(
        &self,
        connection: &OpenAmqpConnection,
    ) -> Result<Channel, String> {
        let opened = async {
            let channel = open_amqp_channel(&connection.connection).await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            // The permission is tried before the channel is shown, so that no message fails for it.
            probe_permission(&channel).await?;
            Ok(channel)
        };
        connection.run_within(OPEN_TIMEOUT, opened).await
    }
}

/// Publishes to a queue that does not exist, which RabbitMQ returns: it checks permissions when
/// something is published, and closes the channel of a user who may not publish.
async fn probe_permission(channel: &Channel) -> lapin::Result<()> {
    publish_confirmed(channel, queue_names::PROBE, BasicProperties::default(), &[])
        .await
        .map(drop)
}
