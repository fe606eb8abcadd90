//! What holds for every token that a stranger may show: it proves nothing, since nobody else has
//! the key.

use std::cell::OnceCell;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use sealpost::auth::issuer_keys::{
    IssuerKeyRefresher, IssuerKeySource, IssuerKeyStore, PublishedKeys,
};
use sealpost::auth::{RequestCredentials, SenderAuthorizer};
use sealpost::model::{
    AuthorizationMode, AuthorizationRule, OidcAuthentication, OidcDiscovery, RoutingTable,
    SenderAuthorization, ServiceHosts, TransportEncryption,
};
use tokio::runtime::Runtime;

/// Tells one key.
struct OneKey(PublishedKeys);

impl IssuerKeySource for OneKey {
    fn fetch<'a>(
        &'a self,
        _: &'a OidcAuthentication,
    ) -> BoxFuture<'a, Result<PublishedKeys, String>> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

/// A gate that believes the owner of a key which was made a moment ago, and is nowhere else.
struct Stage {
    runtime: Runtime,
    gate: SenderAuthorizer,
    access: SenderAuthorization,
    key: EncodingKey,
}

impl Stage {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).expect("a key");
        let keys = JwkSet {
            keys: vec![Jwk::from_encoding_key(&key, Algorithm::ES256).expect("a key")],
        };
        let oidc = Arc::new(OidcAuthentication {
            discovery: OidcDiscovery::Unavailable,
        });
        let rule = AuthorizationRule::Default(AuthorizationMode::AllowAll, "default".to_owned());
        let access = SenderAuthorization {
            oidc: Arc::clone(&oidc),
            audience: "a".to_owned(),
            rule,
        };
        let hosts = ServiceHosts::new("knative-eventing", "cluster.local");
        let table = RoutingTable::new(TransportEncryption::Strict, hosts, Vec::new(), [])
            .with_oidc(Some(oidc.clone()));
        let (_tables, receiver) = tokio::sync::watch::channel(Arc::new(table));
        let known = Arc::new(IssuerKeyStore::default());
        let source = Arc::new(OneKey(PublishedKeys {
            issuer: "i".to_owned(),
            keys,
        }));
        let keeper = IssuerKeyRefresher::new(Arc::clone(&known), source, Arc::default());
        let gate = SenderAuthorizer::new(Arc::clone(&known), Arc::default());
        runtime.block_on(async {
            let kept = keeper.run(receiver, tokio_util::sync::CancellationToken::new());
            let until_known = async {
                while !known.are_known(&oidc) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! { () = kept => {}, () = until_known => {} }
        });
        Self {
            runtime,
            gate,
            access,
            key,
        }
    }

    fn believes(&self, token: &[u8]) -> bool {
        let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", token].concat()) else {
            return false;
        };
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        let credentials = RequestCredentials::of_headers(&headers, Some(&self.access));
        self.runtime
            .block_on(self.gate.authenticate(Some(&self.access), &credentials))
            .is_ok()
    }

    /// A token of the owner of the key, for this audience.
    fn own(&self) -> String {
        let claims =
            serde_json::json!({"iss": "i", "aud": ["a"], "sub": "s", "exp": 4_102_444_800_u64});
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &self.key).expect("a token")
    }
}

thread_local! {
    static STAGE: OnceCell<Stage> = const { OnceCell::new() };
}

/// Bytes as a token: as they are, and, parted by bytes of zero, as header, claims and signature.
/// Neither is believed, nor the signature of a good token under another header or other claims.
pub(crate) fn token(data: &[u8]) {
    STAGE.with(|stage| {
        let stage = stage.get_or_init(Stage::new);
        let own = stage.own();
        assert!(stage.believes(own.as_bytes()), "the stage is set");
        assert!(!stage.believes(data));
        let mut parts = data
            .splitn(3, |byte| *byte == 0)
            .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        let (header, claims) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let signature = parts.next().unwrap_or_default();
        assert!(!stage.believes(format!("{header}.{claims}.{signature}").as_bytes()));
        let [own_header, own_claims, own_signature] = own.split('.').collect::<Vec<_>>()[..] else {
            panic!("{own}")
        };
        let is_own = |header: &str, claims: &str| (header, claims) == (own_header, own_claims);
        for (header, claims) in [(header.as_str(), own_claims), (own_header, claims.as_str())] {
            let forged = format!("{header}.{claims}.{own_signature}");
            assert!(
                is_own(header, claims) || !stage.believes(forged.as_bytes()),
                "{forged}"
            );
        }
    });
}
