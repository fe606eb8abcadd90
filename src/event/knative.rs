//! Additions of Knative to CloudEvents: its extensions, and the headers that travel beside an
//! event.

use http::HeaderName;

/// Extension with the number of hops that a broker's event has left (contract BI-6).
pub(crate) const BROKER_TTL: &str = "knativebrokerttl";
/// Extension with the time at which the broker took the event, RFC 3339 in UTC (contract BI-5).
pub(crate) const ARRIVAL_TIME: &str = "knativearrivaltime";
/// Extension with the URL of the destination that failed (contract DP-29).
pub(crate) const ERROR_DEST: &str = "knativeerrordest";
/// Extension with the last status of the destination that failed.
pub(crate) const ERROR_CODE: &str = "knativeerrorcode";
/// Extension with the start of the last response of the destination that failed, in base64.
pub(crate) const ERROR_DATA: &str = "knativeerrordata";
/// Bytes of a response that fit `knativeerrordata`: 1,024 characters of base64 (contract DP-29,
/// DP-31).
pub(crate) const ERROR_DATA_BYTES: usize = 768;

/// Header with the namespace of the sending channel or Trigger, sent to subscribers (contract
/// DP-5).
pub(crate) const NAMESPACE_HEADER: HeaderName = HeaderName::from_static("kn-namespace");
/// Header that is set to `reply` where an event may come back in the response (contract DP-5).
pub(crate) const PREFER_HEADER: HeaderName = HeaderName::from_static("prefer");

/// True if Knative forwards this request header with the event (contract CR-29). Names are
/// lower-case.
#[must_use]
pub(crate) fn is_forwarded(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "x-request-id" | "retry-after")
        || name.starts_with("knative-")
        || name.starts_with("x-b3-")
}
