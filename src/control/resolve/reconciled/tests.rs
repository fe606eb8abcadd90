//! Channels of a cluster: which of their fields count, and which results are reused.

use serde_json::json;

use super::channel::StatusUpdate;
use super::*;
use crate::control::read::document::ManifestSet;
use crate::control::{ControlSettings, Resolution, ServedChannelKind};
use crate::model::{AcknowledgeMode, AddressLookup, Channel, DestinationRoute};

const HOST: &str = "a-kn-channel.t.svc.cluster.local";

fn settings() -> ControlSettings {
    ControlSettings {
        task: ControlTask::ServeChannels {
            kind: ServedChannelKind::InMemory,
            scope: ChannelScope::Cluster,
        },
        now: 1_781_913_600,
        ..ControlSettings::default()
    }
}

/// A channel `t/a` of this uid.
fn channel(uid: &str, subscribers: &Value) -> Value {
    json!({
        "apiVersion": "messaging.knative.dev/v1",
        "kind": "InMemoryChannel",
        "metadata": {"namespace": "t", "name": "a", "uid": uid},
        "spec": {"subscribers": subscribers},
        "status": {"address": {"name": "http", "url": format!("http://{HOST}")}},
    })
}

fn subscriber(uid: &str) -> Value {
    json!({"uid": uid, "generation": 3, "subscriberUri": format!("http://{uid}.t.svc.cluster.local/")})
}

fn resolved(objects: &[Value], last: Option<&Resolution>) -> Resolution {
    crate::control::resolve(
        &ManifestSet::from_objects(objects.to_vec()),
        last,
        &settings(),
    )
}

fn key() -> ChannelKey {
    ChannelKey {
        kind: ChannelKind::Channel,
        namespace: "t".to_owned(),
        name: "a".to_owned(),
    }
}

fn made(resolution: &Resolution) -> &Arc<ReconciledChannel> {
    &resolution.reconciled_channels().expect("channels")[&key()]
}

fn served(resolution: &Resolution) -> Option<&Arc<Channel>> {
    resolution.table.channel(&key()).map(|(_, channel)| channel)
}

fn uids(resolution: &Resolution) -> Vec<String> {
    let subscriptions = served(resolution).map(|channel| &channel.subscriptions);
    subscriptions
        .into_iter()
        .flatten()
        .map(|subscription| subscription.key.name.clone())
        .collect()
}

/// Contract 4.4, 4.5, 4.6: `status` after `status`, and the host names then.
#[test]
fn hosts_are_those_of_the_status_and_those_before() {
    let http = |host: &str| json!({"name": "http", "url": format!("http://{host}")});
    let https = json!({"name": "https", "url": "https://imc-dispatcher.knative-eventing.svc.cluster.local/t/a"});
    let mut known = Vec::new();
    for (status, hosts) in [
        (json!({}), &[][..]),
        (json!({"address": http("a.t")}), &["a.t"]),
        (
            json!({"address": http("a.t"), "addresses": [https.clone(), http("a.t")]}),
            &["a.t"],
        ),
        (
            json!({"address": https.clone(), "addresses": [https.clone()]}),
            &["a.t"],
        ),
        (json!({"address": {"url": "no url"}}), &["a.t"]),
        (
            json!({"address": http("hash0f1e.t")}),
            &["a.t", "hash0f1e.t"],
        ),
        (json!({"address": http("a.t")}), &["hash0f1e.t", "a.t"]),
    ] {
        known = host_names::host_names(&json!({"status": status}), &known);
        assert_eq!(known, hosts, "{status}");
    }
}

/// Contract 2.9, 2.12.
#[test]
fn status_is_written_where_it_differs() {
    let spec = json!([{"uid": "a", "generation": 2, "name": "x"}, {"uid": "b"}]);
    let right = json!([{"uid": "a", "observedGeneration": 2, "ready": "True"}, {"uid": "b", "ready": "True"}]);
    let turned = json!([{"uid": "b", "ready": "True"}, {"uid": "a", "observedGeneration": 2, "ready": "True"}]);
    for (spec, status, wanted) in [
        (&spec, right.clone(), None),
        (&spec, Value::Null, Some(&right)),
        (&spec, json!([]), Some(&right)),
        (&spec, turned, Some(&right)),
        (
            &spec,
            json!([{"uid": "a", "observedGeneration": 1, "ready": "True"}, {"uid": "b", "ready": "True"}]),
            Some(&right),
        ),
        (
            &spec,
            json!([{"uid": "a", "observedGeneration": 2, "ready": "False"}, {"uid": "b", "ready": "True"}]),
            Some(&right),
        ),
        (&json!([]), right.clone(), Some(&Value::Null)),
        (&Value::Null, Value::Null, None),
    ] {
        let document = json!({"spec": {"subscribers": spec}, "status": {"subscribers": status}});
        assert_eq!(
            subscribers::changed_subscribers(&document, &BTreeMap::new()).as_ref(),
            wanted,
            "{document}"
        );
        let mut deleted = document;
        deleted["metadata"] = json!({"deletionTimestamp": "2026-06-20T08:00:00Z"});
        assert_eq!(
            subscribers::changed_subscribers(&deleted, &BTreeMap::new()),
            None
        );
    }
}

