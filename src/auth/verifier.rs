//! From a token to the subject that it is for, or why not (contract 7.5, AU-7).

mod header;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::keys::{Key, KeySet, Keys, Verified};
use super::policy::Denial;
use crate::model::Oidc;

/// Longer tokens are not looked at. Those of Kubernetes have about a thousand characters.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Seconds that a token is believed after its end, since clocks differ.
const LEEWAY: u64 = 10;
/// Seconds that a token is believed before its beginning (contract AU-7).
const EARLY: f64 = 300.0;

const UNKNOWN_KEY: &str = "is signed by a key that its issuer does not publish";

/// What is read of a token, once its signature is good.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    exp: Value,
}

/// The subject of a token that is for this audience. Does no I/O; waits only if its key is not known, while keys are
/// fetched anew. One that was good is not verified again before it ends or keys are fetched.
///
/// # Errors
/// If the token proves nothing, or that cannot be told.
pub(super) async fn verify(keys: &Keys, oidc: &Arc<Oidc>, token: &str, audience: &str) -> Result<Arc<str>, Denial> {
    if token.len() > MAX_TOKEN {
        return Err(refused("is too long"));
    }
    let (set, digest) = (keys.of(oidc), digest(token, audience));
    if let Some(set) = &set
        && let Some(known) = set.verified.get(&digest).await
        && now() < known.end
    {
        return Ok(Arc::clone(&known.subject));
    }
    let header = header::read(token).map_err(refused)?;
    let set = set.ok_or(Denial::Unavailable("the keys of the token issuer are not known yet"))?;
    let set = with_key(keys, set, header.kid.as_deref()).await?;
    let verified = Arc::new(by_keys(token, &set, header.kid.as_deref(), audience)?);
    set.verified.insert(digest, Arc::clone(&verified)).await;
    Ok(Arc::clone(&verified.subject))
}

/// These keys, or newer ones if a key of this id is not among them.
async fn with_key(keys: &Keys, set: Arc<KeySet>, id: Option<&str>) -> Result<Arc<KeySet>, Denial> {
    if set.candidates(id).next().is_some() {
        return Ok(set);
    }
    match keys.newer_than(&set).await {
        Ok(Some(newer)) => Ok(newer),
        Ok(None) => Err(refused(UNKNOWN_KEY)),
        Err(()) => Err(Denial::Unavailable("the keys of the token issuer cannot be fetched")),
    }
}

fn by_keys(token: &str, set: &KeySet, id: Option<&str>, audience: &str) -> Result<Verified, Denial> {
    let mut error = refused(UNKNOWN_KEY);
    for key in set.candidates(id) {
        match open(token, key, set, audience) {
            Ok(claims) => return verified(claims),
            Err(reason) => error = explained(&reason, audience),
        }
    }
    Err(error)
}

/// Names a token for an audience; its bytes are not kept.
fn digest(token: &str, audience: &str) -> [u8; 32] {
    let length = audience.len().to_be_bytes();
    Sha256::new().chain_update(length).chain_update(audience).chain_update(token).finalize().into()
}

/// Seconds since the epoch.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn open(token: &str, key: &Key, set: &KeySet, audience: &str) -> Result<Claims, ErrorKind> {
    let mut validation = Validation::default();
    validation.algorithms.clone_from(&key.algorithms);
    validation.leeway = LEEWAY;
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[set.issuer.as_str()]);
    validation.set_audience(&[audience]);
    match decode::<Claims>(token, &key.key, &validation) {
        Ok(token) => Ok(token.claims),
        Err(error) => Err(error.into_kind()),
    }
}

fn verified(claims: Claims) -> Result<Verified, Denial> {
    if claims.nbf.is_some_and(|begin| begin > now() + EARLY) {
        return Err(refused("is not valid yet"));
    }
    if claims.sub.is_empty() {
        return Err(refused("has no subject"));
    }
    let end = claims.exp.as_f64().unwrap_or_default() + Duration::from_secs(LEEWAY).as_secs_f64();
    Ok(Verified { subject: claims.sub.into(), end })
}

fn refused(what: &str) -> Denial {
    Denial::Unauthenticated(format!("the token {what}: send a new one as Authorization: Bearer TOKEN"))
}

/// What is wrong, in words that hold nothing of the token.
fn explained(reason: &ErrorKind, audience: &str) -> Denial {
    match reason {
        ErrorKind::InvalidAudience => refused(&format!("is not for the audience {audience}")),
        ErrorKind::InvalidIssuer => refused("is of another issuer"),
        ErrorKind::ExpiredSignature => refused("has expired"),
        ErrorKind::MissingRequiredClaim(claim) => refused(&format!("has no claim {claim}")),
        ErrorKind::InvalidAlgorithm => refused("is signed in a way that its key is not for"),
        ErrorKind::InvalidSignature => refused("has a wrong signature"),
        _ => refused("is no JSON web token"),
    }
}

#[cfg(test)]
mod tests;
