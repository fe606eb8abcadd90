//! The roles `ingress` and `filter` on the wire, statement by statement (contract BI-1 to BI-10,
//! BF-4 to BF-16), and all three roles together as upstream's four pods are.

use http::Method;
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::eventually;
use crate::support::pki::Ca;
use crate::support::sender::{event, plain, raw, send, trusting};
use crate::support::subscriber::{Reply, Subscriber};

const UID: &str = "2c7c1f6e-6f2d-4b59-9d0f-1b1f0a7d9a10";

/// A Broker whose channel is at `address`.
pub(crate) fn broker(address: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b}}\nstatus:\n  address: {{url: '{address}'}}\n  annotations: {{knative.dev/channelAddress: '{address}'}}\n---\n"
    )
}

/// A Trigger as the control plane has reconciled it.
pub(crate) fn trigger(name: &str, spec: &str, status: &str) -> String {
    format!(
        "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: {name}, uid: {UID}}}\nspec:\n  broker: b\n  subscriber: {{uri: 'http://not.used/'}}\n  {spec}\nstatus: {{{status}}}\n---\n"
    )
}

pub(crate) async fn role(role: &str, yaml: &str) -> Dispatcher {
    Dispatcher::of(yaml).arg("--role").arg(role).start().await
}

fn header<'r>(answer: &'r Response, name: &str) -> Option<&'r str> {
    answer
        .headers()
        .get(name)
        .map(|value| value.to_str().expect("text"))
}

/// Brokers whose channels answer, are away, or are not known.
fn brokers(channel: &Subscriber) -> String {
    let named = |name: &str, metadata: &str, status: &str| {
        format!(
            "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: {name}{metadata}}}\nstatus: {status}\n---\n"
        )
    };
    let at =
        |address: &str| format!("{{annotations: {{knative.dev/channelAddress: '{address}'}}}}");
    let class = ", annotations: {eventing.knative.dev/broker.class: Other}";
    broker(&format!("{}deep/path?q=1", channel.url()))
        + &named("lost", "", &at("http://127.0.0.1:1/"))
        + &named("early", class, "{}")
        + &named("other", class, &at(&channel.url()))
}

/// Checks the answer of the ingress: its status, and what every answer has (contract BI-1, BI-9).
async fn assert_ingress_answer(request: RequestBuilder, status: u16, statement: &str) {
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), status, "{statement}");
    assert_eq!(
        header(&answer, "allow"),
        Some("POST, OPTIONS"),
        "{statement} contract BI-1"
    );
    assert_eq!(header(&answer, "x-own"), None, "{statement} contract BI-9");
    let text = answer.text().await.expect("a text");
    assert_eq!(
        text.lines().count(),
        usize::from(status >= 400),
        "{statement}: {text}"
    );
}

/// A channel that refuses events of type `refused`, and answers more than it should to others.
async fn answering_channel() -> Subscriber {
    Subscriber::answering(|request| match request.header("ce-type") {
        Some("refused") => Reply::text(429, "full").header("retry-after", "7"),
        Some("created") => Reply::text(201, "body").header("x-own", "1"),
        _ => Reply::status(202),
    })
    .await
}

