//! Views of the server's state for tests.

use std::time::Duration;

use amq_protocol::protocol::BasicProperties;
use amq_protocol::types::FieldTable;
use tokio::time::Instant;

use super::FakeServer;
use super::broker::Phase;
use super::queue::Stored;

/// How long a test waits for something that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client knows of a message that it has published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirm {
    /// Nothing, as yet or for ever.
    Pending,
    /// Every queue has it, or none wanted it.
    Acked,
    /// A queue has not.
    Nacked,
}

/// A message that a client has published.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    /// Those that it was for.
    pub(crate) queues: Vec<String>,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
    /// The serial number of the channel that it came over.
    pub(crate) channel: u64,
    /// The name of the connection.
    pub(crate) connection: String,
    pub(crate) is_returned: bool,
    pub(crate) confirm: Confirm,
    pub(crate) at: Instant,
}

impl FakeServer {
    /// Waits until something is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            while !is_so(self) {
                changed.changed().await.expect("the server lives");
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_elapsed| panic!("not within {PATIENCE:?}: {what}"));
    }

    /// Messages of a queue that nobody holds.
    pub(crate) fn messages(&self, queue: &str) -> Vec<Stored> {
        self.shared
            .look(|broker| {
                broker
                    .queues
                    .get(queue)
                    .map(|queue| queue.ready.iter().cloned().collect())
            })
            .unwrap_or_default()
    }

    /// How many these are.
    pub(crate) fn ready(&self, queue: &str) -> usize {
        self.shared.look(|broker| {
            broker
                .queues
                .get(queue)
                .map_or(0, |queue| queue.ready.len())
        })
    }

    /// Messages of a queue that clients hold.
    pub(crate) fn unacked(&self, queue: &str) -> usize {
        self.shared.look(|broker| {
            let held = broker
                .channels
                .values()
                .flat_map(|channel| channel.unacked.values());
            held.filter(|unacked| unacked.queue == queue).count()
        })
    }

    /// Dead letters of a queue that have found no other one.
    pub(crate) fn dead(&self, queue: &str) -> usize {
        self.shared.look(|broker| {
            broker
                .queues
                .get(queue)
                .map_or(0, |queue| queue.dead.len() + queue.under_way.len())
        })
    }

    pub(crate) fn has_queue(&self, queue: &str) -> bool {
        self.shared.look(|broker| broker.queues.contains_key(queue))
    }

    /// The names of all queues.
    pub(crate) fn queues(&self) -> Vec<String> {
        self.shared
            .look(|broker| broker.queues.keys().cloned().collect())
    }

    /// What a queue was declared with.
    pub(crate) fn arguments(&self, queue: &str) -> FieldTable {
        self.shared
            .look(|broker| {
                broker
                    .queues
                    .get(queue)
                    .map(|queue| queue.arguments.clone())
            })
            .unwrap_or_default()
    }

    /// Routing keys and queues of an exchange.
    pub(crate) fn bindings(&self, exchange: &str) -> Vec<(String, String)> {
        let bindings = |broker: &super::broker::Broker| {
            broker
                .exchanges
                .get(exchange)
                .map(|exchange| exchange.bindings.iter().cloned().collect())
        };
        self.shared.look(bindings).unwrap_or_default()
    }

    /// The serial numbers of the channels that consume a queue.
    pub(crate) fn consumers(&self, queue: &str) -> Vec<u64> {
        let channels = |queue: &super::queue::Queue| {
            queue
                .consumers
                .iter()
                .map(|consumer| consumer.channel)
                .collect()
        };
        self.shared
            .look(|broker| broker.queues.get(queue).map(channels))
            .unwrap_or_default()
    }

    /// The prefetch of each consumer of a queue.
    pub(crate) fn prefetches(&self, queue: &str) -> Vec<u16> {
        let prefetches = |queue: &super::queue::Queue| {
            queue
                .consumers
                .iter()
                .map(|consumer| consumer.prefetch)
                .collect()
        };
        self.shared
            .look(|broker| broker.queues.get(queue).map(prefetches))
            .unwrap_or_default()
    }

    /// How often it was looked at a queue, without declaring it.
    pub(crate) fn looks(&self, queue: &str) -> usize {
        self.shared
            .look(|broker| broker.looks.get(queue).copied().unwrap_or_default())
    }

    /// How often a queue was asked to be made.
    pub(crate) fn declares(&self, queue: &str) -> usize {
        self.shared
            .look(|broker| broker.declares.get(queue).copied().unwrap_or_default())
    }

    /// All that was published, but for what only asks whether that is allowed.
    pub(crate) fn history(&self) -> Vec<Published> {
        let mut history = self.shared.look(|broker| broker.history.clone());
        history.retain(|published| published.routing_key != "sealpost:probe");
        history
    }

    /// What was published for a queue.
    pub(crate) fn published(&self, queue: &str) -> Vec<Published> {
        let mut history = self.history();
        history.retain(|published| published.queues.iter().any(|name| name == queue));
        history
    }

    /// The names of the connections that are open, by age.
    pub(crate) fn connections(&self) -> Vec<String> {
        self.shared.look(|broker| {
            let open = broker
                .sessions
                .values()
                .filter(|session| session.phase == Phase::Running);
            open.map(|session| session.name.clone()).collect()
        })
    }

    /// TCP connections since the start.
    pub(crate) fn connections_made(&self) -> usize {
        self.shared.look(|broker| broker.connections_made)
    }

    /// Channels since the start.
    pub(crate) fn channels_made(&self) -> usize {
        self.shared.look(|broker| broker.channels_made)
    }

    /// Channels that are open.
    pub(crate) fn channels_open(&self) -> usize {
        self.shared.look(|broker| broker.channels.len())
    }
}
