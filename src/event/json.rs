//! The JSON event format: text to event and back. Only the envelope is parsed; `data` is taken as
//! it stands.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::attribute::{AttributeType, ContextAttribute};
use super::attribute_limit::MOST_EVER;
use super::{AttributeLimit, DecodeError, Event, SpecVersion, is_attribute_name};
use crate::wire_text::WireText;

const IMPLIED_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/json");

/// Members of the format that are no attributes, or are stored elsewhere than among them.
const NON_ATTRIBUTE_MEMBERS: [&str; 4] = ["specversion", "datacontenttype", "data", "data_base64"];

/// Longest text in bytes that is read again although it is no valid event.
const MOST_ANNOUNCING: usize = 64 * 1024;

/// Decodes one event without validating its attributes, except for their limit.
pub(super) fn decode(body: &Bytes, limit: AttributeLimit) -> Result<Event, DecodeError> {
    let object: JsonObject<'_> = serde_json::from_slice(body).map_err(json_error)?;
    event_from_object(body, &object, limit)
}

/// Error of the parser as wire text, since its words may repeat what it has read.
fn json_error(error: serde_json::Error) -> DecodeError {
    DecodeError::Json(WireText::new(error))
}

/// Decodes an array of events; the outer error means that the body is no array of objects.
pub(super) fn decode_batch(
    body: &Bytes,
    limit: AttributeLimit,
) -> Result<Vec<Result<Event, DecodeError>>, DecodeError> {
    let objects: Vec<JsonObject<'_>> = serde_json::from_slice(body).map_err(json_error)?;
    Ok(objects
        .iter()
        .map(|object| event_from_object(body, object, limit))
        .collect())
}

/// The event that a text announces which is no valid event, as far as its name goes: id, source and
/// type. Nothing of a text that is no JSON, or longer than [`MOST_ANNOUNCING`].
pub(super) fn announced_event(body: &Bytes) -> Event {
    let mut event = Event::empty(SpecVersion::V1_0);
    let object = body.get(..MOST_ANNOUNCING).map_or(&body[..], |_| &[]);
    if let Ok(object) = serde_json::from_slice::<JsonObject<'_>>(object) {
        for name in ["id", "source", "type"] {
            if let Ok(Some(text)) = object.string_member(name) {
                event.set(name, &text);
            }
        }
    }
    event
}

/// Encodes an event: attributes, then data, then extensions as they came (contract W-6 shows the
/// members).
pub(super) fn encode(event: &Event) -> Bytes {
    serde_json::to_vec(&JsonEnvelope(event))
        .map(Bytes::from)
        .unwrap_or_default()
}

/// Members of a JSON object in their order, values unparsed, borrowed from the text.
struct JsonObject<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> JsonObject<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0
            .iter()
            .find(|(key, value)| key == name && value.get() != "null")
            .map(|(_, value)| *value)
    }

    fn string_member(&self, name: &str) -> Result<Option<Cow<'a, str>>, DecodeError> {
        self.get(name)
            .map(|raw| parse_string(name, raw))
            .transpose()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(JsonObjectVisitor)
    }
}

struct JsonObjectVisitor;

impl<'de> Visitor<'de> for JsonObjectVisitor {
    type Value = JsonObject<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the members of a CloudEvent")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::with_capacity(12);
        while let Some((JsonKey(key), value)) = map.next_entry()? {
            // The number is limited, since each member is searched among the others.
            if members.len() >= MOST_EVER + NON_ATTRIBUTE_MEMBERS.len() {
                return Err(serde::de::Error::custom(format_args!(
                    "it has more than {MOST_EVER} attributes"
                )));
            }
            if members.iter().any(|(known, _)| *known == key) {
                return Err(serde::de::Error::custom(format_args!(
                    "member {:?} appears twice",
                    WireText::new(&key)
                )));
            }
            members.push((key, value));
        }
        Ok(JsonObject(members))
    }
}

#[derive(Deserialize)]
struct JsonKey<'a>(#[serde(borrow)] Cow<'a, str>);

