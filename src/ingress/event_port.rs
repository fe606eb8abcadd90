//! Handler in front of every other handler of the event ports, whatever the role: probes are
//! answered before anything else is looked at, and no event is taken before there is a
//! configuration (contract 1.8 to 1.9, 1.12).

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::Full;
use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_semantic_conventions::attribute::{
    HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, URL_SCHEME,
};
use tokio::time::Instant;

use crate::channel;
use crate::event::TraceContext;
use crate::model::UriScheme;
use crate::server::body::MeasuredBodySize;
use crate::server::{RequestBody, RequestHandler};
use crate::supervisor::Readiness;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::tracer::{Span, Tracer};

/// Start of the User-Agent of the kubelet's probes, which get a response whatever the mode and the
/// path.
const KUBELET: &str = "kube-probe/";
/// Header fields of Knative's network probe: its mark, and the hash that it expects in the
/// response.
const NETWORK_PROBE: HeaderName = HeaderName::from_static("k-network-probe");
const NETWORK_HASH: HeaderName = HeaderName::from_static("k-network-hash");

/// Another handler, behind probes, readiness, counters and spans.
pub struct EventPortHandler<H> {
    handler: H,
    readiness: Readiness,
    served: ServedRequests,
    counters: Arc<ProcessCounters>,
    tracer: Tracer,
}

/// Counter of the requests that are not probes, so that a stop can notice that no more come. Clones
/// share it.
#[derive(Clone, Debug, Default)]
pub struct ServedRequests(Arc<AtomicU64>);

impl ServedRequests {
    /// Number of requests until now.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<H> EventPortHandler<H> {
    /// Makes the handler of a port before `handler`.
    #[must_use]
    pub fn new(handler: H, readiness: Readiness, served: ServedRequests) -> Self {
        Self {
            handler,
            readiness,
            served,
            counters: Arc::default(),
            tracer: Tracer::default(),
        }
    }

    /// Sets the counters of responses.
    #[must_use]
    pub fn with_counters(self, counters: Arc<ProcessCounters>) -> Self {
        Self { counters, ..self }
    }

    /// Sets the tracer of requests.
    #[must_use]
    pub fn with_tracer(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Counts a request that has got its response (contract OB-9).
    fn count_request(
        &self,
        scheme: UriScheme,
        method: &Method,
        (length, started, span): (RequestBodyLength, Instant, &Span),
        response: &Response<Full<Bytes>>,
    ) {
        let requests = &self.counters.series.requests;
        let by_method = match scheme {
            UriScheme::Http => &requests.http,
            UriScheme::Https => &requests.https,
        };
        let by_status = if *method == Method::POST {
            &by_method.post
        } else {
            &by_method.other
        };
        if let Some(exchange) = by_status.for_status(Some(response.status().as_u16())) {
            exchange.record(
                started.elapsed(),
                length.bytes(),
                response.body().size_hint().exact(),
                span.recorded(),
            );
        }
    }

    /// Starts the span of a request (contract OB-12), and makes it the parent in the request's
    /// trace context.
    fn start_server_span(&self, request: &mut Request<RequestBody>, scheme: UriScheme) -> Span {
        if !self.tracer.is_enabled() || request.method() != Method::POST {
            return Span::default();
        }
        let mut span = self.tracer.start(
            "POST",
            SpanKind::Server,
            TraceContext::from_headers(request.headers()).as_ref(),
        );
        span.set_attributes(|| {
            [
                KeyValue::new(HTTP_REQUEST_METHOD, "POST"),
                KeyValue::new(URL_SCHEME, scheme.as_str()),
            ]
        });
        if let Some(context) = span.context() {
            context.write_headers(request.headers_mut());
        }
        span
    }

    /// Status of the response to a probe; `None` if the request is none. Kubelets that probe here
    /// may restart the process because of the status, so it depends on the process alone and on no
    /// backend; `/readyz` of the admin port depends on those.
    fn probe_status(
        &self,
        request: &Request<RequestBody>,
        scheme: UriScheme,
    ) -> Option<StatusCode> {
        let header = |name: HeaderName| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let kubelet = header(USER_AGENT).is_some_and(|agent| agent.starts_with(KUBELET));
        let network = header(NETWORK_PROBE) == Some("probe");
        if !kubelet && !network {
            return None;
        }
        let status = match scheme {
            _ if self.readiness.is_stopping() => StatusCode::SERVICE_UNAVAILABLE,
            _ if network && header(NETWORK_HASH).is_none_or(str::is_empty) => {
                StatusCode::BAD_REQUEST
            }
            _ if network => StatusCode::OK,
            UriScheme::Https => StatusCode::OK,
            UriScheme::Http if self.readiness.is_starting() => StatusCode::SERVICE_UNAVAILABLE,
            UriScheme::Http => StatusCode::NO_CONTENT,
        };
        Some(status)
    }
}

impl<H: RequestHandler> RequestHandler for EventPortHandler<H> {
    async fn handle(
        &self,
        mut request: Request<RequestBody>,
        scheme: UriScheme,
    ) -> Response<Full<Bytes>> {
        // Probes come first: they are neither counted nor traced, nor refused at the start.
        if let Some(status) = self.probe_status(&request, scheme) {
            let mut response = empty_response(status);
            if let Some(hash) = request
                .headers()
                .get(NETWORK_HASH)
                .filter(|_| status == StatusCode::OK)
            {
                response.headers_mut().insert(NETWORK_HASH, hash.clone());
            }
            return response;
        }
        self.served.0.fetch_add(1, Ordering::Relaxed);
        let (version, method, started) =
            (request.version(), request.method().clone(), Instant::now());
        let length = RequestBodyLength::of_request(&mut request);
        // The span begins before readiness is checked, so that refusals are traced, too.
        let mut span = self.start_server_span(&mut request, scheme);
        let mut response = if self.readiness.is_starting() || self.readiness.is_ended() {
            let mut response = empty_response(StatusCode::SERVICE_UNAVAILABLE);
            response.headers_mut().insert(
                RETRY_AFTER,
                HeaderValue::from(channel::RETRY_AFTER.as_secs()),
            );
            response
        } else {
            let handling = pin!(self.handler.handle(request, scheme));
            span.scope().run(handling).await
        };
        self.count_request(scheme, &method, (length, started, &span), &response);
        set_response_status(&mut span, response.status());
        // A client that keeps a connection to a process which is about to stop should make a new
        // one, elsewhere.
        if version < Version::HTTP_2 && self.readiness.is_stopping() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Length of a request's body: as `Content-Length` says, else as it was measured.
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
    span.set_attributes(|| {
        [KeyValue::new(
            HTTP_RESPONSE_STATUS_CODE,
            i64::from(status.as_u16()),
        )]
    });
    if status.is_server_error() {
        span.set_error(|| status.as_u16().to_string().into());
    }
}

fn empty_response(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
