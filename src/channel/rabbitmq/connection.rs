//! Connections to RabbitMQ: two to publish, and as many as are needed to consume. Each is made
//! again for ever when it breaks. A connection on which RabbitMQ answers nothing for some seconds
//! counts as broken: another node may be well.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use lapin::options::BasicQosOptions;
use lapin::{Channel, Connection, ErrorKind};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::address::{RabbitmqAddress, ReachedNode};
use super::confirming_publisher::short_string;
use super::metrics::RabbitmqMetrics;
use crate::wire_text::escaped_excerpt;

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
/// Number of channels that a connection can have, which bounds the search for a channel number.
const MAX_CHANNEL_NUMBERS: u16 = u16::MAX;
/// Longest time for the orderly close of a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Period in which it is logged that there is still no connection.
const LOG_PERIOD: Duration = Duration::from_secs(60);
/// Largest number of consumers of one connection. Debian's RabbitMQ allows 2,047 channels.
const CONSUMERS: usize = 600;
/// Channels of a connection that are reserved for other things than consuming.
const RESERVED: usize = 8;
/// Connections that may be wanted at once before their keepers are started.
const WANTED: usize = 16;

/// An open connection, shared by all who use it.
pub(super) struct OpenAmqpConnection {
    /// The connection itself, as lapin gives it.
    pub(super) connection: Connection,
    /// IP address and port of the node that the connection leads to.
    address: SocketAddr,
    /// Cancelled when the connection is given up, be it closed or hung.
    pub(super) broken: CancellationToken,
}

/// Largest length of an error in bytes: what RabbitMQ says has 255 (AMQP 0-9-1, 4.2.5.3), and lapin
/// adds some words.
pub(super) const LONGEST_ERROR: usize = 1024;

/// Text of an error, in which control characters that RabbitMQ may have sent are escaped.
pub(super) fn error_text(error: &lapin::Error) -> String {
    escaped_excerpt(error, LONGEST_ERROR)
}

