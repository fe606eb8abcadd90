//! Identities at the roles `ingress` and `filter`: who may send to a Broker and for a Trigger, and
//! what is described of it (contract 5.11, 5.12, 7.1 to 7.10, 8.3, AU-13).

use serde_json::{Value, json};

use super::{cluster, until_answer};
use crate::support::cluster::Cluster;
use crate::support::cluster::broker::{AUDIENCE, Flags, Wanted, account};
use crate::support::cluster::objects::{features, object};
use crate::support::dispatcher::Dispatcher;
use crate::support::pod::Pod;
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Reply, Subscriber};

const WITH_OIDC: Flags<'_> = Flags {
    mode: "disabled",
    oidc: true,
    ca: "",
};

async fn ask(pod: &Dispatcher, path: &str, token: Option<&str>) -> u16 {
    let request = event(&plain(), pod.http_url(path), "i").header("ce-knativebrokerttl", "7");
    let request = token
        .iter()
        .fold(request, |request, token| request.bearer_auth(token));
    request.send().await.expect("an answer").status().as_u16()
}

/// A cluster with Broker `t/b` and these Triggers, as its controllers have made them.
async fn reconciled(flags: Flags<'_>, triggers: &[Wanted]) -> Cluster {
    let cluster = cluster().await;
    cluster.namespace("u").await;
    for account in ["t/writer", "u/writer"] {
        cluster.create(&object("ServiceAccount", account)).await;
    }
    cluster.reconcile_broker(flags, triggers).await;
    cluster
}

/// Contract C23, C24 for Brokers, and contract 5.11, 7.5 to 7.8: tokens, defaults and policies at
/// the ingress, all live; what it sends bears the token of `mt-broker-ingress-oidc`.
#[tokio::test(flavor = "multi_thread")]
async fn the_ingress_asks_who_sends() {
    let cluster = reconciled(WITH_OIDC, &[]).await;
    let channel = Subscriber::replying(&[202]).await;
    let annotations = json!({"knative.dev/channelAddress": channel.url(), "knative.dev/channelAudience": "of-the-channel"});
    cluster
        .merge_status("Broker", "t/b", &json!({"annotations": annotations}))
        .await;
    let pod = Pod::ingress(&cluster).await.start().await;
    let [same, other] = [
        cluster.token("t/writer", Some(AUDIENCE)).await,
        cluster.token("u/writer", Some(AUDIENCE)).await,
    ];
    let wrong = cluster
        .token("t/writer", Some("eventing.knative.dev/broker/t/other"))
        .await;
    until_answer(202, async || ask(&pod, "/t/b", Some(&same)).await).await;
    for (token, status) in [
        (None, 401),
        (Some(&wrong), 401),
        (Some(&other), 403),
        (Some(&same), 202),
    ] {
        assert_eq!(ask(&pod, "/t/b", token.map(String::as_str)).await, status);
    }
    let header = channel.received()[0]
        .header("authorization")
        .expect("a token")
        .to_owned();
    let token = header.strip_prefix("Bearer ").expect("a bearer token");
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token)
        .expect("a token")
        .claims;
    let subject = "system:serviceaccount:knative-eventing:mt-broker-ingress-oidc";
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&json!(subject), &json!(["of-the-channel"]))
    );

    cluster
        .apply(&features(&[("default-authorization-mode", "deny-all")]))
        .await;
    until_answer(403, async || ask(&pod, "/t/b", Some(&same)).await).await;
    let mut policy = object("EventPolicy", "t/p");
    policy["spec"] = json!({"from": [{"sub": "system:serviceaccount:u:*"}]});
    cluster.create(&policy).await;
    let status = json!({"from": ["system:serviceaccount:u:*"], "conditions": [{"type": "Ready", "status": "True"}]});
    cluster.merge_status("EventPolicy", "t/p", &status).await;
    let policies =
        json!({"policies": [{"apiVersion": "eventing.knative.dev/v1alpha1", "name": "p"}]});
    cluster.merge_status("Broker", "t/b", &policies).await;
    until_answer(202, async || ask(&pod, "/t/b", Some(&other)).await).await;
    assert_eq!(ask(&pod, "/t/b", Some(&same)).await, 403);
    cluster
        .apply(&features(&[("authentication-oidc", "disabled")]))
        .await;
    until_answer(202, async || ask(&pod, "/t/b", None).await).await;
}

