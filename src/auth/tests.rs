//! An issuer for tests: it has keys of its own, and issues valid and invalid tokens.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::issuer_keys::{IssuerKeySource, PublishedKeys};
use crate::model::OidcAuthentication;

pub(super) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub(super) const AUDIENCE: &str = "messaging.knative.dev/inmemorychannel/orders/invoice-feed";
pub(super) const WRITER: &str = "system:serviceaccount:orders:invoice-writer";

/// A key that signs.
pub(super) struct Signer {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: EncodingKey,
}

impl Signer {
    pub(super) fn elliptic(id: &str) -> Self {
        let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).expect("a key");
        Self {
            id: Some(id.to_owned()),
            algorithm: Algorithm::ES256,
            key,
        }
    }

    pub(super) fn rsa(id: &str) -> Self {
        let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256)
            .expect("a key")
            .serialize_pem();
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).expect("a key");
        Self {
            id: Some(id.to_owned()),
            algorithm: Algorithm::RS256,
            key,
        }
    }

    pub(super) fn public(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
        jwk.common.key_id.clone_from(&self.id);
        jwk
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let header = Header {
            kid: self.id.clone(),
            ..Header::new(self.algorithm)
        };
        encode(&header, claims, &self.key).expect("a token")
    }

    /// A good token, in which these claims are changed; null removes one.
    pub(super) fn token(&self, changes: &Value) -> String {
        self.sign(&claims(changes))
    }
}

pub(super) fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time")
        .as_secs()
}

pub(super) fn claims(changes: &Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "sub": WRITER, "aud": [AUDIENCE], "exp": seconds() + 3600, "nbf": seconds()});
    let map = claims.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => map.remove(name),
            value => map.insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// What signers publish.
pub(super) fn published(signers: &[&Signer]) -> PublishedKeys {
    PublishedKeys {
        issuer: ISSUER.to_owned(),
        keys: JwkSet {
            keys: signers.iter().map(|signer| signer.public()).collect(),
        },
    }
}

/// Tells keys by script: one step for each fetch, and the last one from then on.
pub(super) struct Scripted {
    steps: Mutex<VecDeque<Result<PublishedKeys, String>>>,
    pub(super) fetches: AtomicUsize,
}

impl Scripted {
    pub(super) fn new(steps: impl IntoIterator<Item = Result<PublishedKeys, String>>) -> Self {
        Self {
            steps: Mutex::new(steps.into_iter().collect()),
            fetches: AtomicUsize::new(0),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl IssuerKeySource for Scripted {
    fn fetch<'a>(
        &'a self,
        _: &'a OidcAuthentication,
    ) -> BoxFuture<'a, Result<PublishedKeys, String>> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let mut steps = self.steps.lock().expect("lock");
        let step = if steps.len() > 1 {
            steps.pop_front()
        } else {
            steps.front().cloned()
        };
        std::future::ready(step.expect("a step")).boxed()
    }
}
