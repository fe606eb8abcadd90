//! The fingerprints of trust bundles, and texts that are nearly certificates.

use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair};

use super::*;

fn certificate(name: &str) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .self_signed(&KeyPair::generate().expect("a key"))
        .expect("a certificate")
        .pem()
}

fn bundle(pem: &str) -> TrustBundle {
    TrustBundle::from_pem(pem).expect("a bundle")
}

#[test]
fn what_is_no_certificate_is_named() {
    let key = KeyPair::generate().expect("a key").serialize_pem();
    let half: String = certificate("a").chars().take(200).collect();
    for (pem, words) in [
        ("", "holds no PEM certificate"),
        ("text", "holds no PEM certificate"),
        (key.as_str(), "holds a private key instead"),
        (half.as_str(), "certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate 1 does not decode",
        ),
        (
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
            "certificate 1 does not decode",
        ),
    ] {
        let error = TrustBundle::from_pem(pem)
            .expect_err("no bundle")
            .to_string();
        assert!(error.contains(words), "{pem}: {error}");
    }
}

#[test]
fn validity() {
    let trust = Arc::new(bundle(&certificate("a")));
    let certificate = &trust.certificates()[0];
    let (start, end) = (certificate.not_before, certificate.not_after);
    for (now, valid) in [
        (start - 1, false),
        (start, true),
        (end, true),
        (end + 1, false),
    ] {
        assert_eq!(
            trust.valid_at(now).certificates().len(),
            usize::from(valid),
            "{now}"
        );
        assert_eq!(trust.invalid_at(now).count(), usize::from(!valid), "{now}");
    }
    assert!(
        Arc::ptr_eq(&trust, &trust.valid_at(start)),
        "nothing is copied where all is valid"
    );
}

/// On the day of its end, the day alone would not say whether it is over.
#[test]
fn validity_is_told_to_the_second() {
    let certificate = TrustedCertificate {
        der: CertificateDer::from(Vec::new()),
        subject: "CN=a".to_owned(),
        not_before: 0,
        not_after: 1_795_950_000,
        is_ca: true,
    };
    assert_eq!(
        certificate.describe_validity(),
        "CN=a is valid from 1970-01-01T00:00:00Z to 2026-11-29T11:00:00Z"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// The order, the repetition and the surroundings of certificates do not matter; which they are
    /// does.
    #[test]
    fn the_fingerprint_is_of_the_set(order in Just(vec![0usize, 1, 2]).prop_shuffle(), again in 0usize..3, text in "[a-z ]{0,20}") {
        let pems = [certificate("a"), certificate("b"), certificate("c")];
        let straight = bundle(&pems.concat());
        let mut shuffled: String = order.iter().map(|at| format!("{text}\n{}\r\n", pems[*at])).collect();
        shuffled.push_str(&pems[again]);
        prop_assert_eq!(straight.fingerprint(), bundle(&shuffled).fingerprint());
        let fewer = bundle(&pems[..2].concat());
        prop_assert_ne!(straight.fingerprint(), fewer.fingerprint());
        prop_assert_eq!(fewer.union(&bundle(&pems[2])), straight);
    }
}
