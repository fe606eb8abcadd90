//! The keys by which tokens are verified: fetched ahead, kept, and refreshed. Verifying a token
//! never fetches keys by itself.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use moka::future::Cache;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::doubling_wait::DoublingWait;
use crate::model::{OidcAuthentication, TableSource};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::log_rate_limit::LogRateLimit;
use crate::wire_text::WireText;

/// Age at which keys are fetched again, so that a key which is withdrawn is not believed for
/// longer.
const REFRESH: Duration = Duration::from_secs(600);
/// Least age of keys at which a token with an unknown key makes them be fetched again.
const SHORTEST_REFRESH: Duration = Duration::from_secs(5);
/// Longest time for which a request waits for such a fetch.
const PATIENCE: Duration = Duration::from_secs(3);
/// The waits after failed fetches, doubling from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Number of keys of an issuer that are used; further ones are ignored.
const MAX_KEYS: usize = 100;
/// Number of verified tokens that are remembered at most.
const MAX_VERIFIED: u64 = 10_000;

/// Fetches the name and the keys of an issuer.
pub trait IssuerKeySource: Send + Sync + 'static {
    /// Fetches them within a bounded time; the error is for the log.
    fn fetch<'a>(
        &'a self,
        oidc: &'a OidcAuthentication,
    ) -> BoxFuture<'a, Result<PublishedKeys, String>>;
}

/// The name and the keys that an issuer publishes.
#[derive(Clone, Debug)]
pub struct PublishedKeys {
    /// The name of the issuer, which has to be the `iss` of its tokens.
    pub issuer: String,
    /// The keys of the issuer, as a JSON web key set.
    pub keys: JwkSet,
}

/// A public key by which signatures of tokens are verified.
pub(super) struct VerificationKey {
    /// The id of the key (`kid`), if it has one.
    id: Option<String>,
    /// The algorithms by which the key may sign, all of one family.
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// A token that was verified before.
#[derive(Debug)]
pub(super) struct VerifiedToken {
    pub(super) subject: Arc<str>,
    /// The time at which it expires, leeway included, in seconds since the epoch.
    pub(super) expires_at: f64,
}

/// The keys of an issuer as fetched at one time, and the tokens that were verified by them; both
/// are replaced together.
pub(super) struct IssuerKeySet {
    oidc: Arc<OidcAuthentication>,
    pub(super) issuer: String,
    keys: Vec<VerificationKey>,
    /// The verified tokens, by a digest of token and audience.
    pub(super) verified: Cache<[u8; 32], Arc<VerifiedToken>>,
    fetched_at: Instant,
}

impl IssuerKeySet {
    /// Returns true if these are the keys of this issuer. A changed trust bundle does not make it
    /// another issuer: keys are fetched again with the new bundle, and until then these are used.
    fn is_of_issuer(&self, oidc: &Arc<OidcAuthentication>) -> bool {
        Arc::ptr_eq(&self.oidc, oidc) || self.oidc.discovery.is_same_issuer(&oidc.discovery)
    }

    /// Returns the keys by which a token may be signed: the one with the id of the token, or any if
    /// the token or the key has no id.
    pub(super) fn candidates<'k>(
        &'k self,
        id: Option<&'k str>,
    ) -> impl Iterator<Item = &'k VerificationKey> {
        self.keys
            .iter()
            .filter(move |key| id.is_none() || key.id.is_none() || key.id.as_deref() == id)
    }
}

/// The keys that are known now, shared by verifiers and the refresher.
#[derive(Default)]
pub struct IssuerKeyStore {
    current: ArcSwapOption<IssuerKeySet>,
    /// Notified when a token names a key that is unknown.
    refresh_wanted: Notify,
    /// The number of successful fetches.
    fetches: watch::Sender<u64>,
}

impl IssuerKeyStore {
    /// Returns the keys of this issuer, if they are known.
    pub(super) fn key_set_of(&self, oidc: &Arc<OidcAuthentication>) -> Option<Arc<IssuerKeySet>> {
        self.current
            .load_full()
            .filter(|set| set.is_of_issuer(oidc))
    }

    /// Returns true if the keys of this issuer are known.
    #[must_use]
    pub fn are_known(&self, oidc: &Arc<OidcAuthentication>) -> bool {
        self.key_set_of(oidc).is_some()
    }

    /// Waits for keys that are newer than these, in which a key was missing. `None` if these are
    /// new enough to be believed: then the key does not exist.
    ///
    /// # Errors
    /// Fails if newer keys did not come in time.
    pub(super) async fn newer_than(
        &self,
        seen: &IssuerKeySet,
    ) -> Result<Option<Arc<IssuerKeySet>>, ()> {
        if seen.fetched_at.elapsed() < SHORTEST_REFRESH {
            return Ok(None);
        }
        // Subscribed before the keys are looked at, so that no fetch in between is missed.
        let mut fetches = self.fetches.subscribe();
        let newer = || {
            self.current
                .load_full()
                .filter(|now| now.fetched_at > seen.fetched_at && now.is_of_issuer(&seen.oidc))
        };
        if let Some(newer) = newer() {
            return Ok(Some(newer));
        }
        self.refresh_wanted.notify_one();
        match tokio::time::timeout(PATIENCE, fetches.changed()).await {
            Ok(Ok(())) => Ok(newer()),
            Ok(Err(_)) | Err(_) => Err(()),
        }
    }

    fn replace(&self, set: IssuerKeySet) {
        self.current.store(Some(Arc::new(set)));
        self.fetches.send_modify(|fetches| *fetches += 1);
    }
}

