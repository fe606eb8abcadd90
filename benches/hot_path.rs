//! The parts of the hot path, one at a time: codec, filter, table lookup, client cache.
//!
//! `cargo bench --bench hot_path`

#![expect(
    clippy::indexing_slicing,
    reason = "a bench may end at what it did not expect"
)]

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_semantic_conventions::attribute::HTTP_RESPONSE_STATUS_CODE;
use sealpost::auth::issuer_keys::{
    IssuerKeyRefresher, IssuerKeySource, IssuerKeyStore, PublishedKeys,
};
use sealpost::auth::{RequestCredentials, SenderAuthorizer};
use sealpost::client::{ClientCache, ClientLimits};
use sealpost::control::{
    ChannelScope, ControlSettings, ControlTask, ManifestSet, ObjectSource, ServedChannelKind,
    resolve,
};
use sealpost::event::{AttributeLimit, Event, http as binding};
use sealpost::filter::Filter;
use sealpost::filter::cesql::CesqlExpression;
use sealpost::filter::index::FilterIndex;
use sealpost::model::{
    AcknowledgeMode, Addressable, AuthorizationMode, AuthorizationRule, BackendKind, Channel,
    ChannelKey, ChannelKind, DestinationRole, DestinationRoute, OidcAuthentication, OidcDiscovery,
    RoutingTable, SenderAuthorization, ServiceHosts, TransportEncryption, TrustBundle,
};
use sealpost::observation::{
    EventArrival, EventObserver, LineWriter, ObservedAttempt, ObservedEnd, ObservedFact,
    ObservedObject, TapBatch, TapDetail,
};
use sealpost::telemetry::counters::ProcessCounters;
use sealpost::telemetry::series::{DeliveryEnd, SeriesKey};
use sealpost::telemetry::span_attributes;
use sealpost::telemetry::tracer::{Sampler, Tracer};
use sealpost::tls::{MinTlsVersion, SystemRoots};
use serde_json::{Value, json};

fn main() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    divan::main();
}

fn headers() -> HeaderMap {
    let pairs = [
        ("host", "localhost"),
        ("user-agent", "bench"),
        ("content-length", "1024"),
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "6cf17c7b-30b1-45a6-80b0-4cf58c92b947"),
        ("ce-source", "/bench"),
        ("ce-type", "dev.sealpost.bench"),
        ("ce-time", "2026-01-01T00:00:00Z"),
    ];
    pairs
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn body() -> Bytes {
    Bytes::from(format!("{{\"data\":\"{}\"}}", "x".repeat(1013)))
}

fn event() -> Event {
    binding::decode(headers(), body(), AttributeLimit::default())
        .expect("an event")
        .remove(0)
}

#[divan::bench]
fn decode_binary(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| (headers(), body()))
        .bench_values(|(headers, body)| binding::decode(headers, body, AttributeLimit::default()));
}

#[divan::bench]
fn encode_binary(bencher: Bencher<'_, '_>) {
    let event = event();
    bencher.bench(|| binding::binary_headers(black_box(&event)));
}

#[divan::bench]
fn decode_structured(bencher: Bencher<'_, '_>) {
    let (headers, body) = binding::encode_structured(&event());
    bencher
        .with_inputs(|| (headers.clone(), body.clone()))
        .bench_values(|(headers, body)| binding::decode(headers, body, AttributeLimit::default()));
}

#[divan::bench]
fn encode_structured(bencher: Bencher<'_, '_>) {
    let event = event();
    bencher.bench(|| binding::encode_structured(black_box(&event)));
}

#[divan::bench]
fn filter_attributes(bencher: Bencher<'_, '_>) {
    let pairs = [("type", "dev.sealpost.bench"), ("source", "/bench")];
    let filter = Filter::Attributes(
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
    );
    let event = event();
    bencher.bench(|| filter.matches(black_box(&event)));
}

/// Finding the one Trigger of so many whose exact type the event has.
#[divan::bench(args = [1, 1000])]
fn filter_index(bencher: Bencher<'_, '_>, triggers: usize) {
    let exact = |number: usize| {
        let ty = if number == 0 {
            "dev.sealpost.bench".to_owned()
        } else {
            format!("other.{number}")
        };
        Filter::Exact(vec![("type".to_owned(), ty)])
    };
    let filters: Vec<Filter> = (0..triggers).map(exact).collect();
    let (index, event) = (FilterIndex::new(&filters), event());
    bencher.bench(|| {
        index
            .candidates(black_box(&event))
            .filter(|place| filters[*place].matches(&event))
            .count()
    });
}