/// The statuses of contract BI-1 to BI-6, BI-9, each with what it shows; `Allow` on every answer
/// (contract A-22 to A-24, A-26 to A-28).
#[tokio::test(flavor = "multi_thread")]
async fn ingress_answers() {
    let channel = answering_channel().await;
    let dispatcher = role("ingress", &brokers(&channel)).await;
    let good = |request: RequestBuilder| request;
    let ttl = |value: &'static str| {
        move |request: RequestBuilder| request.header("ce-knativebrokerttl", value)
    };
    let ty = |value: &'static str| {
        move |request: RequestBuilder| {
            let mut request = request.build().expect("a request");
            request
                .headers_mut()
                .insert("ce-type", value.parse().expect("a value"));
            RequestBuilder::from_parts(plain(), request)
        }
    };
    type Change<'c> = &'c dyn Fn(RequestBuilder) -> RequestBuilder;
    let without_id = |request: RequestBuilder| {
        let mut request = request.build().expect("a request");
        request.headers_mut().remove("ce-id");
        RequestBuilder::from_parts(plain(), request)
    };
    let batch = |_request: RequestBuilder| {
        let json = r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"},{"specversion":"1.0","id":"2","source":"/s","type":"t"}]"#;
        let request = plain().post(dispatcher.http_url("/default/b"));
        request
            .header("content-type", "application/cloudevents-batch+json")
            .body(json)
    };
    let cases: &[(&str, &str, Change<'_>, u16)] = &[
        ("contract BI-9", "/default/b", &good, 202),
        (
            "contract BI-2 one trailing slash",
            "/default/b/",
            &good,
            202,
        ),
        ("contract BI-4 any class", "/default/other", &good, 202),
        (
            "contract BI-9 the channel's own success",
            "/default/b",
            &ty("created"),
            201,
        ),
        ("contract BI-9 a refusal", "/default/b", &ty("refused"), 500),
        ("contract BI-9 nobody there", "/default/lost", &good, 500),
        ("contract BI-4 no channel", "/default/early", &good, 500),
        ("contract BI-2", "/", &good, 404),
        (
            "contract BI-2 two trailing slashes",
            "/default/b//",
            &good,
            400,
        ),
        ("contract BI-2 one segment", "/b", &good, 400),
        ("contract BI-2 three segments", "/default/b/c", &good, 400),
        (
            "contract BI-2 a query is part of the name",
            "/default/b?x",
            &good,
            404,
        ),
        ("contract BI-3 absent", "/default/nobody", &good, 404),
        (
            "contract BI-3 not valid, before absent",
            "/default/nobody",
            &without_id,
            400,
        ),
        ("contract BI-3 a batch", "/default/b", &batch, 400),
        ("contract BI-6 nothing left", "/default/b", &ttl("1"), 400),
        ("contract BI-6 no integer", "/default/b", &ttl("x"), 202),
        ("contract BI-6 one left", "/default/b", &ttl("2"), 202),
    ];
    for (statement, path, change, status) in cases {
        let request = change(event(&plain(), dispatcher.http_url(path), "i"));
        assert_ingress_answer(request, *status, statement).await;
    }
    assert!(
        channel
            .received()
            .iter()
            .all(|request| request.path == "/deep/path" || request.path == "/")
    );
    let get = ready(&dispatcher.object("brokers", "early").await).clone();
    assert!(
        get["message"]
            .as_str()
            .is_some_and(|message| message.contains("channelAddress")),
        "{get}"
    );
}

/// Contract BI-1, A-21: the method is checked before the path.
#[tokio::test(flavor = "multi_thread")]
async fn ingress_methods() {
    let dispatcher = role("ingress", &broker("http://127.0.0.1:1/")).await;
    for path in ["/default/b", "/", "/a/b/c/d"] {
        let answer = plain()
            .request(Method::OPTIONS, dispatcher.http_url(path))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(header(&answer, "webhook-allowed-origin"), Some("*"));
        assert_eq!(header(&answer, "webhook-allowed-rate"), Some("*"));
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = plain()
                .request(method, dispatcher.http_url(path))
                .send()
                .await
                .expect("an answer");
            assert_eq!(
                (answer.status().as_u16(), header(&answer, "allow")),
                (405, Some("POST, OPTIONS"))
            );
        }
    }
}