/// Contract 2.1, 2.8, 4.4, 4.5: what stands in the spec, for everybody who asks by path or by host.
#[test]
fn subscribers_are_served_as_they_stand() {
    let mut written = channel("1", &json!([subscriber("b"), subscriber("a")]));
    written["spec"]["delivery"] = json!({"retry": 7, "backoffDelay": "nonsense"});
    let resolution = resolved(&[written], None);
    assert_eq!(resolution.problems, []);
    assert_eq!(uids(&resolution), ["a/uid=a", "a/uid=b"]);
    let channel = served(&resolution).expect("served");
    assert_eq!(
        channel.subscriptions[0].delivery.retry, 0,
        "the channel's delivery is folded in already"
    );
    for (host, path) in [(HOST, "/"), ("elsewhere", "/t/a"), ("elsewhere", "/t/a/")] {
        assert_eq!(
            resolution.table.look_up(Some(host), path),
            AddressLookup::Channel(0, channel),
            "{host} {path}"
        );
    }
    let object: serde_json::Value =
        serde_json::from_str(&resolution.inventory.objects[0].json()).expect("JSON");
    let status = &object["status"];
    assert_eq!(status["address"]["url"], format!("http://{HOST}"));
    assert_eq!(
        status["subscribers"],
        json!([{"uid": "a", "ready": "True"}, {"uid": "b", "ready": "True"}])
    );
}

/// Each hop is authorized by itself, so that no channel is reached from inside.
#[test]
fn destinations_are_reached_by_http_even_those_inside() {
    let mut written = subscriber("a");
    written["replyUri"] = json!(format!("http://{HOST}"));
    let resolution = resolved(&[channel("1", &json!([written]))], None);
    let channel = served(&resolution).expect("served");
    let reply = channel.subscriptions[0].reply.as_ref().expect("a reply");
    assert_eq!(reply.route, DestinationRoute::Remote { connect: None });
}

/// The `status.subscribers` that the cluster is told.
fn told(resolution: &Resolution) -> Vec<Value> {
    let list = made(resolution)
        .status_updates()
        .iter()
        .find_map(|duty| match duty {
            StatusUpdate::Subscribers(list) => list.as_array().cloned(),
            StatusUpdate::Warning(_) => None,
        });
    list.unwrap_or_default()
}

fn warning(resolution: &Resolution) -> Option<&str> {
    made(resolution)
        .status_updates()
        .iter()
        .find_map(|duty| match duty {
            StatusUpdate::Warning(message) => Some(message.as_str()),
            StatusUpdate::Subscribers(_) => None,
        })
}

/// Contract 2.17: what is wrong beside the entries keeps the channel as it was; a Warning is
/// wanted, and no status.
#[test]
fn what_is_wrong_beside_the_entries_keeps_the_channel_as_it_was() {
    let good = resolved(&[channel("1", &json!([subscriber("a")]))], None);
    for (path, value) in [
        ("/spec/subscribers", json!({"a": 1})),
        ("/metadata/annotations", json!("x")),
    ] {
        let mut bad = channel("1", &json!([subscriber("c")]));
        bad["metadata"]["annotations"] = json!({});
        *bad.pointer_mut(path).expect("a field") = value;
        let kept = resolved(&[bad], Some(&good));
        assert_eq!(uids(&kept), ["a/uid=a"], "{path}");
        assert!(
            warning(&kept).is_some() && made(&kept).status_updates().len() == 1,
            "{path}"
        );
        let again = resolved(&[channel("1", &json!([subscriber("c")]))], Some(&kept));
        assert_eq!(
            (uids(&again), warning(&again)),
            (vec!["a/uid=c".to_owned()], None)
        );
        assert_eq!(
            told(&again),
            [json!({"uid": "c", "observedGeneration": 3, "ready": "True"})]
        );
    }
}

