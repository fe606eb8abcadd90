//! The texts that a span keeps: their starts, in memory of their own. OpenTelemetry's SDK for Rust
//! limits how many attributes a span has, but not how long they are.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::{KeyValue, Value};

use crate::wire_text::truncate;

/// Longest text of an attribute in bytes.
pub(super) const LONGEST: usize = 1024;

/// Makes a value of the start of a text, in memory of its own that clones share.
#[must_use]
pub(in crate::telemetry) fn text_value(text: &str) -> Value {
    Value::String(Arc::<str>::from(truncate(text, LONGEST)).into())
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
