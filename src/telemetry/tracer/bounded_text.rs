//! The texts that a span keeps: their starts, in memory of their own. OpenTelemetry's SDK for Rust
//! limits how many attributes a span has, but not how long they are.

use std::borrow::Cow;

use opentelemetry::{KeyValue, Value};

use crate::wire_text::truncate;

/// Longest text of an attribute in bytes.
pub(super) const LONGEST: usize = 1024;

/// Makes an attribute of the start of a text, in memory of its own.
#[must_use]
pub fn text_attribute(name: &'static str, text: &str) -> KeyValue {
    KeyValue::new(name, truncate(text, LONGEST).to_owned())
}

/// Cuts the text of an attribute.
pub(super) fn truncate_attribute(attribute: KeyValue) -> KeyValue {
    match &attribute.value {
        Value::String(text) if text.as_str().len() > LONGEST => {
            let text = truncate(text.as_str(), LONGEST).to_owned();
            KeyValue::new(attribute.key, text)
        }
        _ => attribute,
    }
}

/// Cuts the reason of an error.
pub(super) fn truncate_reason(reason: Cow<'static, str>) -> Cow<'static, str> {
    match reason {
        Cow::Owned(text) => truncate(&text, LONGEST).to_owned().into(),
        constant @ Cow::Borrowed(_) => constant,
    }
}
