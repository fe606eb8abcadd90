//! The keys of all RequestReplies, as Secrets hold them: an entry `NAMESPACE.NAME.ANYTHING` for each key (upstream's
//! `pkg/requestreply/key_store.go`).

use std::collections::BTreeMap;
use std::fmt;

use super::{CorrelationId, CorrelationKey};

/// What an entry of a Secret is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRingEntry {
    /// The namespace of the RequestReply.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells its keys from each other, such as `key-0`.
    pub key: String,
}

impl KeyRingEntry {
    /// Reads `NAMESPACE.NAME.KEY`. The name of a RequestReply may have dots, the other two have none, so that the keys of
    /// one RequestReply are never taken for those of another. `None` for other texts.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, rest) = text.split_once('.')?;
        let (name, key) = rest.rsplit_once('.')?;
        let parts = [namespace, name, key];
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        let [namespace, name, key] = parts.map(str::to_owned);
        Some(Self { namespace, name, key })
    }
}

impl fmt::Display for KeyRingEntry {
    /// `NAMESPACE.NAME.KEY`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.namespace, self.name, self.key)
    }
}

/// The keys of Secrets of the system namespace, by the names of these. A Secret that is known stands in it, even without
/// a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRing(BTreeMap<String, BTreeMap<KeyRingEntry, CorrelationKey>>);

/// What `KN_VERIFY_CORRELATION_ID` is asked: for whom an id should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHolder<'h> {
    /// The Secret with the keys.
    pub secret: &'h str,
    /// The namespace of the RequestReply.
    pub namespace: &'h str,
    /// Its name.
    pub name: &'h str,
}

impl KeyRing {
    /// Makes a Secret known.
    pub fn add_secret(&mut self, secret: &str) {
        self.0.entry(secret.to_owned()).or_default();
    }

    /// Adds a key of a Secret.
    pub fn add_key(&mut self, secret: &str, entry: KeyRingEntry, key: CorrelationKey) {
        self.0.entry(secret.to_owned()).or_default().insert(entry, key);
    }

    /// Whether a Secret is known.
    #[must_use]
    pub fn has_secret(&self, secret: &str) -> bool {
        self.0.contains_key(secret)
    }

    /// The keys of a RequestReply, in the order of their names: that in which upstream reads them, so that the last one
    /// seals.
    pub fn keys(&self, holder: KeyHolder<'_>) -> impl DoubleEndedIterator<Item = &CorrelationKey> {
        let entries = self.0.get(holder.secret).into_iter().flatten();
        let is_its = move |entry: &KeyRingEntry| entry.namespace == holder.namespace && entry.name == holder.name;
        entries.filter(move |(entry, _)| is_its(entry)).map(|(_, key)| key)
    }

    /// Whether an id was made with one of the keys of a RequestReply.
    #[must_use]
    pub fn verifies(&self, id: &CorrelationId<'_>, holder: KeyHolder<'_>) -> bool {
        self.keys(holder).any(|key| key.verifies(id))
    }
}
