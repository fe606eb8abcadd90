//! Keys that are published, withdrawn and fail to come, with time paused.

use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, OctetKeyPairParameters, OctetKeyPairType,
    OctetKeyParameters, OctetKeyType,
};
use serde_json::json;
use tokio::task::JoinSet;

use super::*;
use crate::auth::policy::AccessDenial;
use crate::auth::tests::{AUDIENCE, Scripted, Signer, WRITER, published};
use crate::auth::token_verifier::verify;
use crate::model::{OidcDiscovery, RoutingTable, ServiceHosts, TransportEncryption};

fn cluster() -> Arc<OidcAuthentication> {
    Arc::new(OidcAuthentication {
        discovery: OidcDiscovery::Cluster(Arc::default()),
    })
}

fn table(oidc: Option<Arc<OidcAuthentication>>) -> Arc<RoutingTable> {
    let hosts = ServiceHosts::new("knative-eventing", "cluster.local");
    Arc::new(
        RoutingTable::new(TransportEncryption::Disabled, hosts, Vec::new(), []).with_oidc(oidc),
    )
}

/// A keeper that runs over a script.
struct Kept {
    keys: Arc<IssuerKeyStore>,
    source: Arc<Scripted>,
    tables: watch::Sender<Arc<RoutingTable>>,
    counters: Arc<ProcessCounters>,
    _running: JoinSet<()>,
}

fn kept(oidc: Option<Arc<OidcAuthentication>>, steps: Vec<Result<PublishedKeys, String>>) -> Kept {
    let (tables, receiver) = watch::channel(table(oidc));
    let (keys, counters) = (
        Arc::new(IssuerKeyStore::default()),
        Arc::new(ProcessCounters::default()),
    );
    let source = Arc::new(Scripted::new(steps));
    let keeper = IssuerKeyRefresher::new(
        Arc::clone(&keys),
        Arc::clone(&source) as Arc<dyn IssuerKeySource>,
        Arc::clone(&counters),
    );
    let mut running = JoinSet::new();
    running.spawn(keeper.run(receiver, CancellationToken::new()));
    Kept {
        keys,
        source,
        tables,
        counters,
        _running: running,
    }
}

/// Lets so much time pass, in which everything that is due is done.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

const DOWN: Result<PublishedKeys, String> = Err(String::new());

/// Contract G-53: keys that cannot be had are tried for ever, and until then nobody is told that a
/// token is wrong.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_away_is_asked_again_and_again() {
    let (signer, oidc) = (Signer::elliptic("a"), cluster());
    let steps = std::iter::repeat_n(DOWN, 50).chain([Ok(published(&[&signer]))]);
    let kept = kept(Some(Arc::clone(&oidc)), steps.collect());
    let token = signer.token(&json!({}));
    pass(60).await;
    let early = verify(&kept.keys, &oidc, &token, AUDIENCE).await;
    assert_eq!(
        early,
        Err(AccessDenial::KeysUnavailable(
            "the keys of the token issuer are not known yet"
        ))
    );
    let asked = kept.source.count();
    assert!((5..15).contains(&asked), "asked {asked} times in a minute");
    pass(1800).await;
    assert_eq!(
        verify(&kept.keys, &oidc, &token, AUDIENCE).await.as_deref(),
        Ok(WRITER)
    );
    assert_eq!(kept.counters.key_fetch_failures.get(), 50);
}

/// Without `authentication-oidc` nobody is asked; with it, no request waits for the next fetch by
/// time.
#[tokio::test(start_paused = true)]
async fn keys_follow_the_table() {
    let signer = Signer::elliptic("a");
    let kept = kept(None, vec![Ok(published(&[&signer]))]);
    pass(3600).await;
    assert_eq!(kept.source.count(), 0);
    let oidc = cluster();
    kept.tables.send_replace(table(Some(Arc::clone(&oidc))));
    pass(1).await;
    assert!(kept.keys.are_known(&oidc));
    assert!(kept.keys.are_known(&cluster()), "it is the same issuer");
    let other = Arc::new(OidcAuthentication {
        discovery: OidcDiscovery::Unavailable,
    });
    assert!(
        !kept.keys.are_known(&other),
        "keys of one issuer are not those of another"
    );
    pass(3600).await;
    assert_eq!(kept.source.count(), 7, "once, and every ten minutes");
    kept.tables.send_replace(table(None));
    pass(3600).await;
    assert_eq!(kept.source.count(), 7);
}

/// A change of trust bundles has keys fetched anew, and refuses nobody meanwhile, be the issuer
/// away or not.
#[tokio::test(start_paused = true)]
async fn other_trust_is_no_other_issuer() {
    let (signer, oidc) = (Signer::elliptic("a"), cluster());
    let kept = kept(
        Some(Arc::clone(&oidc)),
        vec![Ok(published(&[&signer])), DOWN],
    );
    pass(1).await;
    let pem = rcgen::CertificateParams::default()
        .self_signed(&rcgen::KeyPair::generate().expect("a key"));
    let bundle =
        crate::model::TrustBundle::from_pem(&pem.expect("a certificate").pem()).expect("a bundle");
    let trusting = Arc::new(OidcAuthentication {
        discovery: OidcDiscovery::Cluster(Arc::new(bundle)),
    });
    assert_ne!(trusting, oidc);
    kept.tables.send_replace(table(Some(Arc::clone(&trusting))));
    pass(1).await;
    assert!(kept.source.count() > 1, "they are fetched by the new trust");
    let token = signer.token(&json!({}));
    assert_eq!(
        verify(&kept.keys, &trusting, &token, AUDIENCE)
            .await
            .as_deref(),
        Ok(WRITER)
    );
}

