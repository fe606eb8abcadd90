//! Names of logs and queues: made from what they belong to, so that they stay the same across
//! restarts, and when an object is created anew (contract G-75).

use sha2::{Digest, Sha256};

use crate::model::{ChannelKey, SubscriptionKey};

/// Longest name of a log that is not shortened; file systems allow 255 bytes.
const LONGEST: usize = 200;

/// Name of the log of a channel: `broker+NAMESPACE+NAME`. Names of Kubernetes hold no plus sign.
pub(super) fn log_name(channel: &ChannelKey) -> String {
    let ChannelKey {
        kind,
        namespace,
        name,
    } = channel;
    let (namespace, name) = (escape(namespace), escape(name));
    let whole = format!("{}+{namespace}+{name}", kind.as_str());
    if whole.len() <= LONGEST {
        return whole;
    }
    let hash = Sha256::digest(whole.as_bytes());
    let hash: String = hash
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let start: String = whole.chars().take(LONGEST - 20).collect();
    format!("{start}~~{hash}")
}

/// Name of the queue of a subscription in the log of its channel: `trigger:NAMESPACE:NAME`.
pub(super) fn queue_name(subscription: &SubscriptionKey) -> String {
    let SubscriptionKey {
        kind,
        namespace,
        name,
    } = subscription;
    format!("{}:{namespace}:{name}", kind.as_str())
}

/// Writes what cannot stand in the name of a log as `~` and two hexadecimal digits.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("~{byte:02x}"));
        }
    }
    escaped
}

/// What a log belongs to, by its name: `broker NAMESPACE/NAME`. A name that was shortened, or that
/// is none of ours, stays as it is.
#[must_use]
pub fn log_owner(name: &str) -> String {
    let parts: Vec<Option<String>> = name.split('+').map(unescape).collect();
    match parts.as_slice() {
        [Some(kind), Some(namespace), Some(name)] => format!("{kind} {namespace}/{name}"),
        _ => name.to_owned(),
    }
}

/// What a queue belongs to, by its name: `trigger NAMESPACE/NAME`.
#[must_use]
pub fn queue_owner(name: &str) -> String {
    match name.split(':').collect::<Vec<_>>().as_slice() {
        [kind, namespace, name] => format!("{kind} {namespace}/{name}"),
        _ => name.to_owned(),
    }
}

/// Undoes [`escape`]; `None` if the text is nothing that it gives.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('~');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChannelKind;

    #[test]
    fn names_are_readable_and_fit() {
        let broker = |namespace: &str, name: &str| {
            log_name(&ChannelKey::new(ChannelKind::Broker, namespace, name))
        };
        assert_eq!(broker("orders", "b.c"), "broker+orders+b.c");
        assert_ne!(broker("a+b", "c"), broker("a", "b+c"));
        let odd = broker("a+b", "c/~d");
        assert_eq!(log_owner(&odd), "broker a+b/c/~d");
        assert_eq!(log_owner("notes"), "notes");
        let long = "x".repeat(253);
        let (first, second) = (broker(&long, "a"), broker(&long, "b"));
        assert!(first != second && first.len() <= LONGEST && first.starts_with("broker+xxx"));
        assert_eq!(log_owner(&first), first);
    }
}
