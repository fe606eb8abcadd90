//! An event's attributes as filters see them, and what it costs to look at them.

use std::borrow::Cow;

use super::cesql::{Attributes, Correlation, Exceeded, Meter, Value};
use crate::correlation::{Holder, Id, KeyRing};
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

/// The text of an attribute that is set (contract TF-2, but one that is not set is missing, contract G-47).
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

/// Contract TF-3: `""` wants the attribute to be there and not empty; else the strings must be equal, and an integer or
/// a boolean of a structured event equals no string.
pub(super) fn matches(event: &Event, name: &str, wanted: &str, meter: &mut Meter) -> Result<bool, Exceeded> {
    let Some(text) = text(event, name, meter)? else { return Ok(false) };
    let is_text = || event.find(name).is_none_or(|attribute| attribute.kind() == Kind::String);
    Ok(if wanted.is_empty() { !text.is_empty() } else { text == wanted && is_text() })
}

/// The attributes of an event as CESQL sees them: typed where its event was (contract TF-14). With the keys of
/// correlation ids, if an expression asks for them.
pub(super) struct Of<'e> {
    pub(super) event: &'e Event,
    pub(super) keys: Option<&'e KeyRing>,
}

/// What it takes to try a key, besides reading what it has sealed.
const KEY: usize = 1024;

impl<'e> Attributes<'e> for Of<'e> {
    fn get(&self, name: &str, meter: &mut Meter) -> Result<Option<Value<'e>>, Exceeded> {
        if is_apart(name) {
            return Ok(apart(self.event, name, meter)?.map(Value::String));
        }
        let Some(attribute) = find(self.event, name, meter)? else { return Ok(None) };
        let text = read(attribute, meter)?;
        Ok(match attribute.kind() {
            Kind::Integer => text.parse().ok().map(Value::Integer),
            Kind::Boolean => Some(Value::Boolean(text == "true")),
            Kind::String => Some(Value::String(text)),
        })
    }

    fn exists(&self, name: &str, meter: &mut Meter) -> Result<bool, Exceeded> {
        meter.step(self.event.attributes().len())?;
        Ok(match name {
            "specversion" => true,
            "datacontenttype" => self.event.content_type().is_some(),
            _ => self.event.find(name).is_some(),
        })
    }

    /// As upstream's filter decides it (`pkg/requestreply/cesql.go`), where only entries of this very RequestReply count.
    fn verifies(&self, asked: &Correlation<'_>, meter: &mut Meter) -> Result<Option<bool>, Exceeded> {
        meter.allocate(asked.id.len())?;
        let Some(id) = Id::parse(asked.id).filter(|id| id.is_for(asked.index, asked.replicas)) else {
            return Ok(Some(false));
        };
        let holder = Holder { secret: asked.secret, namespace: asked.namespace, name: asked.name };
        let mut verdict = None;
        for key in self.keys.into_iter().flat_map(|keys| keys.keys(holder)) {
            meter.allocate(asked.id.len().saturating_add(KEY))?;
            if key.verifies(&id) {
                return Ok(Some(true));
            }
            verdict = Some(false);
        }
        Ok(verdict)
    }
}