/// Evaluating one expression, as each of many Triggers would that all have one on a shared
/// attribute.
#[divan::bench]
fn cesql(bencher: Bencher<'_, '_>) {
    let expression =
        CesqlExpression::parse("type LIKE 'dev.%' AND source = '/bench'").expect("an expression");
    let (filter, event) = (Filter::from(expression), event());
    bencher.bench(|| filter.matches(black_box(&event)));
}

/// Expressions that come to the limit, each in another way, on attributes of 60 KiB: what a step
/// takes, as items a second, and so what a decision takes at most.
#[divan::bench(args = ["a LIKE '%A_b%'", "a LIKE '%a_a_a_a_b%'", "LENGTH(CONCAT(a, a, a, a, a, a)) > 0", "UPPER(a) = e"])]
fn cesql_at_the_limit(bencher: Bencher<'_, '_>, piece: &str) {
    let piece = piece.replace('A', &"a".repeat(150));
    let expression =
        CesqlExpression::parse(&vec![&*piece; 98].join(" XOR ")).expect("an expression");
    let (filter, mut event) = (Filter::from(expression), event());
    event.set("a", &"a".repeat(60 * 1024));
    event.set("e", "an encoded value");
    let steps = filter.decide(&event).steps;
    bencher
        .counter(ItemsCount::new(steps))
        .bench(|| filter.decide(black_box(&event)));
}

#[divan::bench(args = [1, 100, 10_000])]
fn table_lookup(bencher: Bencher<'_, '_>, channels: usize) {
    let key = |number: usize| ChannelKey {
        kind: ChannelKind::Channel,
        namespace: "default".to_owned(),
        name: format!("c{number}"),
    };
    let channel = |number| {
        Arc::new(Channel {
            key: key(number),
            backend: BackendKind::Memory,
            acknowledge: AcknowledgeMode::AfterDelivery,
            retain: None,
            authorization: None,
            event_types: None,
            subscriptions: Vec::new(),
        })
    };
    let hosts = ServiceHosts::new("knative-eventing", "cluster.local");
    let table = RoutingTable::new(
        TransportEncryption::Strict,
        hosts,
        (0..channels).map(channel).collect(),
        [],
    );
    bencher.bench(|| {
        black_box(table.look_up(black_box(Some("localhost:8443")), black_box("/default/c0")))
    });
}

/// What finding the client of a destination costs.
#[divan::bench]
fn client_cache(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let clients = ClientCache::new(
        SystemRoots::load(),
        MinTlsVersion::Tls12,
        ClientLimits::default(),
    );
    let to = Addressable {
        url: "http://127.0.0.1:1/".parse().expect("a URL"),
        route: DestinationRoute::Remote { connect: None },
        trust: Arc::new(TrustBundle::default()),
        audience: None,
    };
    bencher.bench(|| runtime.block_on(clients.client(black_box(&to))).is_ok());
}

/// A channel of a cluster with so many subscribers.
fn cluster_channel(number: usize, subscribers: usize) -> Value {
    let (name, namespace) = (format!("channel-{number}"), format!("team-{}", number % 50));
    let host = format!("{name}-kn-channel.{namespace}.svc.cluster.local");
    let subscriber = |index: usize| {
        json!({
            "name": format!("s{index}"), "uid": format!("{number:08}-0000-4000-8000-{index:012}"), "generation": 1,
            "subscriberUri": format!("http://sink-{index}.{namespace}.svc.cluster.local"),
            "replyUri": format!("http://other-kn-channel.{namespace}.svc.cluster.local"),
            "delivery": {"retry": 3, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S",
                "deadLetterSink": {"uri": format!("http://dead.{namespace}.svc.cluster.local")}},
        })
    };
    json!({
        "apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{number}"), "generation": 1},
        "spec": {"subscribers": (0..subscribers).map(subscriber).collect::<Vec<_>>()},
        "status": {"address": {"name": "http", "url": format!("http://{host}")}},
    })
}

fn cluster_settings() -> ControlSettings {
    ControlSettings {
        task: ControlTask::ServeChannels {
            kind: ServedChannelKind::InMemory,
            scope: ChannelScope::Cluster,
        },
        ..ControlSettings::default()
    }
}