/// An entry `b` that is wrong in some way, and what the status says of it.
fn wrong() -> Vec<(Value, &'static str)> {
    let with = |field: &str, value: Value| {
        let mut entry = subscriber("b");
        entry[field] = value;
        entry
    };
    let certificate = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----";
    let secure = |field: &str| {
        let mut entry = with("subscriberUri", json!("https://b.t.svc.cluster.local"));
        entry["replyUri"] = json!("https://r.t.svc.cluster.local");
        entry[field] = json!(certificate);
        entry
    };
    vec![
        (json!("b"), "is text, but must be an object"),
        (json!(null), "is nothing, but must be an object"),
        (with("uid", json!(5)), "uid: is a number, but must be text"),
        (with("uid", json!("")), "uid: is missing"),
        (with("uid", json!(null)), "uid: is missing"),
        (
            with("uid", json!("a")),
            "uid: is that of an entry before it",
        ),
        (
            with("name", json!(["b"])),
            "name: is a list, but must be text",
        ),
        (
            with("generation", json!("x")),
            "generation: is text, but must be a whole number",
        ),
        (
            with("subscriberUri", json!({"a": 1})),
            "subscriberUri: is an object, but must be text",
        ),
        (
            json!({"uid": "b", "generation": 3}),
            "has neither subscriberUri nor replyUri",
        ),
        (
            with("subscriberUri", json!("ftp://x")),
            "subscriberUri: has the scheme",
        ),
        (
            with("subscriberUri", json!("/relative")),
            "subscriberUri: is relative",
        ),
        (
            with("subscriberUri", json!("http://user:secret@x/p")),
            "subscriberUri: contains a user name",
        ),
        (
            with("replyUri", json!("http://${x}/")),
            "replyUri: has '$' in its host",
        ),
        (
            with("delivery", json!("x")),
            "delivery: is text, but must be an object",
        ),
        (
            with("delivery", json!({"backoffDelay": "soon"})),
            "delivery.backoffDelay: ",
        ),
        (
            with("delivery", json!({"timeout": "10s"})),
            "delivery.timeout: ",
        ),
        (
            with("delivery", json!({"retryAfterMax": "x"})),
            "delivery.retryAfterMax: ",
        ),
        (
            with("delivery", json!({"retry": -1})),
            "delivery.retry: -1 is negative",
        ),
        (
            with("delivery", json!({"retry": u64::MAX})),
            "delivery.retry: is a number, but must be a smaller whole number",
        ),
        (
            with("delivery", json!({"retry": 1.5})),
            "delivery.retry: is a number, but must be a whole number",
        ),
        (
            with("delivery", json!({"backoffPolicy": "never"})),
            "delivery.backoffPolicy: ",
        ),
        (
            with("delivery", json!({"deadLetterSink": {"uri": "x"}})),
            "delivery.deadLetterSink.uri: is relative",
        ),
        (secure("subscriberCACerts"), "subscriberCACerts: "),
        (secure("replyCACerts"), "replyCACerts: "),
        (
            with("auth", json!([])),
            "auth: is a list, but must be an object",
        ),
    ]
}

/// One entry that is wrong harms itself alone, whichever way it is wrong, from the start as later:
/// the others are applied, the status says why it is not ready and of nothing else, and so does a
/// Warning.
#[test]
fn an_entry_that_is_wrong_harms_itself_alone() {
    let good = resolved(&[channel("1", &json!([subscriber("a")]))], None);
    for (bad, words) in wrong() {
        for last in [None, Some(&good)] {
            let entries = json!([subscriber("a"), bad.clone(), subscriber("c")]);
            let resolution = resolved(&[channel("1", &entries)], last);
            let served = uids(&resolution);
            let others = served
                .iter()
                .filter(|name| ["a/uid=a", "a/uid=c"].contains(&name.as_str()))
                .count();
            assert_eq!((others, served.len() <= 3), (2, true), "{bad}: {served:?}");
            let told = told(&resolution);
            let ready: Vec<_> = told
                .iter()
                .map(|entry| entry["ready"].as_str().expect("text"))
                .collect();
            assert_eq!(ready, ["True", "False", "True"], "{bad}");
            let message = told[1]["message"].as_str().expect("a message");
            assert!(
                message.starts_with(words) && !message.contains("secret"),
                "{bad}: {message}"
            );
            assert!(
                told.iter()
                    .all(|entry| entry.get("uid").is_none_or(Value::is_string)),
                "{bad}"
            );
            assert!(
                told.iter()
                    .all(|e| e.get("observedGeneration").is_none_or(Value::is_number)),
                "{bad}"
            );
            assert!(
                warning(&resolution)
                    .is_some_and(|message| message.starts_with("spec.subscribers[1]")),
                "{bad}"
            );
            // What its events come to that it has been given, if it can be given any, is a failure
            // with that reason.
            let served = self::served(&resolution).expect("served");
            assert!(
                served
                    .subscriptions
                    .iter()
                    .all(|made| !made.key.name.contains("uid=a")
                        || !made.has_unresolved_destination())
            );
            let object: Value =
                serde_json::from_str(&resolution.inventory.objects[0].json()).expect("JSON");
            let ready = object["status"]["conditions"]
                .as_array()
                .expect("conditions");
            let ready = ready
                .iter()
                .find(|condition| condition["type"] == "Ready")
                .expect("Ready");
            assert_eq!(ready["status"], "False", "{bad}");
            assert!(
                !ready["message"]
                    .as_str()
                    .expect("a message")
                    .contains("last good form"),
                "{bad}"
            );
        }
    }
}

