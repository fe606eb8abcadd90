//! Watches: what kube-rs makes of them, and what goes over the wire.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{channels, cluster};
use crate::support::SOON;
use crate::support::cluster::objects::{channel, config_map};
use crate::support::cluster::{Cluster, Expiry, Passage, SYSTEM};

/// The next event, soon; errors that a watcher gets over are passed by.
async fn next(
    events: &mut (impl Stream<Item = watcher::Result<watcher::Event<DynamicObject>>> + Unpin),
) -> String {
    loop {
        match timeout(SOON, events.next())
            .await
            .expect("an event soon")
            .expect("a stream")
        {
            Ok(watcher::Event::Init) => return "init".to_owned(),
            Ok(watcher::Event::InitDone) => return "done".to_owned(),
            Ok(watcher::Event::InitApply(object)) => return format!("init {}", object.name_any()),
            Ok(watcher::Event::Apply(object)) => return format!("apply {}", object.name_any()),
            Ok(watcher::Event::Delete(object)) => return format!("delete {}", object.name_any()),
            Err(_) => {}
        }
    }
}

macro_rules! expect {
    ($events:ident, $($wanted:literal),+) => {
        $(assert_eq!(next(&mut $events).await, $wanted);)+
    };
}

async fn subscribe(cluster: &Cluster) {
    cluster
        .merge(
            "InMemoryChannel",
            "t/a",
            &json!({"metadata": {"labels": {"n": uuid::Uuid::new_v4().to_string()}}}),
        )
        .await;
}

async fn watched(
    client: Client,
) -> impl Stream<Item = watcher::Result<watcher::Event<DynamicObject>>> + Unpin {
    let config = watcher::Config::default();
    Box::pin(watcher(channels(client), config).default_backoff())
}

#[tokio::test]
async fn a_watcher_sees_what_is_there_and_what_happens() {
    let cluster = cluster().await;
    for name in ["a", "b", "c"] {
        cluster.create(&channel(&format!("t/{name}"), &[])).await;
    }
    for config in [
        watcher::Config::default().page_size(2),
        watcher::Config::default().streaming_lists(),
    ] {
        let channels = channels(cluster.client("imc-dispatcher").await);
        let mut events = Box::pin(watcher(channels, config));
        expect!(events, "init", "init a", "init b", "init c", "done");
        cluster.create(&channel("t/d", &[])).await;
        expect!(events, "apply d");
        subscribe(&cluster).await;
        expect!(events, "apply a");
        cluster.delete("InMemoryChannel", "t/d").await;
        expect!(events, "delete d");
    }
}

#[tokio::test]
async fn a_watcher_goes_on_where_it_was_after_connections_are_lost() {
    let cluster = cluster().await;
    cluster.create(&channel("t/a", &[])).await;
    let mut events = watched(cluster.client("imc-dispatcher").await).await;
    expect!(events, "init", "init a", "done");
    cluster.create(&channel("t/b", &[])).await;
    expect!(events, "apply b");

    cluster.gate.set(Passage::Closed);
    subscribe(&cluster).await;
    cluster.delete("InMemoryChannel", "t/b").await;
    cluster.gate.set(Passage::Open);
    expect!(events, "apply a", "delete b");

    cluster.gate.drop_connections();
    subscribe(&cluster).await;
    expect!(events, "apply a");

    if let Some(fake) = cluster.only_fake("a real one ends its watches when it likes") {
        fake.end_watches();
        subscribe(&cluster).await;
        expect!(events, "apply a");
    }
}

/// A network that swallows everything and tells nobody.
#[tokio::test]
async fn a_silent_gate_holds_what_passes_later() {
    let cluster = cluster().await;
    cluster.create(&channel("t/a", &[])).await;
    let mut events = watched(cluster.client("imc-dispatcher").await).await;
    expect!(events, "init", "init a", "done");
    subscribe(&cluster).await;
    expect!(events, "apply a");
    cluster.gate.set(Passage::Silent);
    subscribe(&cluster).await;
    timeout(Duration::from_millis(300), events.next())
        .await
        .expect_err("nothing passes");
    cluster.gate.set(Passage::Open);
    expect!(events, "apply a");
}

#[tokio::test]
async fn a_watcher_lists_again_when_the_history_is_gone() {
    let cluster = cluster().await;
    let Some(fake) = cluster.only_fake("a real one keeps its history for minutes") else {
        return;
    };
    cluster.create(&channel("t/a", &[])).await;
    let mut events = watched(cluster.client("imc-dispatcher").await).await;
    expect!(events, "init", "init a", "done");
    subscribe(&cluster).await;
    expect!(events, "apply a");
    cluster.gate.set(Passage::Closed);
    cluster.create(&channel("t/b", &[])).await;
    fake.compact(Expiry::Event);
    cluster.gate.set(Passage::Open);
    expect!(events, "init", "init a", "init b", "done");
}

