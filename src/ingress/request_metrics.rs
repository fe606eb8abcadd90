//! The counting of requests at the event ports: those that are not probes, for a stop, and
//! responses, for metrics (contract OB-9).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::Full;
use tokio::time::Instant;

use crate::model::UriScheme;
use crate::server::RequestContext;
use crate::telemetry::counters::ProcessCounters;

/// Counter of the requests that are not probes, so that a stop can notice that no more come. Clones
/// share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServedRequests(Arc<AtomicU64>);

impl ServedRequests {
    /// Number of requests until now.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a request that is no probe.
    pub(super) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request that has no response yet, with what its response is counted by.
pub(super) struct UnansweredRequest {
    method: Method,
    /// Length of the body in bytes, if `Content-Length` says it.
    announced_bytes: Option<u64>,
    started: Instant,
}

impl UnansweredRequest {
    /// Notes a request that has come now.
    pub(super) fn new<B: Body>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            announced_bytes: request.body().size_hint().exact(),
            started: Instant::now(),
        }
    }

    /// Counts the request, which has got its response. A length that was not announced is the one
    /// that was read.
    pub(super) fn count(
        &self,
        counters: &ProcessCounters,
        context: &RequestContext,
        response: &Response<Full<Bytes>>,
    ) {
        let requests = &counters.series.requests;
        let by_method = match context.scheme {
            UriScheme::Http => &requests.http,
            UriScheme::Https => &requests.https,
        };
        let by_status = if self.method == Method::POST {
            &by_method.post
        } else {
            &by_method.other
        };
        if let Some(exchange) = by_status.for_status(Some(response.status().as_u16())) {
            exchange.record(
                self.started.elapsed(),
                self.announced_bytes.unwrap_or(context.body_bytes as u64),
                response.body().size_hint().exact(),
                context.span.recorded(),
            );
        }
    }
}
