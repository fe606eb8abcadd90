//! The header of a token: what may stand in it before anything else of the token is believed (RFC
//! 7515 §4.1, RFC 8725 §3).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header, decode_header};
use serde_json::{Map, Value};

/// The types (`typ`) of tokens that authenticate a sender. Tokens of Kubernetes have none.
const TYPES: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

/// Parses the header of a token. Only algorithm and key id count: a key that a token brings, or
/// says where to find, is never looked at (`jwk`, `jku`, `x5c`, `x5u`).
///
/// # Errors
/// Returns what is wrong with it, as words that follow "the token".
pub(super) fn parse_token_header(token: &str) -> Result<Header, &'static str> {
    const NO_TOKEN: &str = "is no JSON web token";
    let header = decode_header(token).map_err(|_error| NO_TOKEN)?;
    let raw = token
        .split('.')
        .next()
        .and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let members: Map<String, Value> = raw
        .and_then(|raw| serde_json::from_slice(&raw).ok())
        .ok_or(NO_TOKEN)?;
    check_members(&members)?;
    let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
    if typ.is_some_and(|typ| !TYPES.contains(&typ.as_str())) {
        return Err("is of a type that says nothing of who sends");
    }
    if !is_accepted_algorithm(header.alg) {
        return Err("is not signed by RSA or an elliptic curve");
    }
    Ok(header)
}

/// Checks the parameters that change how a token is to be read, none of which is understood here.
fn check_members(members: &Map<String, Value>) -> Result<(), &'static str> {
    // By RFC 7515 §4.1.11, a critical parameter that is not understood is a reason to refuse, and
    // none of them is understood here.
    if members.contains_key("crit") {
        return Err("has the header crit, of which nothing is understood here");
    }
    // By RFC 7797 §3, such a token is signed in another form.
    if members
        .get("b64")
        .is_some_and(|b64| *b64 != Value::Bool(true))
    {
        return Err("is signed without base64");
    }
    if ["enc", "zip"]
        .iter()
        .any(|name| members.contains_key(*name))
    {
        return Err("is encrypted or compressed");
    }
    Ok(())
}

/// Returns true if a token may be signed by this algorithm: neither a token without signature nor
/// one signed by a secret is accepted.
fn is_accepted_algorithm(algorithm: Algorithm) -> bool {
    use Algorithm::{ES256, ES384, RS256, RS384, RS512};
    matches!(algorithm, RS256 | RS384 | RS512 | ES256 | ES384)
}
