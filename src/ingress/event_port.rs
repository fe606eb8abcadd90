//! Handler in front of every other handler of the event ports, whatever the role: probes are
//! answered before anything else is looked at, and no event is taken before there is a
//! configuration (contract 1.8 to 1.9, 1.12).

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::Full;

use super::probe::respond_to_probe;
use super::request_metrics::{ServedRequests, UnansweredRequest};
use super::response::empty_response;
use super::server_span::{set_response_status, start_server_span};
use crate::channel;
use crate::event::announced_event;
use crate::observation::{EventArrival, ObservedRefusal};
use crate::server::{RequestBody, RequestContext, RequestHandler};
use crate::supervisor::Readiness;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::tracer::Tracer;

/// Another handler, behind probes, readiness, counters and spans.
pub(crate) struct EventPortHandler<H> {
    /// The handler of requests with events.
    pub(crate) handler: H,
    /// Decides whether the handler is asked.
    pub(crate) readiness: Readiness,
    /// Counts requests for the stop.
    pub(crate) served: ServedRequests,
    /// Counts responses.
    pub(crate) counters: Arc<ProcessCounters>,
    /// Starts the spans of requests.
    pub(crate) tracer: Tracer,
}

impl<H> EventPortHandler<H> {
    /// True if no event may be taken: not before there is a configuration, and not when nobody
    /// waits for a delivery any more.
    fn is_closed(&self) -> bool {
        self.readiness.is_starting() || self.readiness.is_ended()
    }

    /// Tells observers of an event that came too early or too late, as far as header fields name
    /// it.
    fn observe_closed(&self, request: &Request<RequestBody>, context: &RequestContext) {
        let event = announced_event(request.headers());
        let refusal = ObservedRefusal {
            status: Some(StatusCode::SERVICE_UNAVAILABLE.as_u16()),
            arrival: EventArrival {
                via: context.scheme.as_str(),
                by: "",
                peer: context.peer,
            },
            reason: "this process has just started or is about to end: send it again",
        };
        self.counters
            .observer
            .observe_refused(&event, None, &refusal);
    }
}

impl<H: RequestHandler> RequestHandler for EventPortHandler<H> {
    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Response<Full<Bytes>> {
        // Probes come first: they are neither counted nor traced, nor refused at the start.
        if let Some(response) = respond_to_probe(&request, context.scheme, &self.readiness) {
            return response;
        }
        self.served.increment();
        let (unanswered, version) = (UnansweredRequest::new(&request), request.version());
        // The span begins before readiness is checked, so that refusals are traced, too.
        context.span = start_server_span(&self.tracer, &request, context.scheme);
        let mut response = if self.is_closed() {
            self.observe_closed(&request, context);
            try_again_later()
        } else {
            let scope = context.span.scope();
            let handling = pin!(self.handler.handle(request, context));
            scope.run(handling).await
        };
        unanswered.count(&self.counters, context, &response);
        set_response_status(&mut context.span, response.status());
        if version < Version::HTTP_2 && self.readiness.is_stopping() {
            close_connection(&mut response);
        }
        response
    }
}

/// Asks a client that keeps a connection to a process which is about to stop to make a new one,
/// elsewhere.
fn close_connection(response: &mut Response<Full<Bytes>>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}

fn try_again_later() -> Response<Full<Bytes>> {
    let mut response = empty_response(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(
        RETRY_AFTER,
        HeaderValue::from(channel::RETRY_AFTER.as_secs()),
    );
    response
}