/// Contract BI-5 to BI-8: what the channel gets.
#[tokio::test(flavor = "multi_thread")]
async fn ingress_forwards() {
    let channel = Subscriber::ok().await;
    let dispatcher = role("ingress", &broker(&channel.url())).await;
    let request = event(&plain(), dispatcher.http_url("/default/b"), "i")
        .header("ce-knativearrivaltime", "yesterday")
        .header("ce-knativebrokerttl", "2147483647")
        .header("x-request-id", "r")
        .header("x-b3-traceid", "t")
        .header("knative-own", "k")
        .header("authorization", "Bearer secret")
        .header("prefer", "other")
        .header("kn-namespace", "else")
        .header("x-custom", "c");
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    let got = channel.until(1).await.remove(0);
    assert_eq!(
        got.header("ce-knativebrokerttl"),
        Some("255"),
        "contract BI-6, G-56"
    );
    assert!(
        got.header("ce-knativearrivaltime")
            .is_some_and(|time| time.ends_with('Z')),
        "contract BI-5"
    );
    assert_eq!(got.header("ce-time"), None, "contract BI-7");
    assert_eq!(got.header("prefer"), Some("reply"), "contract BI-8");
    for (name, value) in [
        ("x-request-id", "r"),
        ("x-b3-traceid", "t"),
        ("knative-own", "k"),
    ] {
        assert_eq!(got.header(name), Some(value), "contract CR-29");
    }
    for name in ["authorization", "kn-namespace", "x-custom"] {
        assert_eq!(got.header(name), None, "contract BI-8, CR-29, G-51: {name}");
    }
    assert_eq!((got.id(), &got.body[..]), ("i", &br#"{"a":"b"}"#[..]));
    let json = r#"{"specversion":"1.0","id":"s","source":"/s","type":"t","knativebrokerttl":7,"data":{"x":1}}"#;
    let structured = plain().post(dispatcher.http_url("/default/b"));
    let structured = structured
        .header("content-type", "application/cloudevents+json")
        .body(json);
    assert_eq!(structured.send().await.expect("an answer").status(), 200);
    let got = channel.until(2).await.remove(1);
    assert_eq!(
        (got.id(), got.header("ce-knativebrokerttl"), &got.body[..]),
        ("s", Some("6"), &br#"{"x":1}"#[..])
    );
}

pub(crate) fn to_trigger(dispatcher: &Dispatcher, path: &str, id: &str) -> RequestBuilder {
    event(&plain(), dispatcher.http_url(path), id).header("ce-knativebrokerttl", "7")
}

pub(crate) fn path(name: &str) -> String {
    format!("/triggers/default/{name}/{UID}")
}

/// The role `filter` with Triggers that work and that do not, and their subscriber.
async fn filter_of_triggers() -> (Dispatcher, Subscriber) {
    let subscriber = Subscriber::ok().await;
    let uri = format!("subscriberUri: '{}'", subscriber.url());
    let yaml = trigger("all", "", &uri)
        + &trigger("some", "filter: {attributes: {type: wanted}}", &uri)
        + &trigger("broken", "filters: [{cesql: 'type = '}]", &uri)
        + &trigger("unresolved", "", "").replace("http://not.used/", "ftp://no")
        + &trigger("spec", "", "").replace("http://not.used/", &subscriber.url())
        + &trigger("any", "", &uri).replace(&format!(", uid: {UID}"), "");
    (role("filter", &yaml).await, subscriber)
}

/// Contract BF-4 to BF-8, A-30 to A-32, A-34: who is asked at all.
#[tokio::test(flavor = "multi_thread")]
async fn filter_answers() {
    let (dispatcher, subscriber) = filter_of_triggers().await;
    for (statement, path, status, delivered) in [
        ("contract BF-9", path("all"), 200, true),
        (
            "contract BF-5 a trailing slash",
            path("all") + "/",
            200,
            true,
        ),
        (
            "contract BF-5 another sixth segment",
            path("all") + "/else",
            200,
            true,
        ),
        (
            "contract BF-5 seven segments",
            path("all") + "/reply/x",
            400,
            false,
        ),
        (
            "contract BF-5 too short",
            "/triggers/default/all".to_owned(),
            400,
            false,
        ),
        (
            "contract BF-5 another start",
            path("all").replace("/triggers", "/others"),
            400,
            false,
        ),
        ("contract BF-5 root", "/".to_owned(), 400, false),
        ("contract BF-6 absent", path("nobody"), 404, false),
        (
            "contract BF-6 another uid",
            "/triggers/default/all/0".to_owned(),
            400,
            false,
        ),
        ("contract BF-6 a query", path("all") + "?x=1", 400, false),
        (
            "a Trigger without uid has any",
            "/triggers/default/any/0".to_owned(),
            200,
            true,
        ),
        (
            "contract BF-7 no subscriber",
            path("unresolved"),
            404,
            false,
        ),
        ("without status, the spec counts", path("spec"), 200, true),
        ("contract G-48 fails closed", path("broken"), 404, false),
        ("contract BF-8", path("some"), 200, false),
    ] {
        let before = subscriber.count();
        let answer = to_trigger(&dispatcher, &path, "i")
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{statement}");
        assert_eq!(
            header(&answer, "allow"),
            Some("POST"),
            "{statement} contract BF-4"
        );
        assert_eq!(
            subscriber.count() - before,
            usize::from(delivered),
            "{statement}"
        );
        let text = answer.text().await.expect("a text");
        assert_eq!(text.is_empty(), status == 200, "{statement}: {text}");
    }
}

/// Contract BF-4, G-48: other methods are refused, and a Trigger says why it is not served.
#[tokio::test(flavor = "multi_thread")]
async fn filter_refuses_other_methods_and_tells_of_broken_triggers() {
    let (dispatcher, _subscriber) = filter_of_triggers().await;
    for method in [Method::OPTIONS, Method::GET] {
        let answer = plain()
            .request(method, dispatcher.http_url(&path("all")))
            .send()
            .await
            .expect("an answer");
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "allow")),
            (405, Some("POST")),
            "contract BF-4"
        );
    }
    let broken = ready(&dispatcher.object("triggers", "broken").await).clone();
    assert!(
        broken["message"]
            .as_str()
            .is_some_and(|message| message.contains("cesql")),
        "{broken}"
    );
}

