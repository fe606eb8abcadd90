//! Events that were not taken: whoever asks for them is told so, and why, whatever refused them.

use reqwest::{Client, RequestBuilder};

use super::{Tap, on, send_crowd, text};
use crate::support::channel;
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::Subscriber;

const JSON: (&str, &str) = ("content-type", "application/cloudevents+json");

async fn lines(dispatcher: &Dispatcher, id: &str) -> String {
    text(&on(dispatcher, &["explain", id]).await.stdout)
}

/// A request that is refused: the id of its event, its status and what the reason says.
type RefusedCase = (&'static str, RequestBuilder, u16, &'static str);

/// Requests that are refused before a channel has their events, to this URL and to another one.
fn refused_requests(client: &Client, url: &str, elsewhere: &str) -> [RefusedCase; 7] {
    let structured = |body: &str| {
        client
            .post(url)
            .header(JSON.0, JSON.1)
            .body(body.to_owned())
    };
    let without_type = client
        .post(url)
        .header("ce-specversion", "1.0")
        .header("ce-id", "no-type")
        .header("ce-source", "/test")
        .header("authorization", "Bearer secret-in-a-header");
    [
        (
            "wrong-address",
            event(client, elsewhere, "wrong-address"),
            404,
            "/default/nothing",
        ),
        (
            "large",
            event(client, url, "large").body("x".repeat(2000)),
            413,
            "larger than 1024",
        ),
        (
            "coded",
            event(client, url, "coded").header("content-encoding", "gzip"),
            415,
            "gzip",
        ),
        ("no-type", without_type, 400, "attribute type is missing"),
        (
            "old",
            event(client, url, "old").header("ce-time", "yesterday"),
            400,
            "attribute time is not valid",
        ),
        (
            "structured",
            structured(r#"{"specversion": "1.0", "id": "structured", "source": "/test"}"#),
            400,
            "attribute type is missing",
        ),
        (
            "version",
            structured(r#"{"specversion": "7", "id": "version", "source": "/test", "type": "t"}"#),
            400,
            "specversion",
        ),
    ]
}

/// An id that no request can carry is refused before anything is sent; one that is just short enough
/// is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_is_too_long_is_not_asked_for() {
    let dispatcher = Dispatcher::of(&channel(&[])).start().await;
    let limit = 63 * 1024;
    let asked = on(&dispatcher, &["explain", &"x".repeat(limit)]).await;
    assert_eq!(asked.status.code(), Some(1));
    let told = text(&asked.stderr);
    assert!(told.contains("no event with the id xxx"), "{told}");
    for (id, bytes) in [
        ("x".repeat(limit + 1), limit + 1),
        ("\u{e4}".repeat(11_000), 66_000),
    ] {
        let refused = on(&dispatcher, &["explain", &id]).await;
        assert_eq!(refused.status.code(), Some(2));
        let told = text(&refused.stderr);
        let expected = format!("the id is too long to be asked for: it has {bytes} bytes");
        assert!(
            told.contains(&expected) && told.contains("have 64512 together"),
            "{told}"
        );
    }
}

/// Every refusal has a line with the status and the reason that the sender was told: in binary and
/// in structured mode, with an address and without one, before and after the body was read.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_explained() {
    let broken = Subscriber::replying(&[400]).await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", broken.url()))]);
    let builder = Dispatcher::of(&yaml).arg("--max-body-bytes").arg("1KiB");
    let dispatcher = builder.start().await;
    let tap = Tap::open(&dispatcher, &[]).await;
    let of_channel = Tap::open(&dispatcher, &["channel", "c"]).await;
    let (client, url) = (plain(), dispatcher.http_url("/default/c"));
    let elsewhere = dispatcher.http_url("/default/nothing?token=secret-in-a-query");
    for (id, request, status, reason) in refused_requests(&client, &url, &elsewhere) {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{id}");
        let (told, status) = (lines(&dispatcher, id).await, format!("{status}: "));
        let parts = ["refused", id, &status, reason, "from 127.0.0.1"];
        let has = |line: &str| parts.iter().all(|part| line.contains(part));
        assert_eq!(
            told.lines().filter(|line| has(line)).count(),
            1,
            "{id}: {told}"
        );
        assert_eq!(told.lines().count(), 1, "{id}: {told}");
        assert!(!told.contains("secret"), "{told}");
        tap.until(&parts).await;
        if id == "wrong-address" {
            assert!(told.contains("address unknown"), "{told}");
        } else {
            of_channel.until(&parts).await;
        }
    }
    // One of a batch refuses all of it; what is no event at all has no name, and is tapped.
    let batch =
        r#"[{"specversion": "1.0", "id": "good", "source": "/test", "type": "t"}, {"id": "bad"}]"#;
    let batch = client
        .post(&url)
        .header("content-type", "application/cloudevents-batch+json")
        .body(batch);
    assert_eq!(batch.send().await.expect("an answer").status(), 400);
    let told = lines(&dispatcher, "good").await;
    assert!(told.contains("400: event 1 of the batch"), "{told}");
    let nothing = client.post(&url).body("x").send().await;
    assert_eq!(nothing.expect("an answer").status(), 400);
    of_channel
        .until(&["refused", "400: not a CloudEvent"])
        .await;
    assert!(
        !of_channel
            .lines()
            .iter()
            .any(|line| line.contains("wrong-address"))
    );
    // What a channel did not take is told after what it did with it.
    assert_eq!(send(&client, &url, "undelivered").await, 500);
    let told = lines(&dispatcher, "undelivered").await;
    for parts in [
        ["accepted", "by channel"],
        ["refused", "  500: 1 of 1"],
        ["lost", "400"],
    ] {
        let has = |line: &str| parts.iter().all(|part| line.contains(part));
        assert!(told.lines().any(has), "{parts:?}: {told}");
    }
}

/// Whoever may send nothing pushes nothing out that was accepted.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_takes_no_room_of_others() {
    let sink = Subscriber::ok().await;
    let yaml = channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))]);
    let builder = Dispatcher::of(&yaml)
        .arg("--explain-max-bytes")
        .arg("64KiB");
    let dispatcher = builder.start().await;
    let client = plain();
    assert_eq!(
        send(&client, dispatcher.http_url("/default/c"), "first").await,
        202
    );
    // Each refusal takes some 1,100 bytes, and all of them 7 MiB.
    let url = dispatcher.http_url("/default/nothing");
    let refused = move |id: &str| event(&client, &url, &format!("{id}-{}", "x".repeat(950)));
    send_crowd(400, 404, refused).await;
    assert!(lines(&dispatcher, "first").await.contains("delivered"));
    let (_, memory) = dispatcher.memory_kib();
    assert!(memory < 200 * 1024, "{memory} KiB");
}
