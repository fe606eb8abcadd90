//! Manifests are resolved to routing tables.

mod defaults;
mod flows;
mod keep;
mod narrow;
mod problems;
mod references;
mod relays;
mod request_replies;
mod samples;
mod schemas;
mod senders;
mod sources;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::control::read::file::parse_file;
use crate::control::{ListenerUrls, ResolveOverride};
use crate::filter::Filter;
use crate::model::{
    AcknowledgeMode, AddressLookup, Addressable, AuthorizationMode, BackoffPolicy, ChannelKey,
    ChannelKind, DeliveryFormat, DeliverySpec, DestinationRoute, ObjectKind, Subscription,
    SubscriptionKey, SubscriptionKind, TransportEncryption,
};
use url::Url;

/// 2026-06-20.
const NOW: i64 = 1_781_913_600;

fn settings() -> ControlSettings {
    ControlSettings {
        now: NOW,
        ..ControlSettings::default()
    }
}

/// Manifests of files, by name and text.
fn manifests(files: &[(&str, &str)]) -> ManifestSet {
    let files = files
        .iter()
        .map(|(name, text)| parse_file(name, text, [0; 32], None));
    ManifestSet {
        files: files.collect(),
        problems: Vec::new(),
    }
}

/// Resolves one text as `a.yaml`.
fn one(text: &str) -> Resolution {
    resolve(&manifests(&[("a.yaml", text)]), None, &settings())
}

/// Resolves a text that has no problems at all.
fn good(text: &str) -> Resolution {
    let resolution = one(text);
    assert_eq!(lines(&resolution), [""; 0]);
    resolution
}

fn lines(resolution: &Resolution) -> Vec<String> {
    resolution
        .problems
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn channel(name: &str) -> ChannelKey {
    ChannelKey {
        kind: ChannelKind::Channel,
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn broker(name: &str) -> ChannelKey {
    ChannelKey {
        kind: ChannelKind::Broker,
        ..channel(name)
    }
}

/// The subscriptions of a channel.
fn of(resolution: &Resolution, key: &ChannelKey) -> Vec<Arc<Subscription>> {
    resolution
        .table
        .channel(key)
        .map(|(_, channel)| channel.subscriptions.clone())
        .unwrap_or_default()
}

/// The only subscription of the only channel or broker.
fn only(resolution: &Resolution) -> Arc<Subscription> {
    let [channel] = resolution.table.channels() else {
        panic!("not one channel: {:?}", resolution.table)
    };
    let [subscription] = &channel.subscriptions[..] else {
        panic!("not one subscription: {channel:?}")
    };
    Arc::clone(subscription)
}

fn status(resolution: &Resolution, kind: ObjectKind, name: &str) -> serde_json::Value {
    let object = resolution
        .inventory
        .objects
        .iter()
        .find(|object| object.kind == kind && object.name == name);
    let object: serde_json::Value =
        serde_json::from_str(&object.expect("object").json()).expect("JSON");
    object["status"].clone()
}

/// Status and message of condition `Ready`.
fn ready(resolution: &Resolution, kind: ObjectKind, name: &str) -> (String, String) {
    let conditions = status(resolution, kind, name)["conditions"]
        .as_array()
        .expect("conditions")
        .clone();
    let ready = conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")
        .expect("Ready");
    let text = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("message"))
}

const CHANNEL: &str = "\
apiVersion: messaging.knative.dev/v1
kind: InMemoryChannel
metadata: {name: c}
";

/// A Subscription of channel `c` with this subscriber, in flow style.
fn subscription(subscriber: &str) -> String {
    format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s}}\nspec:\n  \
         channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}\n  subscriber: {subscriber}\n"
    )
}

/// A Service of this name with more of its manifest below.
fn service(name: &str, more: &str) -> String {
    format!("---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n{more}")
}

