//! Reasons for which a message is not a CloudEvent, in words that tell the sender what to change.

use crate::wire_text::WireText;

/// Reason for which a message is not a valid event. Displayed as one line of text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message is in neither structured nor binary mode.
    #[error(
        "not a CloudEvent: neither a ce-specversion header nor content-type \
         application/cloudevents+json; set ce-specversion: 1.0 and the ce-id, ce-source and \
         ce-type headers"
    )]
    NotAnEvent,
    /// The message is in an event format that is not JSON.
    #[error(
        "event format {0:?} is not supported: send application/cloudevents+json or binary mode"
    )]
    UnknownFormat(WireText),
    /// The data are compressed, or otherwise encoded.
    #[error("content encoding {0:?} is not supported: send the data as it is")]
    UnsupportedContentEncoding(WireText),
    /// The message follows a version of the specification that is not supported.
    #[error("specversion {0:?} is not supported: use 1.0 or 0.3")]
    UnknownSpecVersion(WireText),
    /// A required attribute is missing or blank.
    #[error("attribute {0} is missing or empty: it is required")]
    Missing(&'static str),
    /// An attribute's value does not have the attribute's type.
    #[error("attribute {name} is not valid: {problem}")]
    Invalid {
        /// Name of the attribute, or of the member of the JSON object.
        name: WireText,
        /// Description of a valid value.
        problem: &'static str,
    },
    /// No attribute may have such a name.
    #[error("{0:?} is not an attribute name: only a-z and 0-9 are allowed")]
    InvalidName(WireText),
    /// The attributes have more bytes than is allowed: one of them, or all together.
    #[error(
        "attribute {name} is too long: it has {bytes} bytes, all attributes of the event \
         have {together}, and {limit} are allowed; put what is long into the data, or raise \
         --max-header-bytes"
    )]
    TooLong {
        /// Name of the longest attribute.
        name: WireText,
        /// Bytes of its name and value.
        bytes: usize,
        /// Bytes of all attributes of the event.
        together: usize,
        /// Limit of the bytes of all attributes.
        limit: usize,
    },
    /// There are more attributes than anybody has a use for.
    #[error("the event has more than {limit} attributes: put them into the data")]
    TooMany {
        /// Largest number that is allowed.
        limit: usize,
    },
    /// The body is not the JSON that the content type promises.
    #[error("body is not a CloudEvent in JSON format: {0}")]
    Json(WireText),
    /// One event of a batch is not valid, so that the batch is not either.
    #[error("event {index} of the batch: {source}")]
    InBatch {
        /// Position of the event in the array, from 0.
        index: usize,
        /// Reason for which the event is not valid.
        source: Box<DecodeError>,
    },
}

impl DecodeError {
    pub(super) fn invalid(name: &str, problem: &'static str) -> Self {
        Self::Invalid {
            name: WireText::new(name),
            problem,
        }
    }
}
