//! Why something is not a CloudEvent, in words that tell the sender what to change.

use crate::wire_text::WireText;

/// What is wrong with a message that should have been an event. Displayed as one line of text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Neither structured nor binary mode.
    #[error(
        "not a CloudEvent: neither a ce-specversion header nor content-type application/cloudevents+json; set ce-specversion: 1.0 and the ce-id, ce-source and ce-type headers"
    )]
    NotAnEvent,
    /// An event format that is not JSON.
    #[error("event format {0:?} is not supported: send application/cloudevents+json or binary mode")]
    UnknownFormat(WireText),
    /// Data that is compressed, or otherwise not as it is meant.
    #[error("content encoding {0:?} is not supported: send the data as it is")]
    UnsupportedContentEncoding(WireText),
    /// A version of the specification that is not supported.
    #[error("specversion {0:?} is not supported: use 1.0 or 0.3")]
    UnknownSpecVersion(WireText),
    /// A required attribute is missing or blank.
    #[error("attribute {0} is missing or empty: it is required")]
    Missing(&'static str),
    /// An attribute's value does not have the attribute's type.
    #[error("attribute {name} is not valid: {problem}")]
    Invalid {
        /// The attribute, or the member of the JSON object.
        name: WireText,
        /// What was expected.
        problem: &'static str,
    },
    /// A name that no attribute may have.
    #[error("{0:?} is not an attribute name: only a-z and 0-9 are allowed")]
    InvalidName(WireText),
    /// The attributes have more bytes than is allowed: one of them, or all together.
    #[error(
        "attribute {name} is too long: it has {bytes} bytes, all attributes of the event have {together}, and {limit} are allowed; put what is long into the data, or raise --max-header-bytes"
    )]
    TooLong {
        /// The longest attribute.
        name: WireText,
        /// Bytes of its name and its value.
        bytes: usize,
        /// Bytes of all.
        together: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// There are more attributes than anybody has a use for.
    #[error("the event has more than {limit} attributes: put them into the data")]
    TooMany {
        /// How many are allowed.
        limit: usize,
    },
    /// The body is not the JSON that the content type promises.
    #[error("body is not a CloudEvent in JSON format: {0}")]
    Json(WireText),
    /// One event of a batch is wrong.
    #[error("event {index} of the batch: {source}")]
    InBatch {
        /// Position in the array, from 0.
        index: usize,
        /// What is wrong with it.
        source: Box<DecodeError>,
    },
}

impl DecodeError {
    pub(super) fn invalid(name: &str, problem: &'static str) -> Self {
        Self::Invalid { name: WireText::new(name), problem }
    }
}
