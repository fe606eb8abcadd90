//! Responses of contract IF-5, A-4 to A-47, in one table. Error bodies are one line that says what
//! to do.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::request_reader::{WrongScheme, webhook_headers};
use crate::channel;
use crate::event::{DecodeError, Event, http as binding};
use crate::router::AcceptError;
use crate::server::body::BodyError;

/// Result of a request to ingress.
#[derive(Debug)]
pub(super) enum IngressResponse {
    /// The events are as safe as their channel can make them.
    Accepted,
    /// Reply to an event that was sent to a RequestReply.
    Reply(Box<Event>),
    /// Response to `OPTIONS` (contract CR-7).
    Options,
    /// The mode does not take events by this scheme (contract CR-37, CR-38).
    WrongScheme(WrongScheme),
    /// No channel has this address.
    NotFound,
    /// The path is not that of any channel.
    BadPath,
    /// The path is that of two objects, and the host does not say which.
    Ambiguous,
    /// The method is neither `POST` nor `OPTIONS` (contract CR-8).
    MethodNotAllowed,
    /// The body could not be read.
    BodyUnreadable(BodyError),
    /// The request is a batch of events, but only one reply can be waited for.
    BatchNotAllowed,
    /// The request is not a valid event.
    NotAnEvent(DecodeError),
    /// The channel refused the event, or its sender.
    Refused(AcceptError),
}

impl IngressResponse {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Accepted => StatusCode::ACCEPTED,
            Self::Options | Self::Reply(_) => StatusCode::OK,
            Self::WrongScheme(_) | Self::NotFound => StatusCode::NOT_FOUND,
            Self::BadPath | Self::Ambiguous | Self::BatchNotAllowed | Self::NotAnEvent(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyUnreadable(error) => error.status(),
            Self::Refused(refusal) => refusal.status(),
        }
    }

    pub(super) fn text(&self) -> Cow<'static, str> {
        match self {
            Self::Accepted | Self::Options | Self::Reply(_) => Cow::Borrowed(""),
            Self::WrongScheme(wrong) => Cow::Owned(wrong.to_string()),
            Self::NotFound => Cow::Borrowed(
                "no channel or broker at this address: check the host and the path /NAMESPACE/NAME",
            ),
            Self::BadPath => Cow::Borrowed(
                "the path must be /NAMESPACE/NAME of a channel or broker, or of a RequestReply",
            ),
            Self::Ambiguous => Cow::Borrowed(
                "more than one of a channel, a broker and a RequestReply have this name: \
                 send Host imc-dispatcher.<system namespace>.svc.<domain> for the channel, \
                 broker-ingress.<system namespace>.svc.<domain> for the broker or \
                 request-reply.<system namespace>.svc.<domain> for the RequestReply",
            ),
            Self::BatchNotAllowed => {
                Cow::Borrowed("send one event, and no batch: it is one reply that is waited for")
            }
            Self::MethodNotAllowed => Cow::Borrowed("send events by POST"),
            Self::BodyUnreadable(error) => Cow::Owned(error.to_string()),
            Self::NotAnEvent(error) => Cow::Owned(error.to_string()),
            Self::Refused(refusal) => Cow::Owned(refusal.to_string()),
        }
    }

    /// True if the response comes from a channel, which names its methods (contract CR-6).
    fn names_methods(&self) -> bool {
        !matches!(
            self,
            Self::WrongScheme(_) | Self::NotFound | Self::BadPath | Self::Ambiguous
        )
    }

    /// Time after which the sender should try again, where trying again helps.
    fn retry_after(&self) -> Duration {
        match self {
            Self::Refused(refusal) => refusal.retry_after(),
            _ => channel::RETRY_AFTER,
        }
    }

    /// Makes the HTTP response, with the header fields that its status asks for.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        if let Self::Reply(event) = &self {
            return reply_response(event);
        }
        let (status, text) = (self.status(), self.text());
        let mut response = empty_response(status);
        let headers = response.headers_mut();
        if !text.is_empty() {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("text/plain; charset=utf-8"),
            );
        }
        if self.names_methods() {
            headers.insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
        }
        if let Some((name, value)) = status_header(status, self.retry_after()) {
            headers.insert(name, value);
        }
        if matches!(self, Self::Options) {
            headers.extend(webhook_headers());
        }
        if !text.is_empty() {
            *response.body_mut() = Full::new(Bytes::from(format!("{text}\n")));
        }
        response
    }
}

/// Header field that says what a client with this status may do: when it may try again, or which
/// content coding would be taken (RFC 9110, 12.5.3).
fn status_header(status: StatusCode, retry_after: Duration) -> Option<(HeaderName, HeaderValue)> {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Some((RETRY_AFTER, HeaderValue::from(retry_after.as_secs())))
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Some((ACCEPT_ENCODING, HeaderValue::from_static("identity")))
        }
        _ => None,
    }
}

/// Response with a status only.
pub(super) fn empty_response(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// Response with an event in binary mode, as upstream responds, whatever mode the request was in.
fn reply_response(event: &Event) -> Response<Full<Bytes>> {
    let mut response = binding::binary_response(event).map(Full::new);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    response
}

impl fmt::Display for IngressResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status().as_u16(), self.text())
    }
}
