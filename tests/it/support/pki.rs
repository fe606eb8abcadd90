//! Certificates made for the test.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use tokio_rustls::TlsAcceptor;

/// A certification authority.
pub(crate) struct Ca {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

impl Ca {
    /// A new CA of this name.
    pub(crate) fn new(name: &str) -> Self {
        Self::valid(name, OffsetDateTime::now_utc() + Duration::days(30))
    }

    /// A CA that is valid until then.
    pub(crate) fn valid(name: &str, until: OffsetDateTime) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = until - Duration::days(60);
        params.not_after = until;
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::from_ca_cert_pem(&pem, key).expect("an issuer");
        Self { pem, issuer }
    }

    /// A certificate for these names.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_until(names, OffsetDateTime::now_utc() + Duration::days(30))
    }

    /// A certificate for these names that is valid until then.
    pub(crate) fn issue_until(&self, names: &[&str], until: OffsetDateTime) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        params.not_before = until - Duration::days(60);
        params.not_after = until;
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

impl Identity {
    /// A server that shows it, over HTTP/2 or HTTP/1.1.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.speaking(&[b"h2", b"http/1.1"])
    }

    /// A server that shows it, and speaks these protocols.
    pub(crate) fn speaking(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let chain = rustls::pki_types::CertificateDer::pem_slice_iter(self.chain_pem.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().expect("a chain");
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a configuration");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}
