//! The pods mt-broker-ingress and mt-broker-filter: what they follow, and what they are as pods
//! (contract 5.7 to 5.14, 3.11, 1.8).

use reqwest::Client;
use serde_json::{Value, json};

use super::traffic_of::Traffic;
use super::{cluster, until_answer};
use crate::support::cluster::objects::{features, object, tls_secret};
use crate::support::cluster::{Cluster, Entry, Passage, SYSTEM};
use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::eventually;
use crate::support::pki::Ca;
use crate::support::pod::Pod;
use crate::support::sender::{event, plain, trusting};
use crate::support::subscriber::Subscriber;

/// The status of a Broker whose channel is there.
fn channel_at(address: &str) -> Value {
    json!({"annotations": {"knative.dev/channelAddress": address}})
}

async fn send(url: String, id: &str) -> u16 {
    let request = event(&plain(), url, id).header("ce-knativebrokerttl", "7");
    request.send().await.expect("an answer").status().as_u16()
}

/// Contract 5.7, 5.11, BI-4, 1.6: Brokers of all namespaces, whatever class and `NAMESPACE` say, as
/// their status changes; other pods' Leases are left alone and nothing is written (contract 5.13).
#[tokio::test(flavor = "multi_thread")]
async fn the_ingress_follows_brokers() {
    let cluster = cluster().await;
    cluster.namespace("u").await;
    let (one, two) = (Subscriber::replying(&[202]).await, Subscriber::ok().await);
    let mut early = object("Broker", "u/early");
    early["metadata"]["annotations"] = json!({"eventing.knative.dev/broker.class": "Other"});
    cluster.create(&early).await;
    let pod = Pod::ingress(&cluster)
        .await
        .env("MAX_TTL", "3")
        .start()
        .await;
    let to = |path: &str| pod.http_url(path);
    assert_eq!(send(to("/t/b"), "0").await, 404);
    assert_eq!(send(to("/u/early"), "0").await, 500, "contract BI-4");
    let shown = ready(&pod.object("brokers", "early").await).clone();
    assert_eq!(
        (&shown["status"], &shown["reason"]),
        (&json!("Unknown"), &json!("ReferenceNotResolved"))
    );
    assert!(
        pod.logged(&["has an error"]).is_empty(),
        "what is not reconciled yet is no error"
    );

    cluster
        .merge_status("Broker", "u/early", &channel_at(&one.url()))
        .await;
    until_answer(202, async || send(to("/u/early"), "1").await).await;
    assert_eq!(
        (one.count(), one.received()[0].header("ce-knativebrokerttl")),
        (1, Some("3")),
        "MAX_TTL"
    );
    cluster
        .merge_status("Broker", "u/early", &channel_at(&two.url()))
        .await;
    until_answer(200, async || send(to("/u/early"), "2").await).await;
    cluster
        .merge_status("Broker", "u/early", &channel_at("nowhere"))
        .await;
    eventually("it is told", || {
        !pod.logged(&["has an error", "channelAddress"]).is_empty()
    })
    .await;
    let before = two.count();
    assert_eq!(
        send(to("/u/early"), "3").await,
        200,
        "the last good address stays"
    );
    assert_eq!(two.count(), before + 1);
    cluster.delete("Broker", "u/early").await;
    until_answer(404, async || send(to("/u/early"), "4").await).await;

    let log = cluster.log();
    let of_pod = |entry: &&Entry| entry.user.ends_with(":mt-broker-ingress");
    let is_more =
        |entry: &&Entry| !["list", "watch"].contains(&entry.verb.as_str()) || entry.code > 200;
    let more: Vec<_> = log.iter().filter(of_pod).filter(is_more).collect();
    assert!(more.is_empty(), "{more:?}");
    assert!(
        log.iter()
            .filter(of_pod)
            .all(|entry| entry.resource != "eventpolicies"),
        "1A: only with OIDC"
    );
}

pub(super) fn path(trigger: &Value, more: &str) -> String {
    let text = |field: &str| trigger["metadata"][field].as_str().expect("text");
    format!(
        "/triggers/{}/{}/{}{more}",
        text("namespace"),
        text("name"),
        text("uid")
    )
}