/// The destination that a subscriber of channel `c` resolves to, with these objects beside it.
fn destination(
    subscriber: &str,
    beside: &str,
    settings: &ControlSettings,
) -> (Option<Addressable>, Vec<String>) {
    let text = format!("{CHANNEL}{}{beside}", subscription(subscriber));
    let resolution = resolve(&manifests(&[("a.yaml", &text)]), None, settings);
    let found = of(&resolution, &channel("c"))
        .first()
        .and_then(|subscription| subscription.subscriber.clone());
    let found = found.filter(|to| !matches!(to.route, DestinationRoute::Unresolved(_)));
    (found, lines(&resolution))
}

#[test]
fn the_default_broker_example() {
    let resolution = good(include_str!("tests/default-broker-example.yaml"));
    let trigger = only(&resolution);
    let key = |kind| SubscriptionKey {
        kind,
        namespace: "default".to_owned(),
        name: "tr".to_owned(),
    };
    assert_eq!(trigger.key, key(SubscriptionKind::Trigger));
    assert_eq!(trigger.filter, Filter::MatchAll);
    let subscriber = trigger.subscriber.as_ref().expect("subscriber");
    assert_eq!(
        subscriber.url.as_str(),
        "http://event-display.default.svc.cluster.local/"
    );
    assert_eq!(subscriber.route, DestinationRoute::EventDisplay);
    let reply = trigger.reply.as_ref().expect("reply");
    assert_eq!(reply.route, DestinationRoute::Local(broker("br")));
    assert_eq!(
        reply.url.as_str(),
        "http://broker-ingress.knative-eventing.svc.cluster.local/default/br"
    );
    assert_eq!(trigger.delivery, DeliverySpec::default());
    let host = Some("broker-ingress.knative-eventing.svc.cluster.local");
    assert!(matches!(
        resolution.table.look_up(host, "/default/br"),
        AddressLookup::Channel(0, _)
    ));
    assert_eq!(ready(&resolution, ObjectKind::Broker, "br").0, "True");
    assert_eq!(ready(&resolution, ObjectKind::Trigger, "tr").0, "True");
    let uri = &status(&resolution, ObjectKind::Trigger, "tr")["subscriberUri"];
    assert_eq!(uri, "http://event-display.default.svc.cluster.local");
}

/// Contract 5.2, TL-8, TL-9, IF-2.
#[test]
fn destinations() {
    let sink = service("sink", "");
    let endpoint = |value: &str| {
        service(
            "sink",
            &format!("  annotations:\n    sealpost.dev/endpoint: {value}\n"),
        )
    };
    let remote = DestinationRoute::Remote { connect: None };
    let reference = "{ref: {apiVersion: v1, kind: Service, name: sink}}";
    let with_uri =
        |uri: &str| format!("{{ref: {{apiVersion: v1, kind: Service, name: sink}}, uri: '{uri}'}}");
    let broker_uri =
        "{uri: 'http://broker-ingress.knative-eventing.svc.cluster.local/default/br/'}";
    let br = "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: br}\n";
    for (subscriber, beside, url, target) in [
        (
            reference,
            &sink,
            "http://sink.default.svc.cluster.local/",
            &remote,
        ),
        (
            &with_uri("/a?b"),
            &sink,
            "http://sink.default.svc.cluster.local/a?b",
            &remote,
        ),
        (
            &with_uri("a"),
            &endpoint("http://127.0.0.1:9000/x/y"),
            "http://127.0.0.1:9000/x/a",
            &remote,
        ),
        (
            reference,
            &endpoint("https://127.0.0.1:9"),
            "https://127.0.0.1:9/",
            &remote,
        ),
        (
            reference,
            &endpoint("'http://127.0.0.1:8, https://127.0.0.1:9'"),
            "http://127.0.0.1:8/",
            &remote,
        ),
        (
            "{uri: 'https://x.example/a'}",
            &sink,
            "https://x.example/a",
            &remote,
        ),
        (
            "{uri: 'http://other.default.svc.cluster.local'}",
            &sink,
            "http://other.default.svc.cluster.local/",
            &remote,
        ),
        (
            "{ref: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: c}}",
            &sink,
            "http://c-kn-channel.default.svc.cluster.local/",
            &DestinationRoute::Local(channel("c")),
        ),
        (
            "{uri: 'http://c-kn-channel.default.svc.cluster.local'}",
            &sink,
            "http://c-kn-channel.default.svc.cluster.local/",
            &DestinationRoute::Local(channel("c")),
        ),
        (
            "{uri: 'https://IMC-dispatcher.knative-eventing.svc.cluster.local/default/c'}",
            &sink,
            "https://imc-dispatcher.knative-eventing.svc.cluster.local/default/c",
            &DestinationRoute::Local(channel("c")),
        ),
        (
            broker_uri,
            &br.to_owned(),
            "http://broker-ingress.knative-eventing.svc.cluster.local/default/br/",
            &DestinationRoute::Local(broker("br")),
        ),
        (
            "{ref: {apiVersion: v1, kind: Service, name: c-kn-channel}}",
            &sink,
            "http://c-kn-channel.default.svc.cluster.local/",
            &DestinationRoute::Local(channel("c")),
        ),
    ] {
        let (found, problems) = destination(subscriber, beside, &settings());
        assert_eq!(problems, [""; 0], "{subscriber}");
        let found = found.expect("destination");
        assert_eq!(
            (found.url.as_str(), &found.route),
            (url, target),
            "{subscriber}"
        );
    }
}

