//! Identities in a cluster, for channels: tokens of the API server, EventPolicies, EventTypes, all
//! switched live (contract 7.1 to 7.10, 8.1 to 8.3, C23 to C27).

use serde_json::{Value, json};

use super::{cluster, subscribe, until_answer};
use crate::support::cluster::objects::{channel, features, object, subscriber};
use crate::support::cluster::{Cluster, SYSTEM};
use crate::support::dispatcher::Dispatcher;
use crate::support::pod::Pod;
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Reply, Subscriber};

const AUDIENCE: &str = "messaging.knative.dev/inmemorychannel/t/a";
const ON: (&str, &str) = ("authentication-oidc", "enabled");

/// A cluster with channel `t/a`, reconciled, and accounts to send as.
async fn with_channel(flags: &[(&str, &str)]) -> Cluster {
    let cluster = cluster().await;
    cluster.namespace("u").await;
    for account in [
        "t/writer",
        "u/writer",
        "t/s-oidc-messaging.knative.dev-subscription",
    ] {
        cluster.create(&object("ServiceAccount", account)).await;
    }
    cluster.create(&features(flags)).await;
    cluster.create(&channel("t/a", &[])).await;
    cluster.reconcile("t/a").await;
    cluster
}

async fn ask(pod: &Dispatcher, token: Option<&str>) -> u16 {
    let request = event(&plain(), pod.http_url("/t/a"), "i");
    let request = token
        .iter()
        .fold(request, |request, token| request.bearer_auth(token));
    request.send().await.expect("an answer").status().as_u16()
}

/// Contract C23, 4.1, 7.5: switched on and off while running; until then nobody is asked, and
/// nothing of OIDC is watched.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_asked_for_as_the_flag_says() {
    let cluster = with_channel(&[]).await;
    let pod = Pod::of(&cluster).await.start().await;
    let right = cluster.token("t/writer", Some(AUDIENCE)).await;
    let wrong = cluster.token("t/writer", Some("of-something-else")).await;
    assert_eq!(
        (ask(&pod, None).await, ask(&pod, Some("nonsense")).await),
        (202, 202)
    );
    let of_pod = |resource: &str| {
        let log = cluster.log();
        log.iter()
            .filter(|entry| entry.user.ends_with(":imc-dispatcher") && entry.resource == resource)
            .count()
    };
    assert_eq!(
        (
            of_pod("eventpolicies"),
            of_pod("/.well-known/openid-configuration")
        ),
        (0, 0),
        "1A"
    );

    cluster.apply(&features(&[ON])).await;
    assert_eq!(
        cluster.reconcile("t/a").await["status"]["address"]["audience"],
        AUDIENCE
    );
    until_answer(202, async || match ask(&pod, None).await {
        401 => ask(&pod, Some(&right)).await,
        _ => 0,
    })
    .await;
    for (token, status) in [
        (None, 401),
        (Some("nonsense"), 401),
        (Some(&*wrong), 401),
        (Some(&*right), 202),
    ] {
        assert_eq!(ask(&pod, token).await, status, "{token:?}");
    }
    assert!(of_pod("eventpolicies") > 0);
    cluster
        .apply(&features(&[("authentication-oidc", "disabled")]))
        .await;
    until_answer(202, async || ask(&pod, None).await).await;
    assert!(pod.logged(&["forbidden"]).is_empty(), "contract C28");
}

/// An EventPolicy for `t/a`, as eventing-controller has resolved it.
async fn policy(cluster: &Cluster, name: &str, from: &str, filters: Value) {
    let at = format!("t/{name}");
    let mut policy = object("EventPolicy", &at);
    let to =
        json!({"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel", "name": "a"});
    policy["spec"] = json!({"to": [{"ref": to}], "from": [{"sub": from}], "filters": filters});
    cluster.create(&policy).await;
    let status = json!({"from": [from], "conditions": [{"type": "Ready", "status": "True"}]});
    cluster.merge_status("EventPolicy", &at, &status).await;
    cluster.reconcile("t/a").await;
}

/// Contract C24, 7.6 to 7.8: every default, then policies, then one that is away; each live.
#[tokio::test(flavor = "multi_thread")]
async fn policies_decide_who_may_send() {
    let cluster = with_channel(&[ON]).await;
    let pod = Pod::of(&cluster).await.start().await;
    let same = cluster.token("t/writer", Some(AUDIENCE)).await;
    let other = cluster.token("u/writer", Some(AUDIENCE)).await;
    let answers = async || (ask(&pod, Some(&same)).await, ask(&pod, Some(&other)).await);
    // Nobody is let in or kept out by accident at the start.
    until_answer(202, async || ask(&pod, Some(&same)).await).await;
    assert_eq!(
        answers().await,
        (202, 403),
        "allow-same-namespace is the default"
    );
    for (mode, wanted) in [
        ("allow-all", (202, 202)),
        ("deny-all", (403, 403)),
        ("allow-same-namespace", (202, 403)),
        ("nonsense", (403, 403)),
        ("allow-all", (202, 202)),
    ] {
        cluster
            .apply(&features(&[ON, ("default-authorization-mode", mode)]))
            .await;
        until_answer(1, async || u16::from(answers().await == wanted)).await;
    }
    policy(
        &cluster,
        "b-other",
        "system:serviceaccount:u:*",
        json!([{"exact": {"type": "test.event"}}]),
    )
    .await;
    until_answer(1, async || u16::from(answers().await == (403, 202))).await;
    policy(
        &cluster,
        "a-same",
        "system:serviceaccount:t:writer",
        json!([{"exact": {"type": "none"}}]),
    )
    .await;
    policy(
        &cluster,
        "c-same",
        "system:serviceaccount:T:Writer",
        Value::Null,
    )
    .await;
    until_answer(1, async || u16::from(answers().await == (202, 202))).await;
    cluster.delete("EventPolicy", "t/b-other").await;
    until_answer(500, async || ask(&pod, Some(&other)).await).await;
    cluster.reconcile("t/a").await;
    until_answer(403, async || ask(&pod, Some(&other)).await).await;
    assert_eq!(ask(&pod, Some(&same)).await, 202);
}