/// Contract BF-6, BF-7, A-31: what is no event of a broker.
#[tokio::test(flavor = "multi_thread")]
async fn filter_takes_events_of_brokers_only() {
    let subscriber = Subscriber::ok().await;
    let dispatcher = role(
        "filter",
        &trigger("t", "", &format!("subscriberUri: '{}'", subscriber.url())),
    )
    .await;
    let url = dispatcher.http_url(&path("t"));
    let post = || plain().post(&url);
    let json = |body: &'static str| {
        post()
            .header("content-type", "application/cloudevents+json")
            .body(body)
    };
    for (statement, request, status) in [
        ("contract BF-7 no TTL", event(&plain(), &url, "i"), 400),
        (
            "contract BF-7 no integer",
            event(&plain(), &url, "i").header("ce-knativebrokerttl", "many"),
            400,
        ),
        ("contract BF-6 no event", post().body("x"), 400),
        ("contract BF-6 broken JSON", json("{"), 400),
        (
            "contract BF-6 a batch",
            post()
                .header("content-type", "application/cloudevents-batch+json")
                .body("[]"),
            400,
        ),
        (
            "contract BF-6 not validated",
            post()
                .header("ce-specversion", "1.0")
                .header("ce-knativebrokerttl", "1"),
            200,
        ),
        (
            "contract BF-6 structured",
            json(r#"{"specversion":"1.0","id":"i","source":"/s","type":"t","knativebrokerttl":3}"#),
            200,
        ),
    ] {
        assert_eq!(
            request.send().await.expect("an answer").status().as_u16(),
            status,
            "{statement}"
        );
    }
    assert_eq!(subscriber.count(), 2);
    let huge = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nce-specversion: 1.0\r\nexpect: 100-continue\r\ncontent-length: 99999999999\r\n\r\n",
        path("t")
    );
    assert!(
        raw(dispatcher.http, huge.as_bytes())
            .await
            .starts_with("HTTP/1.1 413")
    );
}