/// It keeps its last good form, as a Subscription does; so that its queue is not taken for one that
/// nobody wants.
#[test]
fn an_entry_that_becomes_wrong_keeps_its_last_good_form() {
    let entry = |retry: Value| {
        let mut entry = subscriber("b");
        entry["name"] = json!("n");
        entry["delivery"] = json!({"retry": retry});
        entry
    };
    let good = resolved(
        &[channel("1", &json!([subscriber("a"), entry(json!(7))]))],
        None,
    );
    for bad in [json!(-1), json!("x")] {
        let mut moved = subscriber("a");
        moved["subscriberUri"] = json!("http://new.t.svc.cluster.local/");
        let after = resolved(
            &[channel("1", &json!([moved, entry(bad.clone())]))],
            Some(&good),
        );
        let shown: Vec<_> = served(&after)
            .expect("served")
            .subscriptions
            .iter()
            .map(|made| {
                (
                    made.key.name.as_str(),
                    made.delivery.retry,
                    made.subscriber.as_ref().expect("one").url.host_str(),
                )
            })
            .collect();
        let expected = [
            ("a/n", 7, Some("b.t.svc.cluster.local")),
            ("a/uid=a", 0, Some("new.t.svc.cluster.local")),
        ];
        assert_eq!(shown, expected, "{bad}");
        assert_eq!(told(&after)[1]["ready"], "False");
        let mended = resolved(
            &[channel_of(&[subscriber("a"), entry(json!(3))])],
            Some(&after),
        );
        assert_eq!(
            served(&mended).expect("served").subscriptions[0]
                .delivery
                .retry,
            3
        );
        assert_eq!(
            (told(&mended)[1]["ready"].as_str(), warning(&mended)),
            (Some("True"), None)
        );
        let gone = resolved(&[channel_of(&[subscriber("a")])], Some(&after));
        assert_eq!(uids(&gone), ["a/uid=a"]);
    }
    // What is named by its place may have been another one.
    let unnamed = |uri: &str| json!({"subscriberUri": uri});
    let before = resolved(&[channel_of(&[unnamed("http://one")])], None);
    assert_eq!(uids(&before), ["a/#0"]);
    let mut bad = unnamed("http://two");
    bad["delivery"] = json!(5);
    assert_eq!(
        uids(&resolved(&[channel_of(&[bad])], Some(&before))),
        [""; 0]
    );
}

fn channel_of(subscribers: &[Value]) -> Value {
    channel("1", &json!(subscribers))
}

/// Contract 2.15b.
#[test]
fn a_channel_that_was_made_again_keeps_nothing() {
    let good = resolved(&[channel("1", &json!([subscriber("a")]))], None);
    let mut strict = channel("2", &json!({"not": "a list"}));
    strict["status"] = json!({});
    let again = resolved(&[strict], Some(&good));
    assert_eq!(served(&again), None);
    assert_eq!(
        again.table.look_up(Some(HOST), "/"),
        AddressLookup::NotFound
    );
}

/// Contract 2.6, 1.6, 1.19, 2.5.
#[test]
fn the_scope_says_whose_a_channel_is() {
    for (written, of_cluster) in [
        (None, true),
        (Some("cluster"), true),
        (Some("other"), true),
        (Some("namespace"), false),
    ] {
        let mut object = channel("1", &json!([]));
        if let Some(scope) = written {
            object["metadata"]["annotations"] = json!({SCOPE: scope});
        }
        let served_by = |scope| {
            let settings = ControlSettings {
                task: ControlTask::ServeChannels {
                    kind: ServedChannelKind::InMemory,
                    scope,
                },
                ..settings()
            };
            let resolution = crate::control::resolve(
                &ManifestSet::from_objects([object.clone()]),
                None,
                &settings,
            );
            !resolution.table.channels().is_empty() && !resolution.inventory.objects.is_empty()
        };
        assert_eq!(served_by(ChannelScope::Cluster), of_cluster, "{written:?}");
        assert_eq!(
            served_by(ChannelScope::Namespace),
            written == Some("namespace"),
            "{written:?}"
        );
    }
}