/// A restart with OIDC on: as soon as the pod is ready it knows who may send (contract 1.9, 7.8).
#[tokio::test(flavor = "multi_thread")]
async fn a_ready_pod_knows_the_policies() {
    let cluster = with_channel(&[ON]).await;
    policy(&cluster, "p", "system:serviceaccount:t:writer", Value::Null).await;
    let pod = Pod::of(&cluster).await.start().await;
    let right = cluster.token("t/writer", Some(AUDIENCE)).await;
    // Keys may be on their way still (503); what is not known of policies would be 500.
    until_answer(202, async || {
        let answer = ask(&pod, Some(&right)).await;
        assert!([202, 503].contains(&answer), "{answer}");
        answer
    })
    .await;
}

fn claims(sink: &Subscriber) -> (Value, Value) {
    let received = sink.received();
    let header = received[0].header("authorization").expect("a token");
    let token = header.strip_prefix("Bearer ").expect("a bearer token");
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token)
        .expect("a token")
        .claims;
    (claims["sub"].clone(), claims["aud"].clone())
}

/// Contract C25, C27, 7.2, 8.1 to 8.3: subscriber, reply and dead letter sink get a token of the
/// Subscription's account each, for their own audience; EventTypes of what is sent and answered.
#[tokio::test(flavor = "multi_thread")]
async fn destinations_get_tokens_and_events_are_described() {
    let cluster = with_channel(&[ON, ("eventtype-auto-create", "enabled")]).await;
    let good = Subscriber::answering(|_| Reply::event("answer", "r")).await;
    let (reply, sink, bad) = (
        Subscriber::ok().await,
        Subscriber::ok().await,
        Subscriber::replying(&[400]).await,
    );
    let mut with_reply = subscriber("good", &good.url());
    with_reply["subscriberAudience"] = json!("of-good");
    with_reply["replyUri"] = json!(reply.url());
    with_reply["replyAudience"] = json!("of-reply");
    let mut failing = subscriber("bad", &bad.url());
    failing["delivery"] = json!({"deadLetterSink": {"uri": sink.url(), "audience": "of-sink"}});
    for entry in [&mut with_reply, &mut failing] {
        entry["auth"] = json!({"serviceAccountName": "s-oidc-messaging.knative.dev-subscription"});
    }
    let pod = Pod::of(&cluster).await.start().await;
    subscribe(&cluster, "a", &[with_reply, failing]).await;
    cluster.reconcile("t/a").await;
    super::until_marked(&cluster, "a", &[("uid-of-good", 1), ("uid-of-bad", 1)]).await;
    let right = cluster.token("t/writer", Some(AUDIENCE)).await;
    until_answer(202, async || ask(&pod, Some(&right)).await).await;
    let subject = json!("system:serviceaccount:t:s-oidc-messaging.knative.dev-subscription");
    for (sink, audience) in [(&good, "of-good"), (&reply, "of-reply"), (&sink, "of-sink")] {
        assert_eq!(claims(sink), (subject.clone(), json!([audience])));
    }
    assert!(
        bad.received()
            .iter()
            .all(|request| request.header("authorization").is_none()),
        "contract AU-1"
    );
    assert!(
        !pod.log()
            .contains(right.split('.').nth(2).expect("a signature")),
        "no token in the log"
    );

    let two = || async { cluster.list("EventType", "t").await.len() == 2 };
    until_answer(1, async || u16::from(two().await)).await;
    let made = cluster.list("EventType", "t").await;
    let kinds: Vec<_> = made
        .iter()
        .map(|made| made["spec"]["reference"]["kind"].as_str().expect("text"))
        .collect();
    assert!(
        kinds.contains(&"InMemoryChannel") && kinds.contains(&"Subscription"),
        "{kinds:?}"
    );
    assert_eq!(ask(&pod, Some(&right)).await, 202);
    assert_eq!(
        cluster.list("EventType", "t").await.len(),
        2,
        "one of each type and source"
    );
    let tokens = cluster
        .log()
        .into_iter()
        .filter(|entry| entry.subresource == "token" && entry.user.contains(SYSTEM));
    assert_eq!(tokens.count(), 3, "7.3: one of each audience");
    assert!(pod.logged(&["forbidden"]).is_empty(), "contract C28");
}
