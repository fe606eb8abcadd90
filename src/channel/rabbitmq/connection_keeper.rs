//! Keeps a connection to RabbitMQ open: it is made again for ever when it breaks. A connection on
//! which RabbitMQ answers nothing for some seconds counts as broken: another node may be well.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::options::BasicQosOptions;
use lapin::{Channel, Connection, ErrorKind};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::address::{RabbitmqAddress, ReachedNode};
use super::amqp_channel::open_amqp_channel;
use super::connection::{AmqpConnectionWatch, OpenAmqpConnection};
use super::metrics::RabbitmqMetrics;
use crate::doubling_wait::DoublingWait;

/// Wait after the first failure; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// Period in which the state of a connection is read.
const PERIOD: Duration = Duration::from_millis(100);
/// Period in which a connection is asked for a sign of life, and how long its answer may take.
const ASK_PERIOD: Duration = Duration::from_secs(1);
const ASK_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest time that a connection waits for the one that it stands beside.
const OTHER_TIMEOUT: Duration = Duration::from_secs(3);
/// Number of questions after which the next is asked on a new channel.
const CHANNEL_PERIOD: u32 = 60;
/// Period in which it is logged that there is still no connection.
const LOG_PERIOD: Duration = Duration::from_secs(60);
/// Largest number of consumers of one connection. Debian's RabbitMQ allows 2,047 channels.
const CONSUMERS: usize = 600;
/// Channels of a connection that are reserved for other things than consuming.
const RESERVED: usize = 8;

/// Time at which a connection is made that stands beside another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionStart {
    /// The connection is made at once, without regard to the other one.
    AtOnce,
    /// The connection is made when the other one is there, so that it can lead to another node;
    /// after [`OTHER_TIMEOUT`] without that, too.
    AfterOther,
}

/// Keeper of one connection, which it makes again whenever that breaks.
pub(super) struct AmqpConnectionKeeper {
    address: RabbitmqAddress,
    purpose: &'static str,
    /// The connection to whose node this one should not lead, and which of both is made first.
    other_connection: Option<(AmqpConnectionWatch, ConnectionStart)>,
    connection: watch::Sender<Option<Arc<OpenAmqpConnection>>>,
    /// Number of consumers that the connection has room for.
    capacity: Arc<AtomicUsize>,
    metrics: Arc<RabbitmqMetrics>,
}

impl AmqpConnectionKeeper {
    /// Makes a keeper, and the receiver in which its connection appears.
    pub(super) fn new(
        address: RabbitmqAddress,
        purpose: &'static str,
        metrics: Arc<RabbitmqMetrics>,
    ) -> (Self, AmqpConnectionWatch) {
        let (current, receiver) = watch::channel(None);
        let capacity = Arc::new(AtomicUsize::new(CONSUMERS));
        (
            Self {
                address,
                purpose,
                other_connection: None,
                connection: current,
                capacity,
                metrics,
            },
            receiver,
        )
    }

    /// Adds another connection, to whose node this one does not lead if several nodes can be
    /// reached.
    pub(super) fn with_other_connection(
        self,
        other: AmqpConnectionWatch,
        start: ConnectionStart,
    ) -> Self {
        Self {
            other_connection: Some((other, start)),
            ..self
        }
    }

    /// Makes the keepers of two connections that lead to different nodes if several can be reached,
    /// and the receivers in which they appear.
    pub(super) fn pair(
        address: &RabbitmqAddress,
        purpose: &'static str,
        metrics: &Arc<RabbitmqMetrics>,
    ) -> ([Self; 2], [AmqpConnectionWatch; 2]) {
        let keeper = || Self::new(address.clone(), purpose, Arc::clone(metrics));
        let [(first, first_current), (second, second_current)] = [keeper(), keeper()];
        // The second connection waits for the first, so that both can lead to different nodes.
        let first = first.with_other_connection(second_current.clone(), ConnectionStart::AtOnce);
        let second =
            second.with_other_connection(first_current.clone(), ConnectionStart::AfterOther);
        ([first, second], [first_current, second_current])
    }

    /// Number of consumers that the connection has room for; it is known once it is open.
    pub(super) fn capacity(&self) -> &Arc<AtomicUsize> {
        &self.capacity
    }

    /// Keeps the connection open, for ever.
    pub(super) async fn keep_open(self) {
        self.metrics.link.wanted.add(1);
        self.wait_for_other().await;
        // Only a connection that was made resets the wait, so that nodes which are away are not
        // flooded.
        let mut wait = DoublingWait::new(FIRST_WAIT, LONGEST_WAIT);
        let mut logged: Option<Instant> = None;
        loop {
            match self
                .address
                .connect(self.purpose, self.other_address())
                .await
            {
                Ok(reached) => {
                    wait.reset();
                    logged = None;
                    self.offer_until_broken(reached).await;
                }
                Err(error) => self.log_failure(&error, &mut logged),
            }
            tokio::time::sleep(wait.take_jittered()).await;
        }
    }