/// Contract BF-9, BF-15: what the subscriber gets.
#[tokio::test(flavor = "multi_thread")]
async fn filter_forwards() {
    let subscriber = Subscriber::ok().await;
    let uri = format!("subscriberUri: '{}'", subscriber.url());
    let yaml = trigger("binary", "", &uri) + &trigger("json", "delivery: {format: json}", &uri);
    let dispatcher = role("filter", &yaml).await;
    let request = |name: &str| {
        let request = to_trigger(&dispatcher, &path(name), "i")
            .header("ce-knativearrivaltime", "2026-01-01T00:00:00Z");
        request
            .header("x-request-id", "r")
            .header("authorization", "Bearer secret")
            .header("x-custom", "c")
    };
    for name in ["binary", "json"] {
        assert_eq!(request(name).send().await.expect("an answer").status(), 200);
    }
    let [binary, json] = &subscriber.until(2).await[..] else {
        panic!("not two requests")
    };
    assert_eq!(binary.header("ce-knativebrokerttl"), None, "contract BF-9");
    assert_eq!(
        binary.header("ce-knativearrivaltime"),
        Some("2026-01-01T00:00:00Z"),
        "contract BF-9"
    );
    for got in [binary, json] {
        assert_eq!(
            (got.header("prefer"), got.header("kn-namespace")),
            (Some("reply"), Some("default")),
            "contract BF-9"
        );
        assert_eq!(
            (got.header("x-request-id"), got.header("x-custom")),
            (Some("r"), None),
            "contract CR-29"
        );
        assert_eq!(got.header("authorization"), None, "contract G-51");
    }
    let structured: Value = serde_json::from_slice(&json.body).expect("JSON");
    assert_eq!(
        json.header("content-type"),
        Some("application/cloudevents+json"),
        "contract BF-15"
    );
    assert_eq!(
        (&structured["id"], structured.get("knativebrokerttl")),
        (&"i".into(), None),
        "contract BF-15"
    );
}

/// Contract BF-10 to BF-13, A-35 to A-39, G-38: what the channel gets back.
#[tokio::test(flavor = "multi_thread")]
async fn filter_answers_as_the_subscriber_does() {
    let long = "y".repeat(5000);
    let subscriber = Subscriber::answering(move |request| {
        let reply = match request.id() {
            "empty" => Reply::status(204),
            "text" => Reply::text(200, "not an event"),
            "event" => Reply {
                body: "data".into(),
                ..Reply::event("reply.type", "r")
            },
            "structured" => Reply::text(
                202,
                r#"{"specversion":"1.0","id":"s","source":"/s","type":"t","data":1}"#,
            )
            .header("content-type", "application/cloudevents+json"),
            "broken" => {
                Reply::text(200, "{").header("content-type", "application/cloudevents+json")
            }
            "thin" => Reply::status(200).header("ce-specversion", "1.0"),
            "busy" => Reply::text(503, long.clone()).header("retry-after", "9"),
            _ => Reply::text(422, "no"),
        };
        reply.header("knative-own", "k").header("x-custom", "c")
    })
    .await;
    let dead = format!("subscriberUri: '{}'", "http://127.0.0.1:1/x?token=1");
    let yaml = trigger("t", "", &format!("subscriberUri: '{}'", subscriber.url()))
        + &trigger("dead", "", &dead);
    let dispatcher = role("filter", &yaml).await;
    for (statement, id, status, passes) in [
        ("contract BF-10", "empty", 204, true),
        ("contract BF-11", "text", 502, false),
        ("contract BF-12", "event", 200, true),
        ("contract BF-12 re-encoded", "structured", 202, true),
        ("contract BF-12 broken", "broken", 502, false),
        ("contract BF-12 attributes missing", "thin", 200, true),
        ("contract BF-13", "busy", 503, true),
        ("contract BF-13 final", "refused", 422, true),
    ] {
        let answer = to_trigger(&dispatcher, &path("t"), id)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{statement}");
        assert_eq!(
            header(&answer, "knative-own"),
            passes.then_some("k"),
            "{statement}"
        );
        assert_eq!(header(&answer, "x-custom"), None, "{statement}");
        let is_event = matches!(id, "event" | "structured" | "thin");
        assert_eq!(
            header(&answer, "ce-knativebrokerttl"),
            is_event.then_some("7"),
            "{statement}"
        );
        assert_eq!(
            header(&answer, "retry-after"),
            (id == "busy").then_some("9"),
            "{statement}"
        );
        match id {
            "event" => assert_eq!(header(&answer, "ce-type"), Some("reply.type")),
            "structured" => assert_eq!(header(&answer, "content-type"), Some("application/json")),
            _ => {}
        }
        let text = answer.text().await.expect("a text");
        match id {
            "event" => assert_eq!(text, "data"),
            "structured" => assert_eq!(text, "1"),
            "busy" | "refused" => {
                let told: Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(told["errdestination"], subscriber.url(), "contract BF-13");
                let data = told["errresponsebody"].as_str().expect("base64");
                assert_eq!(
                    data.len(),
                    if id == "busy" { 1024 } else { 4 },
                    "768 bytes at most"
                );
            }
            _ => assert_eq!(text, "", "{statement}"),
        }
    }
    let answer = to_trigger(&dispatcher, &path("dead"), "i")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 500, "contract BF-13, A-39");
    let told: Value = serde_json::from_str(&answer.text().await.expect("a text")).expect("JSON");
    assert_eq!(told["errdestination"], "http://127.0.0.1:1/x?token=1");
}

