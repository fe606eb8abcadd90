//! Tests of the backend against an AMQP server in the process, which misbehaves on demand.

mod conforms;
mod connections;
mod consuming;
mod crowds;
pub(crate) mod fake;
mod outages;
mod publishing;
mod returning;
mod revoking;
mod server;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::fake::FakeServer;
use super::*;
use crate::budget::MemoryBudget;
use crate::channel::{ChannelPublisher, EventDelivery, PublishError, QueueConsumer};
use crate::event::{AttributeLimit, Event};
use crate::filter::Filter;
use crate::model::{AcknowledgeMode, ChannelKind, DeliveryOrder, DeliverySpec, SubscriptionKind};

/// How long a test waits for what is to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A backend on a server, with one channel whose subscriptions want everything.
struct Bench {
    server: FakeServer,
    backend: RabbitmqBackend,
    counters: Arc<ProcessCounters>,
    publisher: Arc<dyn ChannelPublisher>,
    consumers: Vec<QueueConsumer>,
}

impl Bench {
    /// Of subscriptions with these names; returns when they are consumed and can be published to.
    async fn start(names: &[&str]) -> Self {
        let bench = Self::begin(FakeServer::start().await, names, DeliveryOrder::Unordered);
        bench.ready(names).await;
        bench
    }

    /// The same on a server that may not answer.
    fn begin(server: FakeServer, names: &[&str], order: DeliveryOrder) -> Self {
        let options = options(&server.uri());
        Self::begin_with(server, names, order, options)
    }

    /// The same with other options.
    fn begin_with(
        server: FakeServer,
        names: &[&str],
        order: DeliveryOrder,
        options: RabbitmqBackendOptions,
    ) -> Self {
        let counters = Arc::new(ProcessCounters::default());
        let backend = RabbitmqBackend::new(options, Arc::clone(&counters));
        let OpenedChannel {
            publisher,
            consumers,
        } = backend.open(&channel(names, order));
        let consumers = consumers
            .into_iter()
            .map(|(_, consumer)| consumer)
            .collect();
        Self {
            server,
            backend,
            counters,
            publisher,
            consumers,
        }
    }

    /// Waits until all is declared, consumed, and can be published to.
    async fn ready(&self, names: &[&str]) {
        let are_consumed = |server: &FakeServer| {
            names
                .iter()
                .all(|name| !server.consumers(&queue(name)).is_empty())
        };
        self.server.until("queues are consumed", are_consumed).await;
        let is_served = |name: &&str| self.backend.trouble(&key(name)).is_none();
        eventually("queues are served", || names.iter().all(is_served)).await;
    }

    async fn publish(&self, id: &str) -> Result<(), PublishError> {
        self.publisher.publish(&[event(id)]).await
    }

    /// Publishes until it is accepted.
    async fn publish_at_last(&self, id: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.publish(id).await {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The next message of a subscription, by its place.
    async fn next(&mut self, subscription: usize) -> Box<EventDelivery> {
        let next = tokio::time::timeout(PATIENCE, self.consumers[subscription].recv()).await;
        next.expect("in time").expect("a message")
    }
}

fn options(uri: &str) -> RabbitmqBackendOptions {
    RabbitmqBackendOptions {
        address: RabbitmqAddress::new(uri, RabbitmqCredentials::default(), None)
            .expect("an address"),
        queue_type: RabbitmqQueueType::Quorum,
        prefetch: 10,
        concurrency: 5,
        consumer_timeout: Duration::from_secs(1800),
        max_held_wait: Duration::from_secs(1),
        budget: MemoryBudget::new(256 << 20),
        attributes: AttributeLimit::default(),
        delete_after: None,
    }
}

fn event(id: &str) -> Arc<Event> {
    Arc::new(Event::new(id, "/s", "t"))
}

fn key(name: &str) -> SubscriptionKey {
    SubscriptionKey {
        kind: SubscriptionKind::Subscription,
        namespace: "ns".to_owned(),
        name: name.to_owned(),
    }
}

fn subscription(name: &str, order: DeliveryOrder) -> Arc<Subscription> {
    Arc::new(Subscription {
        key: key(name),
        filter: Filter::MatchAll,
        subscriber: None,
        reply: None,
        dead_letter_sink: None,
        sender: None,
        event_types: None,
        delivery: DeliverySpec {
            order,
            ..DeliverySpec::default()
        },
        namespace: "ns".to_owned(),
    })
}

fn channel(names: &[&str], order: DeliveryOrder) -> Channel {
    let key = ChannelKey {
        kind: ChannelKind::Channel,
        namespace: "ns".to_owned(),
        name: "c".to_owned(),
    };
    let subscriptions = names.iter().map(|name| subscription(name, order)).collect();
    let (storage, acknowledge) = (BackendKind::Memory, AcknowledgeMode::AfterEnqueue);
    Channel {
        key,
        backend: storage,
        acknowledge,
        retain: None,
        authorization: None,
        event_types: None,
        subscriptions,
    }
}

/// The queue of a subscription.
fn queue(name: &str) -> String {
    format!("sealpost:channel:ns:c:subscription:ns:{name}")
}

fn parked(name: &str) -> String {
    format!("{}:parked", queue(name))
}

/// Waits until something of the backend is so.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_elapsed| panic!("not within {PATIENCE:?}: {what}"));
}
