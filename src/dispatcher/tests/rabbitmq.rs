//! Tests of workers of queues on RabbitMQ: no event is delivered twice at the same time, whatever
//! becomes of its channel.

use std::collections::HashMap;

use tokio::sync::watch;

use super::*;
use crate::budget::MemoryBudget;
use crate::channel::rabbitmq::tests::fake::{FakeServer, Refusal};
use crate::channel::rabbitmq::{
    RabbitmqAddress, RabbitmqBackend, RabbitmqBackendOptions as RabbitmqOptions,
    RabbitmqCredentials, RabbitmqQueueType,
};

const QUEUE: &str = "sealpost:channel:ns:c:subscription:ns:a";
const PATIENCE: Duration = Duration::from_secs(20);

/// What a subscriber has seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Requests that began, by event.
    begun: HashMap<String, usize>,
    /// Requests under way, by event.
    under_way: HashMap<String, usize>,
    /// The most requests for one event at once.
    most: usize,
    /// Events, as they were taken.
    taken: Vec<String>,
}

/// A subscriber that takes its time, or does not answer while it is held up.
struct Slow {
    takes: Duration,
    held_up: watch::Sender<bool>,
    seen: watch::Sender<Seen>,
}

impl Slow {
    fn new(takes: Duration) -> Arc<Self> {
        Arc::new(Self {
            takes,
            held_up: watch::Sender::new(false),
            seen: watch::Sender::default(),
        })
    }

    /// One that does not answer until it may.
    fn held_up() -> Arc<Self> {
        let subscriber = Self::new(Duration::ZERO);
        subscriber.held_up.send_replace(true);
        subscriber
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.subscribe();
        let seen = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| is_so(seen))).await;
        seen.unwrap_or_else(|_elapsed| panic!("not in time: {what}: {:?}", self.seen.borrow()))
            .expect("it lives")
            .clone()
    }
}

/// A request under way.
struct UnderWay<'s>(&'s Slow, String);

impl<'s> UnderWay<'s> {
    fn begin(subscriber: &'s Slow, id: String) -> Self {
        subscriber.seen.send_modify(|seen| {
            *seen.begun.entry(id.clone()).or_default() += 1;
            let under_way = seen.under_way.entry(id.clone()).or_default();
            *under_way += 1;
            seen.most = seen.most.max(*under_way);
        });
        Self(subscriber, id)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let Self(subscriber, id) = self;
        subscriber
            .seen
            .send_modify(|seen| *seen.under_way.entry(id.clone()).or_default() -= 1);
    }
}

impl HttpTransport for Slow {
    async fn send(
        &self,
        mut request: impl FnMut() -> Request<Bytes> + Send,
        _: &Addressable,
        timeout: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let id = request().headers()["ce-id"]
            .to_str()
            .expect("text")
            .to_owned();
        let _under_way = UnderWay::begin(self, id.clone());
        let answer = async {
            tokio::time::sleep(self.takes).await;
            self.held_up
                .subscribe()
                .wait_for(|is_held_up| !is_held_up)
                .await
                .map(drop)
        };
        match tokio::time::timeout(timeout, answer).await {
            Ok(_) => {
                self.seen.send_modify(|seen| seen.taken.push(id));
                Ok(Response::default())
            }
            Err(_elapsed) => Err(TransportError::Timeout { after: timeout }),
        }
    }
}

/// A dispatcher on a server.
struct Bench {
    server: FakeServer,
    subscriber: Arc<Slow>,
    backend: Arc<RabbitmqBackend>,
    dispatcher: Dispatcher<Slow>,
    router: Arc<Router>,
    counters: Arc<ProcessCounters>,
}

impl Bench {
    async fn start(server: FakeServer, subscriber: Arc<Slow>, consumer_timeout: Duration) -> Self {
        let counters = Arc::new(ProcessCounters::default());
        let options = RabbitmqOptions {
            address: RabbitmqAddress::new(&server.uri(), RabbitmqCredentials::default(), None)
                .expect("an address"),
            queue_type: RabbitmqQueueType::Quorum,
            prefetch: 100,
            concurrency: 1,
            consumer_timeout,
            max_held_wait: Duration::from_secs(1),
            budget: MemoryBudget::new(256 << 20),
            attributes: crate::event::AttributeLimit::default(),
            delete_after: None,
        };
        let backend = Arc::new(RabbitmqBackend::new(options, Arc::clone(&counters)));
        let (mut dispatcher, router) = over(Arc::clone(&subscriber), backend.clone(), 1, &counters);
        dispatcher.apply(&table(&["a"]));
        server
            .until("it is consumed", |server| {
                !server.consumers(QUEUE).is_empty()
            })
            .await;
        Self {
            server,
            subscriber,
            backend,
            dispatcher,
            router,
            counters,
        }
    }

