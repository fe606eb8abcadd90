//! Receiving: modes, methods, paths, answers (contract CR-1 to CR-40, IF-3, IF-5).

use bytes::Bytes;
use http::Version;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::channel;
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{client, event, plain, raw, read_response, send, tls, trusting};
use crate::support::subscriber::Subscriber;

async fn with_subscriber() -> (Subscriber, Dispatcher) {
    let subscriber = Subscriber::ok().await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", subscriber.url()))]);
    (
        subscriber,
        Dispatcher::of(&yaml)
            .arg("--transport-encryption")
            .arg("permissive")
            .start()
            .await,
    )
}

const HEAD: &str =
    "Host: localhost\r\nce-specversion: 1.0\r\nce-id: i1\r\nce-source: /s\r\nce-type: t\r\n";

/// Contract IF-1, 1.7a, CR-27, but with h2c: HTTP/1.1 and h2c on the plain listener, HTTP/1.1 and
/// h2 by ALPN on the TLS one.
#[tokio::test(flavor = "multi_thread")]
async fn four_protocols() {
    let (subscriber, dispatcher) = with_subscriber().await;
    let ca = dispatcher.ca();
    let h2c = client(tls("", rustls::ALL_VERSIONS, &[]))
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let h1 = client(tls(&ca, rustls::ALL_VERSIONS, &[b"http/1.1"]))
        .build()
        .expect("a client");
    let (http, https) = (
        dispatcher.http_url("/default/c"),
        dispatcher.https_url("/default/c"),
    );
    for (client, url, version) in [
        (plain(), &http, Version::HTTP_11),
        (h2c, &http, Version::HTTP_2),
        (h1, &https, Version::HTTP_11),
        (trusting(&ca), &https, Version::HTTP_2),
    ] {
        let answer = event(&client, url, "i").send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.version()), (202, version));
        assert_eq!(answer.headers()["allow"], "POST, OPTIONS", "contract CR-6");
        assert_eq!(answer.text().await.expect("a body"), "", "contract CR-9");
    }
    assert_eq!(subscriber.count(), 4);
}

