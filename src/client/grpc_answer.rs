//! The answer of a gRPC call: a message, then a status in trailers. A status may ask for a wait by
//! the details that Google's APIs have (`google.rpc.RetryInfo`).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::HeaderMap;
use percent_encoding::percent_decode;

use super::bounded_body::BoundedBody;
use crate::telemetry::otlp::{self, ExportAnswer, ExportError, ExportResult};
use crate::wire_text::WireText;

/// The names of the codes, from 0 on.
const NAMES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid argument",
    "deadline exceeded",
    "not found",
    "already exists",
    "permission denied",
    "resource exhausted",
    "failed precondition",
    "aborted",
    "out of range",
    "unimplemented",
    "internal",
    "unavailable",
    "data loss",
    "unauthenticated",
];
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Reads the answer of a call: its status stands in the header fields if the response has no
/// message, else in the trailers.
pub(super) async fn read_answer(response: reqwest::Response) -> ExportResult {
    if let Some(status) = parse_status(response.headers()) {
        return status.map(|()| ExportAnswer::default());
    }
    let mut body = BoundedBody::new(response);
    while let Some(trailers) = body.next_trailers().await? {
        if let Some(status) = parse_status(&trailers) {
            return status.map(|()| match body.content().map(unframe) {
                Some(Some(message)) => ExportAnswer::decode(message),
                Some(None) => ExportAnswer::unreadable(),
                None => ExportAnswer::too_long(),
            });
        }
    }
    Err("it did not tell how the call ended".to_owned().into())
}

/// Returns the message in a frame of gRPC; `None` if it is compressed or not whole.
fn unframe(content: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = content.split_at_checked(PREFIX)?;
    let [0, length @ ..] = prefix else {
        return None;
    };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    message.get(..usize::try_from(length).ok()?)
}

/// Reads the status; `None` if there is none. The codes that OTLP lists as retryable are cancelled,
/// deadline exceeded, aborted, out of range, unavailable and data loss, and resource exhausted if
/// the collector says when it recovers.
fn parse_status(headers: &HeaderMap) -> Option<Result<(), ExportError>> {
    let status = headers.get("grpc-status")?.to_str().unwrap_or_default();
    let wait = requested_wait(headers);
    let retry_after = match status {
        "0" => return Some(Ok(())),
        "1" | "4" | "10" | "11" | "14" | "15" => Some(wait.unwrap_or_default()),
        "8" => wait,
        _ => None,
    };
    Some(Err(ExportError {
        reason: format_status(status, headers),
        retry_after,
    }))
}

/// The status for people, with what the collector says about it.
fn format_status(status: &str, headers: &HeaderMap) -> String {
    let code: Option<usize> = status.parse().ok();
    let name = code.and_then(|code| NAMES.get(code)).unwrap_or(&"unknown");
    let said = headers
        .get("grpc-message")
        .map(|message| percent_decode(message.as_bytes()).decode_utf8_lossy());
    let reason = format!("it answered gRPC status {} ({name})", WireText::new(status));
    match said.as_deref().map(str::trim) {
        None | Some("") => reason,
        Some(said) => format!("{reason}: {}", WireText::new(said)),
    }
}

/// Reads the wait that the details of a status ask for.
fn requested_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-status-details-bin")?.to_str().ok()?;
    let status = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    otlp::decode_retry_delay(&status)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// Details with a wait of 2 s.
    const TWO: &str = "CAgaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAg";

    fn wait_after(code: &'static str, details: Option<&'static str>) -> Option<Option<u64>> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static(code));
        if let Some(details) = details {
            let name = HeaderName::from_static("grpc-status-details-bin");
            headers.insert(name, HeaderValue::from_static(details));
        }
        let status = parse_status(&headers).expect("a status");
        let wait = |wait: Duration| wait.as_secs();
        status.err().map(|error| error.retry_after.map(wait))
    }

    #[test]
    fn what_is_sent_again_and_when() {
        for (code, details, wait) in [
            ("14", None, Some(Some(0))),
            ("14", Some(TWO), Some(Some(2))),
            ("14", Some("no base64!"), Some(Some(0))),
            ("8", Some(TWO), Some(Some(2))),
            // It does not say when it recovers.
            ("8", None, Some(None)),
            ("3", Some(TWO), Some(None)),
            ("0", None, None),
        ] {
            assert_eq!(wait_after(code, details), wait, "{code} {details:?}");
        }
    }

    #[test]
    fn messages_of_answers() {
        assert_eq!(unframe(&[0, 0, 0, 0, 2, 7, 8]), Some(&[7, 8][..]));
        assert_eq!(unframe(&[0, 0, 0, 0, 0]), Some(&[][..]));
        assert_eq!(unframe(&[1, 0, 0, 0, 0]), None, "compressed");
        assert_eq!(unframe(&[0, 0, 0, 0, 9, 1]), None, "not whole");
    }
}