#[test]
fn https_is_preferred_where_the_mode_says_so() {
    let beside = service(
        "sink",
        "  annotations: {sealpost.dev/endpoint: 'https://127.0.0.1:9,http://127.0.0.1:8'}\n",
    );
    let reference = "{ref: {apiVersion: v1, kind: Service, name: sink}}";
    let own = "{ref: {apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}";
    for (mode, endpoint, channel) in [
        (
            TransportEncryption::Disabled,
            "http://127.0.0.1:8/",
            "http://127.0.0.1:80/default/c",
        ),
        (
            TransportEncryption::Permissive,
            "https://127.0.0.1:9/",
            "https://127.0.0.1:8443/default/c",
        ),
        (
            TransportEncryption::Strict,
            "https://127.0.0.1:9/",
            "https://127.0.0.1:8443/default/c",
        ),
    ] {
        let url = |text: &str| Url::parse(text).expect("URL");
        let urls = Some(ListenerUrls {
            http: url("http://127.0.0.1:80"),
            https: url("https://127.0.0.1:8443"),
        });
        let settings = ControlSettings {
            transport_encryption: Some(mode),
            listener_urls: urls,
            ..settings()
        };
        assert_eq!(
            destination(reference, &beside, &settings)
                .0
                .expect("endpoint")
                .url
                .as_str(),
            endpoint
        );
        assert_eq!(
            destination(own, &beside, &settings).0.expect("channel").url,
            url(channel)
        );
    }
}

#[test]
fn overrides_say_where_a_host_is_and_stand_in_for_a_service() {
    let overriding = |text: &str| -> ControlSettings {
        ControlSettings {
            resolve_overrides: vec![text.parse::<ResolveOverride>().expect("override")],
            ..settings()
        }
    };
    let connect = |address: &str| DestinationRoute::Remote {
        connect: Some(address.parse().expect("address")),
    };
    let reference = "{ref: {apiVersion: v1, kind: Service, name: nobody}}";
    let settings = overriding("NOBODY.default.svc.cluster.local:80=127.0.0.1:9");
    let (found, problems) = destination(reference, "", &settings);
    assert_eq!(
        (found.expect("destination").route, problems),
        (connect("127.0.0.1:9"), vec![])
    );
    let settings = overriding("nobody.default.svc.cluster.local:443=127.0.0.1:9");
    let (found, problems) = destination(reference, "", &settings);
    assert_eq!(found, None);
    assert_eq!(
        problems,
        [
            "a.yaml:10: Subscription default/s: spec.subscriber.ref: there is no Service default/nobody: add its manifest, or \
             say where it is by --resolve nobody.default.svc.cluster.local=ADDR:PORT, by the annotation \
             sealpost.dev/endpoint on the manifest of its Service, or by a uri"
        ]
    );
    let settings = overriding("x.example=[::1]:9");
    let (found, _) = destination("{uri: 'https://X.example:444/a'}", "", &settings);
    assert_eq!(found.expect("destination").route, connect("[::1]:9"));
}

