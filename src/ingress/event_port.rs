//! What stands before every handler on the ports for events, whatever the role: probes are answered before anything else
//! is looked at, and nothing is taken before there is a configuration (contract 1.8 to 1.9, 1.12).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::Full;
use tokio::time::Instant;

use crate::channel;
use crate::event::TraceContext;
use crate::model::UriScheme;
use crate::server::body::MeasuredBodySize;
use crate::server::{RequestBody, RequestHandler};
use crate::supervisor::Readiness;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::tracer::{Span, SpanKind, Tracer};

/// What the kubelet's probes call themselves; the mode does not matter to them, nor does the path.
const KUBELET: &str = "kube-probe/";
/// Knative's own probe, and what it wants to see again.
const NETWORK_PROBE: HeaderName = HeaderName::from_static("k-network-probe");
const NETWORK_HASH: HeaderName = HeaderName::from_static("k-network-hash");

/// A handler behind its gate.
pub struct EventPortHandler<H> {
    handler: H,
    readiness: Readiness,
    served: ServedRequests,
    counters: Arc<ProcessCounters>,
    tracer: Tracer,
}

/// Counts the requests that are not probes, so that a stop can tell when it has become quiet. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ServedRequests(Arc<AtomicU64>);

impl ServedRequests {
    /// How many there have been.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<H> EventPortHandler<H> {
    /// A gate before `handler`.
    #[must_use]
    pub fn new(handler: H, readiness: Readiness, served: ServedRequests) -> Self {
        Self { handler, readiness, served, counters: Arc::default(), tracer: Tracer::default() }
    }

    /// The same gate; how requests were answered is counted here.
    #[must_use]
    pub fn with_counters(self, counters: Arc<ProcessCounters>) -> Self {
        Self { counters, ..self }
    }

    /// The same gate; requests are traced by this.
    #[must_use]
    pub fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Counts a request that was answered (contract OB-9).
    fn count_request(
        &self,
        scheme: UriScheme,
        method: &Method,
        (length, started): (RequestBodyLength, Instant),
        response: &Response<Full<Bytes>>,
    ) {
        let requests = &self.counters.series.requests;
        let by_method = match scheme {
            UriScheme::Http => &requests.http,
            UriScheme::Https => &requests.https,
        };
        let by_status = if *method == Method::POST { &by_method.post } else { &by_method.other };
        if let Some(exchange) = by_status.for_status(Some(response.status().as_u16())) {
            exchange.record(started.elapsed(), length.bytes(), response.body().size_hint().exact());
        }
    }

    /// The span of a request (contract OB-12), which says from now on that it belongs to that.
    fn start_server_span(&self, request: &mut Request<RequestBody>, scheme: UriScheme) -> Span {
        if !self.tracer.is_enabled() || request.method() != Method::POST {
            return Span::default();
        }
        let mut span =
            self.tracer.start("POST", SpanKind::Server, TraceContext::from_headers(request.headers()).as_ref());
        span.set_attributes(|| [("http.request.method", "POST".into()), ("url.scheme", scheme.as_str().into())]);
        if let Some(context) = span.context() {
            context.write_headers(request.headers_mut());
        }
        span
    }

    /// The answer to a probe; `None` if it is none. Kubelets that ask here may restart the process by the answer, so it
    /// depends on the process alone and on no backend; `/readyz` of the admin port tells of those.
    fn probe_status(&self, request: &Request<RequestBody>, scheme: UriScheme) -> Option<StatusCode> {
        let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let kubelet = header(USER_AGENT).is_some_and(|agent| agent.starts_with(KUBELET));
        let network = header(NETWORK_PROBE) == Some("probe");
        if !kubelet && !network {
            return None;
        }
        let status = match scheme {
            _ if self.readiness.is_stopping() => StatusCode::SERVICE_UNAVAILABLE,
            _ if network && header(NETWORK_HASH).is_none_or(str::is_empty) => StatusCode::BAD_REQUEST,
            _ if network => StatusCode::OK,
            UriScheme::Https => StatusCode::OK,
            UriScheme::Http if self.readiness.is_starting() => StatusCode::SERVICE_UNAVAILABLE,
            UriScheme::Http => StatusCode::NO_CONTENT,
        };
        Some(status)
    }
}

impl<H: RequestHandler> RequestHandler for EventPortHandler<H> {
    async fn handle(&self, mut request: Request<RequestBody>, scheme: UriScheme) -> Response<Full<Bytes>> {
        if let Some(status) = self.probe_status(&request, scheme) {
            let mut response = empty_response(status);
            if let Some(hash) = request.headers().get(NETWORK_HASH).filter(|_| status == StatusCode::OK) {
                response.headers_mut().insert(NETWORK_HASH, hash.clone());
            }
            return response;
        }
        self.served.0.fetch_add(1, Ordering::Relaxed);
        let (version, method, started) = (request.version(), request.method().clone(), Instant::now());
        let length = RequestBodyLength::of_request(&mut request);
        let mut span = self.start_server_span(&mut request, scheme);
        let mut response = if self.readiness.is_starting() || self.readiness.is_ended() {
            let mut response = empty_response(StatusCode::SERVICE_UNAVAILABLE);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(channel::RETRY_AFTER.as_secs()));
            response
        } else {
            self.handler.handle(request, scheme).await
        };
        self.count_request(scheme, &method, (length, started), &response);
        set_response_status(&mut span, response.status());
        // Whoever keeps a connection to a process that is about to stop should make a new one, elsewhere.
        if version < Version::HTTP_2 && self.readiness.is_stopping() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// How long the body of a request is: as it says, else as it turns out.
enum RequestBodyLength {
    ContentLength(u64),
    Measured(MeasuredBodySize),
}

impl RequestBodyLength {
    fn of_request(request: &mut Request<RequestBody>) -> Self {
        if let Some(bytes) = request.body().size_hint().exact() {
            return Self::ContentLength(bytes);
        }
        let measure = MeasuredBodySize::default();
        request.extensions_mut().insert(measure.clone());
        Self::Measured(measure)
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::ContentLength(bytes) => *bytes,
            Self::Measured(measure) => measure.get() as u64,
        }
    }
}

fn set_response_status(span: &mut Span, status: StatusCode) {
    span.set_attributes(|| [("http.response.status_code", i64::from(status.as_u16()).into())]);
    if status.is_server_error() {
        span.set_error(|| status.as_u16().to_string().into());
    }
}

fn empty_response(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
