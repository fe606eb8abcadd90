//! RequestReplies: what is sent to one is answered by the event that a subscriber of its Broker
//! replies with.

mod guarded;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Client, Response};
use rustix::process::Signal;

use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::sender::{event, plain, trusting};
use crate::support::subscriber::{Received, Reply, Subscriber};
use crate::support::{eventually, features};

const BROKER: &str = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n";
const WAITING: &str =
    "request_reply_waiting{request_reply_namespace=\"default\",request_reply_name=\"rr\"}";

/// A RequestReply `default/rr` of the Broker `b`, with more of its spec.
fn request_reply(spec: &str) -> String {
    format!(
        "---\napiVersion: eventing.knative.dev/v1alpha1\nkind: RequestReply\nmetadata: {{name: rr}}\nspec:\n  \
         brokerRef: {{apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}\n{spec}"
    )
}

/// A Trigger of `b` for events of the type that tests send.
fn trigger(subscriber: &Subscriber) -> String {
    format!(
        "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t}}\nspec:\n  broker: b\n  \
         filter: {{attributes: {{type: test.event}}}}\n  subscriber: {{uri: '{}'}}\n",
        subscriber.url()
    )
}

/// What a subscriber answers with, as the reply to whoever waits for it.
fn reply_to(received: &Received) -> Reply {
    let id = received
        .header("ce-correlationid")
        .expect("a correlation id");
    let echo = format!("reply to {}", received.id());
    Reply {
        body: echo.into(),
        ..Reply::event("test.reply", "r")
    }
    .header("ce-replyid", id)
    .header(
        "ce-tenant",
        received.header("ce-tenant").unwrap_or("none").to_owned(),
    )
    .header("content-type", "text/plain")
}

async fn post(client: &Client, dispatcher: &Dispatcher, id: &str) -> Response {
    event(client, dispatcher.http_url("/default/rr"), id)
        .send()
        .await
        .expect("an answer")
}

/// The value of a metric that begins so.
async fn metric(dispatcher: &Dispatcher, start: &str) -> String {
    let text = dispatcher.admin_text("/metrics").await.1;
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("sealpost_{start} ")));
    found.unwrap_or("none").to_owned()
}

