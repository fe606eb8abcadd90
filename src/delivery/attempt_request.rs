//! The request of one attempt, and the event in it (contract DP-4 to DP-8).

use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request};

use super::outgoing_event::OutgoingEvent;
use crate::client;
use crate::event::{Event, TraceContext, knative};
use crate::model::{DeliveryFormat, DestinationRole, Subscription, SubscriptionKind};

const BROKER_TTL_HEADER: &str = "ce-knativebrokerttl";

/// True if the event is sent without the broker's hop count: a Trigger's subscriber does not see it
/// (contract BF-9).
fn removes_broker_ttl(role: DestinationRole, subscription: &Subscription) -> bool {
    role == DestinationRole::Subscriber && subscription.key.kind == SubscriptionKind::Trigger
}

/// Builds the event as its destination gets it.
pub(super) fn build_event(outgoing: OutgoingEvent<'_>, subscription: &Subscription) -> Event {
    let mut event = outgoing.event.clone();
    if removes_broker_ttl(outgoing.role, subscription) {
        event.remove(knative::BROKER_TTL);
    }
    event
}

/// Builds the request of contract DP-4 to DP-8: the event in the format that is wanted, the
/// forwarded fields beside it, and Knative's own headers; with the trace context and the sender's
/// token, where there are any.
pub(super) fn build_request(
    outgoing: OutgoingEvent<'_>,
    subscription: &Subscription,
    trace: Option<&Arc<TraceContext>>,
    authorization: Option<&HeaderValue>,
) -> Request<Bytes> {
    let trace = trace.map(AsRef::as_ref);
    let mut request = match subscription.delivery.format {
        DeliveryFormat::Binary => {
            client::event_request(outgoing.event, DeliveryFormat::Binary, trace)
        }
        DeliveryFormat::Json => client::event_request(
            &build_event(outgoing, subscription),
            DeliveryFormat::Json,
            trace,
        ),
    };
    if removes_broker_ttl(outgoing.role, subscription) {
        request.headers_mut().remove(BROKER_TTL_HEADER);
    }
    add_knative_headers(request.headers_mut(), outgoing.role, subscription);
    if let Some(authorization) = authorization {
        request
            .headers_mut()
            .insert(AUTHORIZATION, authorization.clone());
    }
    request
}

fn add_knative_headers(
    headers: &mut HeaderMap,
    role: DestinationRole,
    subscription: &Subscription,
) {
    if let Ok(namespace) = HeaderValue::from_str(&subscription.namespace) {
        headers.insert(knative::NAMESPACE_HEADER, namespace);
    }
    if role == DestinationRole::Subscriber {
        headers.insert(knative::PREFER_HEADER, HeaderValue::from_static("reply"));
    }
}