/// Contract BF-16, G-51: replies and dead letters that the channel hands back, with their headers,
/// but not with its token.
#[tokio::test(flavor = "multi_thread")]
async fn filter_passes_on_replies_and_dead_letters() {
    let (ingress, own, common) = (
        Subscriber::ok().await,
        Subscriber::ok().await,
        Subscriber::replying(&[503]).await,
    );
    let broker = broker(&ingress.url()).replace(
        "status:\n",
        &format!("status:\n  deadLetterSinkUri: '{}'\n", common.url()),
    );
    let yaml = broker.clone()
        + &trigger("own", "", &format!("deadLetterSinkUri: '{}'", own.url()))
        + &trigger("common", "", "subscriberUri: 'http://x/'")
        + &trigger("orphan", "", "subscriberUri: 'http://x/'").replace("broker: b", "broker: gone");
    let dispatcher = role("filter", &yaml).await;
    for (statement, path, status) in [
        ("/reply", path("own") + "/reply", 200),
        ("/reply, no broker", path("orphan") + "/reply", 404),
        ("/dls", path("own") + "/dls", 200),
        ("/dls of the broker", path("common") + "/dls", 503),
        ("/dls, none", path("orphan") + "/dls", 200),
    ] {
        let request = to_trigger(&dispatcher, &path, "i").header("authorization", "Bearer secret");
        let request = request
            .header("x-custom", "c")
            .header("traceparent", "t")
            .header("cookie", "k");
        assert_eq!(
            request.send().await.expect("an answer").status().as_u16(),
            status,
            "{statement}"
        );
    }
    for got in [&ingress, &own, &common].map(|sink| sink.received().remove(0)) {
        assert_eq!(
            got.header("ce-knativebrokerttl"),
            Some("7"),
            "the TTL is kept"
        );
        assert_eq!(
            (got.header("x-custom"), got.header("traceparent")),
            (Some("c"), Some("t"))
        );
        assert_eq!(
            (got.header("authorization"), got.header("cookie")),
            (None, None),
            "contract G-51"
        );
        assert_eq!(got.headers.get_all("host").iter().count(), 1);
    }
    assert!(
        !dispatcher
            .logged(&["Event lost", "no dead letter sink"])
            .is_empty()
    );
}

/// The mode holds for the roles, too, and their certificates name their Services.
#[tokio::test(flavor = "multi_thread")]
async fn roles_keep_the_mode() {
    let channel = Subscriber::ok().await;
    for (name, yaml, path, host) in [
        (
            "ingress",
            broker(&channel.url()),
            "/default/b".to_owned(),
            "broker-ingress",
        ),
        (
            "filter",
            trigger("t", "", &format!("subscriberUri: '{}'", channel.url())),
            path("t"),
            "broker-filter",
        ),
    ] {
        let builder = Dispatcher::of(&yaml)
            .arg("--role")
            .arg(name)
            .arg("--transport-encryption")
            .arg("strict");
        let dispatcher = builder.start().await;
        let answer = to_trigger(&dispatcher, &path, "i")
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 404, "{name}");
        let host = format!("{host}.knative-eventing.svc.cluster.local");
        let client = crate::support::sender::client(crate::support::sender::tls(
            &dispatcher.ca(),
            rustls::ALL_VERSIONS,
            &[b"h2"],
        ));
        let client = client
            .resolve(&host, dispatcher.https)
            .build()
            .expect("a client");
        let url = format!("https://{host}:{}{path}", dispatcher.https.port());
        let request = event(&client, url, "i").header("ce-knativebrokerttl", "7");
        assert_eq!(
            request.send().await.expect("an answer").status(),
            200,
            "{name}"
        );
        assert_eq!(
            send(
                &trusting(&dispatcher.ca()),
                dispatcher.https_url(&path),
                "i"
            )
            .await,
            if name == "ingress" { 200 } else { 400 }
        );
    }
}