/// Contract AU-13, 5.12, 7.2: events for a Trigger come from its Subscription, and go on as the
/// Trigger.
#[tokio::test(flavor = "multi_thread")]
async fn the_filter_takes_events_of_its_subscription() {
    let subscriber = Subscriber::ok().await;
    let wanted = |name| Wanted {
        name,
        ty: "test.event",
        subscriber: subscriber.url(),
        audience: Some("of-it"),
    };
    let cluster = reconciled(WITH_OIDC, &[wanted("a"), wanted("b")]).await;
    let pod = Pod::filter(&cluster).await.start().await;
    let trigger = cluster.get("Trigger", "t/a").await.expect("a Trigger");
    let uid = trigger["metadata"]["uid"].as_str().expect("a uid");
    let (path, subscription) = (format!("/triggers/t/a/{uid}"), format!("b-a-{uid}"));
    let other = cluster.get("Trigger", "t/b").await.expect("a Trigger");
    let other = format!("b-b-{}", other["metadata"]["uid"].as_str().expect("a uid"));
    let token = async |subscription: &str, audience: &str| {
        cluster
            .token(
                &format!("t/{}", account(subscription, "Subscription")),
                Some(audience),
            )
            .await
    };
    let right = token(&subscription, "mt-broker-filter").await;
    until_answer(200, async || ask(&pod, &path, Some(&right)).await).await;
    for (token, status) in [
        (None, 401),
        (Some(token(&subscription, AUDIENCE).await), 401),
        (Some(token(&other, "mt-broker-filter").await), 403),
        (
            Some(cluster.token("t/writer", Some("mt-broker-filter")).await),
            403,
        ),
        (Some(right.clone()), 200),
    ] {
        assert_eq!(ask(&pod, &path, token.as_deref()).await, status);
    }
    let header = subscriber.received()[0]
        .header("authorization")
        .expect("a token")
        .to_owned();
    let claims =
        jsonwebtoken::dangerous::insecure_decode::<Value>(header.trim_start_matches("Bearer "));
    let subject = format!("system:serviceaccount:t:{}", account("a", "Trigger"));
    assert_eq!(claims.expect("a token").claims["sub"], subject);

    cluster
        .merge_status(
            "Subscription",
            &format!("t/{subscription}"),
            &json!({"auth": null}),
        )
        .await;
    until_answer(500, async || ask(&pod, &path, Some(&right)).await).await;
    cluster
        .delete("Subscription", &format!("t/{subscription}"))
        .await;
    until_answer(404, async || ask(&pod, &path, Some(&right)).await).await;
}

/// Asks until the subscriber gets a request with a token; gives its `Authorization`.
async fn token_of_next(to: &Subscriber, ask: impl AsyncFn()) -> String {
    let before = to.count();
    until_answer(1, async || {
        ask().await;
        let received = to.received();
        let mut new = received.iter().skip(before);
        u16::from(new.any(|new| new.header("authorization").is_some()))
    })
    .await;
    let received = to.received();
    let last = received.last().expect("a request");
    last.header("authorization").expect("a token").to_owned()
}

