//! Channels of a cluster: what counts in them, and what is remembered.

use serde_json::json;

use super::*;
use crate::control::manifest::Manifests;
use crate::control::{Resolution, Settings};
use crate::model::{Acknowledge, Find, Target};

const HOST: &str = "a-kn-channel.t.svc.cluster.local";

fn settings() -> Settings {
    Settings { objects: Objects::Reconciled(Scope::Cluster), now: 1_781_913_600, ..Settings::default() }
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
    crate::control::resolve(&Manifests::of_objects(objects.to_vec()), last, &settings())
}

fn key() -> ChannelKey {
    ChannelKey { kind: ChannelKind::Channel, namespace: "t".to_owned(), name: "a".to_owned() }
}

fn made(resolution: &Resolution) -> &Arc<Made> {
    &resolution.reconciled()[&key()]
}

fn served(resolution: &Resolution) -> Option<&Arc<Channel>> {
    resolution.table.get(&key()).map(|(_, channel)| channel)
}

fn uids(resolution: &Resolution) -> Vec<String> {
    let subscriptions = served(resolution).map(|channel| &channel.subscriptions);
    subscriptions.into_iter().flatten().map(|subscription| subscription.key.name.clone()).collect()
}

/// control-plane.md 4.4, 4.5, 4.6: `status` after `status`, and the host names then.
#[test]
fn hosts_are_those_of_the_status_and_those_before() {
    let http = |host: &str| json!({"name": "http", "url": format!("http://{host}")});
    let https = json!({"name": "https", "url": "https://imc-dispatcher.knative-eventing.svc.cluster.local/t/a"});
    let mut form: Option<Form> = None;
    for (status, hosts) in [
        (json!({}), &[][..]),
        (json!({"address": http("a.t")}), &["a.t"]),
        (json!({"address": http("a.t"), "addresses": [https.clone(), http("a.t")]}), &["a.t"]),
        (json!({"address": https.clone(), "addresses": [https.clone()]}), &["a.t"]),
        (json!({"address": {"url": "no url"}}), &["a.t"]),
        (json!({"address": http("hash0f1e.t")}), &["a.t", "hash0f1e.t"]),
        (json!({"address": http("a.t")}), &["hash0f1e.t", "a.t"]),
    ] {
        let found = super::hosts(&json!({"status": status}), form.as_ref());
        assert_eq!(found, hosts, "{status}");
        let (channel, uid) = (Channel::default_of(key()), String::new());
        form = Some(Form { uid, channel: Arc::new(channel), shown: Vec::new(), hosts: found });
    }
}

impl Channel {
    fn default_of(key: ChannelKey) -> Self {
        Self {
            key,
            storage: Storage::Memory,
            acknowledge: Acknowledge::AfterDelivery,
            access: None,
            event_types: None,
            subscriptions: Vec::new(),
        }
    }
}

/// control-plane.md 2.9, 2.12.
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
        assert_eq!(outdated(&document, &BTreeMap::new()).as_ref(), wanted, "{document}");
        let mut deleted = document;
        deleted["metadata"] = json!({"deletionTimestamp": "2026-06-20T08:00:00Z"});
        assert_eq!(outdated(&deleted, &BTreeMap::new()), None);
    }
}

/// control-plane.md 2.1, 2.8, 4.4, 4.5: what stands in the spec, for everybody who asks by path or by host.
#[test]
fn subscribers_are_served_as_they_stand() {
    let mut written = channel("1", &json!([subscriber("b"), subscriber("a")]));
    written["spec"]["delivery"] = json!({"retry": 7, "backoffDelay": "nonsense"});
    let resolution = resolved(&[written], None);
    assert_eq!(resolution.problems, []);
    assert_eq!(uids(&resolution), ["a/uid=a", "a/uid=b"]);
    let channel = served(&resolution).expect("served");
    assert_eq!(channel.subscriptions[0].delivery.retry, 0, "the channel's delivery is folded in already");
    for (host, path) in [(HOST, "/"), ("elsewhere", "/t/a"), ("elsewhere", "/t/a/")] {
        assert_eq!(resolution.table.find(Some(host), path), Find::Found(0, channel), "{host} {path}");
    }
    let object: serde_json::Value = serde_json::from_str(&resolution.inventory.objects[0].json()).expect("JSON");
    let status = &object["status"];
    assert_eq!(status["address"]["url"], format!("http://{HOST}"));
    assert_eq!(status["subscribers"], json!([{"uid": "a", "ready": "True"}, {"uid": "b", "ready": "True"}]));
}