    async fn accept(&self, ids: &[&str]) {
        for id in ids {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while !accept(&self.router, id).await {
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "{id} is not accepted"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn until_done(&self) {
        let is_empty = |server: &FakeServer| server.ready(QUEUE) + server.unacked(QUEUE) == 0;
        self.server.until("all is acknowledged", is_empty).await;
    }
}

/// RabbitMQ delivers it again, so the delivery that was under way ends first.
#[tokio::test]
async fn a_delivery_ends_with_its_channel() {
    let bench = Bench::start(FakeServer::start().await, Slow::held_up(), PATIENCE * 60).await;
    bench.accept(&["1"]).await;
    bench
        .subscriber
        .until("it is sent", |seen| seen.begun.get("1") == Some(&1))
        .await;
    bench.server.close_channel(
        bench.server.consumers(QUEUE)[0],
        &Refusal::new(406, "PRECONDITION_FAILED"),
    );
    bench
        .subscriber
        .until("it is sent again", |seen| seen.begun.get("1") == Some(&2))
        .await;
    bench.server.drop_connections();
    bench
        .subscriber
        .until("and again", |seen| seen.begun.get("1") == Some(&3))
        .await;
    bench.subscriber.held_up.send_replace(false);
    let seen = bench
        .subscriber
        .until("it is taken", |seen| !seen.taken.is_empty())
        .await;
    bench.until_done().await;
    assert_eq!((seen.most, seen.taken), (1, vec!["1".to_owned()]));
    assert_eq!(bench.counters.delivered.get(), 1);
}

/// Nobody else has what came from a queue that was deleted: it is delivered.
#[tokio::test]
async fn a_delivery_outlives_its_queue() {
    let bench = Bench::start(FakeServer::start().await, Slow::held_up(), PATIENCE * 60).await;
    bench.accept(&["1"]).await;
    bench
        .subscriber
        .until("it is sent", |seen| seen.begun.get("1") == Some(&1))
        .await;
    bench.server.delete_queue(QUEUE);
    bench
        .server
        .until("it is declared again", |server| {
            server.consumers(QUEUE).len() == 1
        })
        .await;
    bench.subscriber.held_up.send_replace(false);
    bench
        .subscriber
        .until("it is taken", |seen| seen.taken == ["1"])
        .await;
    bench.accept(&["2"]).await;
    let seen = bench
        .subscriber
        .until("both are taken", |seen| seen.taken.len() == 2)
        .await;
    assert_eq!(
        (seen.begun.get("1"), seen.begun.get("2")),
        (Some(&1), Some(&1))
    );
    bench.until_done().await;
}

/// An event whose turn comes too late is put off before RabbitMQ loses patience, and is delivered
/// once.
#[tokio::test]
async fn events_are_put_off_before_the_consumer_timeout() {
    let timeout = Duration::from_secs(4);
    let server = FakeServer::start().await;
    server.set(|settings| settings.consumer_timeout = Some(timeout));
    let bench = Bench::start(server, Slow::new(Duration::from_millis(1400)), timeout).await;
    let ids = ["1", "2", "3", "4"];
    bench.accept(&ids).await;
    let seen = bench
        .subscriber
        .until("all are taken", |seen| seen.taken.len() == ids.len())
        .await;
    bench.until_done().await;
    assert!(
        ids.iter().all(|id| seen.begun.get(*id) == Some(&1)),
        "{seen:?}"
    );
    assert_eq!(
        (
            bench.backend.metrics().consumers_restarted.get(),
            bench.counters.delivered.get()
        ),
        (0, 4)
    );
    assert!(
        !bench.server.published("sealpost:wait:4s").is_empty(),
        "none was put off"
    );
}

/// At a stop, what was handed over is delivered and acknowledged, the rest stays in its queue.
#[tokio::test]
async fn a_stop_finishes_what_is_under_way() {
    let bench = Bench::start(
        FakeServer::start().await,
        Slow::new(Duration::from_millis(200)),
        PATIENCE,
    )
    .await;
    bench.accept(&["1", "2", "3", "4", "5"]).await;
    bench
        .subscriber
        .until("the first is sent", |seen| seen.begun.contains_key("1"))
        .await;
    let Bench {
        server,
        subscriber,
        backend,
        dispatcher,
        ..
    } = bench;
    let (_changes, receiver) = mpsc::channel(1);
    let stop = CancellationToken::new();
    stop.cancel();
    tokio::time::timeout(PATIENCE, dispatcher.run(receiver, stop))
        .await
        .expect("in time");
    backend.shut_down().await;
    let seen = subscriber.seen.borrow().clone();
    assert!(
        seen.begun.values().all(|begun| *begun == 1) && seen.begun.len() == seen.taken.len(),
        "{seen:?}"
    );
    assert_eq!(
        (server.unacked(QUEUE), server.ready(QUEUE)),
        (0, 5 - seen.taken.len())
    );
}
