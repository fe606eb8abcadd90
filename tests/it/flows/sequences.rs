//! Sequences: events, replies, failures, and what does not happen at the listener.

use super::{answer, sequence, sequence_of, step, to, total, trails};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Reply, Subscriber};

/// Each step gets what the one before has answered with, and the reply what the last one has; data,
/// extensions and the headers that Knative forwards go through.
#[tokio::test(flavor = "multi_thread")]
async fn three_steps_and_a_reply() {
    let (a, b, c, reply) = (
        step("a").await,
        step("b").await,
        step("c").await,
        Subscriber::ok().await,
    );
    let yaml = sequence_of("s", &[&a, &b, &c], &reply);
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let url = dispatcher.http_url("/default/s-kn-sequence-0");
    let request = event(&plain(), &url, "1")
        .header("ce-tenant", "t")
        .header("x-request-id", "r");
    assert_eq!(request.send().await.expect("an answer").status(), 202);
    // A channel in memory answers when all of it is done.
    assert_eq!(
        (trails(&a), trails(&b), trails(&c)),
        (
            vec![String::new()],
            vec!["a".to_owned()],
            vec!["ab".to_owned()]
        )
    );
    let last = &reply.received()[0];
    assert_eq!(
        (last.header("ce-trail"), last.header("ce-type"), last.id()),
        (Some("abc"), Some("c"), "1")
    );
    assert_eq!(
        (&last.body[..], last.header("content-type")),
        (&br#"{"a":"b"}"#[..], Some("application/json"))
    );
    let first = &a.received()[0];
    assert_eq!(
        (first.header("ce-tenant"), first.header("x-request-id")),
        (Some("t"), Some("r"))
    );
    assert_eq!(
        (first.header("prefer"), first.header("kn-namespace")),
        (Some("reply"), Some("default"))
    );
    assert_eq!(last.header("prefer"), None);
    // By the host name of the channel, too, as in a cluster.
    let by_host = event(&plain(), dispatcher.http_url("/"), "2").header(
        "host",
        "s-kn-sequence-0-kn-channel.default.svc.cluster.local",
    );
    assert_eq!(by_host.send().await.expect("an answer").status(), 202);
    assert_eq!(reply.count(), 2);
}

/// The events between the steps do not leave the process: the listeners see the request of the
/// sender, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_between_the_steps() {
    const EVENTS: u64 = 20;
    let (a, b, c, reply) = (
        step("a").await,
        step("b").await,
        step("c").await,
        Subscriber::ok().await,
    );
    let yaml = sequence_of("s", &[&a, &b, &c], &reply);
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let (client, url) = (plain(), dispatcher.http_url("/default/s-kn-sequence-0"));
    for number in 0..EVENTS {
        assert_eq!(send(&client, &url, &number.to_string()).await, 202);
    }
    assert_eq!(trails(&reply), vec!["abc"; 20]);
    assert_eq!(
        total(&dispatcher, "http_server_request_duration_seconds_count").await,
        EVENTS
    );
    let sent = total(&dispatcher, "http_client_request_duration_seconds_count").await;
    assert_eq!(sent, 4 * EVENTS, "three steps and the reply");
    // Each of the three channels has taken every event nevertheless.
    assert_eq!(
        dispatcher.counter("events_accepted_total").await,
        3 * EVENTS
    );
}