/// Contract 2.24, 2.5, G-61.
#[test]
fn annotations_are_applied_live() {
    let mut object = channel("1", &json!([]));
    let before = resolved(&[object.clone()], None);
    object["metadata"]["annotations"] = json!({"messaging.knative.dev/async-handler": "t"});
    let after = resolved(&[object], Some(&before));
    let acknowledge = |resolution| served(resolution).expect("served").acknowledge;
    assert_eq!(acknowledge(&before), AcknowledgeMode::AfterDelivery);
    assert_eq!(acknowledge(&after), AcknowledgeMode::AfterEnqueue);
}

/// Contract 2.3: every field is optional, so that what has no uid is served, though nobody can be
/// told; contract 2.20: the order means nothing.
#[test]
fn entries_need_no_name_and_may_be_there_twice() {
    let uri = "http://x.t.svc.cluster.local";
    let entries = json!([{"subscriberUri": uri}, {"name": "n", "replyUri": uri}, subscriber("a"), subscriber("a"), {"uid": "", "subscriberUri": uri}]);
    let resolution = resolved(&[channel("1", &entries)], None);
    assert_eq!(uids(&resolution), ["a/#0", "a/#4", "a/n", "a/uid=a"]);
    let ready: Vec<_> = told(&resolution)
        .into_iter()
        .map(|entry| entry["ready"].clone())
        .collect();
    assert_eq!(ready, ["False", "False", "True", "False", "False"]);
    let turned = resolved(
        &[channel("1", &json!([subscriber("b"), subscriber("a")]))],
        None,
    );
    let back = resolved(
        &[channel("1", &json!([subscriber("a"), subscriber("b")]))],
        Some(&turned),
    );
    assert!(Arc::ptr_eq(&turned.table, &back.table));
}

/// Contract 3.10, 5.2, TL-4: broken CACerts break connections, and nothing else.
#[test]
fn certificates_that_cannot_be_read_trust_nobody() {
    let mut broken = subscriber("a");
    broken["subscriberUri"] = json!("https://x.t.svc.cluster.local");
    broken["subscriberCACerts"] =
        json!("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----");
    let resolution = resolved(&[channel("1", &json!([broken, subscriber("b")]))], None);
    assert_eq!(uids(&resolution), ["a/uid=a", "a/uid=b"]);
    let channel = served(&resolution).expect("served");
    assert!(
        channel.subscriptions[0]
            .subscriber
            .as_ref()
            .expect("subscriber")
            .trust
            .trusts_nobody()
    );
    // Without TLS they are not used, and so are no mistake that matters.
    let mut plain = subscriber("a");
    plain["subscriberCACerts"] = json!("nonsense");
    let resolution = resolved(&[channel_of(&[plain])], None);
    assert_eq!(
        (told(&resolution)[0]["ready"].as_str(), warning(&resolution)),
        (Some("True"), None)
    );
}

/// What has not changed is the same value, all the way; what everything depends on makes everything
/// anew.
#[test]
fn only_what_has_changed_is_made_again() {
    let other = |subscribers: Value| {
        let mut object = channel("9", &subscribers);
        object["metadata"]["name"] = json!("b");
        object
    };
    let first =
        ManifestSet::from_objects([channel("1", &json!([subscriber("a")])), other(json!([]))]);
    let before = crate::control::resolve(&first, None, &settings());
    let changed = first.with_object(1, other(json!([subscriber("x")])));
    let after = crate::control::resolve(&changed, Some(&before), &settings());
    assert!(Arc::ptr_eq(made(&before), made(&after)));
    assert!(!Arc::ptr_eq(&before.table, &after.table));
    let same = crate::control::resolve(&changed, Some(&after), &settings());
    assert!(
        Arc::ptr_eq(&after.table, &same.table) && Arc::ptr_eq(&after.inventory, &same.inventory)
    );
    assert!(!same.differs(&after));

    let key = rcgen::KeyPair::generate().expect("key");
    let pem = rcgen::CertificateParams::default()
        .self_signed(&key)
        .expect("certificate")
        .pem();
    let bundle = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.pem": pem},
        "metadata": {"namespace": "knative-eventing", "name": "b", "labels": {"networking.knative.dev/trust-bundle": "true"}},
    });
    let trusting =
        crate::control::resolve(&changed.with_object(9, bundle), Some(&same), &settings());
    assert!(!Arc::ptr_eq(made(&same), made(&trusting)));
}