/// A Trigger of a cluster; `revision` is what changes in it.
fn cluster_trigger(number: usize, revision: usize) -> Value {
    let (name, namespace) = (format!("trigger-{number}"), format!("team-{}", number % 50));
    json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-{number}"), "generation": 1},
        "spec": {
            "broker": "default", "subscriber": {"ref": {"apiVersion": "v1", "kind": "Service", "name": "sink"}},
            "filters": [{"exact": {"type": format!("type-{number}")}}, {"cesql": "source LIKE '/orders/%'"}],
        },
        "status": {
            "subscriberUri": format!("http://sink-{revision}.{namespace}.svc.cluster.local"),
            "deadLetterSinkUri": format!("http://dead.{namespace}.svc.cluster.local"),
            "auth": {"serviceAccountName": format!("{name}-oidc-eventing.knative.dev-trigger")},
        },
    })
}

fn cluster_of_triggers(count: usize) -> ManifestSet {
    let broker = |number: usize| {
        let namespace = format!("team-{number}");
        let url =
            format!("http://broker-ingress.knative-eventing.svc.cluster.local/{namespace}/default");
        json!({
            "apiVersion": "eventing.knative.dev/v1", "kind": "Broker",
            "metadata": {"name": "default", "namespace": namespace, "uid": namespace},
            "spec": {}, "status": {"address": {"name": "http", "url": url}},
        })
    };
    let subscription = |number: usize| {
        let owner = json!({"kind": "Trigger", "name": format!("trigger-{number}"), "uid": format!("uid-{number}")});
        json!({
            "apiVersion": "messaging.knative.dev/v1", "kind": "Subscription",
            "metadata": {
                "name": format!("default-trigger-{number}"), "namespace": format!("team-{}", number % 50),
                "ownerReferences": [owner],
            },
            "spec": {"subscriber": {"uri": "http://broker-filter.knative-eventing.svc.cluster.local"}},
            "status": {"auth": {"serviceAccountName": format!("default-trigger-{number}-oidc")}},
        })
    };
    let features = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config-features", "namespace": "knative-eventing"},
        "data": {"authentication-oidc": "enabled"},
    });
    let triggers = (0..count).map(|number| cluster_trigger(number, 0));
    ManifestSet::from_objects(
        triggers
            .chain((0..50).map(broker))
            .chain((0..count).map(subscription))
            .chain([features]),
    )
}

/// The role `filter` in a cluster of 2,000 Triggers with their Subscriptions, from nothing.
#[divan::bench(sample_count = 10)]
fn resolve_triggers(bencher: Bencher<'_, '_>) {
    let objects = cluster_of_triggers(2000);
    let settings = ControlSettings {
        task: ControlTask::RelayTriggers(ObjectSource::Reconciled),
        ..cluster_settings()
    };
    bencher.bench(|| resolve(black_box(&objects), None, &settings));
}

/// The same cluster, after one Trigger has changed.
#[divan::bench(sample_count = 50)]
fn resolve_one_more_trigger(bencher: Bencher<'_, '_>) {
    let objects = cluster_of_triggers(2000);
    let settings = ControlSettings {
        task: ControlTask::RelayTriggers(ObjectSource::Reconciled),
        ..cluster_settings()
    };
    let last = resolve(&objects, None, &settings);
    let changed = objects.with_object(1000, cluster_trigger(1000, 1));
    bencher.bench(|| resolve(black_box(&changed), Some(&last), &settings));
}

/// A cluster of 5,000 channels with two subscribers each, from nothing.
#[divan::bench(sample_count = 10)]
fn resolve_cluster(bencher: Bencher<'_, '_>) {
    let objects = ManifestSet::from_objects((0..5000).map(|number| cluster_channel(number, 2)));
    bencher.bench(|| resolve(black_box(&objects), None, &cluster_settings()));
}

/// The same cluster, after one channel has got one more subscriber.
#[divan::bench(sample_count = 50)]
fn resolve_one_more_subscriber(bencher: Bencher<'_, '_>) {
    let objects = ManifestSet::from_objects((0..5000).map(|number| cluster_channel(number, 2)));
    let last = resolve(&objects, None, &cluster_settings());
    let changed = objects.with_object(2500, cluster_channel(2500, 3));
    bencher.bench(|| resolve(black_box(&changed), Some(&last), &cluster_settings()));
}