pub(super) async fn trigger(cluster: &Cluster, at: &str, more: Value) -> Value {
    let mut trigger = object("Trigger", at);
    // In a cluster only the status says where it is.
    trigger["spec"] = json!({"broker": "b", "subscriber": {"uri": "http://127.0.0.1:1/"}});
    for (key, value) in more.as_object().expect("fields") {
        trigger["spec"][key] = value.clone();
    }
    cluster.create(&trigger).await
}

/// Contract 5.9, 5.12, 5.14, BF-5 to BF-8, BF-16: Triggers and Brokers of all namespaces, as they
/// change.
#[tokio::test(flavor = "multi_thread")]
async fn the_filter_follows_triggers() {
    let cluster = cluster().await;
    let (subscriber, broker) = (Subscriber::ok().await, Subscriber::replying(&[202]).await);
    let pod = Pod::filter(&cluster).await.start().await;
    let made = trigger(&cluster, "t/a", json!({})).await;
    let to = |path: String| pod.http_url(&path);
    eventually("it is seen", || {
        !pod.logged(&["Configuration applied"]).is_empty()
    })
    .await;
    until_answer(404, async || send(to(path(&made, "")), "0").await).await;
    cluster
        .merge_status(
            "Trigger",
            "t/a",
            &json!({"subscriberUri": subscriber.url()}),
        )
        .await;
    until_answer(200, async || send(to(path(&made, "")), "1").await).await;
    assert_eq!(subscriber.count(), 1);
    assert_eq!(
        send(to("/triggers/t/a/other".to_owned()), "2").await,
        400,
        "5.14"
    );

    assert_eq!(
        send(to(path(&made, "/reply")), "3").await,
        404,
        "contract BF-16: there is no Broker"
    );
    cluster.create(&object("Broker", "t/b")).await;
    cluster
        .merge_status(
            "Broker",
            "t/b",
            &json!({"address": {"name": "http", "url": broker.url()}}),
        )
        .await;
    until_answer(202, async || send(to(path(&made, "/reply")), "4").await).await;

    let spec = json!({"spec": {"filter": {"attributes": {"type": "another"}}}});
    cluster.merge("Trigger", "t/a", &spec).await;
    let other = trigger(&cluster, "t/z", json!({"filters": [{"cesql": "type ="}]})).await;
    eventually("the mistake is told", || {
        !pod.logged(&["has an error", "cesql"]).is_empty()
    })
    .await;
    let before = subscriber.count();
    assert_eq!(send(to(path(&made, "")), "5").await, 200, "contract BF-8");
    assert_eq!(send(to(path(&other, "")), "6").await, 404, "contract G-48");
    assert_eq!(subscriber.count(), before);

    cluster
        .merge_status("Trigger", "t/a", &json!({"subscriberUri": null}))
        .await;
    until_answer(404, async || send(to(path(&made, "")), "7").await).await;
    cluster.delete("Trigger", "t/a").await;
    let again = trigger(&cluster, "t/a", json!({})).await;
    cluster
        .merge_status(
            "Trigger",
            "t/a",
            &json!({"subscriberUri": subscriber.url()}),
        )
        .await;
    until_answer(200, async || send(to(path(&again, "")), "8").await).await;
    assert_eq!(send(to(path(&made, "")), "9").await, 400, "another uid");
}

/// Contract 3.12a: a rotation under load. While certificates and modes change and the API server is
/// away, nothing of what is taken fails; then it catches up.
#[tokio::test(flavor = "multi_thread")]
async fn the_ingress_serves_while_the_cluster_changes() {
    let cluster = cluster().await;
    let ca = Ca::new("eventing");
    let secret = || {
        tls_secret(
            "mt-broker-ingress-server-tls",
            &ca.issue(&["localhost"]),
            &ca.pem,
        )
    };
    let (one, two) = (
        Subscriber::replying(&[202]).await,
        Subscriber::replying(&[202]).await,
    );
    cluster.create(&object("Broker", "t/b")).await;
    cluster
        .merge_status("Broker", "t/b", &channel_at(&one.url()))
        .await;
    cluster
        .create(&features(&[("transport-encryption", "permissive")]))
        .await;
    cluster.create(&secret()).await;
    let pod = Pod::ingress(&cluster).await.start().await;
    let loads = [
        Traffic::start(&plain(), &pod.http_url("/t/b")),
        Traffic::start(&trusting(&ca.pem), &pod.https_url("/t/b")),
    ];
    let used = || pod.logged(&["Server certificate in use"]).len();
    for _ in 0..3 {
        let before = used();
        cluster.apply(&secret()).await;
        eventually("the new certificate is used", || used() > before).await;
        loads[1].more(3).await;
    }
    cluster.gate.set(Passage::Closed);
    cluster
        .merge_status("Broker", "t/b", &channel_at(&two.url()))
        .await;
    eventually("the outage is seen", || {
        !pod.logged(&["API server is away"]).is_empty()
    })
    .await;
    for load in &loads {
        load.more(3).await;
    }
    assert_eq!(two.count(), 0);
    cluster.gate.set(Passage::Open);
    two.until(1).await;
    for load in loads {
        assert_eq!(load.stop().await, [""; 0]);
    }
    assert_eq!(pod.admin_text("/readyz").await.0, 200);
}

