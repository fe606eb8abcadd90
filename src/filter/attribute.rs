//! An event's attributes as filters see them, and what it costs to look at them.

use std::borrow::Cow;

use super::cesql::{Attributes, Exceeded, Meter, Value};
use crate::event::{Event, Kind};

/// An attribute with its type, if it is set.
type Found<'e> = Option<(Kind, Cow<'e, str>)>;

/// Looks an attribute up. Names are compared one after the other, and a value is read whole, since it may be encoded; then it
/// is decoded into memory that grows by doubling.
fn find<'e>(event: &'e Event, name: &str, meter: &mut Meter) -> Result<Found<'e>, Exceeded> {
    let length = match name {
        "specversion" => 0,
        "datacontenttype" => event.content_type().map_or(0, |value| value.len()),
        _ => {
            meter.step(event.attributes().len())?;
            let Some(attribute) = event.find(name) else { return Ok(None) };
            meter.step(attribute.value().len())?;
            let decoded = attribute.value().len().saturating_mul(2);
            meter.could_allocate(decoded)?;
            let text = attribute.text();
            if matches!(text, Cow::Owned(_)) {
                meter.allocate(decoded)?;
            }
            return Ok(Some((attribute.kind(), text)));
        }
    };
    meter.step(length)?;
    Ok(event.get(name).map(|text| (Kind::String, text)))
}

/// The text of an attribute that is set (TF-2, but one that is not set is missing, gaps.md G-47).
pub(super) fn text<'e>(event: &'e Event, name: &str, meter: &mut Meter) -> Result<Option<Cow<'e, str>>, Exceeded> {
    Ok(typed_text(event, name, meter)?.map(|(_, text)| text))
}

fn typed_text<'e>(event: &'e Event, name: &str, meter: &mut Meter) -> Result<Found<'e>, Exceeded> {
    match find(event, name, meter)? {
        None if name == "schemaurl" => find(event, "dataschema", meter),
        found => Ok(found),
    }
}

/// TF-3: `""` wants the attribute to be there and not empty; else the strings must be equal, and an integer or a
/// boolean of a structured event equals no string.
pub(super) fn matches(event: &Event, name: &str, wanted: &str, meter: &mut Meter) -> Result<bool, Exceeded> {
    let Some((kind, text)) = typed_text(event, name, meter)? else { return Ok(false) };
    meter.step(wanted.len())?;
    Ok(if wanted.is_empty() { !text.is_empty() } else { kind == Kind::String && text == wanted })
}

/// The attributes of an event as CESQL sees them: typed where its event was (TF-14).
pub(super) struct Of<'e>(pub(super) &'e Event);

impl<'e> Attributes<'e> for Of<'e> {
    fn get(&self, name: &str, meter: &mut Meter) -> Result<Option<Value<'e>>, Exceeded> {
        let Some((kind, text)) = find(self.0, name, meter)? else { return Ok(None) };
        Ok(match kind {
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
