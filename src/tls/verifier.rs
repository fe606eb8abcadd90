//! Which server certificates are believed: those of a bundle's certificates, and those of the system's roots.
//!
//! The same as one verifier for all of them together: a chain ends at exactly one root, and what else is asked of it
//! (names, dates, uses) does not depend on which. So a server is believed by the union if and only if one of the parts
//! believes it. The parts can be shared, though: a thousand clients have the system's roots in memory once.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Believes what one of its parts believes; without parts, nobody.
#[derive(Debug)]
pub(super) struct Union {
    parts: [Option<Arc<WebPkiServerVerifier>>; 2],
    algorithms: WebPkiSupportedAlgorithms,
}

impl Union {
    /// Believes the owners of these roots, and what `system` believes.
    pub(super) fn new(own: RootCertStore, system: Option<Arc<WebPkiServerVerifier>>) -> Self {
        let algorithms = super::provider().signature_verification_algorithms;
        Self { parts: [verifier(own), system], algorithms }
    }
}

/// What believes the owners of these roots; `None` if there are none.
pub(super) fn verifier(roots: RootCertStore) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), super::provider()).build().ok()
}

impl ServerCertVerifier for Union {
    /// Of two refusals, the one that says more than that a root is not known is told.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let mut refusal = unknown.clone();
        for part in self.parts.iter().flatten() {
            match part.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                Ok(verified) => return Ok(verified),
                Err(error) if refusal == unknown => refusal = error,
                Err(_less) => {}
            }
        }
        Err(refusal)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        der: CertificateDer<'static>,
    }

    impl Authority {
        fn new(name: &str) -> Self {
            let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
            let key = KeyPair::generate().expect("a key");
            let der = parameters.self_signed(&key).expect("a certificate").der().clone();
            Self { issuer: Issuer::new(parameters, key), der }
        }

        fn store(&self) -> RootCertStore {
            let mut store = RootCertStore::empty();
            store.add(self.der.clone()).expect("a root");
            store
        }

        fn issue(&self, host: &str) -> CertificateDer<'static> {
            let key = KeyPair::generate().expect("a key");
            let parameters = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
            parameters.signed_by(&key, &self.issuer).expect("a certificate").der().clone()
        }
    }

    fn verdict(union: &Union, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
        let name = ServerName::try_from("sink.ns").expect("a name");
        match union.verify_server_cert(certificate, &[], &name, &[], now) {
            Ok(_verified) => Ok(()),
            Err(Error::InvalidCertificate(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    /// TL-1: whatever either of them trusts, and nothing else.
    #[test]
    fn one_part_is_enough_and_the_better_refusal_is_told() {
        let now = UnixTime::now();
        // The third has the name of the first, so that a chain to the wrong one is tried.
        let [own, system, namesake, stranger] = ["a", "b", "a", "c"].map(Authority::new);
        let union = Union::new(own.store(), verifier(system.store()));
        let turned = Union::new(system.store(), verifier(own.store()));
        for union in [&union, &turned] {
            assert_eq!(verdict(union, &own.issue("sink.ns"), now), Ok(()));
            assert_eq!(verdict(union, &system.issue("sink.ns"), now), Ok(()));
            assert_eq!(verdict(union, &stranger.issue("sink.ns"), now), Err(CertificateError::UnknownIssuer));
            assert!(verdict(union, &namesake.issue("sink.ns"), now).is_err());
            for issuer in [&own, &system] {
                let error = verdict(union, &issuer.issue("other"), now).expect_err("another name");
                assert!(matches!(error, CertificateError::NotValidForNameContext { .. }), "{error:?}");
                let late = UnixTime::since_unix_epoch(Duration::from_secs(1 << 40));
                let error = verdict(union, &issuer.issue("sink.ns"), late).expect_err("expired");
                assert!(matches!(error, CertificateError::ExpiredContext { .. }), "{error:?}");
            }
        }
        let both = Union::new(own.store(), verifier(namesake.store()));
        assert_eq!(verdict(&both, &own.issue("sink.ns"), now), Ok(()));
        assert_eq!(verdict(&both, &namesake.issue("sink.ns"), now), Ok(()), "of two roots of one name, each counts");
        let nobody = Union::new(RootCertStore::empty(), None);
        assert_eq!(verdict(&nobody, &own.issue("sink.ns"), now), Err(CertificateError::UnknownIssuer));
    }
}