fn event_from_object(
    body: &Bytes,
    object: &JsonObject<'_>,
    limit: AttributeLimit,
) -> Result<Event, DecodeError> {
    let version = object
        .string_member("specversion")?
        .ok_or(DecodeError::Missing("specversion"))?;
    let version = SpecVersion::parse(&version)
        .ok_or_else(|| DecodeError::UnknownSpecVersion(WireText::new(version)))?;
    // Limits come before any attribute is made, since that takes memory.
    check_attribute_limit(object, limit)?;
    let mut event = Event::empty(version);
    event.content_type = object
        .string_member("datacontenttype")?
        .map(|text| parse_content_type(&text))
        .transpose()?;
    add_attributes(&mut event, object)?;
    limit.check_count(event.attributes.len())?;
    set_data(&mut event, body, object)?;
    Ok(event)
}

fn add_attributes(event: &mut Event, object: &JsonObject<'_>) -> Result<(), DecodeError> {
    for (name, raw) in &object.0 {
        if NON_ATTRIBUTE_MEMBERS.contains(&name.as_ref()) || raw.get() == "null" {
            continue;
        }
        let attribute = parse_attribute(name, raw)?;
        if event.attribute(attribute.name()).is_some() {
            return Err(DecodeError::invalid(
                attribute.name(),
                "it is there twice, in upper and lower case",
            ));
        }
        event.attributes.push(attribute);
    }
    Ok(())
}

/// Checks the attributes before any of them is made, which takes up to three times their size in
/// JSON.
fn check_attribute_limit(
    object: &JsonObject<'_>,
    limit: AttributeLimit,
) -> Result<(), DecodeError> {
    let is_attribute = |name: &str| !matches!(name, "data" | "data_base64");
    let attributes = || {
        object
            .0
            .iter()
            .filter(|(name, raw)| is_attribute(name) && raw.get() != "null")
    };
    // A value is no longer than its written form, so the quick check needs no parsing.
    let written = attributes().map(|(name, raw)| (&**name, raw.get().len()));
    if limit.check_all(written).is_ok() {
        return Ok(());
    }
    limit.check_all(attributes().map(|(name, raw)| (&**name, value_length(name, raw))))
}

/// Size in bytes of the value that is meant.
fn value_length(name: &str, raw: &RawValue) -> usize {
    match raw.get().as_bytes().first() {
        Some(b'"') => parse_string(name, raw).map_or(raw.get().len(), |text| text.len()),
        // A number that is accepted fits 32 bits, whose longest text is that of the least one.
        _ => raw.get().len().min("-2147483648".len()),
    }
}

fn parse_content_type(text: &str) -> Result<HeaderValue, DecodeError> {
    HeaderValue::from_str(text)
        .map_err(|_cause| DecodeError::invalid("datacontenttype", "it must be a media type"))
}

/// Parses one attribute. Extension names are lower-cased (contract CR-19), numbers lose their
/// fraction (contract CR-19) and must fit 32 bits.
fn parse_attribute(name: &str, raw: &RawValue) -> Result<ContextAttribute, DecodeError> {
    let name = name.to_ascii_lowercase();
    if !is_attribute_name(&name) {
        return Err(DecodeError::InvalidName(WireText::new(name)));
    }
    if matches!(name.as_str(), "specversion" | "datacontenttype" | "data") {
        return Err(DecodeError::invalid(&name, "write its name in lower case"));
    }
    let (text, kind) = match raw.get().as_bytes().first() {
        Some(b'"') => (parse_string(&name, raw)?, AttributeType::String),
        Some(b't' | b'f') => (Cow::Borrowed(raw.get()), AttributeType::Boolean),
        Some(b'-' | b'0'..=b'9') => (
            Cow::Owned(parse_integer(&name, raw)?.to_string()),
            AttributeType::Integer,
        ),
        _ => {
            return Err(DecodeError::invalid(
                &name,
                "an attribute is a string, an integer or a boolean",
            ));
        }
    };
    ContextAttribute::from_text(&name, &text, kind)
        .ok_or_else(|| DecodeError::InvalidName(WireText::new(&name)))
}

fn parse_integer(name: &str, raw: &RawValue) -> Result<i32, DecodeError> {
    let out_of_range = || DecodeError::invalid(name, "an integer must fit 32 bits");
    if let Ok(value) = raw.get().parse::<i32>() {
        return Ok(value);
    }
    let value: f64 = raw.get().parse().map_err(|_cause| out_of_range())?;
    format!("{:.0}", value.trunc())
        .parse()
        .map_err(|_cause| out_of_range())
}

