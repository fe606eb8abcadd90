//! Verifies server certificates: believed are those of a bundle, those that its authorities have
//! signed, and those that the system's roots vouch for.
//!
//! The result is that of one verifier for all roots together: a chain ends at exactly one root, and
//! what else is asked of it (names, dates, uses) does not depend on which. So a server is believed
//! by the union if and only if one of the parts believes it. The parts can be shared, though: a
//! thousand clients have the system's roots in memory once.
//!
//! A server that shows a certificate of the bundle is believed by that certificate, as by Go: its
//! name, validity and purpose are verified, and the handshake shows that the server has the key. It
//! does not matter then whether the certificate is one of a CA.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::refusal;
use super::session_cache::TlsSessionCache;
use crate::model::{TrustBundle, TrustedCertificate};

/// Believes a server that one of its parts believes, or whose certificate is in the bundle; without
/// parts and bundle, it believes nobody.
#[derive(Debug)]
pub(super) struct ServerCertificateVerifier {
    bundle_certificates: Vec<TrustedCertificate>,
    root_verifiers: [Option<Arc<WebPkiServerVerifier>>; 2],
    algorithms: WebPkiSupportedAlgorithms,
    sessions: Option<Arc<TlsSessionCache>>,
}

/// The certificates that a server presents.
#[derive(Clone, Copy)]
struct PresentedChain<'c> {
    end_entity: &'c CertificateDer<'c>,
    intermediates: &'c [CertificateDer<'c>],
}

impl ServerCertificateVerifier {
    /// Makes a verifier that trusts these roots, and what `system` trusts.
    pub(super) fn new(own: RootCertStore, system: Option<Arc<WebPkiServerVerifier>>) -> Self {
        let algorithms = super::crypto_provider().signature_verification_algorithms;
        Self {
            bundle_certificates: Vec::new(),
            root_verifiers: [root_verifier(own), system],
            algorithms,
            sessions: None,
        }
    }

    /// Adds the certificates of a bundle, each believed by itself, and the session cache, which is
    /// told until when a server is verified.
    pub(super) fn with_bundle(self, own: &TrustBundle, sessions: Arc<TlsSessionCache>) -> Self {
        Self {
            bundle_certificates: own.certificates().to_vec(),
            sessions: Some(sessions),
            ..self
        }
    }

    /// Verifies a certificate that stands in the bundle; `None` for any other one.
    fn verify_bundle_certificate(
        &self,
        end_entity: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        let own = self
            .bundle_certificates
            .iter()
            .find(|own| own.der == *end_entity)?;
        Some(check_validity(own, now).and_then(|()| {
            check_server_purpose(end_entity)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)
        }))
    }

    /// Verifies a server by the bundle, then by each part. Of several refusals, the first one that
    /// says more than that the issuer is unknown is returned.
    fn verify_by_roots(
        &self,
        chain: PresentedChain<'_>,
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let PresentedChain {
            end_entity,
            intermediates: others,
        } = chain;
        let mut refusal = match self.verify_bundle_certificate(end_entity, server_name, now) {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => error,
            None => unknown.clone(),
        };
        // A certificate of the bundle that is refused may still be vouched for by a root.
        for part in self.root_verifiers.iter().flatten() {
            match part.verify_server_cert(end_entity, others, server_name, ocsp_response, now) {
                Ok(_verified) => return Ok(()),
                Err(error) if refusal == unknown => refusal = error,
                Err(_less) => {}
            }
        }
        Err(refusal)
    }
}

/// Checks that a certificate is valid at this time.
fn check_validity(certificate: &TrustedCertificate, now: UnixTime) -> Result<(), Error> {
    let since_epoch = |seconds: i64| {
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    };
    let (not_before, not_after) = (
        since_epoch(certificate.not_before),
        since_epoch(certificate.not_after),
    );
    if now < not_before {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before,
        }
        .into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after,
        }
        .into());
    }
    Ok(())
}

/// Checks that a certificate may be a server's: its extended key usage says so, or it has none.
fn check_server_purpose(certificate: &CertificateDer<'_>) -> Result<(), Error> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_error| CertificateError::BadEncoding)?;
    match parsed.extended_key_usage() {
        Ok(Some(usage)) if !usage.value.server_auth && !usage.value.any => Err(
            refusal::refusal_error(refusal::wrong_purpose_text("other purposes only")),
        ),
        Ok(_) => Ok(()),
        Err(_error) => Err(CertificateError::BadEncoding.into()),
    }
}

