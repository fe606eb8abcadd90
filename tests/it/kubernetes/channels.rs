//! Channels and their subscribers: what is served when, and what the status says (control-plane.md 2).

use serde_json::json;

use super::{cluster, host, reconciled, served, subscribe, until_marked};
use crate::support::cluster::objects::{channel, subscriber};
use crate::support::eventually;
use crate::support::pod::Pod;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::Subscriber;

/// C4, C5, C6, C7, C8, C12; 2.8, 2.9, 2.14, 2.15, 4.4: from the first event after the mark on, nothing is missed.
#[tokio::test]
async fn subscribers_are_served_and_then_marked() {
    let cluster = cluster().await;
    let pod = Pod::of(&cluster).await.start().await;
    let (first, second) = (Subscriber::ok().await, Subscriber::ok().await);
    served(&cluster, "a", &[]).await;
    subscribe(&cluster, "a", &[subscriber("s", &first.url())]).await;
    let marked = until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
    assert_eq!(marked["status"]["address"], reconciled("a", &json!(1))["address"], "nothing else is written");
    assert_eq!(marked["metadata"].get("finalizers"), None);

    assert_eq!(send(&plain(), pod.http_url("/t/a"), "by-path").await, 202);
    let by_host = event(&plain(), pod.http_url("/"), "by-host").header("host", host("a"));
    assert_eq!(by_host.send().await.expect("an answer").status(), 202);
    assert_eq!(first.until(2).await.iter().map(|got| got.id().to_owned()).collect::<Vec<_>>(), ["by-path", "by-host"]);

    let mut changed = subscriber("s", &second.url());
    changed["generation"] = json!(2);
    subscribe(&cluster, "a", &[changed, subscriber("r", &first.url())]).await;
    until_marked(&cluster, "a", &[("uid-of-s", 2), ("uid-of-r", 1)]).await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "third").await, 202);
    assert_eq!((first.until(3).await.len(), second.until(1).await.len()), (3, 1));

    subscribe(&cluster, "a", &[]).await;
    until_marked(&cluster, "a", &[]).await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "nobody").await, 202);
    assert_eq!((first.count(), second.count()), (3, 1));
}

/// C14; 2.15b, 2.16.
#[tokio::test]
async fn a_deleted_channel_is_gone_at_once_and_one_made_again_begins_anew() {
    let cluster = cluster().await;
    let (old, new) = (Subscriber::ok().await, Subscriber::ok().await);
    served(&cluster, "a", &[subscriber("s", &old.url())]).await;
    let pod = Pod::of(&cluster).await.start().await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "1").await, 202);
    cluster.delete("InMemoryChannel", "t/a").await;
    eventually("the channel is gone", || pod.logged(&["Configuration applied", "\"channels\":0"]).len() == 1).await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "2").await, 404);
    let by_host = event(&plain(), pod.http_url("/"), "3").header("host", host("a"));
    assert_eq!(by_host.send().await.expect("an answer").status(), 404);

    let mut broken = subscriber("s", &new.url());
    broken["delivery"] = json!({"backoffDelay": "soon"});
    cluster.create(&channel("t/a", &[broken])).await;
    eventually("the error is told", || !pod.logged(&["Configuration has an error", "backoffDelay"]).is_empty()).await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "4").await, 404, "the form of the old one does not come back");
    assert_eq!((old.count(), new.count()), (1, 0));
}