/// As upstream's pods: ingress, channel and filter, each a process, from the manifests that the
/// control plane would write. A reply comes back through the broker; a failure reaches the dead
/// letter sink with what the subscriber said, not the filter (contract DP-32) (contract BF-1).
#[tokio::test(flavor = "multi_thread")]
async fn three_roles_make_a_broker() {
    let ca = Ca::new("cluster");
    let good = Subscriber::answering(|request| match request.header("ce-type") {
        Some("test.event") => Reply::event("second", "r"),
        _ => Reply::status(200),
    })
    .await;
    let bad = Subscriber::answering(|_| Reply::text(422, "unprocessable")).await;
    let sink = Subscriber::secure(&ca.issue(&["localhost"]), |_| Reply::status(200)).await;
    let filters = trigger("good", "", &format!("subscriberUri: '{}'", good.url()))
        + &trigger(
            "bad",
            "filter: {attributes: {type: test.event}}",
            &format!("subscriberUri: '{}'", bad.url()),
        );
    let system = "knative-eventing.svc.cluster.local";
    let filter = role("filter", &filters).await;
    // It learns where its channel is when that has started.
    let ingress = role("ingress", &broker("http://127.0.0.1:1/")).await;
    let subscriber = |name: &str| {
        format!(
            "  - uid: {name}\n    subscriberUri: http://broker-filter.{system}{}\n    replyUri: http://broker-ingress.{system}/default/b\n    delivery: {{deadLetterSink: {{uri: '{}', CACerts: {}}}}}\n",
            path(name),
            sink.url(),
            serde_json::Value::from(ca.pem.as_str()),
        )
    };
    let channel = format!(
        "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: b-kne-trigger}}\nspec:\n  subscribers:\n{}{}",
        subscriber("good"),
        subscriber("bad")
    );
    let channel = Dispatcher::of(&channel)
        .arg("--resolve")
        .arg(format!("broker-filter.{system}={}", filter.http))
        .arg("--resolve")
        .arg(format!("broker-ingress.{system}={}", ingress.http))
        .start()
        .await;
    ingress
        .apply(&broker(&channel.http_url("/default/b-kne-trigger")))
        .await;
    assert_eq!(
        send(&plain(), ingress.http_url("/default/b"), "i").await,
        202,
        "contract BI-10: after the whole chain"
    );
    eventually("the reply has come round", || good.count() == 2).await;
    assert_eq!(good.received()[1].header("ce-type"), Some("second"));
    let letter = sink.until(1).await.remove(0);
    assert_eq!(
        letter.header("ce-knativeerrordest"),
        Some(bad.url().as_str()),
        "contract DP-32"
    );
    assert_eq!(letter.header("ce-knativeerrorcode"), Some("422"));
    assert_eq!(
        letter.header("ce-knativeerrordata"),
        Some("dW5wcm9jZXNzYWJsZQ==")
    );
    assert_eq!(
        bad.count(),
        1,
        "the reply is of another type: contract BF-8"
    );
}

