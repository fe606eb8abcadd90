//! Who may make requests to a RequestReply, and what its Broker asks of it (contract 7.5 to 7.8).

use super::{Issuer, with_token};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{event, plain};
use crate::support::subscriber::{Received, Reply, Subscriber};

const AUDIENCE: &str = "eventing.knative.dev/requestreply/default/rr";

fn reply(received: &Received) -> Reply {
    Reply::event("reply", "r").header(
        "ce-replyid",
        received
            .header("ce-correlationid")
            .unwrap_or_default()
            .to_owned(),
    )
}

/// A policy for an object of this `apiVersion` and kind that lets these subjects send.
fn policy((name, version, kind, to): (&str, &str, &str, &str), subject: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1alpha1\nkind: EventPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         to: [{{ref: {{apiVersion: eventing.knative.dev/{version}, kind: {kind}, name: {to}}}}}]\n  from: [{{sub: '{subject}'}}]\n---\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_authorized_at_both_doors() {
    let (issuer, subscriber) = (Issuer::new().await, Subscriber::answering(reply).await);
    let objects = format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b}}\n---\n\
         apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\n\
         spec: {{broker: b, filter: {{attributes: {{type: test.event}}}}, subscriber: {{uri: '{}'}}}}\n---\n\
         apiVersion: eventing.knative.dev/v1alpha1\nkind: RequestReply\nmetadata: {{name: rr}}\n\
         spec: {{brokerRef: {{apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}, timeout: PT10S}}\n---\n{}",
        subscriber.url(),
        issuer.features("")
    );
    let dispatcher = Dispatcher::standalone(&objects).await;
    issuer.known_to(&dispatcher).await;
    let same = issuer.token("default/writer", AUDIENCE);
    let other = issuer.token("other/writer", AUDIENCE);
    let for_broker = issuer.token("default/writer", "eventing.knative.dev/broker/default/b");
    let ask = async |token: &str| {
        let request = with_token(
            event(&plain(), dispatcher.http_url("/default/rr"), "i"),
            token,
        );
        request.send().await.expect("an answer").status().as_u16()
    };
    let without = event(&plain(), dispatcher.http_url("/default/rr"), "i")
        .send()
        .await
        .expect("an answer");
    assert_eq!(without.status(), 401);
    assert_eq!(
        [ask(&same).await, ask(&other).await, ask(&for_broker).await],
        [200, 403, 401]
    );
    let object = dispatcher.object("requestreplies", "rr").await;
    assert_eq!(object["status"]["address"]["audience"], AUDIENCE);
    assert_eq!(dispatcher.counter("requests_refused_total").await, 3);

    let of_rr = ("p", "v1alpha1", "RequestReply", "rr");
    let of_broker = ("q", "v1", "Broker", "b");
    let own = "system:serviceaccount:default:rr-oidc-eventing.knative.dev-requestreply";
    for (policies, answers) in [
        // Only whom the policy names.
        (policy(of_rr, "system:serviceaccount:other:*"), [403, 200]),
        // The Broker asks for itself: as whom the RequestReply sends is not allowed there.
        (
            policy(of_broker, "system:serviceaccount:default:writer"),
            [403, 403],
        ),
        // With its own name, and those of the Triggers whose replies come back.
        (
            policy(of_broker, own)
                + &policy(
                    ("r", "v1", "Broker", "b"),
                    "system:serviceaccount:default:t-oidc-eventing.knative.dev-trigger",
                ),
            [200, 403],
        ),
        // For nothing that there is: closed.
        (
            policy(
                ("p", "v1alpha1", "RequestReply", "nosuch"),
                "system:serviceaccount:default:writer",
            ),
            [403, 403],
        ),
    ] {
        dispatcher.apply(&(objects.clone() + &policies)).await;
        assert_eq!([ask(&same).await, ask(&other).await], answers, "{policies}");
    }
}
