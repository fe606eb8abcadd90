//! Tests of workers: the effect of one delivery on the others, and of a change of the table on all.

mod rabbitmq;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use super::*;
use crate::channel::memory::MemoryBackend;
use crate::client::TransportError;
use crate::delivery::DeliveryOptions;
use crate::display::EventDisplay;
use crate::event::Event;
use crate::filter::Filter;
use crate::model::{
    AcknowledgeMode, Addressable, Channel, ChannelKey, ChannelKind, DeliverySpec, DestinationRoute,
    ServiceHosts, SubscriptionKind, TransportEncryption, TrustBundle,
};
use crate::observation::EventArrival;
use crate::router::{ArrivedEvents, ServedTable};
use crate::telemetry::counters::ProcessCounters;

/// Takes every event but one, at which it panics.
struct Fragile;

impl HttpTransport for Fragile {
    async fn send(
        &self,
        mut request: impl FnMut() -> Request<Bytes> + Send,
        _: &Addressable,
        _: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        assert_ne!(request().headers()["ce-id"], "boom", "as the test wants");
        Ok(Response::default())
    }
}

fn table(subscriptions: &[&str]) -> Arc<RoutingTable> {
    let subscription = |name: &&str| {
        let kind = SubscriptionKind::Subscription;
        let (namespace, name) = ("ns".to_owned(), (*name).to_owned());
        let subscriber = Addressable {
            url: "http://subscriber/".parse().expect("a URL"),
            route: DestinationRoute::Remote { connect: None },
            trust: Arc::new(TrustBundle::default()),
            audience: None,
        };
        Arc::new(Subscription {
            key: SubscriptionKey {
                kind,
                namespace: namespace.clone(),
                name,
            },
            filter: Filter::MatchAll,
            subscriber: Some(subscriber),
            reply: None,
            dead_letter_sink: None,
            sender: None,
            event_types: None,
            delivery: DeliverySpec::default(),
            namespace,
        })
    };
    let key = ChannelKey {
        kind: ChannelKind::Channel,
        namespace: "ns".to_owned(),
        name: "c".to_owned(),
    };
    let subscriptions = subscriptions.iter().map(subscription).collect();
    let channel = Channel {
        key,
        backend: crate::model::BackendKind::Memory,
        acknowledge: AcknowledgeMode::AfterDelivery,
        retain: None,
        authorization: None,
        event_types: None,
        subscriptions,
    };
    let hosts = ServiceHosts::new("knative-eventing", "cluster.local");
    Arc::new(RoutingTable::new(
        TransportEncryption::Disabled,
        hosts,
        vec![Arc::new(channel)],
        [],
    ))
}

fn dispatcher() -> (Dispatcher<Fragile>, Arc<Router>, Arc<ProcessCounters>) {
    let counters = Arc::new(ProcessCounters::default());
    let backend = Arc::new(MemoryBackend::new(100, Arc::clone(&counters)));
    let (dispatcher, router) = over(Arc::new(Fragile), backend, 2, &counters);
    (dispatcher, router, counters)
}

/// A dispatcher with a way out, queues, and so many attempts at once.
fn over<T: HttpTransport>(
    transport: Arc<T>,
    backend: Arc<dyn ChannelBackend>,
    concurrency: usize,
    counters: &Arc<ProcessCounters>,
) -> (Dispatcher<T>, Arc<Router>) {
    let nothing = ServedTable::without_channels(Arc::new(table(&[]).without_channels()));
    let router = Arc::new(Router::new(nothing, 255, Arc::clone(counters)));
    let options = DeliveryOptions {
        default_timeout: Duration::from_secs(10),
        jitter: 0.0,
        attributes: crate::event::AttributeLimit::default(),
        broker_filter_host: "broker-filter.test".into(),
    };
    let delivery = EventDeliverer::new(
        transport,
        Arc::clone(&router),
        EventDisplay::default(),
        options,
        Arc::clone(counters),
    );
    (
        Dispatcher::new(
            backend,
            Arc::clone(&router),
            Arc::new(delivery),
            concurrency,
        ),
        router,
    )
}

async fn accept(router: &Router, id: &str) -> bool {
    let events = ArrivedEvents {
        events: vec![Event::new(id, "/s", "t")],
        arrival: EventArrival::default(),
    };
    router
        .accept(&router.served_table(), 0, events)
        .await
        .is_ok()
}

#[tokio::test]
async fn a_panic_in_one_delivery_harms_no_other() {
    let (mut dispatcher, router, counters) = dispatcher();
    dispatcher.apply(&table(&["a"]));
    for round in 0..5 {
        assert!(
            !accept(&router, "boom").await,
            "its sender is told, round {round}"
        );
        assert!(
            accept(&router, "good").await,
            "the worker goes on, round {round}"
        );
    }
    assert_eq!(
        (
            counters.delivered.get(),
            counters.abandoned.get(),
            counters.unfinished()
        ),
        (5, 5, 0)
    );
    // Whoever asks where the event is finds that its delivery panicked.
    let explained = counters.observer.explain("boom", None);
    let explained = String::from_utf8(explained.lines).expect("text");
    let told = explained
        .lines()
        .filter(|line| line.contains("\"what\":\"lost\"") && line.contains("panicked"));
    assert_eq!(told.count(), 5, "{explained}");
}

#[tokio::test]
async fn workers_follow_the_table_and_end_with_it() {
    let (mut dispatcher, router, counters) = dispatcher();
    for (subscriptions, delivered) in [
        (&["a"][..], 1),
        (&["a", "b"], 3),
        (&["b"], 4),
        (&[], 4),
        (&["a"], 5),
    ] {
        dispatcher.apply(&table(subscriptions));
        assert!(accept(&router, "good").await);
        assert_eq!(counters.delivered.get(), delivered, "{subscriptions:?}");
    }
    let (changes, receiver) = mpsc::channel(1);
    let stop = CancellationToken::new();
    stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), dispatcher.run(receiver, stop)).await;
    assert!(ended.is_ok(), "with the table gone, the workers end");
    assert!(router.served_table().table.channels().is_empty());
    drop(changes);
}