/// What tracing costs a delivery of one attempt: while it is off, while the trace is not recorded,
/// and while it is. The spans are those of the path of one event, and the header that goes with it.
#[divan::bench(args = ["off", "not_recorded", "one_percent", "recorded"])]
fn trace(bencher: Bencher<'_, '_>, mode: &str) {
    let (spans, mut finished) = tokio::sync::mpsc::channel(4096);
    let tracer = Tracer::default();
    match mode {
        "off" => {}
        "not_recorded" => tracer.start_recording(Sampler::AlwaysOff, spans, Arc::default()),
        "one_percent" => {
            tracer.start_recording(Sampler::from_rate(0.01), spans, Arc::default());
        }
        _ => tracer.start_recording(Sampler::AlwaysOn, spans, Arc::default()),
    }
    let event = event();
    bencher.bench_local(|| {
        let publish = tracer.start("publish", SpanKind::Producer, event.trace());
        let mut deliver = tracer.start("deliver", SpanKind::Consumer, publish.context());
        span_attributes::set_event_attributes(&mut deliver, &event);
        let hop = deliver.child("send subscriber", SpanKind::Internal);
        let mut attempt = hop.child("POST", SpanKind::Client);
        let mut headers = HeaderMap::new();
        if let Some(context) = attempt.context() {
            context.write_headers(&mut headers);
        }
        attempt.set_attributes(|| [KeyValue::new(HTTP_RESPONSE_STATUS_CODE, 200)]);
        drop((attempt, hop, deliver, publish));
        while finished.try_recv().is_ok() {}
        black_box(headers);
    });
}

/// What a delivery of one attempt costs in numbers.
#[divan::bench]
fn count(bencher: Bencher<'_, '_>) {
    let counters = ProcessCounters::default();
    let name = SeriesKey {
        kind: "subscription",
        namespace: "default".into(),
        name: "s".into(),
    };
    let series = counters.series.subscription(&name);
    bencher.bench(|| {
        counters.count_enqueued(&series);
        series.start_delivery();
        let in_flight = series.in_flight.enter();
        series.count_attempt(DestinationRole::Subscriber, Ok(200));
        drop(in_flight);
        series.record_dispatch(Some(200), std::time::Duration::from_micros(80), None);
        counters.count_end(&series, DeliveryEnd::Delivered);
    });
}

/// What is told of an event with one delivery of one attempt.
fn delivery_facts() -> [ObservedFact<'static>; 3] {
    let attempted = ObservedAttempt {
        role: DestinationRole::Subscriber,
        number: 1,
        status: Some(200),
        took: std::time::Duration::from_micros(80),
        reason: "",
    };
    [
        ObservedFact::Accepted(EventArrival::default()),
        ObservedFact::Attempted(attempted),
        ObservedFact::Ended(ObservedEnd::Delivered, ""),
    ]
}

/// What is told of an event with one delivery of one attempt: while nobody asks, and with nothing
/// kept either.
#[divan::bench(args = ["kept", "not_kept"])]
fn observe(bencher: Bencher<'_, '_>, mode: &str) {
    let observer = EventObserver::new(if mode == "kept" { 32 << 20 } else { 0 });
    let channel = ObservedObject::new("channel", "default", "c");
    let subscription = ObservedObject::new("subscription", "default", "s");
    let event = event();
    let [accepted, attempted, ended] = delivery_facts();
    bencher.bench(|| {
        observer.observe(black_box(&event), &channel, &accepted);
        observer.observe(black_box(&event), &subscription, &attempted);
        observer.observe(black_box(&event), &subscription, &ended);
    });
}

/// The same while a tap of everything is open and takes what comes: told only, and with the lines
/// that its reader gets.
#[divan::bench(args = ["told", "written"])]
fn observe_tapped(bencher: Bencher<'_, '_>, mode: &str) {
    let observer = EventObserver::new(32 << 20);
    let reader = observer.tap(TapDetail::Attributes).expect("a place");
    let object = ObservedObject::new("subscription", "default", "s");
    let event = event();
    let facts = delivery_facts();
    let (mut told, mut lines) = (0, Vec::new());
    let (mut batch, mut writer) = (TapBatch::default(), LineWriter::default());
    bencher.bench_local(|| {
        for fact in &facts {
            observer.observe(black_box(&event), &object, fact);
        }
        told += 3;
        // As often as a reader looks, at 10,000 events a second.
        if told >= 600 {
            told = 0;
            reader.take(&mut batch);
            lines.clear();
            if mode == "written" {
                for observation in batch.observations() {
                    writer.write(&observation, &|_| true, &mut lines);
                }
            }
            black_box(&lines);
        }
    });
}

