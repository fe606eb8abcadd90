//! Tokens, good and bad (contract 7.5, AU-7).

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::auth::issuer_keys::{IssuerKeyRefresher, IssuerKeySource, PublishedKeys};
use crate::auth::tests::{AUDIENCE, ISSUER, Scripted, Signer, WRITER, claims, published, seconds};
use crate::model::{OidcDiscovery, RoutingTable, ServiceHosts, TransportEncryption};
use crate::telemetry::counters::ProcessCounters;

/// The keys of these signers, as soon as they are known.
async fn keys(published: PublishedKeys) -> (Arc<IssuerKeyStore>, Arc<OidcAuthentication>) {
    let oidc = Arc::new(OidcAuthentication {
        discovery: OidcDiscovery::Cluster(Arc::default()),
    });
    let hosts = ServiceHosts::new("knative-eventing", "cluster.local");
    let table = RoutingTable::new(TransportEncryption::Disabled, hosts, Vec::new(), []);
    let (_tables, receiver) = watch::channel(Arc::new(table.with_oidc(Some(Arc::clone(&oidc)))));
    let keys = Arc::new(IssuerKeyStore::default());
    let source: Arc<dyn IssuerKeySource> = Arc::new(Scripted::new([Ok(published)]));
    let keeper = IssuerKeyRefresher::new(
        Arc::clone(&keys),
        source,
        Arc::new(ProcessCounters::default()),
    );
    let mut running = JoinSet::new();
    running.spawn(keeper.run(receiver, CancellationToken::new()));
    while !keys.are_known(&oidc) {
        tokio::task::yield_now().await;
    }
    (keys, oidc)
}

/// What is said of a token.
async fn said(keys: &(Arc<IssuerKeyStore>, Arc<OidcAuthentication>), token: &str) -> String {
    match verify(&keys.0, &keys.1, token, AUDIENCE).await {
        Ok(subject) => subject.to_string(),
        Err(denial) => {
            assert_eq!(denial.status(), 401, "{denial}");
            let text = denial.to_string();
            assert!(
                token.len() < 20 || !text.contains(token),
                "a token is not repeated"
            );
            text
        }
    }
}

#[tokio::test]
async fn good_tokens_tell_who_sends() {
    let (curve, rsa) = (Signer::elliptic("curve"), Signer::rsa("rsa"));
    let keys = keys(published(&[&curve, &rsa])).await;
    for signer in [&curve, &rsa] {
        for changes in [
            json!({}),
            json!({"aud": AUDIENCE}),
            json!({"aud": ["other", AUDIENCE]}),
            json!({"exp": seconds() - 5}),
            json!({"nbf": null}),
            json!({"nbf": seconds() + 200}),
            json!({"kubernetes.io": {"namespace": "orders"}, "jti": "1", "iat": seconds()}),
        ] {
            assert_eq!(
                said(&keys, &signer.token(&changes)).await,
                WRITER,
                "{changes}"
            );
        }
    }
    let nameless = Signer { id: None, ..rsa };
    assert_eq!(
        said(&keys, &nameless.token(&json!({}))).await,
        WRITER,
        "any key is tried"
    );
}

/// Every way in which a token can be wrong, with the words that say so.
#[tokio::test]
async fn bad_tokens_are_refused_by_name() {
    let signer = Signer::elliptic("curve");
    let keys = keys(published(&[&signer])).await;
    for (changes, words) in [
        (json!({"exp": seconds() - 60}), "has expired"),
        (json!({"exp": null}), "no claim exp"),
        (json!({"exp": "soon"}), "claim exp"),
        (json!({"exp": -1}), "claim exp"),
        (json!({"nbf": seconds() + 4000}), "not valid yet"),
        (
            json!({"aud": ["messaging.knative.dev/inmemorychannel/orders/other"]}),
            "not for the audience",
        ),
        (
            json!({"aud": AUDIENCE.to_ascii_uppercase()}),
            "not for the audience",
        ),
        (json!({"aud": []}), "not for the audience"),
        (json!({"aud": null}), "no claim aud"),
        (json!({"aud": 1}), "claim aud"),
        (json!({"iss": "https://evil.example"}), "another issuer"),
        (json!({"iss": format!("{ISSUER}/")}), "another issuer"),
        (json!({"iss": null}), "no claim iss"),
        (json!({"sub": ""}), "has no subject"),
        (json!({"sub": null}), "no JSON web token"),
        (json!({"sub": ["a"]}), "no JSON web token"),
    ] {
        let text = said(&keys, &signer.token(&changes)).await;
        assert!(text.contains(words), "{changes}: {text}");
    }
}

