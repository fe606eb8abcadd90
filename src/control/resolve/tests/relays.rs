//! The roles `ingress` and `filter` in a cluster: which relays are resolved again, and which are
//! reused (contract 5.7 to 5.12).

use serde_json::{Value, json};

use super::*;
use crate::control::ObjectSource;
use crate::model::{AuthorizationRule, BrokerRelay, TriggerRelay};

const BROKERS: ControlTask = ControlTask::RelayBrokers(ObjectSource::Reconciled);
const TRIGGERS: ControlTask = ControlTask::RelayTriggers(ObjectSource::Reconciled);

fn with_task(task: ControlTask) -> ControlSettings {
    ControlSettings { task, ..settings() }
}

fn trigger(name: &str, to: &str) -> Value {
    json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger",
        "metadata": {"name": name, "namespace": "t", "uid": format!("uid-of-{name}")},
        "spec": {"broker": "b", "subscriber": {"uri": "http://of.the.spec/"}}, "status": {"subscriberUri": to},
    })
}

fn broker_at(url: &str) -> Value {
    json!({
        "apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "b", "namespace": "t"},
        "status": {"address": {"url": url}, "annotations": {"knative.dev/channelAddress": url}},
    })
}

fn subscription_of(name: &str, account: &str) -> Value {
    let owner = json!({"kind": "Trigger", "name": name, "uid": format!("uid-of-{name}")});
    json!({
        "apiVersion": "messaging.knative.dev/v1", "kind": "Subscription",
        "metadata": {"name": format!("b-{name}"), "namespace": "t", "ownerReferences": [owner]},
        "status": {"auth": {"serviceAccountName": account}},
    })
}

fn oidc() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config-features", "namespace": "knative-eventing"},
        "data": {"authentication-oidc": "enabled"},
    })
}

fn of_trigger<'r>(resolution: &'r Resolution, name: &str) -> &'r Arc<TriggerRelay> {
    resolution
        .table
        .relays()
        .triggers
        .get(&format!("/t/{name}"))
        .expect("a trigger")
}

fn of_broker(resolution: &Resolution) -> &Arc<BrokerRelay> {
    resolution
        .table
        .relays()
        .brokers
        .get("/t/b")
        .expect("a broker")
}

fn url(to: Option<&Addressable>) -> Option<&str> {
    to.map(|to| to.url.as_str())
}

/// A change costs what has changed: the others stay the same value, in the table and in the
/// inventory.
#[test]
fn only_what_has_changed_is_made_again() {
    let settings = with_task(TRIGGERS);
    let objects = [
        trigger("x", "http://x/"),
        trigger("y", "http://y/"),
        broker_at("http://b/"),
        oidc(),
    ];
    let objects = ManifestSet::from_objects(
        objects
            .into_iter()
            .chain([subscription_of("x", "a"), subscription_of("y", "a")]),
    );
    let first = resolve(&objects, None, &settings);
    let again = resolve(&objects, Some(&first), &settings);
    assert!(!again.differs(&first));

    let moved = resolve(
        &objects.with_object(0, trigger("x", "http://else/")),
        Some(&first),
        &settings,
    );
    assert_eq!(
        url(of_trigger(&moved, "x").subscriber.as_ref()),
        Some("http://else/")
    );
    assert!(Arc::ptr_eq(
        of_trigger(&moved, "y"),
        of_trigger(&first, "y")
    ));
    assert!(Arc::ptr_eq(
        &moved.inventory.objects[1],
        &first.inventory.objects[1]
    ));

    let moved = resolve(
        &objects.with_object(2, broker_at("http://else/")),
        Some(&first),
        &settings,
    );
    assert_eq!(
        url(of_trigger(&moved, "x").broker.as_ref()),
        Some("http://else/"),
        "a Trigger follows its Broker"
    );

    let moved = resolve(
        &objects.with_object(4, subscription_of("x", "b")),
        Some(&first),
        &settings,
    );
    let only = |name: &str| {
        of_trigger(&moved, name)
            .authorization
            .as_ref()
            .map(|access| access.rule.clone())
    };
    assert_eq!(
        only("x"),
        Some(AuthorizationRule::OnlySubject(
            "system:serviceaccount:t:b".to_owned()
        )),
        "contract AU-13"
    );
    assert_eq!(
        only("y"),
        Some(AuthorizationRule::OnlySubject(
            "system:serviceaccount:t:a".to_owned()
        ))
    );
    assert!(Arc::ptr_eq(
        of_trigger(&moved, "y"),
        of_trigger(&first, "y")
    ));
}