/// Contract OB-6 to OB-8, G-65, G-66: what became of events for each Broker; a duration only of a
/// success.
#[tokio::test(flavor = "multi_thread")]
async fn ingress_is_measured() {
    let channel = Subscriber::answering(|request| {
        Reply::status(if request.id() == "no" { 503 } else { 202 })
    })
    .await;
    let dispatcher = role("ingress", &broker(&channel.url())).await;
    let request = |id: &str| event(&plain(), dispatcher.http_url("/default/b"), id);
    for (id, ttl, status) in [
        ("1", "5", 202),
        ("2", "5", 202),
        ("no", "5", 500),
        ("3", "0", 400),
    ] {
        let answer = request(id)
            .header("ce-knativebrokerttl", ttl)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{id}");
    }
    let invalid = plain()
        .post(dispatcher.http_url("/default/b"))
        .body("no event")
        .send()
        .await
        .expect("an answer");
    assert_eq!(invalid.status(), 400);
    for (result, wanted) in [
        ("accepted", 2.0),
        ("unavailable", 1.0),
        ("ttl_exhausted", 1.0),
        ("invalid", 1.0),
    ] {
        let labels = [
            "channel_kind=\"broker\"",
            "channel_name=\"b\"",
            &format!("result=\"{result}\""),
        ];
        assert_eq!(
            dispatcher
                .series_value("sealpost_channel_events_total", &labels)
                .await,
            wanted,
            "{result}"
        );
    }
    let labels = [
        "messaging_system=\"knative\"",
        "messaging_destination_name=\"broker:b.default\"",
        "kn_broker_name=\"b\"",
        "kn_broker_namespace=\"default\"",
        "url_scheme=\"http\"",
        "http_response_status_code=\"202\"",
    ];
    let count = "kn_eventing_dispatch_duration_seconds_count";
    assert_eq!(dispatcher.series_value(count, &labels).await, 2.0);
    assert_eq!(
        dispatcher.series_value(count, &[]).await,
        2.0,
        "nothing of what failed"
    );
}

/// Contract OB-6 to OB-8: dispatch and processing for each Trigger; nothing is processed that the
/// filter stops.
#[tokio::test(flavor = "multi_thread")]
async fn filter_is_measured() {
    let subscriber = Subscriber::answering(|request| {
        Reply::status(if request.id() == "no" { 503 } else { 200 })
    })
    .await;
    let uri = format!("subscriberUri: '{}'", subscriber.url());
    let yaml = broker("http://127.0.0.1:1/")
        + &trigger("all", "", &uri)
        + &trigger("some", "filter: {attributes: {type: wanted}}", &uri);
    let dispatcher = role("filter", &yaml).await;
    for (name, id, status) in [("all", "1", 200), ("all", "no", 503), ("some", "2", 200)] {
        let answer = to_trigger(&dispatcher, &path(name), id)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{name} {id}");
    }
    let without_ttl = event(&plain(), dispatcher.http_url(&path("all")), "3")
        .send()
        .await
        .expect("an answer");
    assert_eq!(without_ttl.status(), 400);
    let dead = to_trigger(&dispatcher, &(path("all") + "/dls"), "4")
        .send()
        .await
        .expect("an answer");
    assert_eq!(dead.status(), 200);
    let (all, some) = ("subscription_name=\"all\"", "subscription_name=\"some\"");
    for (family, labels, wanted) in [
        ("enqueued_total", &[all][..], 3.0),
        ("deliveries_total", &[all, "outcome=\"lost\""], 1.0),
        ("deliveries_total", &[all, "outcome=\"delivered\""], 1.0),
        ("deliveries_total", &[all, "outcome=\"returned\""], 1.0),
        (
            "attempts_total",
            &[all, "destination=\"subscriber\"", "result=\"5xx\""],
            1.0,
        ),
        ("refused_total", &[all], 1.0),
        (
            "dropped_total",
            &[all, "outcome=\"lost\"", "reason=\"no_dead_letter_sink\""],
            1.0,
        ),
        ("queue_depth", &[all], 0.0),
        ("in_flight", &[all], 0.0),
        ("filtered_total", &[some], 1.0),
        ("enqueued_total", &[some], 0.0),
    ] {
        let found = dispatcher
            .series_value(&format!("sealpost_subscription_{family}"), labels)
            .await;
        assert_eq!(found, wanted, "{family} {labels:?}");
    }
    let of = |name: &str| format!("messaging_destination_name=\"trigger:{name}.default\"");
    let (dispatched, processed) = (
        "kn_eventing_dispatch_duration_seconds_count",
        "kn_eventing_process_duration_seconds_count",
    );
    for status in ["200", "503"] {
        let labels = [
            &of("all"),
            "url_scheme=\"http\"",
            &format!("http_response_status_code=\"{status}\""),
        ];
        assert_eq!(
            dispatcher.series_value(dispatched, &labels).await,
            1.0,
            "{status}"
        );
    }
    assert_eq!(dispatcher.series_value(processed, &[&of("all")]).await, 2.0);
    assert_eq!(
        dispatcher.series_value(processed, &[&of("some")]).await,
        0.0,
        "the filter stopped it"
    );
}