/// Contract AU-1, 7.2, BF-16: whatever is wrong with a Trigger, from when it is there or later, its
/// reply and dead letter go on with its token; it was seen before its controller had written
/// anything of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_with_a_fault_proves_who_it_is() {
    let (reply, sink) = (Subscriber::replying(&[202]).await, Subscriber::ok().await);
    let faults = [
        ("scheme", json!({"subscriberUri": "bad://uri"}), json!({})),
        ("host", json!({"subscriberUri": "http://"}), json!({})),
        (
            "user",
            json!({"subscriberUri": "http://u:p@localhost/"}),
            json!({}),
        ),
        (
            "filter",
            json!({}),
            json!({"filters": [{"cesql": "type ="}]}),
        ),
        (
            "delivery",
            json!({}),
            json!({"delivery": {"backoffDelay": "soon"}}),
        ),
    ];
    let subscriber = "http://localhost:1/".to_owned();
    let wanted = |name| Wanted {
        name,
        ty: "test.event",
        subscriber: subscriber.clone(),
        audience: None,
    };
    let cluster = reconciled(
        WITH_OIDC,
        &faults.each_ref().map(|(name, ..)| wanted(*name)),
    )
    .await;
    let address = json!({"name": "http", "url": reply.url(), "audience": "of-the-broker"});
    cluster
        .merge_status("Broker", "t/b", &json!({"address": address}))
        .await;
    let account = |name: &str| account(name, "Trigger");
    for (name, ..) in &faults {
        let unwritten = json!({"auth": null, "subscriberUri": null});
        cluster
            .merge_status("Trigger", &format!("t/{name}"), &unwritten)
            .await;
    }
    let pod = Pod::filter(&cluster).await.start().await;
    for (name, status, spec) in &faults {
        let at = format!("t/{name}");
        cluster.merge("Trigger", &at, &json!({"spec": spec})).await;
        let mut written = json!({
            "auth": {"serviceAccountName": account(name)}, "subscriberUri": subscriber,
            "deadLetterSinkUri": sink.url(), "deadLetterSinkAudience": "of-the-sink",
        });
        written
            .as_object_mut()
            .expect("fields")
            .extend(status.as_object().expect("fields").clone());
        let trigger = cluster.merge_status("Trigger", &at, &written).await;
        let uid = trigger["metadata"]["uid"].as_str().expect("a uid");
        let from = self::account(&format!("b-{name}-{uid}"), "Subscription");
        let right = cluster
            .token(&format!("t/{from}"), Some("mt-broker-filter"))
            .await;
        let path = format!("/triggers/t/{name}/{uid}");
        for (to, more, audience) in [
            (&sink, "/dls", "of-the-sink"),
            (&reply, "/reply", "of-the-broker"),
        ] {
            let header = token_of_next(to, async || {
                ask(&pod, &format!("{path}{more}"), Some(&right)).await;
            })
            .await;
            let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(
                header.trim_start_matches("Bearer "),
            );
            let claims = claims.expect("a token").claims;
            let subject = format!("system:serviceaccount:t:{}", account(name));
            assert_eq!(
                (&claims["sub"], &claims["aud"]),
                (&json!(subject), &json!([audience])),
                "{name}"
            );
        }
    }
    assert!(
        !pod.log().contains("u:p@"),
        "what is wrong is told without passwords"
    );
}

/// Contract C27, 8.3: the ingress describes events of a Broker, the filter replies of a Trigger, by
/// upstream's rights.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_brokers_and_triggers_are_described() {
    let channel = Subscriber::replying(&[202]).await;
    let subscriber = Subscriber::answering(|_| Reply::event("answer", "r")).await;
    let wanted = Wanted {
        name: "a",
        ty: "test.event",
        subscriber: subscriber.url(),
        audience: None,
    };
    let cluster = reconciled(
        Flags {
            oidc: false,
            ..WITH_OIDC
        },
        &[wanted],
    )
    .await;
    cluster
        .apply(&features(&[("eventtype-auto-create", "enabled")]))
        .await;
    let address = json!({"annotations": {"knative.dev/channelAddress": channel.url()}});
    cluster.merge_status("Broker", "t/b", &address).await;
    let (ingress, filter) = (
        Pod::ingress(&cluster).await.start().await,
        Pod::filter(&cluster).await.start().await,
    );
    let trigger = cluster.get("Trigger", "t/a").await.expect("a Trigger");
    let path = format!(
        "/triggers/t/a/{}",
        trigger["metadata"]["uid"].as_str().expect("a uid")
    );
    assert_eq!(
        (
            ask(&ingress, "/t/b", None).await,
            ask(&filter, &path, None).await
        ),
        (202, 200)
    );
    until_answer(2, async || {
        u16::try_from(cluster.list("EventType", "t").await.len()).expect("few")
    })
    .await;
    let made = cluster.list("EventType", "t").await;
    let mut made: Vec<_> = made
        .iter()
        .map(|made| {
            let (reference, owner) = (
                &made["spec"]["reference"],
                &made["metadata"]["ownerReferences"][0],
            );
            [&reference["kind"], &reference["name"], &owner["kind"]]
                .map(|text| text.as_str().expect("text"))
        })
        .collect();
    made.sort_unstable();
    assert_eq!(
        made,
        [["Broker", "b", "Broker"], ["Trigger", "a", "Trigger"]]
    );
}