/// Contract BF-3, 5.4.
#[test]
fn delivery_is_inherited_whole_and_the_dead_letter_sink_by_itself() {
    let text = |child: &str| {
        format!(
            "{CHANNEL}spec: {{delivery: {{retry: 3, backoffPolicy: linear, backoffDelay: PT0.25S, timeout: PT5S, \
             retryAfterMax: PT1M, backoffMax: PT9S, format: json, deadLetterSink: {{uri: 'http://parent'}}}}}}\n\
             {}  {child}\n",
            subscription("{uri: 'http://x'}")
        )
    };
    let full = DeliverySpec {
        retry: 3,
        backoff_policy: Some(BackoffPolicy::Linear),
        backoff_delay: Some(Duration::from_millis(250)),
        backoff_max: Some(Duration::from_secs(9)),
        timeout: Some(Duration::from_secs(5)),
        retry_after_max: Some(Duration::from_secs(60)),
        format: DeliveryFormat::Json,
        ..DeliverySpec::default()
    };
    for (child, delivery, sink) in [
        ("", full, "http://parent/"),
        ("delivery: {}", DeliverySpec::default(), "http://parent/"),
        (
            "delivery: {retry: 1}",
            DeliverySpec {
                retry: 1,
                ..DeliverySpec::default()
            },
            "http://parent/",
        ),
        (
            "delivery: {deadLetterSink: {uri: 'http://own'}}",
            DeliverySpec::default(),
            "http://own/",
        ),
    ] {
        let subscription = only(&one(&text(child)));
        assert_eq!(subscription.delivery, delivery, "{child}");
        assert_eq!(
            subscription
                .dead_letter_sink
                .as_ref()
                .expect("sink")
                .url
                .as_str(),
            sink,
            "{child}"
        );
    }
}

#[test]
fn triggers_filter_and_name_their_broker_in_two_ways() {
    let text = |spec: &str| {
        format!(
            "{{apiVersion: eventing.knative.dev/v1, kind: Broker, metadata: {{name: b, annotations: \
             {{messaging.knative.dev/async-handler: T}}}}}}\n---\n{{apiVersion: eventing.knative.dev/v1, kind: Trigger, \
             metadata: {{name: t}}, spec: {{subscriber: {{uri: 'http://x'}}, {spec}}}}}"
        )
    };
    let attributes = Filter::Attributes(vec![
        ("tenant".into(), String::new()),
        ("type".into(), "a".into()),
    ]);
    for (spec, filter) in [
        ("broker: b", Filter::MatchAll),
        (
            "brokerRef: {name: b}, filters: [], filter: {}",
            Filter::MatchAll,
        ),
        ("broker: b, filter: {attributes: {}}", Filter::MatchAll),
        (
            "broker: b, filter: {attributes: {type: a, tenant: ''}}",
            attributes,
        ),
    ] {
        let resolution = good(&text(spec));
        assert_eq!(only(&resolution).filter, filter, "{spec}");
        assert_eq!(
            resolution.table.channels()[0].acknowledge,
            AcknowledgeMode::AfterEnqueue
        );
    }
}