/// A rotated key is found by the first token that is signed with it, which is not refused for that.
#[tokio::test(start_paused = true)]
async fn a_new_key_is_looked_for_when_it_is_met() {
    let (old, new, oidc) = (Signer::elliptic("old"), Signer::rsa("new"), cluster());
    let kept = kept(
        Some(Arc::clone(&oidc)),
        vec![Ok(published(&[&old])), Ok(published(&[&old, &new]))],
    );
    pass(60).await;
    let (of_old, of_new) = (old.token(&json!({})), new.token(&json!({})));
    assert_eq!(
        verify(&kept.keys, &oidc, &of_old, AUDIENCE)
            .await
            .as_deref(),
        Ok(WRITER)
    );
    let verified = futures_util::future::join_all(
        (0..100).map(|_| verify(&kept.keys, &oidc, &of_new, AUDIENCE)),
    )
    .await;
    assert!(
        verified
            .iter()
            .all(|subject| subject.as_deref() == Ok(WRITER))
    );
    assert_eq!(kept.source.count(), 2, "one fetch for all");
    assert_eq!(
        verify(&kept.keys, &oidc, &of_old, AUDIENCE)
            .await
            .as_deref(),
        Ok(WRITER)
    );
}

/// Whoever invents keys makes no more fetches than one in five seconds.
#[tokio::test(start_paused = true)]
async fn unknown_keys_are_not_looked_for_too_often() {
    let (known, stranger, oidc) = (
        Signer::elliptic("known"),
        Signer::elliptic("stranger"),
        cluster(),
    );
    let kept = kept(Some(Arc::clone(&oidc)), vec![Ok(published(&[&known]))]);
    pass(60).await;
    let token = stranger.token(&json!({}));
    let started = Instant::now();
    for _ in 0..1000 {
        let Err(AccessDenial::Unauthenticated(reason)) =
            verify(&kept.keys, &oidc, &token, AUDIENCE).await
        else {
            panic!("a stranger is let in");
        };
        assert!(
            reason.contains("signed by a key that its issuer does not publish"),
            "{reason}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let fetches = kept.source.count() - 1;
    assert!(
        (1..=3).contains(&fetches),
        "{fetches} fetches in {:?}",
        started.elapsed()
    );
}

/// Where it cannot be told whether a key is good, nobody is told that it is not; what is known goes
/// on to count.
#[tokio::test(start_paused = true)]
async fn known_keys_stay_while_the_issuer_is_away() {
    let (old, new, oidc) = (Signer::elliptic("old"), Signer::elliptic("new"), cluster());
    let kept = kept(Some(Arc::clone(&oidc)), vec![Ok(published(&[&old])), DOWN]);
    pass(7200).await;
    let (of_old, of_new) = (old.token(&json!({})), new.token(&json!({})));
    assert_eq!(
        verify(&kept.keys, &oidc, &of_old, AUDIENCE)
            .await
            .as_deref(),
        Ok(WRITER)
    );
    let undecided = verify(&kept.keys, &oidc, &of_new, AUDIENCE).await;
    assert_eq!(
        undecided,
        Err(AccessDenial::KeysUnavailable(
            "the keys of the token issuer cannot be fetched"
        ))
    );
}

/// A secret that is published verifies nothing, nor does a key for something else; without any key,
/// there is none.
#[test]
fn only_public_keys_for_signatures_are_used() {
    let common = CommonParameters::default();
    let secret = AlgorithmParameters::OctetKey(OctetKeyParameters {
        key_type: OctetKeyType::Octet,
        value: "c2VjcmV0".to_owned(),
    });
    let edwards = AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
        key_type: OctetKeyPairType::OctetKeyPair,
        curve: EllipticCurve::Ed25519,
        x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned(),
    });
    for algorithm in [secret, edwards] {
        assert!(
            usable_key(&Jwk {
                common: common.clone(),
                algorithm
            })
            .is_none()
        );
    }
    let mut for_encryption = Signer::rsa("a").public();
    for_encryption.common.public_key_use = Some(PublicKeyUse::Encryption);
    assert!(usable_key(&for_encryption).is_none());
    let mut named = Signer::rsa("a").public();
    named.common.key_algorithm = Some(KeyAlgorithm::RS384);
    assert_eq!(
        usable_key(&named).expect("a key").algorithms,
        [Algorithm::RS384]
    );
    named.common.key_algorithm = Some(KeyAlgorithm::HS256);
    assert!(usable_key(&named).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_issuer_without_name_or_keys_is_none() {
    let oidc = cluster();
    let nameless = PublishedKeys {
        issuer: String::new(),
        ..published(&[&Signer::elliptic("a")])
    };
    let keyless = published(&[]);
    let kept = kept(Some(Arc::clone(&oidc)), vec![Ok(nameless), Ok(keyless)]);
    pass(60).await;
    assert!(!kept.keys.are_known(&oidc));
    assert_eq!(
        kept.counters.key_fetch_failures.get(),
        kept.counters.key_fetches.get()
    );
}
