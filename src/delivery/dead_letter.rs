//! Failure of a delivery, as the dead letter sink or, without one, the log gets it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

use crate::auth::token_cache::TokenError;
use crate::channel::{CountedDrop, LostDelivery};
use crate::client::TransportError;
use crate::event::{Event, knative};
use crate::model::{Addressable, DestinationRole, Subscription};
use crate::scrub;
use crate::telemetry::series::DropReason;
use crate::wire_text::{escaped_excerpt, truncate};

/// Error code where there was no response (contract DP-30).
const NO_RESPONSE: i32 = 500;
/// Error code where no request could be sent (contract DP-30).
const NOT_SENT: i32 = -1;
/// Largest size in bytes of a destination's URL in a dead letter: attributes that are added on the
/// way must be small.
const LONGEST_URL: usize = 2048;
/// Largest size in bytes of a reason; some are made of what a peer has sent.
const LONGEST_REASON: usize = 1024;

/// Report of a broker filter on a subscriber that failed.
#[derive(Deserialize)]
struct FilterFailureReport {
    #[serde(rename = "errdestination")]
    destination: String,
    #[serde(rename = "errresponsebody", default)]
    data: String,
}

/// The last failed attempt at a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeliveryFailure {
    destination: Box<str>,
    code: i32,
    /// Start of the response's body, or of the description of what happened instead.
    data: Bytes,
    reason: Box<str>,
    /// Labels of the drop in metrics, if it comes to that.
    counted_as: CountedDrop,
    attempts: u32,
    forwarded: Option<Vec<(HeaderName, HeaderValue)>>,
}

/// Reason of a failure: as metrics count it, and in words.
struct FailureReason {
    counted_as: DropReason,
    text: String,
}

/// Start of a response's body, copied without the rest of the buffer that it was read into.
fn truncate_error_data(data: &[u8]) -> Bytes {
    Bytes::copy_from_slice(data.get(..knative::ERROR_DATA_BYTES).unwrap_or(data))
}

impl DeliveryFailure {
    fn new(destination: &Addressable, code: i32, data: &Bytes, reason: FailureReason) -> Self {
        Self {
            destination: truncate(destination.url.as_written(), LONGEST_URL).into(),
            code,
            data: truncate_error_data(data),
            reason: truncate(&scrub::string(reason.text), LONGEST_REASON).into(),
            counted_as: CountedDrop {
                destination: DestinationRole::Subscriber,
                reason: reason.counted_as,
            },
            attempts: 0,
            forwarded: None,
        }
    }

    /// Makes the failure of a destination that responded with a status that is no success.
    pub(super) fn from_response(
        destination: &Addressable,
        status: StatusCode,
        body: &Bytes,
    ) -> Self {
        Self::new(
            destination,
            status.as_u16().into(),
            body,
            FailureReason {
                counted_as: DropReason::of_status(status.as_u16()),
                text: format!("answered {status}"),
            },
        )
    }

    /// Recovers the failure from the error attributes of an event that is on the way to the dead
    /// letter sink.
    pub(super) fn from_dead_letter(dead: &Event) -> Self {
        let text = |name: &str| dead.get(name).unwrap_or_default();
        let code = text(knative::ERROR_CODE).parse().unwrap_or(NO_RESPONSE);
        Self {
            destination: escaped_excerpt(text(knative::ERROR_DEST), LONGEST_URL).into(),
            code,
            data: truncate_error_data(
                &STANDARD
                    .decode(text(knative::ERROR_DATA).as_bytes())
                    .unwrap_or_default(),
            ),
            reason: format!("failed with {code}").into(),
            counted_as: CountedDrop {
                destination: DestinationRole::Subscriber,
                reason: DropReason::of_status(u16::try_from(code).unwrap_or_default()),
            },
            attempts: 0,
            forwarded: None,
        }
    }

