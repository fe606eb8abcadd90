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

use crate::telemetry::log_rate_limit::LogRateLimit;
use crate::wire_text::escaped_excerpt;

/// Whoever reads and gives up before this time may have had other reasons.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client of the same API server that notices whether that is there.
pub(super) fn with_reachability_log(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(ReachabilityService { client, reachability: Arc::default() }, namespace)
}

/// Whether no answer came, so that it is told already.
pub(super) fn is_unreachable(error: &kube::Error) -> bool {
    !matches!(error, kube::Error::Api(_) | kube::Error::SerdeError(_) | kube::Error::BuildRequest(_))
}

/// All that is asked.
struct ReachabilityService {
    client: Client,
    reachability: Arc<ApiServerReachability>,
}

impl Service<Request<Body>> for ReachabilityService {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, kube::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, away) = (self.client.clone(), Arc::clone(&self.reachability));
        Box::pin(async move {
            // What writes may have to wait for webhooks, and says nothing of the API server.
            let reads = request.method() == Method::GET;
            let asked = PendingApiRequest { reachability: away, since: reads.then(Instant::now) };
            let answer = client.send(request).await;
            asked.finish(answer.as_ref().map(drop));
            answer
        })
    }
}

/// A request under way.
struct PendingApiRequest {
    reachability: Arc<ApiServerReachability>,
    /// When it was begun, if it tells something that it is given up.
    since: Option<Instant>,
}

impl PendingApiRequest {
    fn finish(mut self, answer: Result<(), &kube::Error>) {
        self.since = None;
        match answer {
            Ok(()) => self.reachability.record_response(),
            Err(error) if is_unreachable(error) => self.reachability.record_failure(&error_reason(error)),
            Err(_of_the_request) => {}
        }
    }
}

impl Drop for PendingApiRequest {
    fn drop(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            self.reachability.record_failure("no answer in time");
        }
    }
}

/// What is known of the API server.
#[derive(Debug, Default)]
struct ApiServerReachability(Mutex<ReachabilityState>);

#[derive(Debug, Default)]
struct ReachabilityState {
    unreachable_since: Option<Instant>,
    log_throttle: LogRateLimit,
}

impl ApiServerReachability {
    fn record_failure(&self, reason: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = state.unreachable_since.get_or_insert_with(Instant::now).elapsed().as_secs();
        if state.log_throttle.is_due() {
            tracing::warn!(reason, seconds, "The API server is away, what is known stays in use");
        }
    }

    fn record_response(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = state.unreachable_since.take() else { return };
        let seconds = since.elapsed().as_secs();
        if state.log_throttle.reset() {
            tracing::info!(seconds, "The API server answers again");
        }
    }
}

/// Bytes of a reason at most, which may repeat what the API server says.
const LONGEST_REASON: usize = 512;

/// An error in words: what it is, and what is at the bottom of it, such as `connection refused`.
pub(super) fn error_reason(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error);
    while let Some(source) = cause.source() {
        cause = source;
    }
    let deepest = cause.to_string();
    if !text.contains(&deepest) {
        text = format!("{text}: {deepest}");
    }
    escaped_excerpt(text, LONGEST_REASON)
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
        assert_eq!(error_reason(&error), "client error (Connect): connection refused");
        assert_eq!(error_reason(&std::io::Error::other("a\nb")), r"a\nb");
    }
}