/// Signatures that are none, or somebody else's, or made with what everybody knows.
#[tokio::test]
async fn forged_tokens_are_refused() {
    let signer = Signer::elliptic("curve");
    let keys = keys(published(&[&signer])).await;
    let good = signer.token(&json!({}));
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let [head, body, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    let admin = part(&claims(&json!({"sub": "system:admin"})));
    let by_secret = |secret: &[u8]| {
        let header = Header {
            kid: Some("curve".to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        encode(
            &header,
            &claims(&json!({})),
            &EncodingKey::from_secret(secret),
        )
        .expect("a token")
    };
    let public = serde_json::to_vec(&signer.public()).expect("JSON");
    let impostor = Signer::elliptic("curve");
    let of_other_kind = Signer::rsa("curve");
    let huge = signer.token(&json!({"padding": "x".repeat(MAX_TOKEN)}));
    for (token, words) in [
        (
            format!(
                "{}.{body}.",
                part(&json!({"alg": "none", "typ": "JWT", "kid": "curve"}))
            ),
            "no JSON web token",
        ),
        (
            format!(
                "{}.{body}.{signature}",
                part(&json!({"alg": "None", "kid": "curve"}))
            ),
            "no JSON web token",
        ),
        (by_secret(b"secret"), "not signed by RSA"),
        (by_secret(&public), "not signed by RSA"),
        (impostor.token(&json!({})), "wrong signature"),
        (
            of_other_kind.token(&json!({})),
            "in a way that its key is not for",
        ),
        (format!("{head}.{admin}.{signature}"), "wrong signature"),
        (format!("{head}.{body}."), "wrong signature"),
        (format!("{head}.{body}"), "no JSON web token"),
        (format!("{good}.{signature}"), "no JSON web token"),
        (
            format!("{head}.{body}.{}", signature.get(..20).expect("a part")),
            "wrong signature",
        ),
        ("a.b.c".to_owned(), "no JSON web token"),
        ("...".to_owned(), "no JSON web token"),
        ("x".to_owned(), "no JSON web token"),
        ("é".to_owned(), "no JSON web token"),
        (huge, "too long"),
    ] {
        let text = said(&keys, &token).await;
        assert!(text.contains(words), "{:.200}: {text}", token);
    }
}

/// Headers that change what a signature means, or bring a key, on tokens that are signed as they
/// should be (RFC 7515 §4.1.11, RFC 7797, RFC 8725 §3.11).
#[tokio::test]
async fn headers_are_understood_or_refused() {
    let (signer, stranger) = (Signer::elliptic("curve"), Signer::elliptic("curve"));
    let keys = keys(published(&[&signer])).await;
    let signed = |by: &Signer, header: &str| {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", part(header), part(&claims(&json!({})).to_string()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &by.key, Algorithm::ES256)
            .expect("a signature");
        format!("{message}.{signature}")
    };
    let with = |more: &str| format!(r#"{{"alg":"ES256","kid":"curve"{more}}}"#);
    let jwk = format!(
        r#","jwk":{}"#,
        serde_json::to_string(&stranger.public()).expect("JSON")
    );
    for (more, words) in [
        ("", WRITER),
        (r#","typ":"JWT""#, WRITER),
        (r#","typ":"at+jwt""#, WRITER),
        (r#","b64":true"#, WRITER),
        (
            r#","jku":"https://evil.example/keys","x5u":"https://evil.example/cert""#,
            WRITER,
        ),
        (&jwk, WRITER),
        (r#","crit":["exp"],"exp":1"#, "crit"),
        (r#","crit":["b64"],"b64":true"#, "crit"),
        (r#","crit":[]"#, "crit"),
        (r#","crit":null"#, "crit"),
        (r#","b64":false"#, "without base64"),
        (r#","b64":"true""#, "without base64"),
        (r#","zip":"DEF""#, "compressed"),
        (r#","enc":"A128GCM""#, "encrypted"),
        (r#","typ":"logout+jwt""#, "of a type"),
        (r#","typ":"dpop+jwt""#, "of a type"),
        (r#","alg":"none""#, "no JSON web token"),
        (r#","alg":"HS256""#, "no JSON web token"),
    ] {
        let text = said(&keys, &signed(&signer, &with(more))).await;
        assert!(text.contains(words), "{more}: {text}");
        let text = said(&keys, &signed(&stranger, &with(more))).await;
        assert!(
            words == WRITER && text.contains("wrong signature") || text.contains(words),
            "{more}: {text}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No byte of a token may change.
    #[test]
    fn a_changed_token_is_no_token(at in 0usize..2000, to in proptest::char::range(' ', '~')) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let signer = Signer::elliptic("curve");
            let keys = keys(published(&[&signer])).await;
            let good = signer.token(&json!({}));
            let at = at % good.len();
            let mut changed = good.clone();
            changed.replace_range(at..=at, &to.to_string());
            let verified = verify(&keys.0, &keys.1, &changed, AUDIENCE).await;
            // The last character of base64 may have bits that mean nothing.
            assert!(changed == good || verified.is_err() || at + 1 == good.len(), "{at} {to}");
        });
    }
}

/// A token that was good is remembered for its audience and until its end; one that was not, never.
#[tokio::test]
async fn good_tokens_are_remembered() {
    let signer = Signer::elliptic("curve");
    let keys = keys(published(&[&signer])).await;
    let set = keys.0.key_set_of(&keys.1).expect("keys");
    let remembered =
        |token: &str, audience: &str| set.verified.contains_key(&token_digest(token, audience));
    let both = signer.token(&json!({"aud": [AUDIENCE, "other"]}));
    for _ in 0..3 {
        assert_eq!(said(&keys, &both).await, WRITER);
    }
    assert!(remembered(&both, AUDIENCE) && !remembered(&both, "other"));
    let only = signer.token(&json!({}));
    assert_eq!(said(&keys, &only).await, WRITER);
    let elsewhere = verify(&keys.0, &keys.1, &only, "other")
        .await
        .expect_err("another audience");
    assert!(
        elsewhere.to_string().contains("not for the audience other"),
        "{elsewhere}"
    );
    let forged = Signer::elliptic("curve").token(&json!({}));
    said(&keys, &forged).await;
    assert!(!remembered(&forged, AUDIENCE));

    let leaving = signer.token(&json!({"exp": seconds() - 5}));
    assert_eq!(said(&keys, &leaving).await, WRITER);
    let known = set
        .verified
        .get(&token_digest(&leaving, AUDIENCE))
        .await
        .expect("remembered");
    let left = known.expires_at - now();
    assert!(left > 0.0 && left <= 5.0, "{left} s");
    let ended = Arc::new(VerifiedToken {
        subject: WRITER.into(),
        expires_at: now() - 1.0,
    });
    let old = signer.token(&json!({"exp": seconds() - 60}));
    set.verified
        .insert(token_digest(&old, AUDIENCE), ended)
        .await;
    assert!(
        said(&keys, &old).await.contains("has expired"),
        "what has ended is not remembered"
    );
}