async fn until_metric(dispatcher: &Dispatcher, start: &str, wanted: &str) {
    let deadline = Instant::now() + crate::support::SOON;
    loop {
        let value = metric(dispatcher, start).await;
        if value == wanted {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{start} stays {value}, not {wanted}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn ended(result: &str) -> String {
    format!(
        "request_reply_requests_total{{request_reply_namespace=\"default\",request_reply_name=\"rr\",result=\"{result}\"}}"
    )
}

/// From YAML to the answer: the reply comes back as a binary event, and everybody is shown what
/// there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_by_the_reply() {
    let subscriber = Subscriber::answering(reply_to).await;
    let dispatcher =
        Dispatcher::standalone(&(BROKER.to_owned() + &request_reply("") + &trigger(&subscriber)))
            .await;
    let answer = post(&plain(), &dispatcher, "urn:uuid:1").await;
    assert_eq!(answer.status(), 200);
    let header = |name: &str| {
        answer
            .headers()
            .get(name)
            .map(|value| value.to_str().expect("text").to_owned())
    };
    let asked = subscriber.received().remove(0);
    let id = asked.header("ce-correlationid").expect("an id");
    assert!(id.starts_with("urn:uuid:1:") && id.ends_with(":0"), "{id}");
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "r"),
        ("ce-type", "test.reply"),
        ("ce-source", "/reply"),
        ("ce-replyid", id),
        ("content-type", "text/plain"),
        ("allow", "POST, OPTIONS"),
    ] {
        assert_eq!(header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(header("ce-knativebrokerttl"), None, "it is the Broker's");
    assert_eq!(answer.text().await.expect("a body"), "reply to urn:uuid:1");

    let object = dispatcher.object("requestreplies", "rr").await;
    assert_eq!(ready(&object)["status"], "True");
    let conditions = object["status"]["conditions"]
        .as_array()
        .expect("conditions");
    let types: Vec<_> = conditions
        .iter()
        .map(|condition| condition["type"].as_str().expect("text"))
        .collect();
    assert_eq!(
        types,
        [
            "Addressable",
            "BrokerReady",
            "EventPoliciesReady",
            "Ready",
            "TriggersReady"
        ]
    );
    assert_eq!(
        object["status"]["address"]["url"],
        dispatcher.http_url("/default/rr")
    );
    let made = dispatcher.object("triggers", "rr0-1").await;
    assert_eq!(ready(&made)["status"], "True");
    let filter =
        "KN_VERIFY_CORRELATION_ID(replyid, \"rr\", \"default\", \"request-reply-keys\", 0, 1)";
    assert_eq!(made["spec"]["filters"][0]["cesql"], filter);
    assert_eq!(
        made["spec"]["subscriber"]["uri"],
        dispatcher.http_url("/default/rr/reply")
    );
    let mut get = tokio::process::Command::new(crate::support::binary());
    get.args([
        "get",
        "requestreply",
        "rr",
        "--admin",
        &format!("http://{}", dispatcher.admin),
    ]);
    let table = String::from_utf8(get.output().await.expect("it runs").stdout).expect("text");
    let row: Vec<&str> = table
        .lines()
        .nth(1)
        .expect("a row")
        .split_whitespace()
        .collect();
    assert_eq!(
        row[..4],
        ["default", "rr", "b", &dispatcher.http_url("/default/rr")],
        "{table}"
    );
    let status = dispatcher.admin_text("/api/v1/status").await.1;
    assert!(
        status.contains(r#""kind":"RequestReply","namespace":"default","name":"rr""#),
        "{status}"
    );
    assert_eq!(metric(&dispatcher, &ended("replied")).await, "1");
    assert_eq!(metric(&dispatcher, WAITING).await, "0");
    assert_eq!(dispatcher.counter("deliveries_lost_total").await, 0);
    assert_eq!(
        dispatcher.counter("filter_errors_total").await,
        0,
        "an event that is no reply is no error"
    );
}

/// Each gets its own, even if their events have the same id.
#[tokio::test(flavor = "multi_thread")]
async fn each_gets_its_own_answer() {
    let subscriber =
        Subscriber::answering(|received| reply_to(received).after(Duration::from_millis(20))).await;
    let dispatcher =
        Dispatcher::standalone(&(BROKER.to_owned() + &request_reply("") + &trigger(&subscriber)))
            .await;
    let (client, url) = (plain(), dispatcher.http_url("/default/rr"));
    let requests = (0..40).map(|number| {
        let (client, url) = (client.clone(), url.clone());
        async move {
            let request = event(&client, &url, &format!("i{}", number % 3))
                .header("ce-tenant", number.to_string());
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.headers()["ce-tenant"], number.to_string());
            assert_eq!(
                answer.text().await.expect("a body"),
                format!("reply to i{}", number % 3)
            );
        }
    });
    join_all(requests).await;
}

/// Structured events are taken, names of attributes are as written, and what was in them makes
/// room.
#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_named_as_written() {
    let subscriber = Subscriber::answering(|received| {
        assert_eq!(received.header("ce-correlationid"), None);
        Reply::event("test.reply", "r").header(
            "ce-mine",
            received.header("ce-yours").expect("an id").to_owned(),
        )
    })
    .await;
    let spec = "  correlationAttribute: yours\n  replyAttribute: mine\n";
    let dispatcher =
        Dispatcher::standalone(&(BROKER.to_owned() + &request_reply(spec) + &trigger(&subscriber)))
            .await;
    let body =
        r#"{"specversion":"1.0","id":"i","source":"/s","type":"test.event","yours":"forged"}"#;
    let request = plain().post(dispatcher.http_url("/default/rr"));
    let request = request
        .header("content-type", "application/cloudevents+json")
        .body(body);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(
        answer.headers()["ce-mine"]
            .to_str()
            .is_ok_and(|id| id.starts_with("i:")),
        "{answer:?}"
    );
}

/// 504 in time; a reply that comes later is nobody's, and no failure of its subscriber.
#[tokio::test(flavor = "multi_thread")]
async fn no_reply_in_time() {
    let subscriber =
        Subscriber::answering(|received| reply_to(received).after(Duration::from_millis(900)))
            .await;
    let manifests =
        BROKER.to_owned() + &request_reply("  timeout: PT0.3S\n") + &trigger(&subscriber);
    let dispatcher = Dispatcher::standalone(&manifests).await;
    let began = Instant::now();
    let answer = post(&plain(), &dispatcher, "i").await;
    assert_eq!(answer.status(), 504);
    assert!(
        (300..900).contains(&began.elapsed().as_millis()),
        "{:?}",
        began.elapsed()
    );
    let text = answer.text().await.expect("a body");
    assert!(
        text.contains("no reply came within 0.3 s") && text.contains("replyid"),
        "{text}"
    );
    let told = dispatcher.admin_text("/api/v1/explain?id=i").await.1;
    let refused = |line: &str| {
        let parts = [
            "\"refused\"",
            "requestreply default/rr",
            "504",
            "no reply came",
        ];
        parts.iter().all(|part| line.contains(part))
    };
    assert!(told.lines().any(refused), "{told}");
    let late = "request_reply_late_replies_total{request_reply_namespace=\"default\",request_reply_name=\"rr\"}";
    until_metric(&dispatcher, late, "1").await;
    assert_eq!(metric(&dispatcher, &ended("timed_out")).await, "1");
    dispatcher.until_counter("deliveries_unfinished", 0).await;
    assert_eq!(dispatcher.counter("deliveries_lost_total").await, 0);
}

/// The default of `config-features` counts, on the next request.
#[tokio::test(flavor = "multi_thread")]
async fn the_default_timeout_is_that_of_config_features() {
    let subscriber = Subscriber::ok().await;
    let manifests = BROKER.to_owned() + &request_reply("") + &trigger(&subscriber);
    let features = features("disabled") + "  requestreply-default-timeout: PT0.2S\n";
    let dispatcher = Dispatcher::standalone(&(manifests + "---\n" + &features)).await;
    let answer = post(&plain(), &dispatcher, "i").await;
    assert_eq!(answer.status(), 504);
    assert!(answer.text().await.expect("a body").contains("0.2 s"));
}

/// Who only guesses an id, or changes one, answers nobody; the true one is answered once.
#[tokio::test(flavor = "multi_thread")]
async fn forged_ids_do_nothing() {
    let subscriber = Subscriber::ok().await;
    let manifests = BROKER.to_owned() + &request_reply("  timeout: PT5S\n") + &trigger(&subscriber);
    let dispatcher = Dispatcher::standalone(&manifests).await;
    let broker = dispatcher.http_url("/default/b");
    let answered = async {
        let id = subscriber.until(1).await[0]
            .header("ce-correlationid")
            .expect("an id")
            .to_owned();
        let (event_id, sealed) = id
            .strip_suffix(":0")
            .and_then(|id| id.rsplit_once(':'))
            .expect("an id");
        let other = sealed.chars().rev().collect::<String>();
        for forged in [
            event_id.to_owned(),
            format!("{event_id}:{other}:0"),
            format!("j:{sealed}:0"),
            format!("{event_id}:{sealed}:1x"),
            format!("{event_id}:AAAA:0"),
            // Genuine by its seal, and not the one that is waited for.
            format!("{event_id}:{sealed}:00"),
        ] {
            let request = event(&plain(), &broker, "r")
                .header("ce-replyid", &forged)
                .header("ce-type", "x");
            assert_eq!(
                request.send().await.expect("an answer").status(),
                202,
                "{forged}"
            );
        }
        assert_eq!(
            metric(&dispatcher, WAITING).await,
            "1",
            "nobody was answered"
        );
        for number in ["one", "two"] {
            let reply = plain()
                .post(&broker)
                .header("ce-specversion", "1.0")
                .header("ce-id", number);
            let reply = reply
                .header("ce-source", "/r")
                .header("ce-type", "late")
                .header("ce-replyid", &id);
            assert_eq!(reply.send().await.expect("an answer").status(), 202);
        }
    };
    let client = plain();
    let (answer, ()) = tokio::join!(post(&client, &dispatcher, "i"), answered);
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["ce-id"], "one");
}