/// A step that answers with nothing ends the flow there; so does its own delivery: retries, then
/// its own dead letter sink.
#[tokio::test(flavor = "multi_thread")]
async fn steps_that_answer_nothing_and_steps_that_fail() {
    let first = Subscriber::answering(|received| match received.id() {
        "quiet" => Reply::status(202),
        _ => answer("a", received),
    })
    .await;
    let second = Subscriber::answering(|received| match received.id() {
        "bad" => Reply::text(503, "not today"),
        _ => answer("b", received),
    })
    .await;
    let (third, dead, reply) = (
        step("c").await,
        Subscriber::ok().await,
        Subscriber::ok().await,
    );
    let delivery = format!(
        "delivery: {{retry: 2, backoffPolicy: linear, backoffDelay: PT0.05S, deadLetterSink: {{{}}}}}",
        to(&dead)
    );
    let yaml = sequence(
        "s",
        &format!(
            "steps:\n- {}\n- {}\n  {delivery}\n- {}\nreply: {{{}}}",
            to(&first),
            to(&second),
            to(&third),
            to(&reply)
        ),
    );
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let (client, url) = (plain(), dispatcher.http_url("/default/s-kn-sequence-0"));
    for (id, seen) in [
        ("quiet", [1, 0, 0, 0, 0]),
        ("bad", [2, 3, 0, 0, 1]),
        ("good", [3, 4, 1, 1, 1]),
    ] {
        assert_eq!(send(&client, &url, id).await, 202, "{id}");
        assert_eq!(
            [&first, &second, &third, &reply, &dead].map(Subscriber::count),
            seen,
            "{id}"
        );
    }
    let letter = &dead.received()[0];
    assert_eq!(
        (letter.id(), letter.header("ce-trail")),
        ("bad", Some("a")),
        "as it was when it came to the step"
    );
    assert_eq!(letter.header("ce-knativeerrorcode"), Some("503"));
    assert_eq!(
        letter.header("ce-knativeerrordest"),
        Some(second.url().as_str())
    );
}

/// Without a dead letter sink the sender is told, as of any synchronous channel.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_without_a_dead_letter_sink_is_told_to_the_sender() {
    let (first, second) = (step("a").await, Subscriber::replying(&[500]).await);
    let yaml = sequence("s", &format!("steps:\n- {}\n- {}", to(&first), to(&second)));
    let dispatcher = Dispatcher::standalone(&yaml).await;
    assert_eq!(
        send(
            &plain(),
            dispatcher.http_url("/default/s-kn-sequence-0"),
            "1"
        )
        .await,
        500
    );
    assert_eq!((first.count(), second.count()), (1, 1));
}

/// A step whose reference leads nowhere: its events are dead letters with the reason, if there is a
/// sink, and the sender is told 500 otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_leads_nowhere() {
    let (first, dead) = (step("a").await, Subscriber::ok().await);
    let nobody = "ref: {apiVersion: v1, kind: Service, name: nobody}";
    let without = sequence("w", &format!("steps:\n- {}\n- {nobody}", to(&first)));
    let sink = format!("delivery: {{deadLetterSink: {{{}}}}}", to(&dead));
    let with = sequence(
        "s",
        &format!("steps:\n- {}\n- {nobody}\n  {sink}", to(&first)),
    );
    let dispatcher = Dispatcher::standalone(&(with + &without)).await;
    assert_eq!(
        send(
            &plain(),
            dispatcher.http_url("/default/s-kn-sequence-0"),
            "1"
        )
        .await,
        202
    );
    let letter = &dead.received()[0];
    assert_eq!(letter.header("ce-trail"), Some("a"));
    let data = letter.header("ce-knativeerrordata").expect("a reason");
    let data =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).expect("base64");
    assert!(String::from_utf8_lossy(&data).contains("there is no Service default/nobody"));
    assert_eq!(
        send(
            &plain(),
            dispatcher.http_url("/default/w-kn-sequence-0"),
            "2"
        )
        .await,
        500
    );
}

/// A Trigger sends into a Sequence, whose reply goes back into the Broker, and from there to a
/// second Trigger.
#[tokio::test(flavor = "multi_thread")]
async fn between_triggers_of_a_broker() {
    let (a, b, after) = (step("a").await, step("b").await, Subscriber::ok().await);
    let broker = "ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}";
    let trigger = |name: &str, ty: &str, subscriber: &str| {
        format!(
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}}}\nspec:\n  broker: b\n  \
             filter: {{attributes: {{type: {ty}}}}}\n  subscriber: {{{subscriber}}}\n"
        )
    };
    let yaml = format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b}}\n{}{}{}",
        trigger(
            "in",
            "test.event",
            "ref: {apiVersion: flows.knative.dev/v1, kind: Sequence, name: s}"
        ),
        trigger("out", "b", &to(&after)),
        sequence(
            "s",
            &format!("steps:\n- {}\n- {}\nreply: {{{broker}}}", to(&a), to(&b))
        ),
    );
    let dispatcher = Dispatcher::standalone(&yaml).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/b"), "1").await,
        202
    );
    assert_eq!(trails(&after), ["ab"]);
}
