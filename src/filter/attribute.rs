//! Attributes of an event as filters see them, and the work of looking at them.

use std::borrow::Cow;

use super::cesql::{AttributeSource, CesqlValue, CorrelationQuery, MeterExceeded, WorkMeter};
use crate::correlation::{CorrelationId, KeyHolder, KeyRing};
use crate::event::{AttributeType, ContextAttribute, Event};

/// True for the attributes that are stored elsewhere in an event, and are text.
fn is_separate(name: &str) -> bool {
    matches!(name, "specversion" | "datacontenttype")
}

fn separate_text<'e>(
    event: &'e Event,
    name: &str,
    meter: &mut WorkMeter,
) -> Result<Option<Cow<'e, str>>, MeterExceeded> {
    meter.step(event.content_type().map_or(0, |value| value.len()))?;
    Ok(event.get(name))
}

/// Finds one of the other attributes. A step is taken for each name that may be compared.
#[inline]
fn find_attribute<'e>(
    event: &'e Event,
    name: &str,
    meter: &mut WorkMeter,
) -> Result<Option<&'e ContextAttribute>, MeterExceeded> {
    meter.step(event.attributes().len())?;
    Ok(event.attribute(name))
}

/// Text of an attribute. It is read as a whole, since it may be encoded, and decoded into memory
/// that grows by doubling.
#[inline]
fn read_text<'e>(
    attribute: &'e ContextAttribute,
    meter: &mut WorkMeter,
) -> Result<Cow<'e, str>, MeterExceeded> {
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

/// Text of an attribute that is set (contract TF-2, except that one which is not set is missing,
/// contract G-47).
#[inline]
pub(super) fn attribute_text<'e>(
    event: &'e Event,
    name: &str,
    meter: &mut WorkMeter,
) -> Result<Option<Cow<'e, str>>, MeterExceeded> {
    if is_separate(name) {
        return separate_text(event, name, meter);
    }
    match find_attribute(event, name, meter)? {
        Some(attribute) => read_text(attribute, meter).map(Some),
        None if name == "schemaurl" => attribute_text(event, "dataschema", meter),
        None => Ok(None),
    }
}

/// Compares as contract TF-3 says: `""` wants the attribute to be set and not empty; else the
/// strings must be equal, and an integer or a boolean of a structured event equals no string.
pub(super) fn matches(
    event: &Event,
    name: &str,
    wanted: &str,
    meter: &mut WorkMeter,
) -> Result<bool, MeterExceeded> {
    let Some(text) = attribute_text(event, name, meter)? else {
        return Ok(false);
    };
    let is_text = || {
        event
            .attribute(name)
            .is_none_or(|attribute| attribute.attribute_type() == AttributeType::String)
    };
    Ok(if wanted.is_empty() {
        !text.is_empty()
    } else {
        text == wanted && is_text()
    })
}

/// Attributes of an event as CESQL sees them: typed where the event was (contract TF-14). With the
/// keys of correlation ids, if the expression verifies those.
pub(super) struct EventAttributes<'e> {
    pub(super) event: &'e Event,
    pub(super) keys: Option<&'e KeyRing>,
}

/// Steps of work for trying a key, besides reading what it has sealed.
const KEY: usize = 1024;

impl<'e> AttributeSource<'e> for EventAttributes<'e> {
    fn get(
        &self,
        name: &str,
        meter: &mut WorkMeter,
    ) -> Result<Option<CesqlValue<'e>>, MeterExceeded> {
        if is_separate(name) {
            return Ok(separate_text(self.event, name, meter)?.map(CesqlValue::String));
        }
        let Some(attribute) = find_attribute(self.event, name, meter)? else {
            return Ok(None);
        };
        let text = read_text(attribute, meter)?;
        Ok(match attribute.attribute_type() {
            AttributeType::Integer => text.parse().ok().map(CesqlValue::Integer),
            AttributeType::Boolean => Some(CesqlValue::Boolean(text == "true")),
            AttributeType::String => Some(CesqlValue::String(text)),
        })
    }

    fn exists(&self, name: &str, meter: &mut WorkMeter) -> Result<bool, MeterExceeded> {
        meter.step(self.event.attributes().len())?;
        Ok(match name {
            "specversion" => true,
            "datacontenttype" => self.event.content_type().is_some(),
            _ => self.event.attribute(name).is_some(),
        })
    }

    /// Decides as upstream's filter does (`pkg/requestreply/cesql.go`), where only entries of this
    /// very RequestReply count.
    fn verifies_correlation_id(
        &self,
        asked: &CorrelationQuery<'_>,
        meter: &mut WorkMeter,
    ) -> Result<Option<bool>, MeterExceeded> {
        meter.allocate(asked.id.len())?;
        let Some(id) =
            CorrelationId::parse(asked.id).filter(|id| id.is_for(asked.index, asked.replicas))
        else {
            return Ok(Some(false));
        };
        let holder = KeyHolder {
            secret: asked.secret,
            namespace: asked.namespace,
            name: asked.name,
        };
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