/// What is no event, or several, is told 400; other methods and places as everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn only_events_are_taken() {
    let subscriber = Subscriber::answering(reply_to).await;
    let dispatcher =
        Dispatcher::standalone(&(BROKER.to_owned() + &request_reply("") + &trigger(&subscriber)))
            .await;
    let (client, url) = (plain(), dispatcher.http_url("/default/rr"));
    let batch = r#"[{"specversion":"1.0","id":"i","source":"/s","type":"test.event"}]"#;
    for (request, status) in [
        (client.post(&url).body("no event"), 400),
        (
            client
                .post(&url)
                .header("ce-specversion", "1.0")
                .header("ce-id", "i"),
            400,
        ),
        (
            client
                .post(&url)
                .header("content-type", "application/cloudevents-batch+json")
                .body(batch),
            400,
        ),
        (client.get(&url), 405),
        (client.request(reqwest::Method::OPTIONS, &url), 200),
        (
            event(&client, dispatcher.http_url("/default/none"), "i"),
            404,
        ),
        (
            event(&client, dispatcher.http_url("/default/rr/reply"), "i"),
            400,
        ),
        (event(&client, dispatcher.http_url("/"), "i"), 404),
        (
            event(&client, &url, "i")
                .header("host", "request-reply.knative-eventing.svc.cluster.local"),
            200,
        ),
        (
            event(&client, &url, "i")
                .header("host", "broker-ingress.knative-eventing.svc.cluster.local"),
            404,
        ),
    ] {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{answer:?}");
    }
    assert_eq!(subscriber.count(), 1);
}