/// Of a client's event on either port, to something that is not there.
async fn on_both(pod: &Dispatcher, ca: &str) -> (u16, u16) {
    let secure = event(&trusting(ca), pod.https_url("/t/none"), "i")
        .send()
        .await;
    (
        send(pod.http_url("/t/none"), "i").await,
        secure.map_or(0, |answer| answer.status().as_u16()),
    )
}

/// Contract C15 to C20, A-20 for the two roles, and contract 1.8a, 3.4, 3.11, 3.12: modes and
/// certificates live, probes always.
#[tokio::test(flavor = "multi_thread")]
async fn roles_follow_modes_and_secrets_and_answer_probes() {
    let cluster = cluster().await;
    let ca = Ca::new("eventing");
    let secret = |name: &str| tls_secret(name, &ca.issue(&["localhost"]), &ca.pem);
    for (role, pod) in [
        ("ingress", Pod::ingress(&cluster).await),
        ("filter", Pod::filter(&cluster).await),
    ] {
        cluster
            .apply(&features(&[("transport-encryption", "disabled")]))
            .await;
        let pod = pod.start().await;
        // What an event to nowhere gets where it is taken, as the mode alone refuses by 404, too.
        let taken = if role == "ingress" { 404 } else { 400 };
        assert_eq!(
            on_both(&pod, &ca.pem).await,
            (taken, 0),
            "3.12: handshakes fail until there is a Secret"
        );
        let name = format!("mt-broker-{role}-server-tls");
        cluster.create(&secret(&name)).await;
        let used = || pod.logged(&["Server certificate in use"]).len();
        eventually("the certificate is used", || used() == 1).await;
        assert_eq!(on_both(&pod, &ca.pem).await, (taken, 404), "contract C17");
        cluster.apply(&secret(&name)).await;
        eventually("the next one is used", || used() == 2).await;
        let mut mismatched = secret(&name);
        mismatched["data"]["tls.key"] = secret(&name)["data"]["tls.key"].clone();
        cluster.apply(&mismatched).await;
        eventually("the pair is refused", || {
            !pod.logged(&["has an error", "does not belong to the first certificate"])
                .is_empty()
        })
        .await;
        cluster.delete("Secret", &format!("{SYSTEM}/{name}")).await;
        for (mode, takes) in [
            ("permissive", (true, true)),
            ("strict", (false, true)),
            ("disabled", (true, false)),
        ] {
            cluster
                .apply(&features(&[("transport-encryption", mode)]))
                .await;
            let is_taken = async |client: &Client, url: String| {
                let answer = event(client, url, "i").send().await.expect("an answer");
                match role {
                    // The mode refuses by 404, too.
                    "ingress" => answer.text().await.expect("a text").contains("no broker"),
                    _ => answer.status() == 400,
                }
            };
            until_answer(1, async || {
                let plain = is_taken(&plain(), pod.http_url("/t/none")).await;
                let secure = is_taken(&trusting(&ca.pem), pod.https_url("/t/none")).await;
                u16::from((plain, secure) == takes)
            })
            .await;
            for (client, url, status) in [
                (plain(), pod.http_url("/x"), 204),
                (trusting(&ca.pem), pod.https_url("/x"), 200),
            ] {
                let probe = client
                    .get(url)
                    .header("user-agent", "kube-probe/1.34")
                    .send()
                    .await
                    .expect("an answer");
                assert_eq!(probe.status(), status, "{role} {mode}");
            }
        }
        let (status, _) = pod.admin_text("/metrics").await;
        assert_eq!(status, 200);
    }
}
