//! What becomes of an event that such a peer gets: how often it is sent, and what the dead letter
//! says.

use std::time::Duration;

use super::Verdict;
use super::peer::{Peer, Wire};
use super::rows::{End, Row, text};
use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Received, Reply, Subscriber};
use crate::support::{block, channel};

struct Story {
    row: Row,
    /// How often the event is sent.
    attempts: usize,
    /// What the dead letter says: code and data.
    dead: Option<(&'static str, &'static str)>,
}

const fn story(
    answer: &'static str,
    end: End,
    attempts: usize,
    dead: Option<(&'static str, &'static str)>,
) -> Story {
    Story {
        row: text("a peer", answer, end, Verdict::None),
        attempts,
        dead,
    }
}

const STORIES: &[Story] = &[
    story("HTTP/1.0 202 Accepted\r\n\r\n", End::CutOff, 1, None),
    story(
        "HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nhalf",
        End::Close,
        1,
        None,
    ),
    story(
        "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n",
        End::Stay,
        1,
        None,
    ),
    story(
        "HTTP/1.1 400 Bad\r\ncontent-length: 9\r\n\r\nhalf",
        End::Close,
        1,
        Some(("400", "half")),
    ),
    story(
        "HTTP/1.0 400 Bad\r\n\r\nno",
        End::CutOff,
        1,
        Some(("400", "no")),
    ),
    story(
        "HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\nhalf",
        End::Close,
        3,
        Some(("503", "half")),
    ),
    story(
        "HTTP/1.1 400 Bad\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nno",
        End::Close,
        1,
        Some(("400", "no")),
    ),
    story(
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\nce-id: r\r\ncontent-length: 9\r\n\r\nhalf",
        End::Close,
        1,
        Some(("-1", "")),
    ),
    story(
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\nce-id: r\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nhalf",
        End::Stay,
        1,
        Some(("-1", "")),
    ),
];

fn spec(peer: &Peer, sink: &Subscriber, reply: &Subscriber, delivery: &str) -> String {
    let trust = if peer.ca.is_empty() {
        String::new()
    } else {
        format!("\n  CACerts: {}", block(&peer.ca, 4))
    };
    format!(
        "subscriber:\n  uri: {}{trust}\nreply: {{uri: '{}'}}\ndelivery: {{deadLetterSink: {{uri: '{}'}}, {delivery}}}",
        peer.url,
        reply.url(),
        sink.url()
    )
}

fn told(letter: &Received) -> (String, String) {
    let text = |name| letter.header(name).unwrap_or_default().to_owned();
    let data = base64::Engine::decode(
        &base64::engine::general_purpose::STANDARD,
        text("ce-knativeerrordata"),
    );
    (
        text("ce-knativeerrorcode"),
        String::from_utf8(data.expect("base64")).expect("text"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_is_sent_once_and_a_failure_keeps_its_status() {
    let (sink, reply) = (Subscriber::ok().await, Subscriber::ok().await);
    for (
        number,
        Story {
            row,
            attempts,
            dead,
        },
    ) in STORIES.iter().enumerate()
    {
        for wire in [Wire::Clear, Wire::Tls] {
            let peer = Peer::start(row, wire).await;
            let yaml = channel(&[("s", spec(&peer, &sink, &reply, "retry: 2"))]);
            let dispatcher = Dispatcher::standalone(&yaml).await;
            let before = sink.count();
            assert_eq!(
                send(
                    &plain(),
                    dispatcher.http_url("/default/c"),
                    &number.to_string()
                )
                .await,
                202
            );
            assert_eq!(
                peer.requests().len(),
                *attempts,
                "story {number} over {wire:?}"
            );
            let letters = sink.received().split_off(before);
            let told: Vec<_> = letters.iter().map(told).collect();
            let expected: Vec<_> = dead
                .iter()
                .map(|(code, data)| ((*code).to_owned(), (*data).to_owned()))
                .collect();
            assert_eq!(told, expected, "story {number} over {wire:?}");
            assert_eq!(reply.count(), 0, "there is no reply that is whole");
        }
    }
}

/// One that speaks HTTP/1.1 badly behind a proxy that offers HTTP/2, say.
#[tokio::test(flavor = "multi_thread")]
async fn an_annotation_turns_http2_off() {
    let ca = Ca::new("both");
    let subscriber = Subscriber::secure(&ca.issue(&["localhost"]), |_| Reply::status(202)).await;
    let spec = format!(
        "subscriber:\n  uri: {}\n  CACerts: {}",
        subscriber.url(),
        block(&ca.pem, 4)
    );
    let agreed = channel(&[("s", spec)]);
    let annotated = agreed.replace(
        "{name: s}",
        "{name: s, annotations: {sealpost.dev/http-version: '1.1'}}",
    );
    let dispatcher = Dispatcher::standalone(&agreed).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    dispatcher.apply(&annotated).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "2").await,
        202
    );
    let versions: Vec<_> = subscriber
        .received()
        .iter()
        .map(|received| received.version)
        .collect();
    assert_eq!(versions, [http::Version::HTTP_2, http::Version::HTTP_11]);
}

/// Nobody wants the reply, so that nothing is missing without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_cannot_be_read_is_missed_only_where_it_is_wanted() {
    static ROW: Row = text(
        "half an event",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ncontent-length: 9\r\n\r\nhalf",
        End::Close,
        Verdict::None,
    );
    let peer = Peer::start(&ROW, Wire::Clear).await;
    let dispatcher = Dispatcher::standalone(&channel(&[(
        "s",
        format!("subscriber: {{uri: '{}'}}", peer.url),
    )]))
    .await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_asks_to_wait_counts_though_its_answer_breaks_off() {
    static ROW: Row = text(
        "503 that breaks off",
        "HTTP/1.1 503 No\r\nretry-after: 1\r\ncontent-length: 9\r\n\r\nhalf",
        End::Close,
        Verdict::None,
    );
    let (peer, sink) = (Peer::start(&ROW, Wire::Clear).await, Subscriber::ok().await);
    let delivery = "retry: 1, retryAfterMax: PT10S";
    let dispatcher =
        Dispatcher::standalone(&channel(&[("s", spec(&peer, &sink, &sink, delivery))])).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "i").await,
        202
    );
    let times = peer.requests();
    assert_eq!(times.len(), 2);
    assert!(
        times[1] - times[0] >= Duration::from_secs(1),
        "{:?}",
        times[1] - times[0]
    );
}