/// A stop lets replies come for a while, then tells who waits to try again, and ends in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_who_waits() {
    let subscriber = Subscriber::ok().await;
    let manifests = BROKER.to_owned() + &request_reply("  timeout: PT1M\n") + &trigger(&subscriber);
    let mut dispatcher = Dispatcher::of(&manifests)
        .arg("--drain-timeout")
        .arg("PT2S")
        .start()
        .await;
    let (client, url) = (plain(), dispatcher.http_url("/default/rr"));
    let waiting =
        tokio::spawn(async move { event(&client, url, "i").send().await.expect("an answer") });
    subscriber.until(1).await;
    until_metric(&dispatcher, WAITING, "1").await;
    let began = Instant::now();
    dispatcher.signal(Signal::TERM);
    let answer = waiting.await.expect("answered");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(dispatcher.ended().await.success(), "it ends in order");
}

/// Whoever waits at a RequestReply that is removed is told at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_one_tells_who_waits() {
    let subscriber = Subscriber::ok().await;
    let manifests = BROKER.to_owned() + &request_reply("  timeout: PT1M\n") + &trigger(&subscriber);
    let dispatcher = Dispatcher::standalone(&manifests).await;
    let (client, url) = (plain(), dispatcher.http_url("/default/rr"));
    let waiting =
        tokio::spawn(async move { event(&client, url, "i").send().await.expect("an answer") });
    subscriber.until(1).await;
    until_metric(&dispatcher, WAITING, "1").await;
    dispatcher
        .apply(&(BROKER.to_owned() + &trigger(&subscriber)))
        .await;
    let answer = waiting.await.expect("answered");
    assert_eq!(answer.status(), 404);
    assert!(
        answer.text().await.expect("a body").contains("was removed"),
        "and says why"
    );
    assert_eq!(post(&plain(), &dispatcher, "i").await.status(), 404);
}

/// So many wait, and no more; places are given back by whoever leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_may_wait() {
    let subscriber = Subscriber::ok().await;
    let manifests = BROKER.to_owned() + &request_reply("  timeout: PT1M\n") + &trigger(&subscriber);
    let dispatcher = Dispatcher::of(&manifests)
        .arg("--queue-capacity")
        .arg("2")
        .start()
        .await;
    let url = dispatcher.http_url("/default/rr");
    let mut waiting = Vec::new();
    for number in 1..=2 {
        let url = url.clone();
        waiting.push(tokio::spawn(async move {
            event(&plain(), url, "i").send().await.map(drop)
        }));
        subscriber.until(number).await;
        until_metric(&dispatcher, WAITING, &number.to_string()).await;
    }
    let answer = post(&plain(), &dispatcher, "i").await;
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(subscriber.count(), 2, "it was not sent");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    until_metric(&dispatcher, WAITING, "0").await;
    assert_eq!(metric(&dispatcher, &ended("full")).await, "1");
}

