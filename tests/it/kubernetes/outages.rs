//! The API server is away, forgets, or refuses (contract 2.12, 2.22a, 3.12a).

use serde_json::json;

use super::traffic_of::Traffic;
use super::{cluster, served, subscribe, until_marked};
use crate::support::cluster::objects::{features, subscriber};
use crate::support::cluster::{Expiry, Passage};
use crate::support::eventually;
use crate::support::pod::Pod;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;

fn probe(pod: &crate::support::dispatcher::Dispatcher) -> reqwest::RequestBuilder {
    plain()
        .get(pod.http_url("/healthz"))
        .header("user-agent", "kube-probe/1.34")
}

/// Contract 3.12a: what is known is served while the API server is away, the pod stays ready, and
/// what has changed meanwhile is caught up with. `SEALPOST_TEST_OUTAGE` makes it longer, in
/// seconds.
#[tokio::test]
async fn serving_goes_on_while_the_api_server_is_away() {
    let cluster = cluster().await;
    let (first, second) = (Subscriber::ok().await, Subscriber::ok().await);
    served(&cluster, "a", &[subscriber("s", &first.url())]).await;
    served(&cluster, "gone", &[]).await;
    let pod = Pod::of(&cluster).await.start().await;
    until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
    let traffic = Traffic::start(&plain(), &pod.http_url("/t/a"));
    let seconds = std::env::var("SEALPOST_TEST_OUTAGE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2);
    for passage in [Passage::Closed, Passage::Open] {
        cluster.gate.set(passage);
        if passage == Passage::Closed {
            subscribe(
                &cluster,
                "a",
                &[
                    subscriber("s", &first.url()),
                    subscriber("r", &second.url()),
                ],
            )
            .await;
            cluster.delete("InMemoryChannel", "t/gone").await;
            let until = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
            while std::time::Instant::now() < until {
                traffic.more(10).await;
                assert_eq!(probe(&pod).send().await.expect("an answer").status(), 204);
            }
            assert_eq!(second.count(), 0);
            assert_eq!(pod.series_value("sealpost_api_server_up", &[]).await, 0.0);
        }
    }
    until_marked(&cluster, "a", &[("uid-of-s", 1), ("uid-of-r", 1)]).await;
    eventually("the deletion is caught up with", || {
        !pod.logged(&["Configuration applied", "\"channels\":1"])
            .is_empty()
    })
    .await;
    assert_eq!(pod.series_value("sealpost_api_server_up", &[]).await, 1.0);
    assert_eq!(send(&plain(), pod.http_url("/t/gone"), "1").await, 404);
    traffic.more(10).await;
    assert_eq!(traffic.stop().await, [""; 0]);
    second.until(1).await;
}

/// What an outage is told by: one line of ours when it begins, and one when it is over, whichever
/// role the pod has; nothing at ERROR, since nothing is lost, and nothing of the libraries beneath.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_once() {
    let cluster = cluster().await;
    let sink = Subscriber::ok().await;
    served(&cluster, "a", &[subscriber("s", &sink.url())]).await;
    let pods = [
        Pod::of(&cluster).await.start().await,
        Pod::ingress(&cluster).await.start().await,
        Pod::filter(&cluster).await.start().await,
    ];
    until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
    let quiet: Vec<usize> = pods.iter().map(|pod| pod.log().lines().count()).collect();
    cluster.gate.set(Passage::Closed);
    let traffic = Traffic::start(&plain(), &pods[0].http_url("/t/a"));
    let is_tried = |pod: &crate::support::dispatcher::Dispatcher| {
        !pod.logged(&["API server is away"]).is_empty()
    };
    eventually("each has seen it", || pods.iter().all(is_tried)).await;
    // Some tries more of each watch, and of whoever wants the Lease.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while std::time::Instant::now() < until {
        traffic.more(10).await;
    }
    cluster.gate.set(Passage::Open);
    let is_back = |pod: &crate::support::dispatcher::Dispatcher| {
        !pod.logged(&["API server answers again"]).is_empty()
    };
    eventually("each has seen its end", || pods.iter().all(is_back)).await;
    assert_eq!(traffic.stop().await, [""; 0]);
    for (pod, quiet) in pods.iter().zip(quiet) {
        let log = pod.log();
        let lines: Vec<&str> = log.lines().skip(quiet).collect();
        let of = |level: &str| {
            lines
                .iter()
                .filter(|line| line.contains(level))
                .collect::<Vec<_>>()
        };
        assert!(of("\"ERROR\"").is_empty(), "{lines:#?}");
        assert_eq!(of("\"WARN\"").len(), 1, "{lines:#?}");
        let says_why = ["(Connect): ", "(SendRequest): "]
            .iter()
            .any(|why| of("\"WARN\"")[0].contains(why));
        assert!(says_why, "it says why: {lines:#?}");
        assert!(lines.len() <= 6, "{lines:#?}");
    }
}

