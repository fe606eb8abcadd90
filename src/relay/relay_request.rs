//! The one request that goes out for each that comes in, with its span (contract OB-13).

use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, Response};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanContext, SpanKind};
use opentelemetry_semantic_conventions::attribute::HTTP_REQUEST_METHOD;
use tokio::time::Instant;

use super::RelayDependencies;
use crate::auth::token_cache::TokenError;
use crate::client::{self, HttpTransport, TransportError};
use crate::event::{Event, knative};
use crate::model::{Addressable, DeliveryFormat, ServiceAccount};
use crate::telemetry::histogram::HistogramsByStatus;
use crate::telemetry::span_attributes;
use crate::telemetry::tracer::{Span, Tracer};

/// A request with an event, and its span.
pub(super) struct RelayRequest {
    request: Request<Bytes>,
    span: Span,
    has_trace: bool,
}

/// The start of a request, from which its duration counts.
pub(super) struct RelayStart {
    pub(super) time: Instant,
    /// The span of the request if it is recorded: the exemplar of the duration.
    pub(super) span: Option<SpanContext>,
}

impl RelayStart {
    /// Records the time since the start.
    pub(super) fn record_elapsed(&self, status: Option<u16>, durations: &HistogramsByStatus) {
        durations.record(status, self.time.elapsed(), self.span.as_ref());
    }
}

impl RelayRequest {
    /// Builds a request with this event, its forwarded fields, and `Prefer: reply`, and starts its
    /// span in the trace of the event.
    pub(super) fn new(tracer: &Tracer, event: &Event, format: DeliveryFormat) -> Self {
        let span = start_client_span(tracer, event);
        // A span that is not recorded has the context that came with the event.
        let trace = span.context().or(event.trace()).map(AsRef::as_ref);
        let has_trace = trace.is_some();
        let mut request = client::event_request(event, format, trace);
        request
            .headers_mut()
            .insert(knative::PREFER_HEADER, HeaderValue::from_static("reply"));
        Self {
            request,
            span,
            has_trace,
        }
    }

    /// Starts the clock: the request is sent next.
    pub(super) fn start(&self) -> RelayStart {
        RelayStart {
            time: Instant::now(),
            span: self.span.recorded().cloned(),
        }
    }

    /// True if the request has the trace context of its span or of its event.
    pub(super) fn has_trace(&self) -> bool {
        self.has_trace
    }

    /// Header fields of the request.
    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        self.request.headers_mut()
    }

    /// Sends all header fields as they are, also those that the client would leave out.
    pub(super) fn forward_all_fields(&mut self) {
        self.request
            .extensions_mut()
            .insert(client::ForwardAllFields);
    }
}

fn start_client_span(tracer: &Tracer, event: &Event) -> Span {
    if !tracer.is_enabled() {
        return Span::default();
    }
    let mut span = tracer.start("POST", SpanKind::Client, event.trace());
    span.set_attributes(|| [KeyValue::new(HTTP_REQUEST_METHOD, "POST")]);
    span
}

/// Reason for which an event has no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelaySendError {
    /// There was no token to prove who sends, so nothing was sent.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The event was sent, and there was no response.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl<T: HttpTransport> RelayDependencies<T> {
    /// Sends an event once, with a token if the destination wants one.
    ///
    /// # Errors
    /// If no token is to be had, so that nothing is sent; or if no response comes.
    pub(super) async fn send(
        &self,
        request: RelayRequest,
        sender: Option<&Arc<ServiceAccount>>,
        to: &Addressable,
    ) -> Result<Response<Bytes>, RelaySendError> {
        let RelayRequest {
            mut request,
            mut span,
            ..
        } = request;
        if let Some(proof) = self.tokens.authorization_for(sender, to).await? {
            request.headers_mut().insert(AUTHORIZATION, proof);
        }
        // The duration counts from here: waiting for a token is not the destination's time.
        let started = Instant::now();
        let sent = self
            .transport
            .send(|| request.clone(), to, self.timeout)
            .await;
        let bytes = request.body().len();
        let result = sent
            .as_ref()
            .map(|answer| answer.status().as_u16())
            .map_err(TransportError::reason);
        self.counters
            .series
            .record_sent(result.ok(), started.elapsed(), bytes, span.recorded());
        span_attributes::set_response_attributes(&mut span, result);
        Ok(sent?)
    }
}
