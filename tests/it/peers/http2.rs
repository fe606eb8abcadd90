//! Peers that speak HTTP/2, as this client meets them behind TLS: frames as they are written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealpost::model::HttpVersions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use super::{Verdict, ask, clients, destination, verdict};
use crate::support::pki::Ca;

/// Types of frames (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// Flags.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Error codes (7).
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;
const HTTP_1_1_REQUIRED: u32 = 13;

/// What a request gets.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// 202 with a field of so many bytes.
    LargeHead(usize),
    /// This status and this body, of which it gives up the rest for this reason.
    GivesUp(&'static str, &'static str, u32),
    /// Half an event.
    HalfAnEvent,
    /// Nothing: it wants HTTP/1.1.
    Refuses,
    /// Nothing: it wants HTTP/1.1 for all of the connection.
    GoesAway,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A field that is not indexed (RFC 7541, 6.2.2), with a value of any length.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, u8::try_from(name.len()).expect("a short name")];
    field.extend_from_slice(name.as_bytes());
    let mut rest = value.len();
    if rest < 127 {
        field.push(u8::try_from(rest).expect("a short value"));
    } else {
        field.push(127);
        rest -= 127;
        while rest >= 128 {
            field.push(u8::try_from(rest % 128).expect("seven bits") | 128);
            rest /= 128;
        }
        field.push(u8::try_from(rest).expect("seven bits"));
    }
    field.extend_from_slice(value.as_bytes());
    field
}

/// Fields in as many frames as it takes.
fn head(stream: u32, fields: &[u8], flags: u8) -> Vec<u8> {
    let pieces: Vec<_> = fields.chunks(16_384).collect();
    let mut frames = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let last = if number + 1 == pieces.len() {
            END_HEADERS
        } else {
            0
        };
        frames.extend(frame(
            kind,
            last | if number == 0 { flags } else { 0 },
            stream,
            piece,
        ));
    }
    frames
}

fn reset(stream: u32, reason: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &reason.to_be_bytes())
}

impl Habit {
    fn answer(self, stream: u32) -> Vec<u8> {
        match self {
            Self::LargeHead(size) => head(
                stream,
                &[field(":status", "202"), field("x", &"a".repeat(size))].concat(),
                END_STREAM,
            ),
            Self::GivesUp(status, body, reason) => [
                head(stream, &field(":status", status), 0),
                frame(DATA, 0, stream, body.as_bytes()),
                reset(stream, reason),
            ]
            .concat(),
            Self::HalfAnEvent => [
                head(
                    stream,
                    &[field(":status", "200"), field("ce-specversion", "1.0")].concat(),
                    0,
                ),
                frame(DATA, 0, stream, b"half"),
                reset(stream, INTERNAL_ERROR),
            ]
            .concat(),
            Self::Refuses => reset(stream, HTTP_1_1_REQUIRED),
            Self::GoesAway => {
                let last = [0u32.to_be_bytes(), HTTP_1_1_REQUIRED.to_be_bytes()].concat();
                frame(GOAWAY, 0, 0, &last)
            }
        }
    }
}

/// Its URL, what verifies it, and by how many connections it was reached.
async fn peer(habit: Habit) -> (String, String, Arc<AtomicUsize>, JoinSet<()>) {
    let ca = Ca::new("peer");
    let tls = ca.issue(&["localhost"]).acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().expect("an address").port()
    );
    let connections = Arc::new(AtomicUsize::new(0));
    let (mut server, counted) = (JoinSet::new(), Arc::clone(&connections));
    server.spawn(async move {
        let mut all = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let stream = tls.accept(stream).await.expect("TLS");
            all.spawn(async move {
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    drop(serve(stream, habit).await);
                } else {
                    drop(serve_http1(stream).await);
                }
            });
        }
    });
    (url, ca.pem, connections, server)
}

async fn serve(mut stream: TlsStream<TcpStream>, habit: Habit) -> std::io::Result<()> {
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    stream.flush().await?;
    stream.read_exact(&mut [0; 24]).await?;
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await?;
        let mut payload =
            vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
        stream.read_exact(&mut payload).await?;
        let (kind, flags) = (header[3], header[4]);
        let id = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let answer = match kind {
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
            HEADERS | DATA if flags & END_STREAM != 0 => habit.answer(id),
            _ => continue,
        };
        stream.write_all(&answer).await?;
        stream.flush().await?;
    }
}

async fn serve_http1(mut stream: TlsStream<TcpStream>) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        read.push(stream.read_u8().await?);
        if read.ends_with(b"\r\n\r\nx") {
            read.clear();
            stream
                .write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
                .await?;
            stream.flush().await?;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_to_be_spoken_to_by_http1_is_not_offered_anything_else() {
    let (url, ca, opened, _server) = peer(Habit::GivesUp("503", "", CANCEL)).await;
    let mut to = destination(&url, &ca);
    let clients = clients();
    assert_eq!(
        ask(&clients, &to).await.expect("an answer").status(),
        503,
        "they agree on HTTP/2"
    );
    to.url = to.url.with_http_versions(HttpVersions::OnlyHttp1);
    assert_eq!(ask(&clients, &to).await.expect("an answer").status(), 202);
    assert_eq!(opened.load(Ordering::Relaxed), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_to_what_they_say() {
    for (habit, expected, connections) in [
        (Habit::LargeHead(60 * 1024), Verdict::Status(202), 1),
        (
            Habit::GivesUp("400", "no", INTERNAL_ERROR),
            Verdict::Status(400),
            1,
        ),
        (Habit::GivesUp("503", "", CANCEL), Verdict::Status(503), 1),
        (
            Habit::GivesUp("202", "", INTERNAL_ERROR),
            Verdict::Status(202),
            1,
        ),
        (
            Habit::GivesUp("202", "a", NO_ERROR),
            Verdict::Status(202),
            1,
        ),
        (Habit::HalfAnEvent, Verdict::Unread(200), 1),
        (Habit::Refuses, Verdict::Status(202), 2),
        (Habit::GoesAway, Verdict::Status(202), 2),
    ] {
        let (url, ca, opened, _server) = peer(habit).await;
        let (clients, to) = (clients(), destination(&url, &ca));
        for _ in 0..3 {
            let answer = ask(&clients, &to).await;
            assert_eq!(
                verdict(&answer, &expected),
                expected,
                "{habit:?}: {answer:?}"
            );
        }
        assert_eq!(
            opened.load(Ordering::Relaxed),
            connections,
            "{habit:?}: what it wants is remembered"
        );
    }
}
