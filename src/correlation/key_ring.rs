//! Keys of all RequestReplies, as Secrets hold them: an entry `NAMESPACE.NAME.ANYTHING` for each
//! key (upstream's `pkg/requestreply/key_store.go`).

use std::collections::BTreeMap;
use std::fmt;

use super::CorrelationKey;

/// Name of an entry of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyRingEntry {
    /// Namespace of the RequestReply that the key is for.
    pub(crate) namespace: String,
    /// Name of the RequestReply that the key is for.
    pub(crate) name: String,
    /// Last part of the entry, which tells the keys of one RequestReply apart, such as `key-0`.
    pub(crate) key: String,
}

impl KeyRingEntry {
    /// Parses `NAMESPACE.NAME.KEY`. The name of a RequestReply may have dots, the other two parts
    /// have none, so that the keys of one RequestReply are never taken for those of another. `None`
    /// for other texts.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (namespace, rest) = text.split_once('.')?;
        let (name, key) = rest.rsplit_once('.')?;
        let parts = [namespace, name, key];
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        let [namespace, name, key] = parts.map(str::to_owned);
        Some(Self {
            namespace,
            name,
            key,
        })
    }
}

impl fmt::Display for KeyRingEntry {
    /// Writes `NAMESPACE.NAME.KEY`, the name of the entry.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.namespace, self.name, self.key)
    }
}

/// Keys of the Secrets of the system namespace, by the names of the Secrets. A Secret that is known
/// is in it, even if it has no key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRing(BTreeMap<String, BTreeMap<KeyRingEntry, CorrelationKey>>);

/// RequestReply that `KN_VERIFY_CORRELATION_ID` is asked about: the one that an id should be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyHolder<'h> {
    /// Name of the Secret with the keys.
    pub(crate) secret: &'h str,
    /// Namespace of the RequestReply.
    pub(crate) namespace: &'h str,
    /// Name of the RequestReply itself.
    pub(crate) name: &'h str,
}

impl KeyRing {
    /// Adds a Secret, which is known from then on.
    pub(crate) fn add_secret(&mut self, secret: &str) {
        self.0.entry(secret.to_owned()).or_default();
    }

    /// Adds a key, and its Secret if that is not known yet.
    pub(crate) fn add_key(&mut self, secret: &str, entry: KeyRingEntry, key: CorrelationKey) {
        self.0
            .entry(secret.to_owned())
            .or_default()
            .insert(entry, key);
    }

    /// True if a Secret of this name is known.
    #[must_use]
    pub(crate) fn has_secret(&self, secret: &str) -> bool {
        self.0.contains_key(secret)
    }

    /// Keys of a RequestReply, in the order of their names: that in which upstream reads them, so
    /// that the last one seals new ids.
    pub(crate) fn keys(
        &self,
        holder: KeyHolder<'_>,
    ) -> impl DoubleEndedIterator<Item = &CorrelationKey> {
        let entries = self.0.get(holder.secret).into_iter().flatten();
        let is_its = move |entry: &KeyRingEntry| {
            entry.namespace == holder.namespace && entry.name == holder.name
        };
        entries
            .filter(move |(entry, _)| is_its(entry))
            .map(|(_, key)| key)
    }

    /// True if an id was created with one of the keys of a RequestReply.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn verifies(&self, id: &super::CorrelationId<'_>, holder: KeyHolder<'_>) -> bool {
        self.keys(holder).any(|key| key.verifies(id))
    }
}
