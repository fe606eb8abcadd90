//! Correlation ids of RequestReplies: created and verified as upstream's data plane does
//! (`pkg/requestreply/correlation_id.go`, `cesql.go`), so that each side knows the other's ids.
//!
//! An id is `EVENT:SEALED:INDEX`. EVENT is the id of the event that a reply is waited for; SEALED
//! is base64 for URLs, with padding, of a nonce of 12 bytes and the same id encrypted with AES-GCM
//! under it; INDEX is the index of the process that waits. Nobody without the key can create an id
//! that is verified. INDEX is not sealed: it only says where the reply belongs.

mod key_ring;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;

pub(crate) use key_ring::{KeyHolder, KeyRing, KeyRingEntry};

/// Name of the Secret of the system namespace in which upstream keeps the keys of all
/// RequestReplies.
pub(crate) const SECRET: &str = "request-reply-keys";

/// A key of AES: 16, 24 or 32 bytes.
#[derive(Clone)]
pub struct CorrelationKey {
    bytes: Box<[u8]>,
    sealing: Arc<LessSafeKey>,
}

impl CorrelationKey {
    /// Makes a key of these bytes; `None` if they are not 16, 24 or 32.
    #[must_use]
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let algorithm = match bytes.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            _ => return None,
        };
        let sealing = LessSafeKey::new(UnboundKey::new(algorithm, bytes).ok()?);
        Some(Self {
            bytes: bytes.into(),
            sealing: Arc::new(sealing),
        })
    }

    /// Creates an id for the event of this id, which the process of this index waits for; `None` if
    /// the system gives no random numbers.
    #[must_use]
    pub(crate) fn create_id(&self, event: &str, index: u32) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        self.create_id_with(nonce, event, index)
    }

    fn create_id_with(&self, nonce: [u8; NONCE_LEN], event: &str, index: u32) -> Option<String> {
        let mut text = event.as_bytes().to_vec();
        self.sealing
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text)
            .ok()?;
        let sealed = BASE64_URL_SAFE.encode([&nonce[..], &text].concat());
        Some(format!("{event}:{sealed}:{index}"))
    }

    /// True if an id was created with this key.
    #[must_use]
    pub(crate) fn verifies(&self, id: &CorrelationId<'_>) -> bool {
        let Some((nonce, sealed)) = id.sealed.split_first_chunk::<NONCE_LEN>() else {
            return false;
        };
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.sealing.open_in_place(nonce, Aad::empty(), &mut sealed);
        opened.is_ok_and(|opened| opened == id.event.as_bytes())
    }
}

impl PartialEq for CorrelationKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for CorrelationKey {}

impl fmt::Debug for CorrelationKey {
    /// Shows the type only, and never a byte of the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Random seed of a process, from which it derives keys for RequestReplies that have none: 32
/// bytes, made at its start and stored nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct CorrelationSeed([u8; 32]);

impl CorrelationSeed {
    /// Makes a new seed; `None` if the system gives no random numbers.
    #[must_use]
    pub(crate) fn random() -> Option<Self> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Derives the key of a RequestReply: always the same one, which reveals nothing about the key
    /// of another.
    #[must_use]
    pub(crate) fn derive_key(&self, namespace: &str, name: &str) -> Option<CorrelationKey> {
        let seed = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        // A slash is in no namespace and in no name, so that each text is of one RequestReply only.
        CorrelationKey::new(hmac::sign(&seed, format!("{namespace}/{name}").as_bytes()).as_ref())
    }
}

impl fmt::Debug for CorrelationSeed {
    /// Shows the type only, and never a byte of the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed")
    }
}

/// A correlation id, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CorrelationId<'t> {
    /// The id of the event that a reply is waited for.
    event: &'t str,
    sealed: Vec<u8>,
    /// Index of the process that waits.
    index: i32,
}

impl<'t> CorrelationId<'t> {
    /// Takes an id apart, from its end: unlike upstream, which takes none whose event's id has a
    /// colon, as URNs have. `None` if the text is no correlation id.
    #[must_use]
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        let (rest, index) = text.rsplit_once(':')?;
        let (event, sealed) = rest.rsplit_once(':')?;
        let sealed = BASE64_URL_SAFE.decode(sealed).ok()?;
        Some(Self {
            event,
            sealed,
            index: index.parse().ok()?,
        })
    }

    /// True if the process of this index, of so many replicas, is the one that waits. It is false
    /// if there are no replicas.
    #[must_use]
    pub(crate) fn is_for(&self, index: i32, replicas: i32) -> bool {
        // A plain `%` would overflow for `i32::MIN % -1`.
        replicas > 0 && self.index.wrapping_rem(replicas) == index
    }
}

#[cfg(test)]
mod tests;