/// Contract 2.2; an entry made from a Subscription that is configured, too, is not served twice.
#[test]
fn subscribers_of_a_channel_are_served_once() {
    let subscribers = "spec:\n  subscribers:\n  - {uid: u1, subscriberUri: 'http://one', replyUri: 'http://reply'}\n  \
                       - {name: s, subscriberUri: 'http://two'}\n  - {uid: u3, name: s, subscriberUri: 'http://three'}\n";
    let resolution = good(&format!("{CHANNEL}{subscribers}"));
    let names: Vec<_> = of(&resolution, &channel("c"))
        .iter()
        .map(|s| s.key.to_string())
        .collect();
    assert_eq!(
        names,
        [
            "subscriber default/c/s",
            "subscriber default/c/u1",
            "subscriber default/c/u3"
        ]
    );

    let resolution = one(&format!(
        "{CHANNEL}{subscribers}{}",
        subscription("{uri: 'http://two'}")
    ));
    let names: Vec<_> = of(&resolution, &channel("c"))
        .iter()
        .map(|s| s.key.to_string())
        .collect();
    assert_eq!(
        names,
        [
            "subscription default/s",
            "subscriber default/c/u1",
            "subscriber default/c/u3"
        ]
    );
    assert_eq!(resolution.problems.len(), 1);
    assert!(
        lines(&resolution)[0]
            .contains("spec.subscribers[1]: note: is made from the Subscription s")
    );
    let shown = &status(&resolution, ObjectKind::Channel, "c")["subscribers"];
    let expected = serde_json::json!([
        {"name": "s", "ready": "True"}, {"uid": "u1", "ready": "True"}, {"uid": "u3", "ready": "True"}
    ]);
    assert_eq!(*shown, expected);
}

/// Contract IF-3.
#[test]
fn addresses_in_every_mode() {
    let text = format!(
        "{CHANNEL}---\n{{apiVersion: eventing.knative.dev/v1, kind: Broker, metadata: {{name: b}}}}"
    );
    let url = |text: &str| Url::parse(text).expect("URL");
    let urls = Some(ListenerUrls {
        http: url("http://127.0.0.1:8080"),
        https: url("https://127.0.0.1:8443/"),
    });
    let http = |name: &str| serde_json::json!({"name": "http", "url": format!("http://127.0.0.1:8080/default/{name}")});
    let https = |name: &str| serde_json::json!({"name": "https", "url": format!("https://127.0.0.1:8443/default/{name}"), "CACerts": "PEM"});
    for (mode, address, addresses) in [
        (
            "disabled",
            http as fn(&str) -> _,
            &[http as fn(&str) -> _][..],
        ),
        ("Permissive", http, &[https, http]),
        ("STRICT", https, &[https]),
    ] {
        let features = format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-features, namespace: knative-eventing}}\n\
             data: {{' transport-encryption ': {mode}}}\n"
        );
        let settings = ControlSettings {
            listener_urls: urls.clone(),
            ca_certs: crate::control::AdvertisedCaCerts::Development("PEM".to_owned()),
            ..settings()
        };
        let resolution = resolve(
            &manifests(&[("a.yaml", &format!("{text}\n{features}"))]),
            None,
            &settings,
        );
        assert_eq!(lines(&resolution), [""; 0]);
        for (kind, name) in [(ObjectKind::Channel, "c"), (ObjectKind::Broker, "b")] {
            let status = status(&resolution, kind, name);
            assert_eq!(status["address"], address(name), "{mode}");
            let addresses: Vec<_> = addresses.iter().map(|address| address(name)).collect();
            assert_eq!(
                status["addresses"],
                serde_json::Value::from(addresses),
                "{mode}"
            );
        }
    }
}

#[test]
fn host_names_of_channels_and_of_a_certificate() {
    let long = "n".repeat(60);
    let resolution = good(&format!(
        "{CHANNEL}---\n{}",
        CHANNEL.replace("name: c", &format!("name: {long}, namespace: x"))
    ));
    let find = |host: &str| {
        matches!(
            resolution.table.look_up(Some(host), "/"),
            AddressLookup::Channel(..)
        )
    };
    assert!(find("c-kn-channel.default.svc.cluster.local"));
    assert!(!find(&format!("{long}-kn-channel.x.svc.cluster.local")));
    assert_eq!(
        resolution.hosts,
        [
            "*.default.svc.cluster.local",
            "*.x.svc.cluster.local",
            "broker-ingress.knative-eventing.svc",
            "broker-ingress.knative-eventing.svc.cluster.local",
            "imc-dispatcher.knative-eventing.svc",
            "imc-dispatcher.knative-eventing.svc.cluster.local",
        ]
    );
}
