//! Whether the API server is there at all: told once when it is not, once a minute while that goes on, and when it is over,
//! however many ask it. What it answers, refusals included, is for those who asked.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::time::Instant;
use tower_service::Service;

use crate::telemetry::sparing::Sparing;
use crate::wire_text::excerpt;

/// Whoever reads and gives up before this time may have had other reasons.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client of the same API server that notices whether that is there.
pub(super) fn noticing(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(Noticing { client, away: Arc::default() }, namespace)
}

/// Whether no answer came, so that it is told already.
pub(super) fn is_about(error: &kube::Error) -> bool {
    !matches!(error, kube::Error::Api(_) | kube::Error::SerdeError(_) | kube::Error::BuildRequest(_))
}

/// All that is asked.
struct Noticing {
    client: Client,
    away: Arc<Away>,
}

impl Service<Request<Body>> for Noticing {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, kube::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, away) = (self.client.clone(), Arc::clone(&self.away));
        Box::pin(async move {
            // What writes may have to wait for webhooks, and says nothing of the API server.
            let reads = request.method() == Method::GET;
            let asked = Asked { away, since: reads.then(Instant::now) };
            let answer = client.send(request).await;
            asked.ended(answer.as_ref().map(drop));
            answer
        })
    }
}

/// A request under way.
struct Asked {
    away: Arc<Away>,
    /// When it was begun, if it tells something that it is given up.
    since: Option<Instant>,
}

impl Asked {
    fn ended(mut self, answer: Result<(), &kube::Error>) {
        self.since = None;
        match answer {
            Ok(()) => self.away.answered(),
            Err(error) if is_about(error) => self.away.failed(&reason(error)),
            Err(_of_the_request) => {}
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            self.away.failed("no answer in time");
        }
    }
}

/// What is known of the API server.
#[derive(Debug, Default)]
struct Away(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    told: Sparing,
}

impl Away {
    fn failed(&self, reason: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = state.since.get_or_insert_with(Instant::now).elapsed().as_secs();
        if state.told.is_due() {
            tracing::warn!(reason, seconds, "The API server is away, what is known stays in use");
        }
    }

    fn answered(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = state.since.take() else { return };
        let seconds = since.elapsed().as_secs();
        if state.told.over() {
            tracing::info!(seconds, "The API server answers again");
        }
    }
}

/// Bytes of a reason at most, which may repeat what the API server says.
const LONGEST_REASON: usize = 512;

/// An error in words: what it is, and what is at the bottom of it, such as `connection refused`.
pub(super) fn reason(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error);
    while let Some(source) = cause.source() {
        cause = source;
    }
    let deepest = cause.to_string();
    if !text.contains(&deepest) {
        text = format!("{text}: {deepest}");
    }
    excerpt(text, LONGEST_REASON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_reason_says_what_is_at_the_bottom() {
        let error = Outer(std::io::ErrorKind::ConnectionRefused.into());
        assert_eq!(reason(&error), "client error (Connect): connection refused");
        assert_eq!(reason(&std::io::Error::other("a\nb")), r"a\nb");
    }
}
