//! Tests of deliveries against a scripted transport, with time paused: schedules of hours in
//! milliseconds.

mod holding;
mod senders;
mod unfinished;

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::time::Instant;

use super::*;
use crate::channel::memory::MemoryBackend;
use crate::channel::{ChannelBackend, DeferredDelivery, OpenedChannel};
use crate::client::TransportError;
use crate::event::{http as binding, knative};
use crate::filter::Filter;
use crate::model::SubscriptionKind;
use crate::model::{
    AcknowledgeMode, Addressable, BackendKind, BackoffPolicy, Channel, ChannelKey, ChannelKind,
    DeliveryFormat, DeliverySpec, DestinationRoute, RoutingTable, ServiceHosts, SubscriptionKey,
    TransportEncryption, TrustBundle,
};
use crate::router::{RoutedChannel, ServedTable};

#[derive(Clone)]
enum Step {
    Answer(u16, &'static [(&'static str, &'static str)], Bytes),
    Fail(TransportError),
}

fn status(code: u16) -> Step {
    Step::Answer(code, &[], Bytes::new())
}

type Script = (&'static str, VecDeque<Step>);

struct Seen {
    url: String,
    headers: HeaderMap,
    body: Bytes,
    at: Duration,
}

/// Answers by script, one list of steps for each destination; 202 when a list is used up.
#[derive(Clone)]
struct Scripted {
    started: Instant,
    scripts: Arc<Mutex<Vec<Script>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Scripted {
    fn new(scripts: &[(&'static str, &[Step])]) -> Self {
        let scripts = scripts
            .iter()
            .map(|(url, steps)| (*url, steps.iter().cloned().collect()))
            .collect();
        Self {
            started: Instant::now(),
            scripts: Arc::new(Mutex::new(scripts)),
            seen: Arc::default(),
        }
    }

    fn seen(&self, url: &str) -> Vec<u128> {
        self.seen
            .lock()
            .expect("lock")
            .iter()
            .filter(|seen| seen.url == url)
            .map(|seen| seen.at.as_millis())
            .collect()
    }

    fn last(&self, url: &str) -> (HeaderMap, Bytes) {
        let seen = self.seen.lock().expect("lock");
        let last = seen
            .iter()
            .rev()
            .find(|seen| seen.url == url)
            .expect("a request");
        (last.headers.clone(), last.body.clone())
    }
}

impl HttpTransport for Scripted {
    async fn send(
        &self,
        mut request: impl FnMut() -> Request<Bytes> + Send,
        to: &Addressable,
        _: Duration,
    ) -> Result<Response<Bytes>, TransportError> {
        let (parts, body) = request().into_parts();
        let seen = Seen {
            url: to.url.to_string(),
            headers: parts.headers,
            body,
            at: self.started.elapsed(),
        };
        self.seen.lock().expect("lock").push(seen);
        let mut scripts = self.scripts.lock().expect("lock");
        let script = scripts.iter_mut().find(|(url, _)| *url == to.url.as_str());
        match script
            .and_then(|(_, steps)| steps.pop_front())
            .unwrap_or(status(202))
        {
            Step::Fail(error) => Err(error),
            Step::Answer(code, headers, body) => {
                let mut response = Response::new(body);
                *response.status_mut() = http::StatusCode::from_u16(code).expect("a status");
                for (name, value) in headers {
                    response
                        .headers_mut()
                        .append(*name, HeaderValue::from_static(value));
                }
                Ok(response)
            }
        }
    }
}

const SUBSCRIBER: &str = "http://subscriber/";
const REPLY: &str = "http://reply/";
const SINK: &str = "http://sink/";

fn addressable(url: &str) -> Addressable {
    Addressable {
        url: url.parse().expect("a URL"),
        route: DestinationRoute::Remote { connect: None },
        trust: Arc::new(TrustBundle::default()),
        audience: None,
    }
}

fn subscription(kind: SubscriptionKind, delivery: DeliverySpec) -> Subscription {
    Subscription {
        key: SubscriptionKey {
            kind,
            namespace: "ns".to_owned(),
            name: "s".to_owned(),
        },
        filter: Filter::MatchAll,
        subscriber: Some(addressable(SUBSCRIBER)),
        reply: Some(addressable(REPLY)),
        dead_letter_sink: Some(addressable(SINK)),
        sender: None,
        event_types: None,
        delivery,
        namespace: "ns".to_owned(),
    }
}

fn router(counters: &Arc<ProcessCounters>, channel: Channel) -> (Arc<Router>, OpenedChannel) {
    let opened = MemoryBackend::new(10, Arc::clone(counters)).open(&channel);
    let hosts = ServiceHosts::new("knative-eventing", "cluster.local");
    let channel = Arc::new(channel);
    let table = RoutingTable::new(
        TransportEncryption::Disabled,
        hosts,
        vec![Arc::clone(&channel)],
        [],
    );
    let routed = RoutedChannel::new(&channel, Arc::clone(&opened.publisher), Arc::default());
    let serving = ServedTable {
        channels: vec![Arc::new(routed)],
        ..ServedTable::without_channels(Arc::new(table))
    };
    (
        Arc::new(Router::new(serving, 255, Arc::clone(counters))),
        opened,
    )
}

fn broker() -> ChannelKey {
    ChannelKey {
        kind: ChannelKind::Broker,
        namespace: "ns".to_owned(),
        name: "b".to_owned(),
    }
}

fn event() -> Arc<Event> {
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "i1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-knativebrokerttl", "7"),
        ("content-type", "application/json"),
        ("x-request-id", "rid"),
    ];
    let headers = headers.into_iter().map(|(name, value)| {
        (
            name.parse().expect("a name"),
            HeaderValue::from_static(value),
        )
    });
    let body = Bytes::from_static(br#"{"a":"b"}"#);
    Arc::new(
        binding::decode(
            headers.collect(),
            body,
            crate::event::AttributeLimit::default(),
        )
        .expect("an event")
        .remove(0),
    )
}

/// A delivery over a transport, and the lane of a subscription.
fn over(
    transport: &Scripted,
    subscription: Subscription,
) -> (EventDeliverer<Scripted>, SubscriptionWorkerState) {
    let counters = Arc::new(ProcessCounters::default());
    let channel = Channel {
        key: broker(),
        backend: BackendKind::Memory,
        acknowledge: AcknowledgeMode::AfterEnqueue,
        retain: None,
        authorization: None,
        event_types: None,
        subscriptions: vec![],
    };
    let (router, _opened) = router(&counters, channel);
    let options = DeliveryOptions {
        default_timeout: Duration::from_secs(900),
        jitter: 0.0,
        attributes: crate::event::AttributeLimit::default(),
        broker_filter_host: "broker-filter.test".into(),
    };
    let delivery = EventDeliverer::new(
        Arc::new(transport.clone()),
        router,
        EventDisplay::default(),
        options,
        counters,
    );
    (
        delivery,
        SubscriptionWorkerState::new(Arc::new(subscription), 1),
    )
}

async fn deliver(transport: &Scripted, subscription: Subscription) -> DeliveryOutcome {
    deliver_from(transport, subscription, DeliveryProgress::default()).await
}

async fn deliver_from(
    transport: &Scripted,
    subscription: Subscription,
    progress: DeliveryProgress,
) -> DeliveryOutcome {
    let (delivery, lane) = over(transport, subscription);
    let permit = lane.acquire_permit().await.expect("a permit");
    delivery.deliver(&event(), &lane, permit, progress).await
}

fn retrying(retry: u32) -> DeliverySpec {
    DeliverySpec {
        retry,
        backoff_policy: Some(BackoffPolicy::Exponential),
        backoff_delay: Some(Duration::from_secs(60)),
        ..DeliverySpec::default()
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().expect("text"))
}

/// Contract DP-4, DP-5, W-1.
#[tokio::test(start_paused = true)]
async fn the_subscribers_request() {
    let transport = Scripted::new(&[]);
    let outcome = deliver(
        &transport,
        subscription(SubscriptionKind::Subscription, DeliverySpec::default()),
    )
    .await;
    assert_eq!(outcome, DeliveryOutcome::Delivered);
    let (headers, body) = transport.last(SUBSCRIBER);
    for (name, value) in [
        ("ce-id", "i1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-specversion", "1.0"),
        ("ce-knativebrokerttl", "7"),
        ("content-type", "application/json"),
        ("prefer", "reply"),
        ("kn-namespace", "ns"),
        ("x-request-id", "rid"),
    ] {
        assert_eq!(header(&headers, name), Some(value), "{name}");
    }
    assert_eq!(headers.len(), 9);
    assert_eq!(body, event().data());
    assert!(transport.seen(REPLY).is_empty() && transport.seen(SINK).is_empty());
}

/// Contract DP-15 to DP-17, DP-19: the waits are those of the schedule, or what the subscriber asks
/// for if that is longer; the limit of attempts holds in either case.
#[tokio::test(start_paused = true)]
async fn retries_wait_and_end() {
    let busy = Step::Answer(429, &[("retry-after", "100")], Bytes::new());
    let steps = [
        status(503),
        busy.clone(),
        status(500),
        Step::Fail(TransportError::Timeout {
            after: Duration::ZERO,
        }),
    ];
    let transport = Scripted::new(&[(SUBSCRIBER, &steps)]);
    let spec = DeliverySpec {
        retry_after_max: Some(Duration::from_secs(3600)),
        ..retrying(4)
    };
    let outcome = deliver(
        &transport,
        subscription(SubscriptionKind::Subscription, spec),
    )
    .await;
    assert_eq!(outcome, DeliveryOutcome::Delivered);
    assert_eq!(
        transport.seen(SUBSCRIBER),
        [0, 60_000, 180_000, 420_000, 900_000]
    );

    let transport = Scripted::new(&[(SUBSCRIBER, &[busy.clone(), busy.clone(), busy])]);
    let spec = DeliverySpec {
        retry_after_max: Some(Duration::from_secs(90)),
        ..retrying(2)
    };
    let outcome = deliver(
        &transport,
        subscription(SubscriptionKind::Subscription, spec),
    )
    .await;
    assert_eq!(outcome, DeliveryOutcome::DeadLettered);
    assert_eq!(transport.seen(SUBSCRIBER), [0, 90_000, 210_000]);
}

/// Of each subscription it is known which destination failed last, and why; a success adds nothing.
#[tokio::test(start_paused = true)]
async fn the_last_error_is_remembered() {
    let no_event = Step::Answer(
        200,
        &[("content-type", "application/cloudevents+json")],
        Bytes::from_static(b"{"),
    );
    for (scripts, leg, destination, reason, failures, retries) in [
        (&[][..], "", "", "", 0, 0),
        (
            &[(SUBSCRIBER, &[status(503)][..])],
            "subscriber",
            SUBSCRIBER,
            "answered 503",
            1,
            1,
        ),
        (
            &[(SUBSCRIBER, &[status(503), status(400)])],
            "subscriber",
            SUBSCRIBER,
            "answered 400",
            2,
            1,
        ),
        (
            &[(SUBSCRIBER, &[no_event])],
            "reply",
            REPLY,
            "the reply is not an event",
            1,
            0,
        ),
        (
            &[(SUBSCRIBER, &[status(400)][..]), (SINK, &[status(401)])],
            "dead letter sink",
            SINK,
            "answered 401",
            2,
            0,
        ),
    ] {
        let (delivery, lane) = over(
            &Scripted::new(scripts),
            subscription(SubscriptionKind::Subscription, retrying(1)),
        );
        let permit = lane.acquire_permit().await.expect("a permit");
        delivery
            .deliver(&event(), &lane, permit, DeliveryProgress::default())
            .await;
        let (series, last) = (lane.series(), lane.series().last_error());
        let counted = (
            series.failures.get(),
            series.retries.get(),
            series.in_flight.get(),
        );
        assert_eq!(counted, (failures, retries, 0), "{leg}");
        let last = last.map(|last| {
            (
                last.destination_role,
                last.url.into_string(),
                last.reason.into_string(),
            )
        });
        let (last_leg, last_destination, last_reason) = last.unwrap_or_default();
        assert_eq!((last_leg, last_destination.as_str()), (leg, destination));
        assert!(last_reason.starts_with(reason), "{last_reason}");
    }
}

/// Contract DP-15, A-45, G-32: what cannot get better is not tried again.
#[tokio::test(start_paused = true)]
async fn final_failures_are_not_retried() {
    for step in [
        status(400),
        status(302),
        Step::Fail(TransportError::Trust("expired".to_owned())),
    ] {
        let transport = Scripted::new(&[(SUBSCRIBER, &[step])]);
        let outcome = deliver(
            &transport,
            subscription(SubscriptionKind::Subscription, retrying(5)),
        )
        .await;
        assert_eq!(outcome, DeliveryOutcome::DeadLettered);
        assert_eq!(transport.seen(SUBSCRIBER), [0]);
    }
}

/// Contract DP-7, DP-27, DP-29 to DP-31, DP-3: what the dead letter sink gets.
#[tokio::test(start_paused = true)]
async fn dead_letters_say_why() {
    for (step, code, data) in [
        (
            Step::Answer(400, &[], Bytes::from_static(b"bad")),
            "400",
            "bad".to_owned(),
        ),
        (Step::Answer(410, &[], Bytes::new()), "410", String::new()),
        (
            Step::Answer(400, &[], Bytes::from(vec![b'x'; 769])),
            "400",
            "x".repeat(768),
        ),
        (
            Step::Fail(TransportError::Connect("refused".to_owned())),
            "500",
            "dispatch error: could not connect: refused".to_owned(),
        ),
    ] {
        let transport = Scripted::new(&[(SUBSCRIBER, &[step])]);
        let outcome = deliver(
            &transport,
            subscription(SubscriptionKind::Subscription, DeliverySpec::default()),
        )
        .await;
        assert_eq!(outcome, DeliveryOutcome::DeadLettered);
        let (headers, body) = transport.last(SINK);
        assert_eq!(header(&headers, "ce-knativeerrordest"), Some(SUBSCRIBER));
        assert_eq!(header(&headers, "ce-knativeerrorcode"), Some(code));
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, data);
        assert_eq!(
            header(&headers, "ce-knativeerrordata"),
            Some(encoded.as_str())
        );
        assert_eq!(
            (header(&headers, "x-request-id"), header(&headers, "prefer")),
            (Some("rid"), None)
        );
        assert_eq!(
            (header(&headers, "ce-id"), body),
            (Some("i1"), event().data().clone())
        );
    }
}

const REPLY_HEADERS: &[(&str, &str)] = &[
    ("ce-specversion", "1.0"),
    ("ce-id", "r1"),
    ("ce-type", "rt"),
    ("ce-source", "/r"),
    ("content-type", "text/plain"),
    ("x-request-id", "resp-rid"),
    ("x-other", "no"),
];

/// Contract DP-6, DP-23, W-2, W-3.
#[tokio::test(start_paused = true)]
async fn replies_are_forwarded_and_their_failure_buries_the_original() {
    let answer = Step::Answer(200, REPLY_HEADERS, Bytes::from_static(b"hello"));
    let transport = Scripted::new(&[(SUBSCRIBER, std::slice::from_ref(&answer))]);
    let outcome = deliver(
        &transport,
        subscription(SubscriptionKind::Subscription, DeliverySpec::default()),
    )
    .await;
    assert_eq!(outcome, DeliveryOutcome::Delivered);
    let (headers, body) = transport.last(REPLY);
    assert_eq!(
        (header(&headers, "ce-id"), header(&headers, "content-type")),
        (Some("r1"), Some("text/plain"))
    );
    assert_eq!(
        (
            header(&headers, "x-request-id"),
            header(&headers, "kn-namespace")
        ),
        (Some("resp-rid"), Some("ns"))
    );
    assert_eq!(
        (header(&headers, "prefer"), header(&headers, "x-other")),
        (None, None)
    );
    assert_eq!(body, "hello");

    let refusal = Step::Answer(400, &[], Bytes::from_static(b"bad reply"));
    let transport = Scripted::new(&[(SUBSCRIBER, &[answer]), (REPLY, &[refusal])]);
    let outcome = deliver(
        &transport,
        subscription(SubscriptionKind::Subscription, retrying(1)),
    )
    .await;
    assert_eq!(outcome, DeliveryOutcome::DeadLettered);
    let (headers, _) = transport.last(SINK);
    assert_eq!(
        (
            header(&headers, "ce-id"),
            header(&headers, "ce-knativeerrordest")
        ),
        (Some("i1"), Some(REPLY))
    );
    assert_eq!(
        header(&headers, "ce-knativeerrordata"),
        Some("YmFkIHJlcGx5")
    );
    assert_eq!(
        header(&headers, "x-request-id"),
        Some("resp-rid"),
        "contract DP-7"
    );
    assert_eq!(transport.seen(SUBSCRIBER).len(), 1);
}

/// Contract DP-24, DP-30.
#[tokio::test(start_paused = true)]
async fn a_reply_that_cannot_be_read_is_a_reply_failure() {
    let answer = Step::Answer(
        200,
        &[("content-type", "application/cloudevents+json")],
        Bytes::from_static(b"{"),
    );
    let transport = Scripted::new(&[(SUBSCRIBER, &[answer])]);
    let outcome = deliver(
        &transport,
        subscription(SubscriptionKind::Subscription, retrying(3)),
    )
    .await;
    assert_eq!(outcome, DeliveryOutcome::DeadLettered);
    assert!(transport.seen(REPLY).is_empty());
    let (headers, _) = transport.last(SINK);
    assert_eq!(
        (
            header(&headers, "ce-knativeerrorcode"),
            header(&headers, "ce-knativeerrordata")
        ),
        (Some("-1"), Some(""))
    );
}

/// Contract DP-28.
#[tokio::test(start_paused = true)]
async fn without_a_home_an_event_is_lost() {
    let refused = [status(400)];
    let transport = Scripted::new(&[(SUBSCRIBER, &refused), (SINK, &refused)]);
    let outcome = deliver(
        &transport,
        subscription(SubscriptionKind::Subscription, DeliverySpec::default()),
    )
    .await;
    assert!(matches!(outcome, DeliveryOutcome::Lost(_)));
    let transport = Scripted::new(&[(SUBSCRIBER, &refused)]);
    let homeless = Subscription {
        dead_letter_sink: None,
        ..subscription(SubscriptionKind::Subscription, DeliverySpec::default())
    };
    assert!(matches!(
        deliver(&transport, homeless).await,
        DeliveryOutcome::Lost(_)
    ));
}

/// Contract DP-8, BF-9, BF-12, DP-33.
#[tokio::test(start_paused = true)]
async fn a_triggers_subscriber_does_not_see_the_hop_count_and_its_reply_keeps_it() {
    let spec = DeliverySpec {
        format: DeliveryFormat::Json,
        ..DeliverySpec::default()
    };
    for delivery in [DeliverySpec::default(), spec] {
        let answer = Step::Answer(200, REPLY_HEADERS, Bytes::new());
        let transport = Scripted::new(&[(SUBSCRIBER, &[answer]), (REPLY, &[status(410)])]);
        let outcome = deliver(
            &transport,
            subscription(SubscriptionKind::Trigger, delivery.clone()),
        )
        .await;
        assert_eq!(outcome, DeliveryOutcome::DeadLettered);
        let ttl = |url: &str| {
            let (headers, body) = transport.last(url);
            let event = binding::decode(headers, body, crate::event::AttributeLimit::default())
                .expect("an event")
                .remove(0);
            event
                .get(knative::BROKER_TTL)
                .map(|ttl| ttl.parse::<i32>().expect("a number"))
        };
        assert_eq!(
            (ttl(SUBSCRIBER), ttl(REPLY), ttl(SINK)),
            (None, Some(7), Some(7)),
            "{delivery:?}"
        );
    }
}

/// A reply to an address of this process does not leave it.
#[tokio::test(start_paused = true)]
async fn replies_enter_a_broker_of_this_process() {
    let counters = Arc::new(ProcessCounters::default());
    let watcher = Arc::new(subscription(
        SubscriptionKind::Trigger,
        DeliverySpec::default(),
    ));
    let channel = Channel {
        key: broker(),
        backend: BackendKind::Memory,
        acknowledge: AcknowledgeMode::AfterEnqueue,
        retain: None,
        authorization: None,
        event_types: None,
        subscriptions: vec![watcher],
    };
    let (router, mut opened) = router(&counters, channel);
    let transport = Scripted::new(&[(
        SUBSCRIBER,
        &[Step::Answer(200, REPLY_HEADERS, Bytes::from_static(b"x"))],
    )]);
    let options = DeliveryOptions {
        default_timeout: Duration::from_secs(900),
        jitter: 0.0,
        attributes: crate::event::AttributeLimit::default(),
        broker_filter_host: "broker-filter.test".into(),
    };
    let delivery = EventDeliverer::new(
        Arc::new(transport.clone()),
        router,
        EventDisplay::default(),
        options,
        counters,
    );
    let mut trigger = subscription(SubscriptionKind::Trigger, DeliverySpec::default());
    let reply = Addressable {
        route: DestinationRoute::Local(broker()),
        ..addressable("http://broker/")
    };
    trigger.reply = Some(reply);
    let lane = SubscriptionWorkerState::new(Arc::new(trigger), 1);
    let permit = lane.acquire_permit().await.expect("a permit");
    assert_eq!(
        delivery
            .deliver(&event(), &lane, permit, DeliveryProgress::default())
            .await,
        DeliveryOutcome::Delivered
    );
    let message = opened.consumers[0].1.recv().await.expect("the reply");
    assert_eq!(message.event.id(), "r1");
    assert_eq!(
        message.event.get(knative::BROKER_TTL).as_deref(),
        Some("6"),
        "contract BI-6"
    );
    assert!(
        message.event.get(knative::ARRIVAL_TIME).is_some(),
        "contract BI-5"
    );
}

/// A change takes effect on the next attempt, even of an event that was tried before.
#[tokio::test(start_paused = true)]
async fn the_newest_configuration_is_used_for_each_attempt() {
    let counters = Arc::new(ProcessCounters::default());
    let channel = Channel {
        key: broker(),
        backend: BackendKind::Memory,
        acknowledge: AcknowledgeMode::AfterEnqueue,
        retain: None,
        authorization: None,
        event_types: None,
        subscriptions: vec![],
    };
    let (router, _opened) = router(&counters, channel);
    let transport = Scripted::new(&[(SUBSCRIBER, &[status(503)])]);
    let options = DeliveryOptions {
        default_timeout: Duration::from_secs(900),
        jitter: 0.0,
        attributes: crate::event::AttributeLimit::default(),
        broker_filter_host: "broker-filter.test".into(),
    };
    let delivery = EventDeliverer::new(
        Arc::new(transport.clone()),
        router,
        EventDisplay::default(),
        options,
        counters,
    );
    let lane = SubscriptionWorkerState::new(
        Arc::new(subscription(SubscriptionKind::Subscription, retrying(1))),
        1,
    );
    let permit = lane.acquire_permit().await.expect("a permit");
    let event = event();
    let change = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let moved = subscription(SubscriptionKind::Subscription, retrying(1));
        lane.set_subscription(Arc::new(Subscription {
            subscriber: Some(addressable("http://moved/")),
            ..moved
        }));
    };
    let (outcome, ()) = tokio::join!(
        delivery.deliver(&event, &lane, permit, DeliveryProgress::default()),
        change
    );
    assert_eq!(outcome, DeliveryOutcome::Delivered);
    assert_eq!(transport.seen("http://moved/"), [60_000]);
}

/// What waits longer than its queue allows is put off, and goes on where it was: the schedule is
/// neither forgotten nor begun anew.
#[tokio::test(start_paused = true)]
async fn long_waits_are_put_off() {
    let transport = Scripted::new(&[(
        SUBSCRIBER,
        &[status(503), status(503), status(503), status(503)],
    )]);
    let delay = Duration::from_secs(2);
    let spec = DeliverySpec {
        retry: 3,
        backoff_delay: Some(delay),
        ..retrying(3)
    };
    let homeless = Subscription {
        dead_letter_sink: None,
        ..subscription(SubscriptionKind::Subscription, spec)
    };
    let max_wait = Some(Duration::from_secs(3));
    let first = deliver_from(
        &transport,
        homeless.clone(),
        DeliveryProgress {
            max_wait,
            ..DeliveryProgress::default()
        },
    )
    .await;
    assert_eq!(
        first,
        DeliveryOutcome::Deferred(DeferredDelivery {
            stage: DeliveryStage::Subscriber,
            attempts: 2,
            wait: delay * 2
        })
    );
    let second = deliver_from(
        &transport,
        homeless.clone(),
        DeliveryProgress {
            attempts: 2,
            wait: delay,
            max_wait,
            ..DeliveryProgress::default()
        },
    )
    .await;
    assert_eq!(
        second,
        DeliveryOutcome::Deferred(DeferredDelivery {
            stage: DeliveryStage::Subscriber,
            attempts: 3,
            wait: delay * 4
        })
    );
    let third = deliver_from(
        &transport,
        homeless,
        DeliveryProgress {
            attempts: 3,
            max_wait,
            ..DeliveryProgress::default()
        },
    )
    .await;
    let DeliveryOutcome::Lost(loss) = third else {
        panic!("not lost")
    };
    assert_eq!((loss.attempts, loss.code), (4, 503));
    assert_eq!(
        transport.seen(SUBSCRIBER),
        [0, 2000, 4000, 4000],
        "what is left of a wait is waited for"
    );
}

/// It is moved more than once when its task is made, so what is rare in it is on the heap.
#[tokio::test]
async fn the_future_of_a_delivery_is_small() {
    let (delivery, lane) = over(
        &Scripted::new(&[]),
        subscription(SubscriptionKind::Subscription, retrying(1)),
    );
    let permit = lane.acquire_permit().await.expect("a permit");
    let size = size_of_val(&delivery.deliver(&event(), &lane, permit, DeliveryProgress::default()));
    assert!(size <= 2048, "{size} bytes without the transport's");
}
