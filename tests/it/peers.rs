//! Peers that say exactly this: what an answer comes to, in the clear and encrypted, and what
//! others make of it.
//!
//! `SEALPOST_TEST_PEERS=FILE` writes a table of the verdicts of this client, of hyper's and of
//! curl.

mod http2;
mod others;
mod peer;
mod rows;
mod whole;

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use sealpost::client::{ClientCache, ClientLimits, HttpTransport, ReplyError, TransportError};
use sealpost::model::{Addressable, DestinationRoute, TrustBundle};
use sealpost::tls::{MinTlsVersion, SystemRoots};

use self::peer::{Peer, Wire};
use self::rows::{ROWS, Row};

/// What an answer comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This status counts.
    Status(u16),
    /// This status counts, and there is an event with this body.
    Event(u16, &'static str),
    /// This status counts, and its event cannot be read.
    Unread(u16),
    /// There was no answer.
    None,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Event(status, _) => write!(f, "{status} and the event"),
            Self::Unread(status) => write!(f, "{status}, no event"),
            Self::None => f.write_str("no answer"),
        }
    }
}

/// What is left of a minute is longer than any test may take.
const ATTEMPT: Duration = Duration::from_secs(30);
/// An attempt that waits for nothing that means something takes less.
const PROMPT: Duration = Duration::from_secs(5);

pub(crate) fn clients() -> ClientCache {
    ClientCache::new(
        SystemRoots::load(),
        MinTlsVersion::Tls12,
        ClientLimits::default(),
    )
}

pub(crate) fn destination(url: &str, ca: &str) -> Addressable {
    let trust = if ca.is_empty() {
        TrustBundle::default()
    } else {
        TrustBundle::from_pem(ca).expect("a bundle")
    };
    let target = DestinationRoute::Remote { connect: None };
    Addressable {
        url: url.parse().expect("a URL"),
        route: target,
        trust: Arc::new(trust),
        audience: None,
    }
}

pub(crate) async fn ask(
    clients: &ClientCache,
    to: &Addressable,
) -> Result<Response<Bytes>, TransportError> {
    clients
        .send(|| Request::new(Bytes::from_static(b"x")), to, ATTEMPT)
        .await
}

/// What this client makes of an answer, seen from where it is told.
pub(crate) fn verdict(
    answer: &Result<Response<Bytes>, TransportError>,
    expected: &Verdict,
) -> Verdict {
    let Ok(answer) = answer else {
        return Verdict::None;
    };
    let status = answer.status().as_u16();
    match expected {
        _ if ReplyError::of_response(answer).is_some() => Verdict::Unread(status),
        Verdict::Event(_, body) if answer.body() == body => Verdict::Event(status, body),
        _ => Verdict::Status(status),
    }
}

/// Asks twice, so that what the first answer has left behind would be seen in the second.
async fn judge(row: &'static Row, wire: Wire) {
    let mut peer = Peer::start(row, wire).await;
    let (clients, to) = (clients(), destination(&peer.url, &peer.ca));
    let begun = Instant::now();
    for round in 1..=2 {
        let answer = ask(&clients, &to).await;
        let name = format!("{} over {wire:?}, round {round}: {answer:?}", row.name);
        assert_eq!(verdict(&answer, &row.verdict), row.verdict, "{name}");
        assert!(
            begun.elapsed() < PROMPT * round,
            "{name} took {:?}",
            begun.elapsed()
        );
        peer.told().await;
    }
    let connections = if row.kept { 1 } else { 2 };
    assert_eq!(
        peer.connections(),
        connections,
        "connections of {} over {wire:?}",
        row.name
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_to_what_they_say() {
    for row in ROWS {
        for wire in [Wire::Clear, Wire::Tls] {
            judge(row, wire).await;
        }
    }
}

/// Not a test of others: what they say is written down.
#[tokio::test(flavor = "multi_thread")]
async fn what_others_say_is_written_down() {
    let Ok(file) = std::env::var("SEALPOST_TEST_PEERS") else {
        return;
    };
    let mut table = "| peer | wire | sealpost | hyper | curl |\n|---|---|---|---|---|\n".to_owned();
    for row in ROWS {
        for wire in [Wire::Clear, Wire::Tls] {
            let peer = Peer::start(row, wire).await;
            let ours = verdict(
                &ask(&clients(), &destination(&peer.url, &peer.ca)).await,
                &row.verdict,
            );
            let hyper = others::hyper(&peer, row).await;
            let curl = others::curl(&peer, row).await;
            let line = format!(
                "| {} | {} | {ours} | {hyper} | {curl} |\n",
                row.name,
                wire.name()
            );
            table.write_str(&line).expect("text");
        }
    }
    std::fs::write(file, table).expect("a file");
}
