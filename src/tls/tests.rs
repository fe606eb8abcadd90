//! Handshakes of a client with servers that show various certificates.

use std::io::Read;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConnection, HandshakeKind, ServerConfig, ServerConnection};
use time::{Duration, OffsetDateTime};

use super::*;

/// A certificate that signs itself, and its key.
struct Own {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

fn params(host: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
    params.distinguished_name.push(DnType::CommonName, host);
    params
}

fn own(change: impl FnOnce(&mut CertificateParams)) -> Own {
    let mut params = params("localhost");
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    Own {
        issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate"),
    }
}

fn ca(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

impl Own {
    fn bundle(&self) -> TrustBundle {
        TrustBundle::from_pem(&self.issuer.pem()).expect("a bundle")
    }

    fn server(&self) -> Arc<ServerConfig> {
        server(
            vec![self.issuer.der().clone()],
            self.issuer.key().serialize_der(),
        )
    }

    /// A server whose certificate this one has signed.
    fn signs(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let signed = params("localhost")
            .signed_by(&key, &self.issuer)
            .expect("a certificate");
        server(vec![signed.der().clone()], key.serialize_der())
    }
}

fn server(chain: Vec<CertificateDer<'static>>, key: Vec<u8>) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key).expect("a key");
    let builder = ServerConfig::builder_with_provider(crypto_provider())
        .with_protocol_versions(TLS_1_2_AND_1_3);
    let config = builder
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.expect("a configuration"))
}

fn client(trust: &TrustBundle) -> Arc<ClientConfig> {
    Arc::new(
        client_config(trust, &SystemRoots(None), MinTlsVersion::Tls12).expect("a configuration"),
    )
}

/// How they shook hands, or why the client did not.
fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    host: &'static str,
) -> Result<HandshakeKind, String> {
    let name = host.try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::clone(client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("written");
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("read");
            server.process_new_packets().expect("understood");
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("written");
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("read");
            client
                .process_new_packets()
                .map_err(|error| error.to_string())?;
        }
    }
    drop(client.reader().read(&mut [0]));
    Ok(client.handshake_kind().expect("a handshake"))
}

/// Contract TL-6.
#[test]
fn what_stands_in_a_bundle_is_trusted_as_it_stands() {
    for (what, change) in [
        ("CA:FALSE", (|_| {}) as fn(&mut CertificateParams)),
        ("CA:TRUE", ca),
        ("for any use", |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]
        }),
    ] {
        let own = own(change);
        assert_eq!(
            shake(&client(&own.bundle()), &own.server(), "localhost"),
            Ok(HandshakeKind::Full),
            "{what}"
        );
        let error =
            shake(&client(&own.bundle()), &own.server(), "other.ns").expect_err("another name");
        assert!(error.contains("not valid for name"), "{what}: {error}");
    }
    let expired = own(|params| params.not_after = OffsetDateTime::now_utc() - Duration::days(1));
    let error =
        shake(&client(&expired.bundle()), &expired.server(), "localhost").expect_err("expired");
    assert!(error.contains("expired"), "{error}");
    let of_a_client =
        own(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let error = shake(
        &client(&of_a_client.bundle()),
        &of_a_client.server(),
        "localhost",
    )
    .expect_err("no server");
    assert!(error.contains("must have serverAuth"), "{error}");
}

#[test]
fn a_certificate_that_is_no_ca_vouches_for_itself_alone() {
    let without = |_: &mut CertificateParams| {};
    let told = |params: &mut CertificateParams| params.is_ca = IsCa::ExplicitNoCa;
    let kept_from_signing = |params: &mut CertificateParams| {
        ca(params);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    };
    for no_ca in [own(without), own(told), own(kept_from_signing)] {
        let error = shake(&client(&no_ca.bundle()), &no_ca.signs(), "localhost")
            .expect_err("it may not sign");
        assert!(error.contains("UnknownIssuer"), "{error}");
    }
    let authority = own(ca);
    assert_eq!(
        shake(
            &client(&authority.bundle()),
            &authority.signs(),
            "localhost"
        ),
        Ok(HandshakeKind::Full)
    );
    let error = shake(&client(&own(ca).bundle()), &authority.server(), "localhost")
        .expect_err("another one's");
    assert!(error.contains("the certificate of a CA"), "{error}");
}

#[test]
fn a_session_is_resumed_while_its_certificate_is_valid() {
    let until = OffsetDateTime::now_utc() + Duration::seconds(3);
    let own = own(|params| params.not_after = until);
    let (client, server) = (client(&own.bundle()), own.server());
    assert_eq!(
        shake(&client, &server, "localhost"),
        Ok(HandshakeKind::Full)
    );
    assert_eq!(
        shake(&client, &server, "localhost"),
        Ok(HandshakeKind::Resumed)
    );
    let mut last = Ok(HandshakeKind::Resumed);
    while OffsetDateTime::now_utc() <= until + Duration::seconds(1) && last.is_ok() {
        last = shake(&client, &server, "localhost");
        std::thread::yield_now();
    }
    let error = last.expect_err("the certificate has expired");
    assert!(error.contains("expired"), "{error}");
}

#[test]
fn a_short_key_is_named() {
    // 1024 bits, made by `openssl req -x509 -newkey rsa:1024 -nodes -days 36500 -subj /CN=localhost
    // -addext subjectAltName=DNS:localhost`.
    let weak = TrustBundle::from_pem(include_str!("weak.pem")).expect("a bundle");
    let der = &weak.certificates()[0].der;
    let refusal =
        refusal::explain_refusal(rustls::CertificateError::BadSignature.into(), &[der]).to_string();
    assert!(
        refusal.contains("an RSA key of 1024 bits, and 2048 is the least"),
        "{refusal}"
    );
}

/// The suites and key exchanges that docs/SECURITY_MODEL.md tells, in its order.
#[test]
fn suites_are_those_that_are_told() {
    let provider = crypto_provider();
    let suites = provider.cipher_suites.iter();
    let suites: Vec<String> = suites.map(|suite| format!("{:?}", suite.suite())).collect();
    assert_eq!(
        suites,
        [
            "TLS13_AES_256_GCM_SHA384",
            "TLS13_AES_128_GCM_SHA256",
            "TLS13_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ]
    );
    let groups = provider.kx_groups.iter();
    let groups: Vec<String> = groups.map(|group| format!("{:?}", group.name())).collect();
    assert_eq!(
        groups,
        ["X25519MLKEM768", "X25519", "secp256r1", "secp384r1"]
    );
}