    /// Adds the body of the answer to the reason: for destinations inside of the process, whose words
    /// are its own.
    pub(super) fn with_own_words(mut self, body: &Bytes) -> Self {
        let words = String::from_utf8_lossy(body);
        let reason = format!("{}: {words}", self.reason);
        self.reason = truncate(&reason, LONGEST_REASON).into();
        self
    }

    /// Replaces destination and body by those that a broker filter reports; leaves them as they are
    /// if the filter failed itself and reports none (contract BF-13, G-36).
    pub(super) fn with_filter_report(mut self, body: &Bytes) -> Self {
        if let Ok(told) = serde_json::from_slice::<FilterFailureReport>(body) {
            self.data = truncate_error_data(&STANDARD.decode(told.data).unwrap_or_default());
            self.destination = escaped_excerpt(told.destination, LONGEST_URL).into();
        }
        self
    }

    /// Makes the failure of an attempt without a response.
    pub(super) fn from_transport_error(destination: &Addressable, error: &TransportError) -> Self {
        let text = format!("dispatch error: {error}");
        Self::new(
            destination,
            NO_RESPONSE,
            &Bytes::from(text),
            FailureReason {
                counted_as: error.reason().into(),
                text: error.to_string(),
            },
        )
    }

    /// Makes the failure of a reply that announced an event which could not be decoded, so that
    /// nothing was sent (contract DP-24).
    pub(super) fn from_unreadable_reply(destination: &Addressable, why: &dyn fmt::Display) -> Self {
        Self::new(
            destination,
            NOT_SENT,
            &Bytes::new(),
            FailureReason {
                counted_as: "reply".into(),
                text: format!("the reply is not an event: {why}"),
            },
        )
        .with_destination_role(DestinationRole::Reply)
    }

    /// Makes the failure of an attempt for which no token was to be had, so that nothing was sent
    /// (contract AU-4).
    pub(super) fn from_token_error(destination: &Addressable, error: &TokenError) -> Self {
        Self::new(
            destination,
            NOT_SENT,
            &Bytes::from(error.to_string()),
            FailureReason {
                counted_as: "token".into(),
                text: format!("not sent: {error}"),
            },
        )
    }

    /// Sets the number of attempts that were made.
    pub(super) fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the role of the destination.
    pub(super) fn with_destination_role(mut self, destination: DestinationRole) -> Self {
        self.counted_as.destination = destination;
        self
    }

    /// Sets the header fields that go to the dead letter sink, instead of those that came with the
    /// event (contract DP-7).
    pub(super) fn with_forwarded(mut self, forwarded: Vec<(HeaderName, HeaderValue)>) -> Self {
        self.forwarded = Some(forwarded);
        self
    }

    /// Makes the event for the dead letter sink: the original with the three error attributes
    /// (contract DP-29).
    pub(super) fn add_error_attributes(&self, mut event: Event) -> Event {
        event.set(knative::ERROR_DEST, &self.destination);
        event.set_integer(knative::ERROR_CODE, self.code);
        event.set(knative::ERROR_DATA, &STANDARD.encode(&self.data));
        match &self.forwarded {
            Some(forwarded) => event.with_forwarded(forwarded.clone()),
            None => event,
        }
    }

    /// URL of the destination, without the parts that no log may show.
    pub(super) fn scrubbed_destination(&self) -> Cow<'_, str> {
        scrub::url(&self.destination)
    }

    /// Description of what happened, in words.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// Labels of the drop in metrics.
    pub(super) fn counted_as(&self) -> CountedDrop {
        self.counted_as
    }

    /// Turns the failure into the details of a lost event; `end` says in words why it is lost.
    pub(super) fn into_lost_delivery(
        self,
        subscription: &Subscription,
        end: &str,
    ) -> Box<LostDelivery> {
        Box::new(LostDelivery {
            subscription: subscription.key.clone(),
            destination: self.scrubbed_destination().into_owned(),
            code: self.code,
            attempts: self.attempts,
            reason: format!("{}, and {end}", self.reason),
            counted_as: self.counted_as,
        })
    }
}

impl fmt::Display for DeliveryFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.scrubbed_destination(), self.reason)
    }
}