/// Makes a verifier that trusts these roots; `None` if there are none.
pub(super) fn root_verifier(roots: RootCertStore) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), super::crypto_provider())
        .build()
        .ok()
}

impl ServerCertVerifier for ServerCertificateVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).collect();
        let presented = PresentedChain {
            end_entity,
            intermediates,
        };
        let verified = self.verify_by_roots(presented, server_name, ocsp_response, now);
        verified.map_err(|error| {
            let own = self.bundle_certificates.iter().map(|own| &own.der);
            refusal::explain_refusal(error, &chain.iter().copied().chain(own).collect::<Vec<_>>())
        })?;
        if let Some(sessions) = &self.sessions {
            sessions.set_verified(server_name, &chain, now);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
            .map_err(|error| refusal::explain_refusal(error, &[certificate]))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
            .map_err(|error| refusal::explain_refusal(error, &[certificate]))
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
            parameters
                .distinguished_name
                .push(rcgen::DnType::CommonName, name);
            let key = KeyPair::generate().expect("a key");
            let der = parameters
                .self_signed(&key)
                .expect("a certificate")
                .der()
                .clone();
            Self {
                issuer: Issuer::new(parameters, key),
                der,
            }
        }

        fn store(&self) -> RootCertStore {
            let mut store = RootCertStore::empty();
            store.add(self.der.clone()).expect("a root");
            store
        }

        fn issue(&self, host: &str) -> CertificateDer<'static> {
            let key = KeyPair::generate().expect("a key");
            let parameters = CertificateParams::new(vec![host.to_owned()]).expect("parameters");
            parameters
                .signed_by(&key, &self.issuer)
                .expect("a certificate")
                .der()
                .clone()
        }
    }

    fn verdict(
        union: &ServerCertificateVerifier,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let name = ServerName::try_from("sink.ns").expect("a name");
        match union.verify_server_cert(certificate, &[], &name, &[], now) {
            Ok(_verified) => Ok(()),
            Err(Error::InvalidCertificate(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    /// Contract TL-1: whatever either of them trusts, and nothing else.
    #[test]
    fn one_part_is_enough_and_the_better_refusal_is_told() {
        let now = UnixTime::now();
        // The third has the name of the first, so that a chain to the wrong one is tried.
        let [own, system, namesake, stranger] = ["a", "b", "a", "c"].map(Authority::new);
        let union = ServerCertificateVerifier::new(own.store(), root_verifier(system.store()));
        let turned = ServerCertificateVerifier::new(system.store(), root_verifier(own.store()));
        for union in [&union, &turned] {
            assert_eq!(verdict(union, &own.issue("sink.ns"), now), Ok(()));
            assert_eq!(verdict(union, &system.issue("sink.ns"), now), Ok(()));
            assert_eq!(
                verdict(union, &stranger.issue("sink.ns"), now),
                Err(CertificateError::UnknownIssuer)
            );
            assert!(verdict(union, &namesake.issue("sink.ns"), now).is_err());
            for issuer in [&own, &system] {
                let error = verdict(union, &issuer.issue("other"), now).expect_err("another name");
                assert!(
                    matches!(error, CertificateError::NotValidForNameContext { .. }),
                    "{error:?}"
                );
                let late = UnixTime::since_unix_epoch(Duration::from_secs(1 << 40));
                let error = verdict(union, &issuer.issue("sink.ns"), late).expect_err("expired");
                assert!(
                    matches!(error, CertificateError::ExpiredContext { .. }),
                    "{error:?}"
                );
            }
        }
        let both = ServerCertificateVerifier::new(own.store(), root_verifier(namesake.store()));
        assert_eq!(verdict(&both, &own.issue("sink.ns"), now), Ok(()));
        assert_eq!(
            verdict(&both, &namesake.issue("sink.ns"), now),
            Ok(()),
            "of two roots of one name, each counts"
        );
        let nobody = ServerCertificateVerifier::new(RootCertStore::empty(), None);
        assert_eq!(
            verdict(&nobody, &own.issue("sink.ns"), now),
            Err(CertificateError::UnknownIssuer)
        );
    }
}