#[tokio::test]
async fn that_the_history_is_gone_is_said_by_an_event_or_by_the_status() {
    let cluster = cluster().await;
    let Some(fake) = cluster.only_fake("a real one keeps its history for minutes") else {
        return;
    };
    let channels = channels(cluster.client("imc-dispatcher").await);
    fake.compact(Expiry::Event);
    let mut events = Box::pin(
        channels
            .watch(&WatchParams::default(), "1")
            .await
            .expect("a watch"),
    );
    match events.try_next().await.expect("an event") {
        Some(WatchEvent::Error(status)) => {
            assert_eq!((status.code, status.reason.as_str()), (410, "Expired"))
        }
        other => panic!("{other:?}"),
    }
    assert!(events.try_next().await.expect("an end").is_none());
    fake.compact(Expiry::Status);
    let refused = channels
        .watch(&WatchParams::default(), "1")
        .await
        .map(|_| ());
    assert_eq!(super::code(refused), 410);
    let page = "/apis/messaging.knative.dev/v1/inmemorychannels?limit=1&continue=1/t/a";
    assert_eq!(
        super::code(cluster.ask("GET", page, &Value::Null).await),
        410
    );
}

/// What a selection loses is deleted for those who watch it, what it gains is added; bookmarks come
/// in between; the end comes in time.
#[tokio::test]
async fn a_selection_is_watched_with_bookmarks_until_its_time_is_over() {
    let cluster = cluster().await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client("imc-dispatcher").await, SYSTEM);
    let parameters = WatchParams::default().labels("bundle=true").timeout(2);
    let now = cluster.create(&config_map("m", &[])).await["metadata"]["resourceVersion"].clone();
    let events = maps
        .watch(&parameters, now.as_str().expect("a version"))
        .await
        .expect("a watch");
    for labels in [
        json!({"bundle": "true"}),
        json!({"bundle": "true", "a": "b"}),
        json!({"bundle": null}),
    ] {
        cluster
            .merge(
                "ConfigMap",
                &format!("{SYSTEM}/m"),
                &json!({"metadata": {"labels": labels}}),
            )
            .await;
    }
    cluster.create(&config_map("other", &[])).await;
    let events: Vec<_> = timeout(SOON, events.try_collect())
        .await
        .expect("an end")
        .expect("events");
    let name = |event: &WatchEvent<ConfigMap>| match event {
        WatchEvent::Added(_) => "added",
        WatchEvent::Modified(_) => "modified",
        WatchEvent::Deleted(_) => "deleted",
        WatchEvent::Bookmark(_) => "bookmark",
        WatchEvent::Error(_) => "error",
    };
    let names: Vec<&str> = events.iter().map(name).collect();
    let changes: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| *name != "bookmark")
        .collect();
    assert_eq!(changes, ["added", "modified", "deleted"]);
    if cluster
        .only_fake("a real one sends bookmarks when it likes")
        .is_some()
    {
        assert_eq!(
            names.iter().copied().collect::<BTreeSet<_>>().len(),
            4,
            "{names:?}"
        );
    }
}

/// kube's watcher lists again after an `ERROR` event only. When the status says that the history is
/// gone, it asks for the same revision for ever: whoever uses it must start it anew.
#[tokio::test]
async fn a_watcher_of_kube_does_not_get_over_a_410_in_the_status() {
    let cluster = cluster().await;
    let Some(fake) = cluster.only_fake("a real one says it by an event") else {
        return;
    };
    cluster.create(&channel("t/a", &[])).await;
    let mut events = watched(cluster.client("imc-dispatcher").await).await;
    expect!(events, "init", "init a", "done");
    subscribe(&cluster).await;
    expect!(events, "apply a");
    cluster.gate.set(Passage::Closed);
    cluster.create(&channel("t/b", &[])).await;
    fake.compact(Expiry::Status);
    cluster.gate.set(Passage::Open);
    let mut gone = 0;
    while gone < 2 {
        match timeout(SOON, events.next())
            .await
            .expect("an event soon")
            .expect("a stream")
        {
            Err(watcher::Error::WatchStartFailed(kube::Error::Api(status)))
                if status.code == 410 =>
            {
                gone += 1
            }
            Err(_) => {}
            Ok(event) => panic!("it gets over it now: {event:?}"),
        }
    }
}
