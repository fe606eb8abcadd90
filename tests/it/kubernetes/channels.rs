//! Channels and their subscribers: what is served when, and what the status says (contract 2.6 to
//! 2.18).

use std::time::Instant;

use serde_json::json;

use super::{cluster, host, reconciled, served, subscribe, until_marked};
use crate::support::cluster::objects::{channel, subscriber};
use crate::support::pod::Pod;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{SOON, eventually};

/// Contract C4, C5, C6, C7, C8, C12, 2.8, 2.9, 2.14, 2.15, 4.4, C10: from the first event after the
/// mark on, nothing is missed.
#[tokio::test]
async fn subscribers_are_served_and_then_marked() {
    let cluster = cluster().await;
    let pod = Pod::of(&cluster).await.start().await;
    let (first, second) = (Subscriber::ok().await, Subscriber::ok().await);
    served(&cluster, "a", &[]).await;
    subscribe(&cluster, "a", &[subscriber("s", &first.url())]).await;
    let marked = until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
    assert_eq!(
        marked["status"]["address"],
        reconciled("a", &json!(1))["address"],
        "nothing else is written"
    );
    assert_eq!(marked["metadata"].get("finalizers"), None);

    assert_eq!(send(&plain(), pod.http_url("/t/a"), "by-path").await, 202);
    let by_host = event(&plain(), pod.http_url("/"), "by-host").header("host", host("a"));
    assert_eq!(by_host.send().await.expect("an answer").status(), 202);
    assert_eq!(
        first
            .until(2)
            .await
            .iter()
            .map(|got| got.id().to_owned())
            .collect::<Vec<_>>(),
        ["by-path", "by-host"]
    );

    let mut changed = subscriber("s", &second.url());
    changed["generation"] = json!(2);
    subscribe(&cluster, "a", &[changed, subscriber("r", &first.url())]).await;
    until_marked(&cluster, "a", &[("uid-of-s", 2), ("uid-of-r", 1)]).await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "third").await, 202);
    assert_eq!(
        (first.until(3).await.len(), second.until(1).await.len()),
        (3, 1)
    );

    subscribe(&cluster, "a", &[]).await;
    until_marked(&cluster, "a", &[]).await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "nobody").await, 202);
    assert_eq!((first.count(), second.count()), (3, 1));
}

/// Contract C14, 2.15b, 2.16, G-19.
#[tokio::test]
async fn a_deleted_channel_is_gone_at_once_and_one_made_again_begins_anew() {
    let cluster = cluster().await;
    let (old, new) = (Subscriber::ok().await, Subscriber::ok().await);
    served(&cluster, "a", &[subscriber("s", &old.url())]).await;
    let pod = Pod::of(&cluster).await.start().await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "1").await, 202);
    cluster.delete("InMemoryChannel", "t/a").await;
    eventually("the channel is gone", || {
        pod.logged(&["Configuration applied", "\"channels\":0"])
            .len()
            == 1
    })
    .await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "2").await, 404);
    let by_host = event(&plain(), pod.http_url("/"), "3").header("host", host("a"));
    assert_eq!(by_host.send().await.expect("an answer").status(), 404);

    let mut broken = subscriber("s", &new.url());
    broken["delivery"] = json!({"backoffDelay": "soon"});
    cluster.create(&channel("t/a", &[broken])).await;
    eventually("the error is told", || {
        !pod.logged(&["Configuration has an error", "backoffDelay"])
            .is_empty()
    })
    .await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "4").await, 202);
    assert_eq!(old.count(), 1, "the form of the old one does not come back");
    assert_eq!((old.count(), new.count()), (1, 0));
}

/// Contract C9, 2.11: what another writer has erased is written again, whatever the generation.
#[tokio::test]
async fn a_status_that_was_erased_is_written_again() {
    let cluster = cluster().await;
    served(&cluster, "a", &[subscriber("s", "http://localhost:1/")]).await;
    let _pod = Pod::of(&cluster).await.start().await;
    for _ in 0..3 {
        until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
        cluster
            .merge_status("InMemoryChannel", "t/a", &json!({"subscribers": null}))
            .await;
    }
    until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
    let mut stale = cluster
        .get("InMemoryChannel", "t/a")
        .await
        .expect("a channel");
    stale["status"]["subscribers"] =
        json!([{"uid": "uid-of-s", "observedGeneration": 0, "ready": "True"}]);
    cluster.replace_status(&stale).await.expect("replaced");
    until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
}

