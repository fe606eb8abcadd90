//! Recognises the audiences of the API server, for which this process requests no tokens: a
//! receiver of such a token could act in the cluster as the ServiceAccount, and everybody who may
//! edit a channel chooses the audiences of its destinations.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

/// Names of the API server inside of a cluster, which stand alone or before the domain of the
/// cluster.
const NAMES: [&str; 2] = ["kubernetes", "kubernetes.default"];

/// The claims of a token that say for which audience it is. Its signature is not verified: the
/// token is that of this process.
#[derive(Deserialize)]
struct AudienceClaims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: Value,
}

/// Returns true if an audience is the API server's, by its usual names or by `own_token`, the token
/// with which this process authenticates to the API server: that token is for the API server's
/// audiences, of which its issuer is the default.
#[must_use]
pub(crate) fn is_api_server_audience(audience: &str, own_token: Option<&str>) -> bool {
    let wanted = normalize(audience);
    is_well_known_audience(&wanted)
        || own_token.is_some_and(|token| {
            audiences_of_token(token)
                .iter()
                .any(|own| normalize(own) == wanted)
        })
}

/// Removes the differences that a reader would not see: blanks, trailing slashes, case.
fn normalize(audience: &str) -> String {
    audience.trim().trim_end_matches('/').to_ascii_lowercase()
}

fn is_well_known_audience(audience: &str) -> bool {
    let host = audience
        .split_once("://")
        .map_or(audience, |(_scheme, rest)| rest);
    let host = host
        .split(['/', ':'])
        .next()
        .unwrap_or_default()
        .trim_end_matches('.');
    audience.is_empty()
        || NAMES.contains(&host)
        || host == "kubernetes.default.svc"
        || host.starts_with("kubernetes.default.svc.")
}

/// Returns the audiences and the issuer of a token; none if the token is no JSON web token.
fn audiences_of_token(token: &str) -> Vec<String> {
    let claims = token
        .trim()
        .split('.')
        .nth(1)
        .and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|json| serde_json::from_slice::<AudienceClaims>(&json).ok());
    let Some(AudienceClaims { iss, aud }) = claims else {
        return Vec::new();
    };
    let audiences = match aud {
        Value::String(audience) => vec![audience],
        Value::Array(all) => all
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    audiences
        .into_iter()
        .chain([iss])
        .filter(|audience| !audience.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_api_server_is_known_by_its_names_and_by_the_own_token() {
        let token = |claims: Value| {
            format!(
                "e30.{}.c2ln",
                BASE64_URL_SAFE_NO_PAD.encode(claims.to_string())
            )
        };
        let own = token(
            json!({"iss": "https://oidc.example/id/ABC", "aud": ["https://api.example", "vault"]}),
        );
        let one = token(json!({"aud": "only"}));
        for (audience, token, is_its) in [
            ("https://kubernetes.default.svc", None, true),
            ("https://kubernetes.default.svc/", None, true),
            ("HTTPS://Kubernetes.Default.SVC.cluster.local", None, true),
            (
                "https://kubernetes.default.svc.cluster.local:443/x",
                None,
                true,
            ),
            ("kubernetes.default.svc", None, true),
            ("https://kubernetes.default", None, true),
            ("kubernetes", None, true),
            (" kubernetes ", None, true),
            ("", None, true),
            ("https://api.example/", Some(&own), true),
            ("vault", Some(&own), true),
            ("https://oidc.example/id/abc", Some(&own), true),
            ("only", Some(&one), true),
            ("https://api.example", Some(&one), false),
            ("https://api.example", None, false),
            (
                "messaging.knative.dev/inmemorychannel/ns/kubernetes",
                Some(&own),
                false,
            ),
            ("https://kubernetes.example", Some(&own), false),
            ("https://my-kubernetes.default.svc", Some(&own), false),
            ("https://sink.default.svc", Some(&own), false),
            ("mt-broker-filter", Some(&own), false),
            ("x", Some(&"opaque".to_owned()), false),
            ("x", Some(&"a.b.c".to_owned()), false),
        ] {
            assert_eq!(
                is_api_server_audience(audience, token.map(String::as_str)),
                is_its,
                "{audience:?} {token:?}"
            );
        }
    }
}
