//! The development CA by its files, and the certificates of it that clients believe.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::*;
use crate::tls::server_identity::{CertificateReplacement, ServerIdentity};

const DOMAIN: &str = "cluster.local";

fn load(state: &Path, now: i64) -> Result<DevelopmentCa, DevelopmentCaError> {
    DevelopmentCa::load_or_create(state, DOMAIN, now)
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

#[test]
fn a_ca_is_made_once_and_its_certificates_are_usable() {
    let directory = TempDir::new().expect("a directory");
    let first = load(&directory.path().join("state"), now()).expect("made");
    let second = load(&directory.path().join("state"), now()).expect("loaded");
    assert_eq!(first.certificate_pem(), second.certificate_pem());
    let issued = second
        .issue(&["*.ns.svc.cluster.local".to_owned()])
        .expect("issued");
    let identity = ServerIdentity::default();
    let replaced = identity
        .replace(&issued.chain_pem, &issued.key_pem, now())
        .expect("usable");
    assert!(
        matches!(replaced, CertificateReplacement::Changed { not_after, .. } if issued.renew_at < not_after)
    );
}

/// The certificate is for senders, under whatever user they run; the key is for nobody else.
#[test]
fn the_certificate_is_public_and_the_key_is_not() {
    let directory = TempDir::new().expect("a directory");
    let state = directory.path().join("state");
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    let modes = || {
        [
            mode(&state),
            mode(&state.join("ca.crt")),
            mode(&state.join("ca.key")),
        ]
    };
    load(&state, now()).expect("made");
    assert_eq!(modes(), [0o755, 0o644, 0o600]);
    fs::set_permissions(state.join("ca.crt"), Permissions::from_mode(0o600))
        .expect("as it was once");
    load(&state, now()).expect("loaded");
    assert_eq!(modes(), [0o755, 0o644, 0o600]);
}

#[test]
fn what_is_there_is_never_replaced() {
    let directory = TempDir::new().expect("a directory");
    let write = |name: &str| {
        write_new(&directory.path().join(name), "nothing", OWNER_ONLY).expect("written")
    };
    write("ca.crt");
    write("ca.key");
    assert!(matches!(
        load(directory.path(), now()),
        Err(DevelopmentCaError::Unusable { .. })
    ));
    fs::remove_file(directory.path().join("ca.crt")).expect("removed");
    assert!(matches!(
        load(directory.path(), now()),
        Err(DevelopmentCaError::Unusable { .. })
    ));
    fs::remove_file(directory.path().join("ca.key")).expect("removed");
    load(directory.path(), now()).expect("made");
    fs::remove_file(directory.path().join("ca.crt")).expect("removed");
    let mended = load(directory.path(), now());
    assert!(
        mended.is_ok(),
        "a key whose certificate was not written gets one"
    );
}

/// A certificate for this name, as the CA could be made to sign it by whoever has its key.
fn signed(ca: &DevelopmentCa, name: &str) -> [CertificateDer<'static>; 1] {
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    [params
        .signed_by(&key, &ca.issuer)
        .expect("signed")
        .der()
        .clone()]
}

/// Whether a client that trusts the CA believes a server with this certificate to be this one.
fn is_believed(ca: &DevelopmentCa, chain: &[CertificateDer<'static>], name: &str) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).expect("PEM");
    roots.add(root).expect("a root");
    let builder = rustls::client::WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots),
        crate::tls::crypto_provider(),
    );
    let verifier = builder.build().expect("a verifier");
    let [first, others @ ..] = chain else {
        return false;
    };
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
    verifier
        .verify_server_cert(
            first,
            others,
            &name,
            &[],
            rustls::pki_types::UnixTime::now(),
        )
        .is_ok()
}

/// Whoever gets the key of a laptop's CA cannot be the bank of whoever trusts it.
#[test]
fn it_vouches_for_what_is_local_only() {
    let directory = TempDir::new().expect("a directory");
    let ca = load(directory.path(), now()).expect("made");
    for (issued, asked, believed) in [
        ("localhost", "localhost", true),
        ("127.0.0.1", "127.0.0.1", true),
        ("127.9.9.9", "127.9.9.9", true),
        ("::1", "::1", true),
        (
            "c-kn-channel.ns.svc.cluster.local",
            "c-kn-channel.ns.svc.cluster.local",
            true,
        ),
        (
            "*.ns.svc.cluster.local",
            "c-kn-channel.ns.svc.cluster.local",
            true,
        ),
        (
            "broker-ingress.knative-eventing.svc",
            "broker-ingress.knative-eventing.svc",
            true,
        ),
        ("bank.example", "bank.example", false),
        ("*.example", "bank.example", false),
        (
            "svc.cluster.local.example",
            "svc.cluster.local.example",
            false,
        ),
        ("10.0.0.1", "10.0.0.1", false),
        ("other.local", "other.local", false),
    ] {
        let chain = signed(&ca, issued);
        assert_eq!(is_believed(&ca, &chain, asked), believed, "{issued}");
    }
    let issued = ca
        .issue(&[
            "*.ns.svc.cluster.local".to_owned(),
            "broker-ingress.ns.svc".to_owned(),
        ])
        .expect("issued");
    let chain: Vec<_> = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .expect("PEM");
    for name in [
        "localhost",
        "127.0.0.1",
        "::1",
        "c-kn-channel.ns.svc.cluster.local",
        "broker-ingress.ns.svc",
    ] {
        assert!(
            is_believed(&ca, &chain, name),
            "what standalone shows: {name}"
        );
    }
}

