//! The answer of a collector that took an export, perhaps in part.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

/// What a collector that took an export said about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExportAnswer {
    /// Number of spans or data points that it took not.
    pub rejected: u64,
    /// Why it did not take them, or a warning; empty if it said nothing.
    pub message: String,
}

impl ExportAnswer {
    /// Reads the message of a response; those about spans and about metrics have the same form.
    #[must_use]
    pub(crate) fn decode(message: &[u8]) -> Self {
        let Ok(response) = ExportTraceServiceResponse::decode(message) else {
            return Self::unreadable();
        };
        let partial = response.partial_success.unwrap_or_default();
        Self {
            // A number below 0 says nothing.
            rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
            message: partial.error_message,
        }
    }

    /// Makes the answer of a collector that says success by its status, and else nothing that OTLP
    /// knows.
    #[must_use]
    pub(crate) fn unreadable() -> Self {
        Self::with_warning(
            "the status is success, but the answer is no message of OTLP: is it a collector?",
        )
    }

    /// Makes the answer of a collector that says success by its status, and too much.
    #[must_use]
    pub(crate) fn too_long() -> Self {
        Self::with_warning("the status is success, but the answer has more than 64 KiB")
    }

    fn with_warning(message: &str) -> Self {
        Self {
            rejected: 0,
            message: message.to_owned(),
        }
    }
}