/// Each hop is authorized by itself, so that no channel is reached from inside.
#[test]
fn destinations_are_reached_by_http_even_those_inside() {
    let mut written = subscriber("a");
    written["replyUri"] = json!(format!("http://{HOST}"));
    let resolution = resolved(&[channel("1", &json!([written]))], None);
    let channel = served(&resolution).expect("served");
    let reply = channel.subscriptions[0].reply.as_ref().expect("a reply");
    assert_eq!(reply.target, Target::Remote { connect: None });
}

/// control-plane.md 2.17: nothing of a spec with an error is applied, a Warning is wanted, and no status.
#[test]
fn a_channel_is_taken_as_a_whole_or_not_at_all() {
    for (field, value) in [("backoffDelay", "soon"), ("timeout", "10s"), ("retryAfterMax", "x")] {
        let good = resolved(&[channel("1", &json!([subscriber("a")]))], None);
        let mut bad = subscriber("b");
        bad["delivery"] = json!({field: value});
        let kept = resolved(&[channel("1", &json!([subscriber("c"), bad]))], Some(&good));
        assert_eq!(uids(&kept), ["a/uid=a"], "{field}");
        assert!(matches!(made(&kept).duty(), Some(Duty::Warning(message)) if message.contains(field)), "{field}");
        let again = resolved(&[channel("1", &json!([subscriber("c")]))], Some(&kept));
        assert_eq!(uids(&again), ["a/uid=c"]);
        assert!(matches!(made(&again).duty(), Some(Duty::Subscribers(_))));
    }
}

/// A destination that cannot work fails alone, and the cluster is told which and why; what it may hold of secrets is not.
#[test]
fn an_entry_with_a_destination_that_cannot_work_harms_itself_alone() {
    for uri in ["http://user:secret@x.t.svc.cluster.local/p", "ftp://x", "/relative"] {
        let mut bad = subscriber("b");
        bad["subscriberUri"] = json!(uri);
        let resolution = resolved(&[channel("1", &json!([subscriber("a"), bad]))], None);
        assert_eq!(uids(&resolution), ["a/uid=a", "a/uid=b"], "{uri}");
        let channel = served(&resolution).expect("served");
        assert!(!channel.subscriptions[0].has_no_way());
        let destination = channel.subscriptions[1].subscriber.as_ref().expect("a subscriber");
        assert!(matches!(destination.target, Target::Nowhere(_)), "{destination:?}");
        assert!(!format!("{destination:?}").contains("secret"), "{destination:?}");
        let Some(Duty::Subscribers(told)) = made(&resolution).duty() else { panic!("it is told") };
        assert_eq!((&told[0]["ready"], &told[1]["ready"]), (&json!("True"), &json!("False")));
        let message = told[1]["message"].as_str().expect("a message");
        assert!(message.starts_with("subscriberUri: ") && !message.contains("secret"), "{message}");
        assert_eq!(resolution.problems.iter().filter(|problem| problem.is_error()).count(), 1);
    }
}

/// control-plane.md 2.15b.
#[test]
fn a_channel_that_was_made_again_keeps_nothing() {
    let good = resolved(&[channel("1", &json!([subscriber("a")]))], None);
    let mut strict = channel("2", &json!([{"uid": "a"}]));
    strict["status"] = json!({});
    let again = resolved(&[strict], Some(&good));
    assert_eq!(served(&again), None);
    assert_eq!(again.table.find(Some(HOST), "/"), Find::NotFound);
}

