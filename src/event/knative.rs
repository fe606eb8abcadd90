//! What Knative adds to CloudEvents: its extensions and the headers that travel beside an event.

use http::HeaderName;

/// Hops that a broker's event has left (contract BI-6).
pub const BROKER_TTL: &str = "knativebrokerttl";
/// When the broker took the event, RFC 3339 in UTC (contract BI-5).
pub const ARRIVAL_TIME: &str = "knativearrivaltime";
/// URL of the destination that failed (contract DP-29).
pub const ERROR_DEST: &str = "knativeerrordest";
/// Last status of the destination that failed.
pub const ERROR_CODE: &str = "knativeerrorcode";
/// Base64 of the start of the last answer of the destination that failed.
pub const ERROR_DATA: &str = "knativeerrordata";
/// Bytes of an answer that fit `knativeerrordata`: 1,024 characters of base64 (contract DP-29, DP-31).
pub const ERROR_DATA_BYTES: usize = 768;

/// Namespace of the sending channel or trigger, sent to subscribers (contract DP-5).
pub const NAMESPACE_HEADER: HeaderName = HeaderName::from_static("kn-namespace");
/// Set to `reply` where an event may come back in the answer (contract DP-5).
pub const PREFER_HEADER: HeaderName = HeaderName::from_static("prefer");

/// Whether Knative forwards this request header with the event (contract CR-29). Names are lower-case.
#[must_use]
pub fn is_forwarded(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(name, "x-request-id" | "retry-after") || name.starts_with("knative-") || name.starts_with("x-b3-")
}