impl OpenAmqpConnection {
    /// Awaits a future of the connection, until the connection is given up.
    ///
    /// # Errors
    /// If the future fails, or the connection breaks before it is done.
    pub(super) async fn run<T>(
        &self,
        act: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, String> {
        match self.broken.run_until_cancelled(act).await {
            Some(done) => done.map_err(|error| error_text(&error)),
            None => Err("the connection to RabbitMQ is broken".to_owned()),
        }
    }

    /// Does the same as [`OpenAmqpConnection::run`], for `limit` at most.
    ///
    /// # Errors
    /// Those of [`OpenAmqpConnection::run`], and that RabbitMQ does not answer in time.
    pub(super) async fn run_within<T>(
        &self,
        limit: Duration,
        act: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, String> {
        let done = tokio::time::timeout(limit, self.run(act)).await;
        done.unwrap_or_else(|_elapsed| Err(format!("no answer within {limit:?}")))
    }
}

/// Closes a connection in the order of AMQP, if RabbitMQ answers within [`CLOSE_TIMEOUT`].
pub(super) async fn close_connection(current: &AmqpConnectionWatch) {
    let open = current.borrow().clone();
    let Some(open) = open.filter(|open| !open.broken.is_cancelled()) else {
        return;
    };
    open.broken.cancel();
    let closed = tokio::time::timeout(
        CLOSE_TIMEOUT,
        open.connection.close(200, short_string("stopped")),
    )
    .await;
    if !matches!(closed, Ok(Ok(()))) {
        tracing::debug!("A connection to RabbitMQ was not closed in order");
    }
}

/// Receiver of the connection as it is now; `None` while there is none.
pub(super) type AmqpConnectionWatch = watch::Receiver<Option<Arc<OpenAmqpConnection>>>;

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

    /// Keeps the connection open, for ever.
    pub(super) async fn keep_open(self) {
        self.metrics.link.wanted.add(1);
        if let Some((mut other, ConnectionStart::AfterOther)) = self.other_connection.clone()
            && tokio::time::timeout(OTHER_TIMEOUT, other.wait_for(Option::is_some))
                .await
                .is_err()
        {
            tracing::debug!(
                "The first connection to publish on is not there yet: the second is made all \
                 the same"
            );
        }
        // Only a connection that was made resets the wait, so that nodes which are away are not
        // flooded.
        let mut wait = FIRST_WAIT;
        let mut told: Option<Instant> = None;
        loop {
            match self
                .address
                .connect(self.purpose, self.other_address())
                .await
            {
                Ok(reached) => {
                    (wait, told) = (FIRST_WAIT, None);
                    self.offer_until_broken(reached).await;
                }
                Err(error) if told.is_none_or(|told| told.elapsed() >= LOG_PERIOD) => {
                    told = Some(Instant::now());
                    tracing::warn!(
                        purpose = self.purpose,
                        error,
                        "No connection to RabbitMQ, trying again"
                    );
                }
                Err(error) => {
                    tracing::debug!(
                        purpose = self.purpose,
                        error,
                        "No connection to RabbitMQ, trying again"
                    );
                }
            }
            tokio::time::sleep(wait.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
            wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        }
    }

    /// Address that the other connection leads to now, if it is open.
    fn other_address(&self) -> Option<SocketAddr> {
        self.other_connection
            .as_ref()
            .and_then(|(other, _)| other.borrow().as_ref().map(|open| open.address))
    }

    /// Shows an open connection to its users until it breaks.
    async fn offer_until_broken(
        &self,
        ReachedNode {
            connection,
            node,
            address,
        }: ReachedNode,
    ) {
        let purpose = self.purpose;
        tracing::info!(purpose, rabbitmq = %node, "Connected to RabbitMQ");
        self.metrics.connections.increment();
        // The capacity is set before the connection is shown, since its users ask for it at once.
        let channels = usize::from(connection.configuration().channel_max());
        self.capacity.store(
            channels.saturating_sub(RESERVED).clamp(1, CONSUMERS),
            Ordering::Release,
        );
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

/// Asks for a sign of life again and again, and from time to time for a new channel to ask on: a
/// connection on which none can be opened is of no use. RabbitMQ does not read a connection that an
/// alarm blocks, so such a one need not answer.
async fn until_unresponsive(connection: &Connection) {
    let mut channel = None;
    for asked in 1_u32.. {
        tokio::time::sleep(ASK_PERIOD).await;
        let ask = async {
            // From time to time on a new channel, since it must be possible to open one.
            if channel.is_none() || asked.is_multiple_of(CHANNEL_PERIOD) {
                match open_amqp_channel(connection).await {
                    Ok(opened) => channel = Some(opened),
                    Err(error) => return !matches!(error.kind(), ErrorKind::ProtocolError(_)),
                }
            }
            // The question is one that changes nothing, on a channel that consumes nothing.
            if let Some(open) = &channel
                && open.basic_qos(1, BasicQosOptions::default()).await.is_err()
            {
                channel = None;
            }
            true
        };
        match tokio::time::timeout(ASK_TIMEOUT, ask).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(_elapsed) if connection.status().blocked() => {}
            Err(_elapsed) => return,
        }
    }
}

/// Connections for consumers, as many as they need.
pub(super) struct AmqpConnectionPool {
    slots: Mutex<Vec<AmqpConnectionSlot>>,
    wanted: mpsc::Sender<AmqpConnectionKeeper>,
    address: RabbitmqAddress,
    metrics: Arc<RabbitmqMetrics>,
}

/// Slot of a consumer on a connection, given back when it is dropped.
#[derive(Clone)]
pub(super) struct AmqpConnectionSlot {
    /// The connection of the slot, as it is now.
    pub(super) connection: AmqpConnectionWatch,
    capacity: Arc<AtomicUsize>,
    /// Counted reference of each slot of this connection, the pool's own included.
    users: Arc<()>,
}

impl AmqpConnectionSlot {
    fn is_free(&self) -> bool {
        Arc::strong_count(&self.users) <= self.capacity.load(Ordering::Acquire)
    }

    /// True if more slots of the connection are taken than it has; its capacity is known only when
    /// it is open.
    pub(super) fn exceeds_capacity(&self) -> bool {
        Arc::strong_count(&self.users) > self.capacity.load(Ordering::Acquire).saturating_add(1)
    }
}

impl AmqpConnectionPool {
    /// Makes a pool without connections, and the keeper that makes them.
    pub(super) fn new(
        address: RabbitmqAddress,
        metrics: Arc<RabbitmqMetrics>,
    ) -> (Self, AmqpPoolKeeper) {
        let (wanted, receiver) = mpsc::channel(WANTED);
        (
            Self {
                slots: Mutex::default(),
                wanted,
                address,
                metrics,
            },
            AmqpPoolKeeper(receiver),
        )
    }

    fn slots(&self) -> MutexGuard<'_, Vec<AmqpConnectionSlot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot on a connection that has one left, or else on a new connection.
    pub(super) async fn take_slot(&self) -> AmqpConnectionSlot {
        let (slot, keeper) = {
            let mut seats = self.slots();
            if let Some(slot) = seats.iter().find(|slot| slot.is_free()) {
                return slot.clone();
            }
            let (keeper, current) = AmqpConnectionKeeper::new(
                self.address.clone(),
                "consuming",
                Arc::clone(&self.metrics),
            );
            let slot = AmqpConnectionSlot {
                connection: current,
                capacity: Arc::clone(&keeper.capacity),
                users: Arc::default(),
            };
            seats.push(slot.clone());
            (slot, keeper)
        };
        // Sent without the lock, since this may wait for room.
        if self.wanted.send(keeper).await.is_err() {
            tracing::debug!("A connection is wanted while the process stops");
        }
        slot
    }

    /// Closes every connection of the pool.
    pub(super) async fn close(&self) {
        let currents: Vec<AmqpConnectionWatch> = self
            .slots()
            .iter()
            .map(|slot| slot.connection.clone())
            .collect();
        join_all(currents.iter().map(close_connection)).await;
    }

    /// Gives a connection that is open now, whoever consumes on it; `None` if there is none.
    pub(super) fn any_open(&self) -> Option<Arc<OpenAmqpConnection>> {
        self.slots()
            .iter()
            .find_map(|slot| slot.connection.borrow().clone())
    }

    /// True if there is a connection in the pool, and each one is open.
    pub(super) fn is_connected(&self) -> bool {
        let seats = self.slots();
        !seats.is_empty() && seats.iter().all(|slot| slot.connection.borrow().is_some())
    }
}

/// Makes the connections of an [`AmqpConnectionPool`].
pub(super) struct AmqpPoolKeeper(mpsc::Receiver<AmqpConnectionKeeper>);

impl AmqpPoolKeeper {
    /// Keeps every connection that is wanted open, until the pool is dropped.
    pub(super) async fn run(mut self) {
        let mut keeping = JoinSet::new();
        while let Some(keeper) = self.0.recv().await {
            keeping.spawn(keeper.keep_open());
        }
        keeping.shutdown().await;
    }
}

/// True if the connection has no channel left that could be opened.
pub(super) fn has_no_channel_left(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ChannelsLimitReached)
}
