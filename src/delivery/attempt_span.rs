//! The span of one attempt (contract OB-12).

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanKind;
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_REQUEST_RESEND_COUNT, SERVER_ADDRESS, SERVER_PORT,
    URL_SCHEME,
};

use super::delivery_record::ABANDONED;
use crate::auth::token_cache::TokenError;
use crate::model::{Addressable, DestinationRoute, UriScheme};
use crate::telemetry::span_attributes;
use crate::telemetry::tracer::Span;

/// The span of an attempt. One that is dropped without a result was abandoned.
pub(super) struct AttemptSpan {
    span: Span,
    has_result: bool,
}

impl AttemptSpan {
    /// Starts the span of an attempt, as a child of the span of all attempts. It has the address of
    /// the destination, and of its URL neither path nor query.
    pub(super) fn start(send: &Span, to: &Addressable, attempts: u32) -> Self {
        let (name, kind) = match to.route {
            DestinationRoute::Remote { .. } => ("POST", SpanKind::Client),
            DestinationRoute::Local(_) => ("enter channel", SpanKind::Internal),
            DestinationRoute::WaitingRequest(_) => ("answer request", SpanKind::Internal),
            DestinationRoute::EventDisplay => ("display", SpanKind::Internal),
            DestinationRoute::Unresolved(_) => ("nowhere", SpanKind::Internal),
        };
        let is_request = kind == SpanKind::Client;
        let mut span = send.child(name, kind);
        if is_request {
            set_request_attributes(&mut span, to);
        }
        // The first attempt has no resend count, as OpenTelemetry asks.
        if attempts > 0 {
            span.set_attributes(|| {
                [KeyValue::new(
                    HTTP_REQUEST_RESEND_COUNT,
                    i64::from(attempts),
                )]
            });
        }
        Self {
            span,
            has_result: false,
        }
    }

    /// Returns the span itself.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// Ends the span with a status, or the reason for which there is none.
    pub(super) fn end(mut self, result: Result<u16, &'static str>) {
        self.has_result = true;
        span_attributes::set_response_attributes(&mut self.span, result);
    }

    /// Ends the span of an attempt for which there was no token.
    pub(super) fn end_without_token(mut self, error: &TokenError) {
        self.has_result = true;
        self.span
            .set_attributes(|| [KeyValue::new(ERROR_TYPE, "token")]);
        self.span.set_error(|| error.to_string().into());
    }
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        if !self.has_result {
            span_attributes::set_response_attributes(&mut self.span, Err(ABANDONED));
        }
    }
}

fn set_request_attributes(span: &mut Span, to: &Addressable) {
    span.set_attributes(|| {
        let scheme = match to.url.scheme() {
            "https" => UriScheme::Https,
            _ => UriScheme::Http,
        };
        let address = to.url.host_str().unwrap_or_default().to_owned();
        let port = to.url.port_or_known_default().unwrap_or_default();
        [
            KeyValue::new(HTTP_REQUEST_METHOD, "POST"),
            KeyValue::new(URL_SCHEME, scheme.as_str()),
            KeyValue::new(SERVER_ADDRESS, address),
            KeyValue::new(SERVER_PORT, i64::from(port)),
        ]
    });
}