/// Contract C11, 2.17, 2.18, unlike upstream: an entry that is wrong in any way harms itself alone.
/// The others are applied and served, the status of the wrong one says why, and one Warning does.
#[tokio::test]
async fn a_bad_subscriber_harms_itself_alone_and_is_told() {
    let cluster = cluster().await;
    let (good, other) = (Subscriber::ok().await, Subscriber::ok().await);
    served(&cluster, "a", &[subscriber("s", &good.url())]).await;
    let pod = Pod::of(&cluster).await.start().await;
    until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
    let with = |field: &str, value: serde_json::Value| {
        let mut entry = subscriber("bad", "http://localhost:1/");
        entry[field] = value;
        entry
    };
    let secure = "https://localhost:1/";
    let mut untrusted = subscriber("bad", secure);
    untrusted["subscriberCACerts"] =
        json!("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
    for (number, (bad, words)) in [
        (
            with("delivery", json!({"backoffDelay": "soon"})),
            "delivery.backoffDelay: \"soon\" is not an ISO 8601 duration",
        ),
        (
            with("delivery", json!("none")),
            "delivery: is text, but must be an object",
        ),
        (
            with("subscriberUri", json!("ftp://x")),
            "subscriberUri: has the scheme",
        ),
        (
            with("subscriberUri", json!(5)),
            "subscriberUri: is a number, but must be text",
        ),
        (with("uid", json!(null)), "uid: is missing"),
        (with("uid", json!(7)), "uid: is a number, but must be text"),
        (
            with("uid", json!("uid-of-o")),
            "uid: is that of an entry before it",
        ),
        (untrusted, "subscriberCACerts: "),
        (json!("bad"), "is text, but must be an object"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut moved = subscriber("o", &other.url());
        moved["generation"] = json!(number + 1);
        subscribe(&cluster, "a", &[moved, bad]).await;
        let is_told = |channel: &serde_json::Value| {
            let list = &channel["status"]["subscribers"];
            list[0] == json!({"uid": "uid-of-o", "observedGeneration": number + 1, "ready": "True"})
                && list[1]["ready"] == "False"
                && list[1]["message"]
                    .as_str()
                    .is_some_and(|message| message.starts_with(words))
        };
        cluster.until("InMemoryChannel", "t/a", is_told).await;
        let event = |event: &serde_json::Value| {
            event["reason"] == "InternalError"
                && event["message"]
                    .as_str()
                    .is_some_and(|text| text.contains(words))
        };
        let deadline = std::time::Instant::now() + SOON;
        while !cluster.list("Event", "t").await.iter().any(event) {
            assert!(
                std::time::Instant::now() < deadline,
                "no Warning says {words}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // Whatever becomes of the wrong one, the other one has its event.
        let status = send(&plain(), pod.http_url("/t/a"), "1").await;
        assert!([202, 500].contains(&status), "{status}: {words}");
        assert_eq!((good.count(), other.count()), (0, number + 1), "{words}");
    }
    subscribe(&cluster, "a", &[subscriber("o", &other.url())]).await;
    until_marked(&cluster, "a", &[("uid-of-o", 1)]).await;
    let events = cluster.list("Event", "t").await;
    let events: Vec<_> = events
        .into_iter()
        .filter(|event| event["reason"] == "InternalError")
        .collect();
    assert_eq!(events.len(), 9, "{events:?}");
    assert_eq!(
        (&events[0]["type"], &events[0]["involvedObject"]["name"]),
        (&json!("Warning"), &json!("a"))
    );
    assert_eq!(
        events[0]["source"]["component"],
        "inmemorychannel-controller"
    );
}

/// Contract 2.17: what is wrong beside the entries keeps the channel as it was.
#[tokio::test]
async fn a_list_of_subscribers_that_is_none_changes_nothing() {
    let cluster = cluster().await;
    let good = Subscriber::ok().await;
    served(&cluster, "a", &[subscriber("s", &good.url())]).await;
    let pod = Pod::of(&cluster).await.start().await;
    until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
    cluster
        .merge(
            "InMemoryChannel",
            "t/a",
            &json!({"spec": {"subscribers": {"not": "a list"}}}),
        )
        .await;
    cluster
        .until_logged("an Event", |entry| {
            entry.line().starts_with("create events t")
        })
        .await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "1").await, 202);
    assert_eq!(good.count(), 1);
    let shown = pod.object("channels", "a").await["status"]["subscribers"].clone();
    assert_eq!(shown, json!([{"uid": "uid-of-s", "ready": "True"}]));
}

/// Contract 1.20a, 2.7, 2.8: a channel that is not Ready yet, or not any more, takes events;
/// contract 2.6: one of another scope does not.
#[tokio::test]
async fn channels_do_not_wait_for_ready() {
    let cluster = cluster().await;
    let pod = Pod::of(&cluster).await.start().await;
    let sink = Subscriber::ok().await;
    cluster
        .create(&channel("t/new", &[subscriber("s", &sink.url())]))
        .await;
    until_marked(&cluster, "new", &[("uid-of-s", 1)]).await;
    assert_eq!(send(&plain(), pod.http_url("/t/new"), "1").await, 202);
    let not_ready = json!({"conditions": [{"type": "Ready", "status": "False"}]});
    cluster
        .merge_status("InMemoryChannel", "t/new", &not_ready)
        .await;
    subscribe(
        &cluster,
        "new",
        &[subscriber("s", &sink.url()), subscriber("r", &sink.url())],
    )
    .await;
    until_marked(&cluster, "new", &[("uid-of-s", 1), ("uid-of-r", 1)]).await;
    assert_eq!(send(&plain(), pod.http_url("/t/new"), "2").await, 202);
    sink.until(3).await;

    let mut foreign = channel("t/foreign", &[subscriber("s", &sink.url())]);
    foreign["metadata"]["annotations"] = json!({"eventing.knative.dev/scope": "namespace"});
    cluster.create(&foreign).await;
    served(&cluster, "last", &[]).await;
    eventually("the last one is served", || {
        !pod.logged(&["Configuration applied", "\"channels\":2"])
            .is_empty()
    })
    .await;
    assert_eq!(send(&plain(), pod.http_url("/t/foreign"), "3").await, 404);
}

/// Contract 1.6: with `NAMESPACE`, the channels of that namespace and scope, and no others.
#[tokio::test]
async fn a_dispatcher_of_one_namespace() {
    let cluster = cluster().await;
    for name in ["mine", "theirs"] {
        served(&cluster, name, &[]).await;
    }
    let scope = json!({"metadata": {"annotations": {"eventing.knative.dev/scope": "namespace"}}});
    cluster.merge("InMemoryChannel", "t/mine", &scope).await;
    let pod = Pod::of(&cluster).await.env("NAMESPACE", "t").start().await;
    assert_eq!(send(&plain(), pod.http_url("/t/mine"), "1").await, 202);
    assert_eq!(send(&plain(), pod.http_url("/t/theirs"), "2").await, 404);
    let log = cluster.log();
    let of_pod = || {
        log.iter()
            .filter(|entry| entry.user.ends_with(":imc-dispatcher"))
    };
    assert!(of_pod().any(|entry| entry.resource == "inmemorychannels"));
    assert!(of_pod().all(|entry| entry.resource != "inmemorychannels" || entry.namespace == "t"));
}

/// Contract 2.13: the first event after the mark is delivered, every time, to channels and to
/// subscribers that are new.
#[tokio::test]
async fn the_first_event_after_the_mark_is_delivered() {
    let cluster = cluster().await;
    let pod = Pod::of(&cluster).await.start().await;
    let sink = Subscriber::ok().await;
    let client = plain();
    for round in 0..20 {
        let name = format!("c{round}");
        cluster
            .create(&channel(
                &format!("t/{name}"),
                &[subscriber("s", &sink.url())],
            ))
            .await;
        let marked = || async {
            let channel = cluster
                .get("InMemoryChannel", &format!("t/{name}"))
                .await
                .expect("a channel");
            channel["status"]["subscribers"][0]["ready"] == "True"
        };
        let deadline = Instant::now() + SOON;
        while !marked().await {
            assert!(Instant::now() < deadline, "{name} is not marked");
        }
        assert_eq!(
            send(&client, pod.http_url(&format!("/t/{name}")), &name).await,
            202
        );
        assert_eq!(sink.count(), round + 1, "202 means that it is delivered");
    }
}
