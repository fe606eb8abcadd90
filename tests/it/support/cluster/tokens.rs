//! Who a bearer token names; tokens of service accounts, and the keys that verify them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};

/// Who issues the tokens, and the audience of the API server.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";

/// The issuer.
pub(crate) struct Tokens {
    state: Mutex<State>,
}

struct State {
    key: Key,
    known: BTreeMap<String, (String, SystemTime)>,
    /// Shorter than what is asked for, if a test wants that.
    lifetime: Option<Duration>,
}

struct Key {
    id: String,
    algorithm: Algorithm,
    pair: KeyPair,
}

impl Key {
    fn new(algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::RS256 => KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256),
            _ => KeyPair::generate(),
        };
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            algorithm,
            pair: pair.expect("a key"),
        }
    }

    fn encoding(&self) -> EncodingKey {
        let pem = self.pair.serialize_pem();
        let key = match self.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            _ => EncodingKey::from_ec_pem(pem.as_bytes()),
        };
        key.expect("a key")
    }

    fn public(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.encoding(), self.algorithm).expect("a key");
        jwk.common.key_id = Some(self.id.clone());
        jwk
    }
}

impl Tokens {
    /// An issuer; this token is the administrator's.
    pub(crate) fn new(admin: &str) -> Self {
        let never = SystemTime::now() + Duration::from_secs(86_400);
        let known = BTreeMap::from([(admin.to_owned(), (super::access::ADMIN.to_owned(), never))]);
        Self {
            state: Mutex::new(State {
                key: Key::new(Algorithm::ES256),
                known,
                lifetime: None,
            }),
        }
    }

    /// Signs with a new key from now on; tokens of the old one can no longer be verified.
    pub(crate) fn rotate_keys(&self, algorithm: Algorithm) {
        self.state.lock().expect("lock").key = Key::new(algorithm);
    }

    /// Makes the tokens that come live so long only.
    pub(crate) fn set_lifetime(&self, lifetime: Duration) {
        self.state.lock().expect("lock").lifetime = Some(lifetime);
    }

    /// Forgets a token.
    pub(crate) fn revoke(&self, token: &str) {
        assert!(
            self.state
                .lock()
                .expect("lock")
                .known
                .remove(token)
                .is_some(),
            "nobody knows that token"
        );
    }

    /// Whom a token names.
    pub(crate) fn user(&self, token: &str) -> Option<String> {
        let state = self.state.lock().expect("lock");
        let (user, expires) = state.known.get(token)?;
        (SystemTime::now() < *expires).then(|| user.clone())
    }

    /// The `status` of a TokenRequest with this `spec`, for this service account.
    pub(crate) fn issue(&self, account: &Value, spec: &Value) -> Value {
        let mut state = self.state.lock().expect("lock");
        let asked = Duration::from_secs(spec["expirationSeconds"].as_u64().unwrap_or(3600));
        let lifetime = state.lifetime.unwrap_or(asked);
        let now = SystemTime::now();
        let seconds = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH)
                .expect("after 1970")
                .as_secs()
        };
        let audiences = match spec["audiences"].as_array() {
            Some(audiences) if !audiences.is_empty() => audiences.clone(),
            _ => vec![json!(ISSUER)],
        };
        let metadata = &account["metadata"];
        let (namespace, name) = (metadata["namespace"].as_str(), metadata["name"].as_str());
        let subject = format!(
            "system:serviceaccount:{}:{}",
            namespace.unwrap_or_default(),
            name.unwrap_or_default()
        );
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": audiences, "jti": uuid::Uuid::new_v4().to_string(),
            "iat": seconds(now), "nbf": seconds(now), "exp": seconds(now + lifetime),
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": metadata["uid"]}},
        });
        let header = Header {
            typ: None,
            kid: Some(state.key.id.clone()),
            ..Header::new(state.key.algorithm)
        };
        let token = jsonwebtoken::encode(&header, &claims, &state.key.encoding()).expect("a token");
        if audiences.contains(&json!(ISSUER)) {
            state.known.insert(token.clone(), (subject, now + lifetime));
        }
        json!({"token": token, "expirationTimestamp": super::time(now + lifetime)})
    }

    /// `/.well-known/openid-configuration` of a server that is reached at this URL.
    pub(crate) fn discovery(&self, server: &str) -> Value {
        let algorithm = self.state.lock().expect("lock").key.algorithm;
        json!({
            "issuer": ISSUER, "jwks_uri": format!("{server}/openid/v1/jwks"), "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": [algorithm],
        })
    }

    /// `/openid/v1/jwks`.
    pub(crate) fn jwks(&self) -> Value {
        let keys = vec![self.state.lock().expect("lock").key.public()];
        serde_json::to_value(JwkSet { keys }).expect("JSON")
    }
}
