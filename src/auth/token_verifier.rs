//! Verifies tokens: from a token to its subject, or the reason for a refusal (contract 7.5, AU-7).

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

/// Longest token in bytes that is looked at. Tokens of Kubernetes have about a thousand.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;
/// Seconds for which a token is believed after its `exp`, since clocks differ.
const LEEWAY: u64 = 10;
/// Seconds for which a token is believed before its `nbf` (contract AU-7).
const EARLY: f64 = 300.0;

const UNKNOWN_KEY: &str = "is signed by a key that its issuer does not publish";

/// The claims of a token that are read once its signature is verified.
#[derive(Deserialize)]
struct TokenClaims {
    sub: String,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    exp: Value,
}

/// Verifies a token for this audience and returns its subject. It does no I/O, and waits only if
/// the key of the token is not known, while keys are fetched again. A verified token is remembered
/// until it expires or keys are fetched.
///
/// # Errors
/// Fails if the token is not valid, or if that cannot be decided since the keys are not known.
pub(super) async fn verify(
    keys: &IssuerKeyStore,
    oidc: &Arc<OidcAuthentication>,
    token: &str,
    audience: &str,
) -> Result<Arc<str>, AccessDenial> {
    // The length is checked first: everything after it costs as much as the token is long.
    if token.len() > MAX_TOKEN {
        return Err(unauthenticated("is too long"));
    }
    let (set, digest) = (keys.key_set_of(oidc), token_digest(token, audience));
    // A token that was verified before needs no signature check, which is what costs most.
    if let Some(set) = &set
        && let Some(subject) = known_subject(set, &digest).await
    {
        return Ok(subject);
    }
    // The header is parsed before the keys are asked for, so that rubbish does not make them be
    // fetched.
    let header = header::parse_token_header(token).map_err(unauthenticated)?;
    let set = set.ok_or(AccessDenial::KeysUnavailable(
        "the keys of the token issuer are not known yet",
    ))?;
    let set = key_set_with(keys, set, header.kid.as_deref()).await?;
    let id = header.kid.as_deref();
    let verified = Arc::new(verify_by_key_set(token, &set, id, audience)?);
    set.verified.insert(digest, Arc::clone(&verified)).await;
    Ok(Arc::clone(&verified.subject))
}

async fn known_subject(set: &IssuerKeySet, digest: &[u8; 32]) -> Option<Arc<str>> {
    let known = set.verified.get(digest).await?;
    (now() < known.expires_at).then(|| Arc::clone(&known.subject))
}

/// Returns these keys, or newer ones if no key with this id is among them.
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
        Err(()) => Err(AccessDenial::KeysUnavailable(
            "the keys of the token issuer cannot be fetched",
        )),
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

/// Returns a digest that stands for a token and an audience, so that the token itself is not kept.
fn token_digest(token: &str, audience: &str) -> [u8; 32] {
    let length = audience.len().to_be_bytes();
    Sha256::new()
        .chain_update(length)
        .chain_update(audience)
        .chain_update(token)
        .finalize()
        .into()
}

/// Returns the time in seconds since the epoch.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
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
    Ok(VerifiedToken {
        subject: claims.sub.into(),
        expires_at: end,
    })
}

fn unauthenticated(what: &str) -> AccessDenial {
    AccessDenial::Unauthenticated(format!(
        "the token {what}: send a new one as Authorization: Bearer TOKEN"
    ))
}

/// Returns an error whose text holds nothing of the token.
fn explain_error(reason: &ErrorKind, audience: &str) -> AccessDenial {
    match reason {
        ErrorKind::InvalidAudience => {
            unauthenticated(&format!("is not for the audience {audience}"))
        }
        ErrorKind::InvalidIssuer => unauthenticated("is of another issuer"),
        ErrorKind::ExpiredSignature => unauthenticated("has expired"),
        ErrorKind::MissingRequiredClaim(claim) => unauthenticated(&format!("has no claim {claim}")),
        ErrorKind::InvalidAlgorithm => {
            unauthenticated("is signed in a way that its key is not for")
        }
        ErrorKind::InvalidSignature => unauthenticated("has a wrong signature"),
        _ => unauthenticated("is no JSON web token"),
    }
}

#[cfg(test)]
mod tests;
