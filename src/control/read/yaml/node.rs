//! A value of a document as serde sees it, with its place in the text.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::Spanned;

/// The largest number up to which every whole number is a floating point number of its own (2^53).
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// A YAML value, each part of which knows its location.
pub(super) enum YamlNode<K> {
    Scalar(Value),
    /// A list, in its order.
    Sequence(Vec<Spanned<YamlNode<K>>>),
    /// An object, in the order of its keys.
    Mapping(Vec<(Spanned<K>, Spanned<YamlNode<K>>)>),
}

impl<'de, K: Deserialize<'de>> Deserialize<'de> for YamlNode<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlNodeVisitor(PhantomData))
    }
}

struct YamlNodeVisitor<K>(PhantomData<K>);

impl<'de, K: Deserialize<'de>> Visitor<'de> for YamlNodeVisitor<K> {
    type Value = YamlNode<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<YamlNode<K>, E> {
        Ok(YamlNode::Scalar(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<YamlNode<K>, E> {
        Ok(YamlNode::Scalar(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<YamlNode<K>, E> {
        Ok(YamlNode::Scalar(value.into()))
    }

    /// A whole number becomes an integer, whether it is written as `3` or as `3.0`, as for an API
    /// server.
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<YamlNode<K>, E> {
        let is_whole = value.fract() == 0.0 && value.abs() <= LARGEST_EXACT;
        if let Some(whole) = is_whole
            .then(|| format!("{value:.0}").parse::<i64>().ok())
            .flatten()
        {
            return self.visit_i64(whole);
        }
        // JSON has no infinity: what is none of its numbers is one that no field takes, and no text
        // either.
        let number = Number::from_f64(value).or_else(|| Number::from_f64(f64::MAX));
        Ok(YamlNode::Scalar(number.map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<YamlNode<K>, E> {
        Ok(YamlNode::Scalar(value.into()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<YamlNode<K>, E> {
        Ok(YamlNode::Scalar(value.into()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<YamlNode<K>, E> {
        Ok(YamlNode::Scalar(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<YamlNode<K>, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<YamlNode<K>, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<YamlNode<K>, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = sequence.next_element()? {
            nodes.push(node);
        }
        Ok(YamlNode::Sequence(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<YamlNode<K>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(YamlNode::Mapping(entries))
    }
}

/// How a key is read that is no text; no field and no name begins like this.
pub(crate) const NO_TEXT: &str = "? ";

/// A key, whatever it is.
pub(super) struct AnyKey(String);

impl From<AnyKey> for String {
    fn from(key: AnyKey) -> Self {
        key.0
    }
}

impl<'de> Deserialize<'de> for AnyKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match YamlNode::<Self>::deserialize(deserializer)? {
            YamlNode::Scalar(Value::String(text)) => text,
            YamlNode::Scalar(Value::Null) => format!("{NO_TEXT}null"),
            YamlNode::Scalar(value) => value.to_string(),
            YamlNode::Sequence(_) => format!("{NO_TEXT}[]"),
            // Braces where a key should be are those of a template that was not rendered.
            YamlNode::Mapping(_) => return Err(de::Error::custom("a key that is an object")),
        }))
    }
}