/// control-plane.md 2.6, 1.6.
#[test]
fn the_scope_says_whose_a_channel_is() {
    for (written, of_cluster) in
        [(None, true), (Some("cluster"), true), (Some("other"), true), (Some("namespace"), false)]
    {
        let mut object = channel("1", &json!([]));
        if let Some(scope) = written {
            object["metadata"]["annotations"] = json!({SCOPE: scope});
        }
        let served_by = |scope| {
            let settings = Settings { objects: Objects::Reconciled(scope), ..settings() };
            let resolution = crate::control::resolve(&Manifests::of_objects([object.clone()]), None, &settings);
            !resolution.table.channels().is_empty() && !resolution.inventory.objects.is_empty()
        };
        assert_eq!(served_by(Scope::Cluster), of_cluster, "{written:?}");
        assert_eq!(served_by(Scope::Namespace), written == Some("namespace"), "{written:?}");
    }
}

/// control-plane.md 2.24.
#[test]
fn annotations_are_applied_live() {
    let mut object = channel("1", &json!([]));
    let before = resolved(&[object.clone()], None);
    object["metadata"]["annotations"] = json!({"messaging.knative.dev/async-handler": "t"});
    let after = resolved(&[object], Some(&before));
    let acknowledge = |resolution| served(resolution).expect("served").acknowledge;
    assert_eq!(acknowledge(&before), Acknowledge::AfterDelivery);
    assert_eq!(acknowledge(&after), Acknowledge::AfterEnqueue);
}

/// control-plane.md 2.3: every field is optional; 2.20: the order means nothing.
#[test]
fn entries_need_no_name_and_may_be_there_twice() {
    let uri = "http://x.t.svc.cluster.local";
    let entries = json!([{"subscriberUri": uri}, {"name": "n", "replyUri": uri}, subscriber("a"), subscriber("a"), {"uid": "", "subscriberUri": uri}]);
    let resolution = resolved(&[channel("1", &entries)], None);
    assert_eq!(uids(&resolution), ["a/#0", "a/#4", "a/n", "a/uid=a"]);
    assert!(resolution.problems.iter().all(|problem| !problem.is_error()), "{:?}", resolution.problems);
    let turned = resolved(&[channel("1", &json!([subscriber("b"), subscriber("a")]))], None);
    let back = resolved(&[channel("1", &json!([subscriber("a"), subscriber("b")]))], Some(&turned));
    assert!(Arc::ptr_eq(&turned.table, &back.table));
}

/// control-plane.md 3.10, 5.2: broken CACerts break connections, and nothing else.
#[test]
fn certificates_that_cannot_be_read_trust_nobody() {
    let mut broken = subscriber("a");
    broken["subscriberUri"] = json!("https://x.t.svc.cluster.local");
    broken["subscriberCACerts"] = json!("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----");
    let resolution = resolved(&[channel("1", &json!([broken, subscriber("b")]))], None);
    assert_eq!(uids(&resolution), ["a/uid=a", "a/uid=b"]);
    let channel = served(&resolution).expect("served");
    assert!(channel.subscriptions[0].subscriber.as_ref().expect("subscriber").trust.is_nobody());
}

/// What has not changed is the same value, all the way; what everything depends on makes everything anew.
#[test]
fn only_what_has_changed_is_made_again() {
    let other = |subscribers: Value| {
        let mut object = channel("9", &subscribers);
        object["metadata"]["name"] = json!("b");
        object
    };
    let first = Manifests::of_objects([channel("1", &json!([subscriber("a")])), other(json!([]))]);
    let before = crate::control::resolve(&first, None, &settings());
    let changed = first.with_object(1, other(json!([subscriber("x")])));
    let after = crate::control::resolve(&changed, Some(&before), &settings());
    assert!(Arc::ptr_eq(made(&before), made(&after)));
    assert!(!Arc::ptr_eq(&before.table, &after.table));
    let same = crate::control::resolve(&changed, Some(&after), &settings());
    assert!(Arc::ptr_eq(&after.table, &same.table) && Arc::ptr_eq(&after.inventory, &same.inventory));
    assert!(!same.differs(&after));

    let key = rcgen::KeyPair::generate().expect("key");
    let pem = rcgen::CertificateParams::default().self_signed(&key).expect("certificate").pem();
    let bundle = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.pem": pem},
        "metadata": {"namespace": "knative-eventing", "name": "b", "labels": {"networking.knative.dev/trust-bundle": "true"}},
    });
    let trusting = crate::control::resolve(&changed.with_object(9, bundle), Some(&same), &settings());
    assert!(!Arc::ptr_eq(made(&same), made(&trusting)));
}