/// What it has signed signs nothing (RFC 5280 §4.2.1.9). rustls does not ask trust anchors for
/// that, others do; and none of them may pass over what it does not understand.
#[test]
fn it_signs_no_other_ca() {
    let directory = TempDir::new().expect("a directory");
    let ca = load(directory.path(), now()).expect("made");
    let der = CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).expect("PEM");
    let (_, parsed) = X509Certificate::from_der(&der).expect("a certificate");
    let constraints = parsed
        .basic_constraints()
        .expect("at most one")
        .expect("there are some");
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let names = parsed
        .name_constraints()
        .expect("at most one")
        .expect("there are some");
    assert!(names.critical);
    assert_eq!(
        names.value.permitted_subtrees.as_ref().map(Vec::len),
        Some(5)
    );
}

/// Who has the certificate of before still believes, and the key stays.
#[test]
fn it_is_renewed_with_the_same_key() {
    let directory = TempDir::new().expect("a directory");
    let file = |name: &str| fs::read_to_string(directory.path().join(name)).expect("it is there");
    let first = load(directory.path(), now()).expect("made");
    let key = file("ca.key");
    load(directory.path(), now() + CA_LIFE.whole_seconds() / 3).expect("loaded");
    assert_eq!(file("ca.crt"), first.certificate_pem(), "not yet");
    let renewed = load(directory.path(), now() + CA_LIFE.whole_seconds() * 2 / 3).expect("renewed");
    assert_ne!(renewed.certificate_pem(), first.certificate_pem());
    assert_eq!(
        (file("ca.crt").as_str(), file("ca.key")),
        (renewed.certificate_pem(), key.clone())
    );
    let chain = signed(&renewed, "localhost");
    assert!(is_believed(&first, &chain, "localhost") && is_believed(&renewed, &chain, "localhost"));
    let other = DevelopmentCa::load_or_create(directory.path(), "corp.example", now())
        .expect("made for another domain");
    let chain = signed(&other, "c.ns.svc.corp.example");
    assert!(
        is_believed(&other, &chain, "c.ns.svc.corp.example")
            && !is_believed(&first, &chain, "c.ns.svc.corp.example")
    );

    // As versions made it that had neither limits nor an end soon.
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(3650);
    let old = params
        .self_signed(&KeyPair::from_pem(&key).expect("a key"))
        .expect("signed")
        .pem();
    fs::write(directory.path().join("ca.crt"), &old).expect("written");
    let renewed = load(directory.path(), now()).expect("renewed");
    assert_ne!(renewed.certificate_pem(), old);
    assert!(renewed.not_after() <= now() + CA_LIFE.whole_seconds());
    assert_eq!(file("ca.key"), key);
}

/// Somebody's own CA in the place of ours is used as it is, as long as it is valid.
#[test]
fn what_was_not_made_here_is_not_renewed() {
    let directory = TempDir::new().expect("a directory");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "somebody's CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(30);
    let own = params.self_signed(&key).expect("signed").pem();
    write_new(&directory.path().join("ca.crt"), &own, PUBLIC).expect("written");
    write_new(
        &directory.path().join("ca.key"),
        &key.serialize_pem(),
        OWNER_ONLY,
    )
    .expect("written");
    let ca = load(directory.path(), now()).expect("loaded");
    assert_eq!(ca.certificate_pem(), own);
    let issued = ca.issue(&[]).expect("issued");
    let end = TrustBundle::from_pem(&issued.chain_pem)
        .expect("PEM")
        .certificates()[0]
        .not_after;
    assert!(end <= ca.not_after(), "no certificate outlives its CA");
    let later = now() + Duration::days(31).whole_seconds();
    assert!(matches!(
        load(directory.path(), later),
        Err(DevelopmentCaError::Unusable { .. })
    ));
}

/// The remedy is in the refusal, and works.
#[test]
fn what_others_can_write_is_refused() {
    let directory = TempDir::new().expect("a directory");
    let state = directory.path().join("state");
    load(&state, now()).expect("made");
    for (name, loose, strict) in [
        ("", 0o777, 0o755),
        ("ca.crt", 0o666, 0o644),
        ("ca.key", 0o644, 0o600),
    ] {
        let path = state.join(name);
        let path = if name.is_empty() { state.clone() } else { path };
        fs::set_permissions(&path, Permissions::from_mode(loose)).expect("set");
        let Err(error @ DevelopmentCaError::Foreign { .. }) = load(&state, now()) else {
            panic!("{name} is used")
        };
        let text = error.to_string();
        assert!(
            text.starts_with(&path.display().to_string()) && text.contains("run chmod"),
            "{text}"
        );
        fs::set_permissions(&path, Permissions::from_mode(strict)).expect("set");
        load(&state, now()).expect("used again");
    }
}