/// What is not said is not resolved yet, whatever the spec says, and is no error; what is wrong is
/// one, each time, and leaves what was good.
#[test]
fn status_alone_counts() {
    let settings = with_task(TRIGGERS);
    let objects = ManifestSet::from_objects([trigger("x", "http://x/"), broker_at("http://b/")]);
    let first = resolve(&objects, None, &settings);
    let mut early = trigger("x", "");
    let unresolved = objects.with_object(0, early.clone());
    for last in [None, Some(&first)] {
        let resolution = resolve(&unresolved, last, &settings);
        assert_eq!(
            (
                url(of_trigger(&resolution, "x").subscriber.as_ref()),
                lines(&resolution)
            ),
            (None, vec![])
        );
    }
    early["status"]["subscriberUri"] = json!("nowhere");
    let wrong = objects.with_object(0, early);
    let mut resolution = first.clone();
    for _ in 0..2 {
        resolution = resolve(&wrong, Some(&resolution), &settings);
        assert_eq!(
            lines(&resolution).len(),
            1,
            "it is told as long as it is so"
        );
        assert_eq!(
            url(of_trigger(&resolution, "x").subscriber.as_ref()),
            Some("http://x/")
        );
    }
    assert_eq!(
        url(of_trigger(&resolve(&wrong, None, &settings), "x")
            .subscriber
            .as_ref()),
        None
    );

    let settings = with_task(BROKERS);
    let first = resolve(&objects, None, &settings);
    assert_eq!(url(of_broker(&first).channel.as_ref()), Some("http://b/"));
    let mut early = broker_at("http://b/");
    early["status"]["annotations"] = Value::Null;
    let resolution = resolve(&objects.with_object(1, early), Some(&first), &settings);
    assert_eq!(
        (
            url(of_broker(&resolution).channel.as_ref()),
            lines(&resolution)
        ),
        (None, vec![])
    );
    let wrong = resolve(
        &objects.with_object(1, broker_at("nowhere")),
        Some(&first),
        &settings,
    );
    assert_eq!(url(of_broker(&wrong).channel.as_ref()), Some("http://b/"));
}

/// What is right of an object counts, whatever is wrong beside it: whom it sends as, and where its
/// dead letters go; only what the fault has left without a value is that of before, or nothing.
#[test]
fn a_fault_takes_nothing_away_that_is_right() {
    let settings = with_task(TRIGGERS);
    let mut faulty = trigger("x", "bad://uri");
    faulty["status"]["auth"] = json!({"serviceAccountName": "x-oidc-eventing.knative.dev-trigger"});
    faulty["status"]["deadLetterSinkUri"] = json!("http://sink");
    faulty["status"]["deadLetterSinkAudience"] = json!("of-sink");
    for before in [trigger("x", ""), trigger("x", "http://x/")] {
        let objects = ManifestSet::from_objects([before, broker_at("http://b/"), oidc()]);
        let first = resolve(&objects, None, &settings);
        let subscriber = of_trigger(&first, "x").subscriber.clone();
        let resolution = resolve(
            &objects.with_object(0, faulty.clone()),
            Some(&first),
            &settings,
        );
        let found = of_trigger(&resolution, "x");
        assert_eq!(
            found.sender.as_ref().map(|sender| sender.name.as_str()),
            Some("x-oidc-eventing.knative.dev-trigger")
        );
        let sink = found.dead_letter_sink.as_ref().expect("a sink");
        assert_eq!(
            (sink.url.as_written(), sink.audience.as_deref()),
            ("http://sink", Some("of-sink"))
        );
        assert_eq!(
            (&found.subscriber, url(found.broker.as_ref())),
            (&subscriber, Some("http://b/"))
        );
    }
}

/// The address of a Broker that is written is that of its name.
#[test]
fn the_address_of_a_written_broker_has_no_field_of_its_own() {
    let settings = ControlSettings {
        cluster_names: crate::control::ClusterNameLookup::Unavailable,
        ..with_task(ControlTask::RelayTriggers(ObjectSource::Written))
    };
    let text = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: t}\nspec: {broker: b, subscriber: {uri: 'http://127.0.0.1:9/'}}\n";
    let found = lines(&resolve(&manifests(&[("a.yaml", text)]), None, &settings));
    let [line] = &found[..] else {
        panic!("{found:#?}")
    };
    assert!(
        line.starts_with("a.yaml:3: Broker default/b: metadata.name: warning: leads to "),
        "{line}"
    );
}

/// Contract 3.2: a Broker of another namespace counts only where the flag allows it, and as soon as
/// it does.
#[test]
fn brokers_of_other_namespaces_need_the_flag() {
    let settings = with_task(TRIGGERS);
    let mut elsewhere = broker_at("http://elsewhere/");
    elsewhere["metadata"]["namespace"] = "other".into();
    let mut linked = trigger("x", "http://x/");
    linked["spec"]["brokerRef"] = json!({"kind": "Broker", "name": "b", "namespace": "other"});
    let flag = |value: &str| {
        let mut features = oidc();
        features["data"] = json!({"cross-namespace-event-links": value});
        features
    };
    let objects = ManifestSet::from_objects([
        linked,
        broker_at("http://own/"),
        elsewhere,
        flag("disabled"),
    ]);
    let closed = resolve(&objects, None, &settings);
    assert_eq!(
        url(of_trigger(&closed, "x").broker.as_ref()),
        Some("http://own/")
    );
    let open = resolve(
        &objects.with_object(3, flag("Enabled")),
        Some(&closed),
        &settings,
    );
    assert_eq!(
        url(of_trigger(&open, "x").broker.as_ref()),
        Some("http://elsewhere/")
    );
}
