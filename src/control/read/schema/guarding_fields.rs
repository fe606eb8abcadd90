//! The fields without which more events pass, or others are trusted than was meant, and those that
//! nobody leaves empty on purpose.

use super::ObjectSchema;
use crate::control::read::spelling;

/// The fields that narrow what passes: without them, more events pass.
pub(super) const NARROWING: [&str; 5] = ["filter", "filters", "attributes", "to", "matchLabels"];
/// The fields that say who is believed and who is meant: without them, others are trusted or
/// addressed than was meant, and a policy misses what it selects by labels.
const TRUSTING: [&str; 10] = [
    "CACerts",
    "audience",
    "subscriberCACerts",
    "subscriberAudience",
    "replyCACerts",
    "replyAudience",
    "serviceAccountName",
    "serviceAccountNames",
    "namespace",
    "labels",
];
/// The parts of words by which a field is known to narrow or to carry trust, however it is named.
const GUARDING_PARTS: [&str; 4] = ["filter", "attr", "cert", "audienc"];
/// The fields that nobody begins to write and means to leave out.
const MEANT: [&str; 16] = [
    "deadLetterSink",
    "reply",
    "channelTemplate",
    "delivery",
    "retry",
    "backoffPolicy",
    "backoffDelay",
    "backoffMax",
    "timeout",
    "retryAfterMax",
    "format",
    "from",
    "brokerClass",
    "brokerClasses",
    "CACerts",
    "audience",
];
/// The fields of which the same is true in one object only, each with the schema of that.
const MEANT_IN: [(&str, &[&str]); 6] = [
    ("Broker", &["spec"]),
    ("EventPolicy", &["spec"]),
    ("ChannelDefaults", &["clusterDefault", "namespaceDefaults"]),
    ("BrokerDefaults", &["clusterDefault", "namespaceDefaults"]),
    (
        "BrokerDefault",
        &["apiVersion", "kind", "name", "namespace"],
    ),
    ("BrokerConfig", &["apiVersion", "kind", "name", "namespace"]),
];

/// True for the fields that are not left empty on purpose.
pub(super) fn is_meant(field: &str, fields: &ObjectSchema) -> bool {
    let is_of_this = MEANT_IN
        .iter()
        .any(|(name, meant)| *name == fields.name && meant.contains(&field));
    NARROWING.contains(&field) || MEANT.contains(&field) || is_of_this
}

/// True for the fields without which more events pass, or others are trusted.
pub(super) fn guards(field: &str) -> bool {
    NARROWING.contains(&field) || TRUSTING.contains(&field)
}

/// True if an unknown field may be meant to be one of those that guard: it has the name of one, is
/// nearly one, is one without its vowels (`fltr`), or has a part of one in it.
pub(super) fn may_guard(key: &str) -> bool {
    let plain: String = spelling::normalize_word(key).into_iter().collect();
    let guarding = || NARROWING.into_iter().chain(TRUSTING);
    let is_short = |name: &str| {
        let (short, name) = (without_vowels(&plain), without_vowels(&name.to_lowercase()));
        short.len() > 2 && short == name
    };
    guards(key)
        || spelling::suggest_word(key, guarding()).is_some()
        || GUARDING_PARTS.iter().any(|part| plain.contains(part))
        || guarding().any(is_short)
}

/// A word without its vowels, but for the first letter, which nobody leaves out.
fn without_vowels(word: &str) -> String {
    let is_left = |(index, letter): &(usize, char)| *index == 0 || !"aeiou".contains(*letter);
    word.char_indices()
        .filter(is_left)
        .map(|(_, letter)| letter)
        .collect()
}
