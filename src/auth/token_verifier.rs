//! From a token to the subject that it is for, or why not (contract 7.5, AU-7).

mod header;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::issuer_keys::{IssuerKeySet, IssuerKeyStore, VerificationKey, VerifiedToken};
use super::policy::AccessDenial;
use crate::model::OidcAuthentication;

/// Longer tokens are not looked at. Those of Kubernetes have about a thousand characters.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Seconds that a token is believed after its end, since clocks differ.
const LEEWAY: u64 = 10;
/// Seconds that a token is believed before its beginning (contract AU-7).
const EARLY: f64 = 300.0;

const UNKNOWN_KEY: &str = "is signed by a key that its issuer does not publish";

/// What is read of a token, once its signature is good.
#[derive(Deserialize)]
struct TokenClaims {
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
pub(super) async fn verify(
    keys: &IssuerKeyStore,
    oidc: &Arc<OidcAuthentication>,
    token: &str,
    audience: &str,
) -> Result<Arc<str>, AccessDenial> {
    if token.len() > MAX_TOKEN {
        return Err(unauthenticated("is too long"));
    }
    let (set, digest) = (keys.key_set_of(oidc), token_digest(token, audience));
    if let Some(set) = &set
        && let Some(known) = set.verified.get(&digest).await
        && now() < known.expires_at
    {
        return Ok(Arc::clone(&known.subject));
    }
    let header = header::parse_token_header(token).map_err(unauthenticated)?;
    let set = set.ok_or(AccessDenial::KeysUnavailable("the keys of the token issuer are not known yet"))?;
    let set = key_set_with(keys, set, header.kid.as_deref()).await?;
    let verified = Arc::new(verify_by_key_set(token, &set, header.kid.as_deref(), audience)?);
    set.verified.insert(digest, Arc::clone(&verified)).await;
    Ok(Arc::clone(&verified.subject))
}

/// These keys, or newer ones if a key of this id is not among them.
async fn key_set_with(
    keys: &IssuerKeyStore,
    set: Arc<IssuerKeySet>,
    id: Option<&str>,
) -> Result<Arc<IssuerKeySet>, AccessDenial> {
    if set.candidates(id).next().is_some() {
        return Ok(set);
    }
    match keys.newer_than(&set).await {
        Ok(Some(newer)) => Ok(newer),
        Ok(None) => Err(unauthenticated(UNKNOWN_KEY)),
        Err(()) => Err(AccessDenial::KeysUnavailable("the keys of the token issuer cannot be fetched")),
    }
}

fn verify_by_key_set(
    token: &str,
    set: &IssuerKeySet,
    id: Option<&str>,
    audience: &str,
) -> Result<VerifiedToken, AccessDenial> {
    let mut error = unauthenticated(UNKNOWN_KEY);
    for key in set.candidates(id) {
        match decode_claims(token, key, set, audience) {
            Ok(claims) => return verified_token(claims),
            Err(reason) => error = explain_error(&reason, audience),
        }
    }
    Err(error)
}

/// Names a token for an audience; its bytes are not kept.
fn token_digest(token: &str, audience: &str) -> [u8; 32] {
    let length = audience.len().to_be_bytes();
    Sha256::new().chain_update(length).chain_update(audience).chain_update(token).finalize().into()
}

/// Seconds since the epoch.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn decode_claims(
    token: &str,
    key: &VerificationKey,
    set: &IssuerKeySet,
    audience: &str,
) -> Result<TokenClaims, ErrorKind> {
    let mut validation = Validation::default();
    validation.algorithms.clone_from(&key.algorithms);
    validation.leeway = LEEWAY;
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.set_issuer(&[set.issuer.as_str()]);
    validation.set_audience(&[audience]);
    match decode::<TokenClaims>(token, &key.key, &validation) {
        Ok(token) => Ok(token.claims),
        Err(error) => Err(error.into_kind()),
    }
}

fn verified_token(claims: TokenClaims) -> Result<VerifiedToken, AccessDenial> {
    if claims.nbf.is_some_and(|begin| begin > now() + EARLY) {
        return Err(unauthenticated("is not valid yet"));
    }
    if claims.sub.is_empty() {
        return Err(unauthenticated("has no subject"));
    }
    let end = claims.exp.as_f64().unwrap_or_default() + Duration::from_secs(LEEWAY).as_secs_f64();
    Ok(VerifiedToken { subject: claims.sub.into(), expires_at: end })
}

fn unauthenticated(what: &str) -> AccessDenial {
    AccessDenial::Unauthenticated(format!("the token {what}: send a new one as Authorization: Bearer TOKEN"))
}

/// What is wrong, in words that hold nothing of the token.
fn explain_error(reason: &ErrorKind, audience: &str) -> AccessDenial {
    match reason {
        ErrorKind::InvalidAudience => unauthenticated(&format!("is not for the audience {audience}")),
        ErrorKind::InvalidIssuer => unauthenticated("is of another issuer"),
        ErrorKind::ExpiredSignature => unauthenticated("has expired"),
        ErrorKind::MissingRequiredClaim(claim) => unauthenticated(&format!("has no claim {claim}")),
        ErrorKind::InvalidAlgorithm => unauthenticated("is signed in a way that its key is not for"),
        ErrorKind::InvalidSignature => unauthenticated("has a wrong signature"),
        _ => unauthenticated("is no JSON web token"),
    }
}

#[cfg(test)]
mod tests;