/// Contract G-42, CR-29, W-1, W-9 without its re-encoding: what comes in binary leaves in binary
/// byte for byte.
#[tokio::test(flavor = "multi_thread")]
async fn binary_values_pass_byte_for_byte() {
    let (subscriber, dispatcher) = with_subscriber().await;
    let request = format!(
        "POST /default/c HTTP/1.1\r\n{HEAD}ce-time: 2020-01-01T10:00:00.5+02:00\r\nce-subject: %C3%A9 x\r\nce-foo: a%20b\"c\r\nce-raw: \u{e9}\r\nce-dup: 1\r\nce-dup: 2\r\ncontent-type: application/json; charset=utf-8\r\nx-request-id: rid\r\nauthorization: Bearer secret\r\nkn-namespace: spoofed\r\nprefer: other\r\nContent-Length: 9\r\n\r\n{{\"a\":\"b\"}}"
    );
    assert!(
        raw(dispatcher.http, request.as_bytes())
            .await
            .starts_with("HTTP/1.1 202")
    );
    let received = &subscriber.until(1).await[0];
    for (name, value) in [
        ("ce-id", "i1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
        ("ce-specversion", "1.0"),
        ("ce-time", "2020-01-01T10:00:00.5+02:00"),
        ("ce-subject", "%C3%A9 x"),
        ("ce-foo", "a%20b\"c"),
        ("ce-raw", "\u{e9}"),
        ("ce-dup", "1"),
        ("content-type", "application/json; charset=utf-8"),
        ("x-request-id", "rid"),
        ("kn-namespace", "default"),
        ("prefer", "reply"),
    ] {
        assert_eq!(
            received.headers.get(name).map(http::HeaderValue::as_bytes),
            Some(value.as_bytes()),
            "{name}"
        );
    }
    assert!(
        received.headers.get("authorization").is_none(),
        "contract CR-29"
    );
    assert_eq!(
        received.headers.get_all("ce-dup").iter().count(),
        1,
        "contract CR-20"
    );
    assert_eq!(received.body, r#"{"a":"b"}"#);
}

/// Contract CR-13, CR-23, G-41: a structured event leaves in binary, its values percent-encoded as
/// the binding says.
#[tokio::test(flavor = "multi_thread")]
async fn structured_comes_out_binary() {
    let (subscriber, dispatcher) = with_subscriber().await;
    let json = "{\"specversion\":\"1.0\",\"id\":\"i\",\"source\":\"/s\",\"type\":\"t\",\"subject\":\"line\\nbreak é\",\"num\":5,\"flag\":true,\"data\":{\"a\":  1}}";
    let request = plain().post(dispatcher.http_url("/default/c"));
    let answer = request
        .header(
            "content-type",
            "application/cloudevents+json; charset=utf-8",
        )
        .body(json)
        .send()
        .await;
    assert_eq!(answer.expect("an answer").status(), 202);
    let received = &subscriber.until(1).await[0];
    for (name, value) in [
        ("ce-subject", "line%0Abreak%20%C3%A9"),
        ("ce-num", "5"),
        ("ce-flag", "true"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
    assert_eq!(received.body, "{\"a\":  1}", "the data are not re-written");
}

/// Contract G-43: each event of a batch is taken, all or nothing in validation.
#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    let (subscriber, dispatcher) = with_subscriber().await;
    let one = |id: &str| {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":{id}}}"#)
    };
    let post = |body: String| {
        let request = plain().post(dispatcher.http_url("/default/c"));
        request
            .header("content-type", "application/cloudevents-batch+json")
            .body(body)
            .send()
    };
    let refused = post(format!(
        "[{},{}]",
        one("1"),
        r#"{"specversion":"1.0","id":"2","source":"/s"}"#
    ))
    .await
    .expect("an answer");
    assert_eq!(refused.status(), 400);
    assert_eq!(
        refused.text().await.expect("text"),
        "event 1 of the batch: attribute type is missing or empty: it is required\n"
    );
    let accepted = post(format!("[{},{},{}]", one("3"), one("4"), one("5")))
        .await
        .expect("an answer");
    assert_eq!(accepted.status(), 202);
    let mut ids: Vec<String> = subscriber
        .received()
        .iter()
        .map(|received| received.id().to_owned())
        .collect();
    ids.sort();
    assert_eq!(ids, ["3", "4", "5"], "none of the first batch");
    assert_eq!(
        post("[]".to_owned()).await.expect("an answer").status(),
        202
    );
}

/// Contract IF-5, CR-2, CR-6 to CR-9, A-4 to A-9, G-44: every refusal names what to do, in one
/// line.
#[tokio::test(flavor = "multi_thread")]
async fn refusals() {
    let (subscriber, dispatcher) = with_subscriber().await;
    let url = |path: &str| dispatcher.http_url(path);
    let client = plain();
    for (request, status, text) in [
        (
            event(&client, url("/default/none"), "i"),
            404,
            "no channel or broker at this address",
        ),
        (
            event(&client, url("/"), "i"),
            404,
            "no channel or broker at this address",
        ),
        (
            event(&client, url("/default"), "i"),
            400,
            "the path must be /NAMESPACE/NAME",
        ),
        (
            event(&client, url("/default/c/x"), "i"),
            400,
            "the path must be /NAMESPACE/NAME",
        ),
        (client.get(url("/default/c")), 405, "send events by POST"),
        (client.put(url("/default/c")), 405, "send events by POST"),
        (
            client.post(url("/default/c")).body("{}"),
            400,
            "not a CloudEvent",
        ),
        (
            event(&client, url("/default/c"), ""),
            400,
            "attribute id is missing",
        ),
        (
            event(&client, url("/default/c"), "i").header("ce-time", "now"),
            400,
            "attribute time is not valid",
        ),
        (
            event(&client, url("/default/c"), "i").header("ce-my-ext", "x"),
            400,
            "\"my-ext\" is not an attribute name",
        ),
    ] {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{text}");
        let allow = answer.headers().get("allow").is_some();
        assert_eq!(
            allow,
            status == 405 || answer.url().path() == "/default/c",
            "contract CR-6"
        );
        let body = answer.text().await.expect("text");
        assert!(
            body.contains(text) && body.ends_with('\n') && body.lines().count() == 1,
            "{body:?}"
        );
    }
    assert_eq!(subscriber.count(), 0);
}

/// Contract CR-7.
#[tokio::test(flavor = "multi_thread")]
async fn options() {
    let (_subscriber, dispatcher) = with_subscriber().await;
    let answer = plain()
        .request(http::Method::OPTIONS, dispatcher.http_url("/default/c"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    for (name, value) in [
        ("allow", "POST, OPTIONS"),
        ("webhook-allowed-origin", "*"),
        ("webhook-allowed-rate", "*"),
    ] {
        assert_eq!(answer.headers()[name], value);
    }
}

/// Contract CR-1, CR-4, G-45, IF-3.
#[tokio::test(flavor = "multi_thread")]
async fn channels_by_host() {
    let (subscriber, dispatcher) = with_subscriber().await;
    for (host, path, status) in [
        ("c-kn-channel.default.svc.cluster.local", "/", 202),
        ("C-kn-channel.default.SVC.cluster.local:80", "/", 202),
        (
            "imc-dispatcher.knative-eventing.svc.cluster.local",
            "/default/c",
            202,
        ),
        (
            "imc-dispatcher.knative-eventing.svc.cluster.local",
            "/default/c/",
            202,
        ),
        ("anything", "/default/c?query=ignored", 202),
        (
            "broker-ingress.knative-eventing.svc.cluster.local",
            "/default/c",
            404,
        ),
        ("d-kn-channel.default.svc.cluster.local", "/", 404),
    ] {
        let answer = event(&plain(), dispatcher.http_url(path), "i")
            .header("host", host)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{host} {path}");
    }
    assert_eq!(subscriber.count(), 5);
}

/// Contract IF-3: a broker and a channel of one name.
#[tokio::test(flavor = "multi_thread")]
async fn one_name_for_two() {
    let yaml = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: c}\n---\n"
        .to_owned()
        + &channel(&[]);
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let client = plain();
    for (host, status) in [
        ("localhost", 400),
        ("imc-dispatcher.knative-eventing.svc.cluster.local", 202),
        ("broker-ingress.knative-eventing.svc.cluster.local", 202),
    ] {
        let answer = event(&client, dispatcher.http_url("/default/c"), "i")
            .header("host", host)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{host}");
    }
}

/// Contract CR-28.
#[tokio::test(flavor = "multi_thread")]
async fn expect_continue() {
    let (subscriber, dispatcher) = with_subscriber().await;
    let mut stream = TcpStream::connect(dispatcher.http)
        .await
        .expect("connected");
    let head = format!(
        "POST /default/c HTTP/1.1\r\n{HEAD}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    assert!(
        read_response(&mut stream)
            .await
            .starts_with("HTTP/1.1 100 Continue")
    );
    stream.write_all(b"{}").await.expect("written");
    assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 202"));
    assert_eq!(subscriber.until(1).await[0].body, Bytes::from_static(b"{}"));
}

/// Bytes that are no HTTP, or no end of it, harm nobody.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_survived() {
    let (subscriber, dispatcher) = with_subscriber().await;
    for bytes in [
        &b"\x00\x01\x02\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
    ] {
        let answer = raw(dispatcher.http, bytes).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        raw(dispatcher.https, bytes).await;
    }
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    assert_eq!(subscriber.count(), 1);
}

/// What is compressed would be delivered as something that it is not: it is refused, with what
/// would be taken (RFC 9110, 15.5.16).
#[tokio::test(flavor = "multi_thread")]
async fn what_is_compressed_is_refused() {
    let (subscriber, dispatcher) = with_subscriber().await;
    let (client, url) = (plain(), dispatcher.http_url("/default/c"));
    for coding in ["gzip", "br", "x-unknown", "identity, gzip"] {
        let answer = event(&client, &url, "i")
            .header("content-encoding", coding)
            .send()
            .await
            .expect("an answer");
        let accepted = answer
            .headers()
            .get("accept-encoding")
            .map(|value| value.as_bytes().to_vec());
        assert_eq!(
            (answer.status().as_u16(), accepted),
            (415, Some(b"identity".to_vec())),
            "{coding}"
        );
        let text = answer.text().await.expect("a text");
        assert!(
            text.contains(coding) && text.contains("Content-Encoding"),
            "{text}"
        );
    }
    let same = event(&client, &url, "same")
        .header("content-encoding", "identity")
        .send()
        .await;
    assert_eq!(same.expect("an answer").status(), 202);
    assert_eq!(subscriber.until(1).await[0].headers["ce-id"], "same");
}
