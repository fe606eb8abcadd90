//! An event's attributes as filters see them, and what it costs to look at them.

use std::borrow::Cow;

use super::cesql::{Attributes, Exceeded, Meter, Value};
use crate::event::{Attribute, Event, Kind};

/// The attributes that stand elsewhere in an event, and are text.
fn is_apart(name: &str) -> bool {
    matches!(name, "specversion" | "datacontenttype")
}

fn apart<'e>(event: &'e Event, name: &str, meter: &mut Meter) -> Result<Option<Cow<'e, str>>, Exceeded> {
    meter.step(event.content_type().map_or(0, |value| value.len()))?;
    Ok(event.get(name))
}

/// One of the others. Names are compared one after the other.
#[inline]
fn find<'e>(event: &'e Event, name: &str, meter: &mut Meter) -> Result<Option<&'e Attribute>, Exceeded> {
    meter.step(event.attributes().len())?;
    Ok(event.find(name))
}

/// The text of an attribute, which is read whole, since it may be encoded; then it is decoded into memory that grows by
/// doubling.
#[inline]
fn read<'e>(attribute: &'e Attribute, meter: &mut Meter) -> Result<Cow<'e, str>, Exceeded> {
    let length = attribute.value().len();
    meter.step(length)?;
    let decoded = length.saturating_mul(2);
    meter.has_bytes(decoded)?;
    let text = attribute.text();
    if let Cow::Owned(_) = text {
        meter.allocate(decoded)?;
    }
    Ok(text)
}

/// The text of an attribute that is set (TF-2, but one that is not set is missing, gaps.md G-47).
#[inline]
pub(super) fn text<'e>(event: &'e Event, name: &str, meter: &mut Meter) -> Result<Option<Cow<'e, str>>, Exceeded> {
    if is_apart(name) {
        return apart(event, name, meter);
    }
    match find(event, name, meter)? {
        Some(attribute) => read(attribute, meter).map(Some),
        None if name == "schemaurl" => text(event, "dataschema", meter),
        None => Ok(None),
    }
}

/// TF-3: `""` wants the attribute to be there and not empty; else the strings must be equal, and an integer or a
/// boolean of a structured event equals no string.
pub(super) fn matches(event: &Event, name: &str, wanted: &str, meter: &mut Meter) -> Result<bool, Exceeded> {
    let Some(text) = text(event, name, meter)? else { return Ok(false) };
    let is_text = || event.find(name).is_none_or(|attribute| attribute.kind() == Kind::String);
    Ok(if wanted.is_empty() { !text.is_empty() } else { text == wanted && is_text() })
}

/// The attributes of an event as CESQL sees them: typed where its event was (TF-14).
pub(super) struct Of<'e>(pub(super) &'e Event);

impl<'e> Attributes<'e> for Of<'e> {
    fn get(&self, name: &str, meter: &mut Meter) -> Result<Option<Value<'e>>, Exceeded> {
        if is_apart(name) {
            return Ok(apart(self.0, name, meter)?.map(Value::String));
        }
        let Some(attribute) = find(self.0, name, meter)? else { return Ok(None) };
        let text = read(attribute, meter)?;
        Ok(match attribute.kind() {
            Kind::Integer => text.parse().ok().map(Value::Integer),
            Kind::Boolean => Some(Value::Boolean(text == "true")),
            Kind::String => Some(Value::String(text)),
        })
    }

    fn exists(&self, name: &str, meter: &mut Meter) -> Result<bool, Exceeded> {
        meter.step(self.0.attributes().len())?;
        Ok(match name {
            "specversion" => true,
            "datacontenttype" => self.0.content_type().is_some(),
            _ => self.0.find(name).is_some(),
        })
    }
}