/// Keeps the keys of the issuer that the routing table names up to date.
pub struct IssuerKeyRefresher {
    keys: Arc<IssuerKeyStore>,
    source: Arc<dyn IssuerKeySource>,
    counters: Arc<ProcessCounters>,
}

impl IssuerKeyRefresher {
    /// Makes a refresher that fetches from `source` into `keys`, and counts its fetches.
    #[must_use]
    pub fn new(
        keys: Arc<IssuerKeyStore>,
        source: Arc<dyn IssuerKeySource>,
        counters: Arc<ProcessCounters>,
    ) -> Self {
        Self {
            keys,
            source,
            counters,
        }
    }

    /// Follows the routing table until `stop`. While it names no issuer, nothing is fetched; if
    /// keys cannot be fetched, this is tried for ever, and the keys that are known stay (unlike
    /// contract G-53).
    pub async fn run(self, mut tables: watch::Receiver<impl TableSource>, stop: CancellationToken) {
        loop {
            let oidc = tables.borrow_and_update().routing_table().oidc().cloned();
            let ended = tokio::select! {
                () = stop.cancelled() => true,
                ended = wait_for_other_issuer(&mut tables, oidc.as_ref()) => ended,
                () = self.refresh_forever(oidc.as_ref()) => true,
            };
            if ended {
                return;
            }
        }
    }

    /// Fetches keys again and again, for ever.
    async fn refresh_forever(&self, oidc: Option<&Arc<OidcAuthentication>>) {
        let Some(oidc) = oidc else {
            return std::future::pending().await;
        };
        let mut wait = DoublingWait::new(FIRST_WAIT, LONGEST_WAIT);
        let mut told = LogRateLimit::default();
        loop {
            match self.fetch_keys(oidc).await {
                Ok(()) => {
                    wait.reset();
                    told = LogRateLimit::default();
                    tokio::time::sleep(SHORTEST_REFRESH).await;
                    // A request that waits is answered by the keys that were fetched since; so it
                    // is listened to only after the shortest time between two fetches.
                    let asked = self.keys.refresh_wanted.notified();
                    drop(
                        tokio::time::timeout(REFRESH.saturating_sub(SHORTEST_REFRESH), asked).await,
                    );
                }
                Err(error) => {
                    self.record_failure(error, &mut told);
                    let wait = wait.take().mul_f64(1.0 - 0.2 * fastrand::f64());
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn record_failure(&self, error: String, told: &mut LogRateLimit) {
        self.counters.key_fetch_failures.increment();
        if told.is_due() {
            tracing::warn!(
                error = %WireText::new(error),
                "The keys of the token issuer could not be fetched, trying again"
            );
        }
    }

    async fn fetch_keys(&self, oidc: &Arc<OidcAuthentication>) -> Result<(), String> {
        self.counters.key_fetches.increment();
        // The age counts from before the fetch: a key that was published later may be missing.
        let fetched = Instant::now();
        let PublishedKeys { issuer, keys } = self.source.fetch(oidc).await?;
        if issuer.is_empty() {
            return Err("the issuer has no name".to_owned());
        }
        let keys = usable_keys(&issuer, &keys)?;
        if !self.keys.are_known(oidc) {
            let issuer = WireText::new(&issuer);
            tracing::info!(%issuer, keys = keys.len(), "Tokens can be verified");
        }
        let verified = Cache::builder().max_capacity(MAX_VERIFIED).build();
        self.keys.replace(IssuerKeySet {
            oidc: Arc::clone(oidc),
            issuer,
            keys,
            verified,
            fetched_at: fetched,
        });
        Ok(())
    }
}

/// Waits until the table names another issuer; returns true if there will be no other table.
async fn wait_for_other_issuer(
    tables: &mut watch::Receiver<impl TableSource>,
    oidc: Option<&Arc<OidcAuthentication>>,
) -> bool {
    tables
        .wait_for(|table| table.routing_table().oidc() != oidc)
        .await
        .is_err()
}

fn usable_keys(issuer: &str, published: &JwkSet) -> Result<Vec<VerificationKey>, String> {
    let usable = published.keys.iter().filter_map(usable_key);
    let keys: Vec<_> = usable.take(MAX_KEYS).collect();
    if keys.is_empty() {
        let issuer = WireText::new(issuer);
        return Err(format!(
            "{issuer} publishes no RSA or EC key for signatures"
        ));
    }
    Ok(keys)
}

/// Returns a key for signatures by RSA or an elliptic curve; `None` for everything else that is
/// published, above all for a secret, which verifies nothing.
fn usable_key(jwk: &Jwk) -> Option<VerificationKey> {
    if jwk
        .common
        .public_key_use
        .as_ref()
        .is_some_and(|used| *used != PublicKeyUse::Signature)
    {
        return None;
    }
    let family = algorithms_of_key(&jwk.algorithm)?;
    let algorithms = match jwk.common.key_algorithm {
        None => family,
        Some(named) => family
            .into_iter()
            .filter(|algorithm| KeyAlgorithm::from(*algorithm) == named)
            .collect(),
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (!algorithms.is_empty()).then(|| VerificationKey {
        id: jwk.common.key_id.clone(),
        algorithms,
        key,
    })
}

/// Returns the algorithms by which a key of this type can sign; `None` if there is none that is
/// accepted.
fn algorithms_of_key(key: &AlgorithmParameters) -> Option<Vec<Algorithm>> {
    match key {
        AlgorithmParameters::RSA(_) => {
            Some(vec![Algorithm::RS256, Algorithm::RS384, Algorithm::RS512])
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Some(vec![Algorithm::ES256])
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => {
            Some(vec![Algorithm::ES384])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