    /// Waits a while for the connection that this one stands beside, if it is made after that.
    async fn wait_for_other(&self) {
        let Some((mut other, ConnectionStart::AfterOther)) = self.other_connection.clone() else {
            return;
        };
        let connected = tokio::time::timeout(OTHER_TIMEOUT, other.wait_for(Option::is_some)).await;
        if connected.is_err() {
            tracing::debug!(
                "The first connection to publish on is not there yet: the second is made all \
                 the same"
            );
        }
    }

    /// Logs that there is no connection, as a warning once in [`LOG_PERIOD`].
    fn log_failure(&self, error: &str, logged: &mut Option<Instant>) {
        let purpose = self.purpose;
        if logged.is_none_or(|logged| logged.elapsed() >= LOG_PERIOD) {
            *logged = Some(Instant::now());
            tracing::warn!(purpose, error, "No connection to RabbitMQ, trying again");
        } else {
            tracing::debug!(purpose, error, "No connection to RabbitMQ, trying again");
        }
    }

    /// Address that the other connection leads to now, if it is open.
    fn other_address(&self) -> Option<SocketAddr> {
        self.other_connection
            .as_ref()
            .and_then(|(other, _)| other.borrow().as_ref().map(|open| open.address))
    }

    /// Shows an open connection to its users until it breaks.
    async fn offer_until_broken(&self, reached: ReachedNode) {
        let ReachedNode {
            connection,
            node,
            address,
        } = reached;
        let purpose = self.purpose;
        tracing::info!(purpose, rabbitmq = %node, "Connected to RabbitMQ");
        self.metrics.connections.increment();
        // The capacity is set before the connection is shown, since its users ask for it at once.
        self.set_capacity(&connection);
        let open = Arc::new(OpenAmqpConnection {
            connection,
            address,
            broken: CancellationToken::new(),
        });
        let entered = self.metrics.link.open.enter();
        self.connection.send_replace(Some(Arc::clone(&open)));
        let reason = tokio::select! {
            () = watch_blocked(&open.connection, &self.metrics) => "it was closed",
            () = until_unresponsive(&open.connection) => "RabbitMQ does not answer on it",
        };
        // Users are stopped before the connection disappears, so that nobody waits for an answer on
        // it.
        open.broken.cancel();
        drop(entered);
        self.metrics.disconnections.increment();
        self.connection.send_replace(None);
        tracing::warn!(
            purpose,
            rabbitmq = %node,
            reason,
            "Connection to RabbitMQ is broken, making it again"
        );
    }

    fn set_capacity(&self, connection: &Connection) {
        let channels = usize::from(connection.configuration().channel_max());
        self.capacity.store(
            channels.saturating_sub(RESERVED).clamp(1, CONSUMERS),
            Ordering::Release,
        );
    }
}

/// Counts the time in which RabbitMQ takes nothing that is published, as long as it is connected.
async fn watch_blocked(connection: &Connection, metrics: &RabbitmqMetrics) {
    let mut blocked = None;
    while connection.status().connected() {
        let is_blocked = connection.status().blocked();
        if is_blocked != blocked.is_some() {
            blocked = is_blocked.then(|| metrics.link.blocked.enter());
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Asks for a sign of life again and again, and from time to time for a new channel to ask on: a
/// connection on which none can be opened is of no use. RabbitMQ does not read a connection that an
/// alarm blocks, so such a one need not answer.
async fn until_unresponsive(connection: &Connection) {
    let mut channel = None;
    for asked in 1_u32.. {
        tokio::time::sleep(ASK_PERIOD).await;
        let answer = ask_for_sign_of_life(connection, &mut channel, asked);
        match tokio::time::timeout(ASK_TIMEOUT, answer).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(_elapsed) if connection.status().blocked() => {}
            Err(_elapsed) => return,
        }
    }
}

/// Asks RabbitMQ something that changes nothing, on a channel that consumes nothing. That is opened
/// if there is none, and from time to time, by the number of the question, since it must be
/// possible to open one. False if the connection is of no use any more.
async fn ask_for_sign_of_life(
    connection: &Connection,
    channel: &mut Option<Channel>,
    number: u32,
) -> bool {
    if channel.is_none() || number.is_multiple_of(CHANNEL_PERIOD) {
        match open_amqp_channel(connection).await {
            Ok(opened) => *channel = Some(opened),
            Err(error) => return !matches!(error.kind(), ErrorKind::ProtocolError(_)),
        }
    }
    if let Some(open) = channel
        && open.basic_qos(1, BasicQosOptions::default()).await.is_err()
    {
        *channel = None;
    }
    true
}