fn parse_string<'a>(name: &str, raw: &'a RawValue) -> Result<Cow<'a, str>, DecodeError> {
    serde_json::from_str::<JsonKey<'a>>(raw.get())
        .map(|key| key.0)
        .map_err(|_cause| DecodeError::invalid(name, "it must be a string"))
}

/// Sets the data by JSON format §3.1.2: base64, else JSON as it stands, else the text of a string.
fn set_data(event: &mut Event, body: &Bytes, object: &JsonObject<'_>) -> Result<(), DecodeError> {
    if let Some(raw) = object.get("data_base64") {
        event.data = decode_base64(&parse_string("data_base64", raw)?, "data_base64")?;
        return Ok(());
    }
    let data = object.0.iter().find(|(key, _)| key == "data");
    let Some((_, raw)) = data else {
        return Ok(());
    };
    let in_base64 = event.spec_version == SpecVersion::V0_3
        && event
            .get("datacontentencoding")
            .is_some_and(|encoding| encoding.eq_ignore_ascii_case("base64"));
    if in_base64 {
        event.data = decode_base64(&parse_string("data", raw)?, "data")?;
        event.remove("datacontentencoding");
    } else if event.content_type.is_none() || event.declares_json() {
        event.content_type.get_or_insert(IMPLIED_CONTENT_TYPE);
        event.data = body.slice_ref(raw.get().as_bytes());
    } else if raw.get() != "null" {
        event.data = Bytes::from(parse_string("data", raw)?.into_owned());
    }
    Ok(())
}

fn decode_base64(text: &str, name: &str) -> Result<Bytes, DecodeError> {
    STANDARD
        .decode(text)
        .map(Bytes::from)
        .map_err(|_cause| DecodeError::invalid(name, "it must be base64"))
}

/// An event as the JSON object of the format.
struct JsonEnvelope<'a>(&'a Event);

impl Serialize for JsonEnvelope<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", event.spec_version.as_str())?;
        if let Some(content_type) = event.get("datacontenttype") {
            map.serialize_entry("datacontenttype", &content_type)?;
        }
        // An extension named `data` is possible in binary mode only (contract CR-19): here the
        // member holds the data.
        for attribute in event
            .attributes()
            .iter()
            .filter(|attribute| attribute.name() != "data")
        {
            serialize_attribute(&mut map, attribute)?;
        }
        serialize_data(&mut map, event)?;
        map.end()
    }
}

fn serialize_attribute<M: SerializeMap>(
    map: &mut M,
    attribute: &ContextAttribute,
) -> Result<(), M::Error> {
    let text = attribute.text();
    match attribute.attribute_type() {
        AttributeType::Integer => match text.parse::<i32>() {
            Ok(value) => map.serialize_entry(attribute.name(), &value),
            Err(_) => map.serialize_entry(attribute.name(), &text),
        },
        AttributeType::Boolean => map.serialize_entry(attribute.name(), &(text == "true")),
        AttributeType::String => map.serialize_entry(attribute.name(), &text),
    }
}

fn serialize_data<M: SerializeMap>(map: &mut M, event: &Event) -> Result<(), M::Error> {
    if event.data.is_empty() {
        return Ok(());
    }
    if event.declares_json()
        && let Ok(json) = serde_json::from_slice::<&RawValue>(&event.data)
    {
        return map.serialize_entry("data", json);
    }
    match std::str::from_utf8(&event.data) {
        Ok(text) if event.content_type.is_some() && !event.declares_json() => {
            map.serialize_entry("data", text)
        }
        _ => serialize_base64(map, event),
    }
}

/// Writes data in base64. CloudEvents 0.3 has no `data_base64`: it uses `datacontentencoding`.
fn serialize_base64<M: SerializeMap>(map: &mut M, event: &Event) -> Result<(), M::Error> {
    let encoded = STANDARD.encode(&event.data);
    match event.spec_version {
        SpecVersion::V1_0 => map.serialize_entry("data_base64", &encoded),
        SpecVersion::V0_3 => {
            map.serialize_entry("datacontentencoding", "base64")?;
            map.serialize_entry("data", &encoded)
        }
    }
}
