//! Connections for consumers, as many as are needed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::address::RabbitmqAddress;
use super::connection::{AmqpConnectionWatch, OpenAmqpConnection, close_connection};
use super::connection_keeper::AmqpConnectionKeeper;
use super::metrics::RabbitmqMetrics;

/// Connections that may be wanted at once before their keepers are started.
const WANTED: usize = 16;

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
            let mut slots = self.slots();
            if let Some(slot) = slots.iter().find(|slot| slot.is_free()) {
                return slot.clone();
            }
            let (keeper, current) = AmqpConnectionKeeper::new(
                self.address.clone(),
                "consuming",
                Arc::clone(&self.metrics),
            );
            let slot = AmqpConnectionSlot {
                connection: current,
                capacity: Arc::clone(keeper.capacity()),
                users: Arc::default(),
            };
            slots.push(slot.clone());
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
        let slots = self.slots();
        !slots.is_empty() && slots.iter().all(|slot| slot.connection.borrow().is_some())
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
