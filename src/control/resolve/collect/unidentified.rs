//! Documents of which it is not known which object they are, and which may be one that closes
//! something.

use serde_json::Value;

use super::CollectedObjects;
use super::config_maps::has_closing_flag;
use crate::control::read::document::ManifestDocument;
use crate::control::read::kind::{self, ResourceKind};
use crate::control::read::policy_body::has_policy_body;
use crate::control::read::schema::config_maps::{CONFIG_FEATURES, ConfigMapKeys};
use crate::control::read::spelling::suggest_word;

impl<'d> CollectedObjects<'d> {
    /// The unidentified documents that hold this word where their kind or their name would stand.
    pub(crate) fn unidentified_with_word(&self, word: &str) -> Vec<&'d ManifestDocument> {
        fn members(value: &Value) -> impl Iterator<Item = &Value> {
            value
                .as_object()
                .into_iter()
                .flat_map(serde_json::Map::values)
        }
        let is_word = |text: &str| {
            text == word
                || suggest_word(text, [word]) == Some(word)
                || ConfigMapKeys::named_nearly(text) == Some(word)
        };
        let is_it = |member: &Value| member.as_str().is_some_and(is_word);
        let is_suspect = |value: &Value| {
            members(value).any(|member| is_it(member) || members(member).any(is_it))
        };
        let resembles_policy = |value: &Value| {
            word == ResourceKind::EventPolicy.as_str()
                && (resembles_event_policy(value)
                    || is_called_a_policy(value)
                    || has_policy_body(value))
        };
        let holds_flags = |value: &Value| word == CONFIG_FEATURES && has_closing_flag(value);
        let is_like_it = |value: &Value| resembles_policy(value) || holds_flags(value);
        // A list or a text that stands where an object should may hold any object.
        let is_suspect = |value: &Value| match value {
            Value::Array(items) => items
                .iter()
                .any(|item| is_suspect(item) || is_like_it(item)),
            Value::String(text) => text.contains(word),
            value => is_suspect(value) || is_like_it(value),
        };
        self.unidentified
            .iter()
            .copied()
            .filter(|document| is_suspect(&document.value))
            .collect()
    }

    /// True if this word stands in a text that cannot be parsed.
    pub(crate) fn is_in_unparsed_text(&self, word: &str) -> bool {
        self.unparsed_texts.iter().any(|text| text.contains(word))
    }
}

/// True if the kind of an object is named like a policy.
fn is_called_a_policy(value: &Value) -> bool {
    value
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(kind::is_like_policy)
}

/// True if an object without a kind has the fields of an EventPolicy.
fn resembles_event_policy(value: &Value) -> bool {
    let spec = value.get("spec").and_then(Value::as_object);
    let has = |name: &str| spec.is_some_and(|spec| spec.contains_key(name));
    value
        .get("kind")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
        && (has("from") || has("to"))
}
