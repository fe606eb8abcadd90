//! What the channel is answered, by the response of the destination that an event was sent to
//! (contract BF-10 to BF-13, A-30 to A-39).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use super::RelayDependencies;
use super::relay_request::RelaySendError;
use super::response::RelayResponse;
use crate::client::ReplyError;
use crate::event::{Event, http as binding, knative};
use crate::model::{Addressable, TriggerRelay};

impl<T> RelayDependencies<T> {
    /// Converts the response of the destination `from` to the one that the channel gets. `ttl` is
    /// set on an event in it.
    pub(super) fn convert_response(
        &self,
        answer: Result<Response<Bytes>, RelaySendError>,
        trigger: &TriggerRelay,
        from: &Addressable,
        ttl: Option<i32>,
    ) -> Result<RelayResponse, RelayResponse> {
        let answer = answer.map_err(|error| dispatch_error(from, &error))?;
        // A reply that broke off must not count as none.
        if ReplyError::of_response(&answer).is_some() {
            return Err(RelayResponse::from_status(StatusCode::BAD_GATEWAY));
        }
        if !answer.status().is_success() {
            return Err(failure_response(from, &answer));
        }
        let response = self.reply_response(answer, trigger, ttl)?;
        self.counters.accepted.increment();
        Ok(response)
    }

    /// Response with the event that a destination replied with, if it did. Neither a body that is
    /// no event, nor an invalid event can be passed on (contract BF-11, BF-12).
    fn reply_response(
        &self,
        answer: Response<Bytes>,
        trigger: &TriggerRelay,
        ttl: Option<i32>,
    ) -> Result<RelayResponse, RelayResponse> {
        let (parts, body) = answer.into_parts();
        // Copied before decoding takes the header fields apart.
        let passed = forwarded_headers(&parts.headers);
        let limit = self.request_reader.attribute_limit();
        match binding::decode_reply(parts.headers, &body, limit) {
            Ok(Some(event)) => {
                self.event_types
                    .observe(trigger.event_types.as_ref(), &event);
                Ok(event_response(parts.status, event, ttl).with_headers(passed))
            }
            Ok(None) if body.is_empty() => {
                Ok(RelayResponse::from_status(parts.status).with_headers(passed))
            }
            Ok(None) | Err(_) => Err(RelayResponse::from_status(StatusCode::BAD_GATEWAY)),
        }
    }
}

/// Response for an event that could not be sent.
fn dispatch_error(destination: &Addressable, error: &RelaySendError) -> RelayResponse {
    let text = format!("dispatch error: {error}");
    RelayResponse::from_status(StatusCode::INTERNAL_SERVER_ERROR).with_body(
        "application/json",
        failure_report(destination, text.as_bytes()),
    )
}

/// Response for an event that the destination has refused.
fn failure_response(destination: &Addressable, answer: &Response<Bytes>) -> RelayResponse {
    RelayResponse::from_status(answer.status())
        .with_headers(forwarded_headers(answer.headers()))
        .with_body(
            "application/json",
            failure_report(destination, answer.body()),
        )
}

/// Header fields of a response that are passed on: those that are forwarded with an event, too
/// (contract CR-29).
fn forwarded_headers(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers
        .iter()
        .filter(|(name, _)| knative::is_forwarded(name))
    {
        kept.append(name.clone(), value.clone());
    }
    kept
}

/// Response with the event that a subscriber replied with, in binary mode, with the hops that the
/// first event had left (contract BF-12).
fn event_response(status: StatusCode, mut event: Event, ttl: Option<i32>) -> RelayResponse {
    if let Some(ttl) = ttl {
        event.set_integer(knative::BROKER_TTL, ttl);
    }
    let headers = binding::binary_headers(&event);
    RelayResponse::from_status(status)
        .with_headers(headers)
        .with_body_bytes(event.data().clone())
}

/// Report for the channel of which destination failed, and how (contract BF-13). It has the query
/// of the URL, too: the URL goes into `knativeerrordest` of the dead letter, not into a log.
fn failure_report(destination: &Addressable, body: &[u8]) -> Bytes {
    let body = body.get(..knative::ERROR_DATA_BYTES).unwrap_or(body);
    let json = json!({ "errdestination": destination.url.as_written(), "errresponsebody": STANDARD.encode(body) });
    Bytes::from(json.to_string())
}