/// Reading all numbers of so many subscriptions, as a scrape does.
#[divan::bench(args = [1, 1000])]
fn scrape(bencher: Bencher<'_, '_>, subscriptions: usize) {
    let counters = ProcessCounters::default();
    let name = |number: usize| SeriesKey {
        kind: "trigger",
        namespace: "ns".into(),
        name: format!("t{number}").into(),
    };
    let all: Vec<_> = (0..subscriptions)
        .map(|number| counters.series.subscription(&name(number)))
        .collect();
    all.iter().for_each(|series| {
        series.record_dispatch(Some(200), std::time::Duration::from_micros(80), None)
    });
    bencher.bench(|| counters.render());
}

/// Tells one key.
struct OneKey(PublishedKeys);

impl IssuerKeySource for OneKey {
    fn fetch<'a>(
        &'a self,
        _: &'a OidcAuthentication,
    ) -> BoxFuture<'a, Result<PublishedKeys, String>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

fn signer(algorithm: Algorithm) -> EncodingKey {
    let pair = match algorithm {
        Algorithm::RS256 => rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256),
        _ => rcgen::KeyPair::generate(),
    };
    let pem = pair.expect("a key").serialize_pem();
    match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
        _ => EncodingKey::from_ec_pem(pem.as_bytes()),
    }
    .expect("a key")
}

/// What proof of its sender costs an event: none asked for, a token that is known, and a new one
/// each time.
#[divan::bench(args = [("none", "RS256"), ("known", "RS256"), ("new", "RS256"), ("new", "ES256")])]
fn proof(bencher: Bencher<'_, '_>, (token, algorithm): (&str, &str)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let algorithm: Algorithm = algorithm.parse().expect("an algorithm");
    let key = signer(algorithm);
    let published = JwkSet {
        keys: vec![Jwk::from_encoding_key(&key, algorithm).expect("a key")],
    };
    let oidc = Arc::new(OidcAuthentication {
        discovery: OidcDiscovery::Unavailable,
    });
    let rule =
        AuthorizationRule::Default(AuthorizationMode::AllowSameNamespace, "default".to_owned());
    let access = SenderAuthorization {
        oidc: Arc::clone(&oidc),
        audience: "a".to_owned(),
        rule,
    };
    let asked = (token != "none").then_some(&access);

    let hosts = ServiceHosts::new("knative-eventing", "cluster.local");
    let table = RoutingTable::new(TransportEncryption::Strict, hosts, Vec::new(), [])
        .with_oidc(Some(oidc.clone()));
    let (_tables, receiver) = tokio::sync::watch::channel(Arc::new(table));
    let keys = Arc::new(IssuerKeyStore::default());
    let source = Arc::new(OneKey(PublishedKeys {
        issuer: "i".to_owned(),
        keys: published,
    }));
    let keeper = IssuerKeyRefresher::new(Arc::clone(&keys), source, Arc::default());
    let gate = SenderAuthorizer::new(Arc::clone(&keys), Arc::default());
    runtime.block_on(async {
        let kept = keeper.run(receiver, tokio_util::sync::CancellationToken::new());
        let known = async {
            while !keys.are_known(&oidc) {
                tokio::task::yield_now().await
            }
        };
        tokio::select! { () = kept => {}, () = known => {} }
    });

    let number = Cell::new(0);
    let events = [event()];
    let credentials = || {
        number.set(number.get() + i32::from(token == "new"));
        let claims = serde_json::json!({
            "iss": "i", "aud": ["a"], "sub": "system:serviceaccount:default:writer", "exp": 4_102_444_800_u64,
            "jti": number.get(),
        });
        let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key).expect("a token");
        let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a value");
        RequestCredentials::of_headers(
            &HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]),
            asked,
        )
    };
    bencher
        .with_inputs(credentials)
        .bench_local_values(|credentials| {
            let sender = runtime
                .block_on(gate.authenticate(asked, black_box(&credentials)))
                .expect("known");
            gate.authorize(asked, &sender, &events).expect("admitted");
        });
}
