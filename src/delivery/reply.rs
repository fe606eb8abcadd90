//! Reply of a subscriber, as the event that goes to the reply address (contract DP-21 to DP-24).

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;

use crate::client::ReplyError;
use crate::event::{AttributeLimit, Event, http as binding, knative};
use crate::model::{Subscription, SubscriptionKind};
use crate::wire_text::WireText;

/// Describes an answer that was perhaps meant to be a reply: JSON, and not an event. Its body is not
/// read.
pub(super) fn describe_json(response: &Response<Bytes>) -> Option<String> {
    if binding::is_event(response.headers()) {
        return None;
    }
    let content_type = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let is_json = content_type.to_ascii_lowercase().contains("json");
    is_json.then(|| {
        let content_type = WireText::new(content_type);
        format!(
            "the answer is {content_type} without ce- headers, so no event, and nothing is replied"
        )
    })
}

/// Decodes the event that a response holds, if it holds one.
///
/// # Errors
/// If the response announces an event that cannot be decoded.
pub(super) fn read_reply(
    response: Response<Bytes>,
    limit: AttributeLimit,
) -> Result<Option<Event>, Box<dyn std::error::Error + Send + Sync>> {
    if let Some(error) = ReplyError::of_response(&response) {
        return Err(error.clone().into());
    }
    let (parts, body) = response.into_parts();
    Ok(binding::decode_reply(parts.headers, &body, limit)?)
}

/// Gives a reply of a Trigger's subscriber the hops that its event had left (contract BF-12).
pub(super) fn restore_broker_ttl(
    mut reply: Event,
    event: &Event,
    subscription: &Subscription,
) -> Event {
    if subscription.key.kind == SubscriptionKind::Trigger
        && let Some(ttl) = event
            .get(knative::BROKER_TTL)
            .and_then(|ttl| ttl.parse().ok())
    {
        reply.set_integer(knative::BROKER_TTL, ttl);
    }
    reply
}
