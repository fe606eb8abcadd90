//! Logs that the API server cannot be reached: when that begins, once a minute while it lasts, and
//! when it is over, however many requests fail. Responses of the API server, refusals included, are
//! for the callers.

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

use crate::telemetry::cluster_metrics::ClusterMetrics;
use crate::telemetry::log_rate_limit::LogRateLimit;
use crate::wire_text::escaped_excerpt;

/// A request to read that is given up before this time may have ended for other reasons.
const SLOW_READ: Duration = Duration::from_secs(2);

/// A client of the same API server that logs when it cannot be reached, and tells these metrics.
pub(super) fn with_reachability_log(client: Client, metrics: Arc<ClusterMetrics>) -> Client {
    let namespace = client.default_namespace().to_owned();
    Client::new(
        ReachabilityService {
            client,
            reachability: Arc::new(ApiServerReachability {
                state: Mutex::default(),
                metrics,
            }),
        },
        namespace,
    )
}

/// True if there was no response, so that [`with_reachability_log`] has logged the error already.
pub(super) fn is_unreachable(error: &kube::Error) -> bool {
    !matches!(
        error,
        kube::Error::Api(_) | kube::Error::SerdeError(_) | kube::Error::BuildRequest(_)
    )
}

/// The service that all requests of the client pass through.
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
            // A request that writes may have to wait for webhooks, so that its slowness says
            // nothing of the API server.
            let reads = request.method() == Method::GET;
            let asked = PendingApiRequest {
                reachability: away,
                since: reads.then(Instant::now),
            };
            let answer = client.send(request).await;
            asked.finish(answer.as_ref().map(drop));
            answer
        })
    }
}

/// A request that has not been answered yet.
struct PendingApiRequest {
    reachability: Arc<ApiServerReachability>,
    /// The start of a request to read; `None` if it means nothing that the request is given up.
    since: Option<Instant>,
}

impl PendingApiRequest {
    fn finish(mut self, answer: Result<(), &kube::Error>) {
        self.since = None;
        match answer {
            Ok(()) => self.reachability.record_response(),
            Err(error) if is_unreachable(error) => {
                self.reachability.record_failure(&error_reason(error))
            }
            Err(_of_the_request) => {}
        }
    }
}

impl Drop for PendingApiRequest {
    fn drop(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= SLOW_READ) {
            self.reachability.record_failure("no answer in time");
        }
    }
}

/// The state of the API server, shared by all clones of a client.
#[derive(Debug)]
struct ApiServerReachability {
    state: Mutex<ReachabilityState>,
    metrics: Arc<ClusterMetrics>,
}

#[derive(Debug, Default)]
struct ReachabilityState {
    /// The time of the first failure; `None` while the API server responds.
    unreachable_since: Option<Instant>,
    log_throttle: LogRateLimit,
}

impl ApiServerReachability {
    fn record_failure(&self, reason: &str) {
        self.metrics.api_server_up.set(0);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = state
            .unreachable_since
            .get_or_insert_with(Instant::now)
            .elapsed()
            .as_secs();
        if state.log_throttle.is_due() {
            tracing::warn!(
                reason,
                seconds,
                "The API server is away, what is known stays in use"
            );
        }
    }

    fn record_response(&self) {
        self.metrics.api_server_up.set(1);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(since) = state.unreachable_since.take() else {
            return;
        };
        let seconds = since.elapsed().as_secs();
        if state.log_throttle.reset() {
            tracing::info!(seconds, "The API server answers again");
        }
    }
}

/// The longest reason that is logged, in bytes; a reason may repeat what the API server says.
const LONGEST_REASON: usize = 512;

/// The text of an error: its own message, and the deepest cause, such as `connection refused`.
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
        assert_eq!(
            error_reason(&error),
            "client error (Connect): connection refused"
        );
        assert_eq!(error_reason(&std::io::Error::other("a\nb")), r"a\nb");
    }
}