/// What a Broker does not take is told as by the Broker: the loop of hops, and what nobody could
/// deliver.
#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_refusals_are_answers() {
    let subscriber = Subscriber::replying(&[500]).await;
    let dispatcher =
        Dispatcher::standalone(&(BROKER.to_owned() + &request_reply("") + &trigger(&subscriber)))
            .await;
    assert_eq!(post(&plain(), &dispatcher, "i").await.status(), 500);
    let request =
        event(&plain(), dispatcher.http_url("/default/rr"), "i").header("ce-knativebrokerttl", "1");
    assert_eq!(request.send().await.expect("an answer").status(), 400);
    let long = event(
        &plain(),
        dispatcher.http_url("/default/rr"),
        &"i".repeat(40_000),
    )
    .send()
    .await;
    let long = long.expect("an answer");
    assert_eq!(long.status(), 400);
    let text = long.text().await.expect("a body");
    assert!(
        text.contains("with its correlation id the event is too long"),
        "{text}"
    );
    assert_eq!(metric(&dispatcher, &ended("refused")).await, "3");
}

/// In `strict` by https only.
#[tokio::test(flavor = "multi_thread")]
async fn strict_means_https() {
    let subscriber = Subscriber::answering(reply_to).await;
    let manifests = BROKER.to_owned() + &request_reply("") + &trigger(&subscriber);
    let dispatcher = Dispatcher::of(&manifests)
        .arg("--transport-encryption")
        .arg("strict")
        .start()
        .await;
    assert_eq!(post(&plain(), &dispatcher, "i").await.status(), 404);
    let request = event(
        &trusting(&dispatcher.ca()),
        dispatcher.https_url("/default/rr"),
        "i",
    );
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    let object = dispatcher.object("requestreplies", "rr").await;
    assert_eq!(
        object["status"]["addresses"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(object["status"]["address"]["name"], "https");
    assert_eq!(
        object["status"]["address"]["CACerts"],
        dispatcher.ca().as_str()
    );
}

/// A Subscription to a RequestReply sends its events as requests, and the replies on, without a
/// network.
#[tokio::test(flavor = "multi_thread")]
async fn references_lead_to_it() {
    let (subscriber, sink) = (
        Subscriber::answering(reply_to).await,
        Subscriber::ok().await,
    );
    let manifests = BROKER.to_owned()
        + &request_reply("")
        + &trigger(&subscriber)
        + "---\n"
        + &crate::support::channel(&[(
            "s",
            format!(
                "subscriber: {{ref: {{apiVersion: eventing.knative.dev/v1alpha1, kind: RequestReply, name: rr}}}}\nreply: {{uri: '{}'}}",
                sink.url()
            ),
        )]);
    let dispatcher = Dispatcher::standalone(&manifests).await;
    let answer = event(&plain(), dispatcher.http_url("/default/c"), "i")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 202);
    let replied = sink.until(1).await;
    assert_eq!(replied[0].header("ce-type"), Some("test.reply"));
    assert_eq!(replied[0].body, "reply to i");
}

/// A sender that hangs up waits no longer, and its reply is late.
#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_does_not_wait() {
    let subscriber =
        Subscriber::answering(|received| reply_to(received).after(Duration::from_millis(400)))
            .await;
    let manifests = BROKER.to_owned() + &request_reply("") + &trigger(&subscriber);
    let dispatcher = Dispatcher::standalone(&manifests).await;
    let url = dispatcher.http_url("/default/rr");
    let waiting = tokio::spawn(async move { event(&plain(), url, "i").send().await.map(drop) });
    subscriber.until(1).await;
    waiting.abort();
    until_metric(&dispatcher, WAITING, "0").await;
    eventually("its delivery goes on", || subscriber.count() == 1).await;
    dispatcher
        .until_counter("deliveries_delivered_total", 2)
        .await;
}