/// 410 Gone, in both ways to say so: a new list, and nothing that happened in between is missed,
/// nothing goes away.
#[tokio::test]
async fn a_forgotten_version_leads_to_a_new_list() {
    let cluster = cluster().await;
    let Some(fake) = cluster.only_fake("it forgets when it wants to") else {
        return;
    };
    let sink = Subscriber::ok().await;
    served(&cluster, "a", &[subscriber("s", &sink.url())]).await;
    let pod = Pod::of(&cluster).await.start().await;
    let traffic = Traffic::start(&plain(), &pod.http_url("/t/a"));
    for (round, expiry) in [Expiry::Event, Expiry::Status].into_iter().enumerate() {
        let lists = || {
            let is_list = |entry: &crate::support::cluster::Entry| {
                entry.verb == "list"
                    && entry.resource == "inmemorychannels"
                    && entry.user.contains("imc-dispatcher")
            };
            cluster.log().iter().filter(|entry| is_list(entry)).count()
        };
        let before = lists();
        cluster.gate.set(Passage::Closed);
        let name = format!("new-{round}");
        served(&cluster, &name, &[subscriber("s", &sink.url())]).await;
        fake.compact(expiry);
        cluster.gate.set(Passage::Open);
        until_marked(&cluster, &name, &[("uid-of-s", 1)]).await;
        assert!(lists() > before, "{expiry:?}");
    }
    assert_eq!(traffic.stop().await, [""; 0]);
}

/// Watches that end, and rights that are missing for a while (contract 1.14): tried again until it
/// works.
#[tokio::test]
async fn watches_go_on_after_their_end_and_after_refusals() {
    let cluster = cluster().await;
    let Some(fake) = cluster.only_fake("it refuses as it is told") else {
        return;
    };
    for code in [401, 403, 500, 503] {
        fake.refuse(3, code, |entry| {
            entry.user.contains("imc-dispatcher") && entry.resource != "leases"
        });
    }
    served(&cluster, "a", &[]).await;
    let pod = Pod::of(&cluster).await.listening().await;
    assert_eq!(
        probe(&pod).send().await.expect("an answer").status(),
        503,
        "nothing is known yet"
    );
    pod.until_ready().await;
    for round in 0..3 {
        fake.end_watches();
        fake.refuse(2, 403, |entry| entry.verb == "watch");
        let name = format!("b{round}");
        served(&cluster, &name, &[subscriber("s", "http://localhost:1/")]).await;
        until_marked(&cluster, &name, &[("uid-of-s", 1)]).await;
    }
    assert_eq!(probe(&pod).send().await.expect("an answer").status(), 204);
}

/// Contract C29, 2.12: the patch is refused for a while, as by a webhook that is away, and served
/// meanwhile.
#[tokio::test]
async fn status_is_written_when_the_webhook_is_back() {
    let cluster = cluster().await;
    let Some(fake) = cluster.only_fake("it has no webhook") else {
        return;
    };
    let sink = Subscriber::ok().await;
    served(&cluster, "a", &[]).await;
    let pod = Pod::of(&cluster).await.start().await;
    fake.refuse(4, 500, |entry| entry.subresource == "status");
    subscribe(&cluster, "a", &[subscriber("s", &sink.url())]).await;
    cluster
        .until_logged("a refusal", |entry| {
            entry.subresource == "status" && entry.code == 500
        })
        .await;
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "1").await, 202);
    sink.until(1).await;
    until_marked(&cluster, "a", &[("uid-of-s", 1)]).await;
    // The last attempt is counted once its answer is here.
    let counted = |name: &'static str| pod.series_value(name, &[]);
    let failures = counted("sealpost_cluster_write_failures_total").await;
    assert!((1.0..=4.0).contains(&failures), "{failures}");
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while counted("sealpost_cluster_writes_total").await <= failures {
        assert!(
            std::time::Instant::now() < deadline,
            "no success is counted"
        );
    }
}

/// Contract 3.12, 3.12a, 1.9: with an API server that does not answer at first the pod listens and
/// is not ready; then it is.
#[tokio::test]
async fn a_start_waits_for_the_api_server() {
    let cluster = cluster().await;
    cluster
        .create(&features(&[("transport-encryption", "strict")]))
        .await;
    served(&cluster, "a", &[]).await;
    cluster.gate.set(Passage::Silent);
    let pod = Pod::of(&cluster).await.listening().await;
    assert_eq!(probe(&pod).send().await.expect("an answer").status(), 503);
    assert_eq!(
        send(&plain(), pod.http_url("/t/a"), "1").await,
        503,
        "strict or not is not known yet"
    );
    cluster.gate.set(Passage::Open);
    pod.until_ready().await;
    assert_eq!(probe(&pod).send().await.expect("an answer").status(), 204);
    assert_eq!(send(&plain(), pod.http_url("/t/a"), "2").await, 404);
    assert_eq!(
        json!(pod.object("channels", "a").await["metadata"]["name"]),
        json!("a")
    );
}
