//! A certification authority for a laptop: made once, kept in the state directory, used when no certificate is given.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::model::TrustBundle;

const CA_LIFE: Duration = Duration::days(3650);
const CERTIFICATE_LIFE: Duration = Duration::days(90);
/// Mode of a file that is a secret.
const OWNER_ONLY: u32 = 0o600;
/// Mode of a file that is for everybody.
const PUBLIC: u32 = 0o644;
/// Validity starts a little early: clocks differ.
const CLOCK_SKEW: Duration = Duration::hours(1);

/// Why there is no development CA.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    /// The state directory cannot be used.
    #[error("state directory {path}: {source}; choose another one by --state-dir, or give --tls-cert and --tls-key")]
    Directory {
        /// The directory or the file in it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is in it is not a CA and its key.
    #[error("{path} cannot be used: {reason}; remove ca.crt and ca.key there to have a new CA made")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("could not make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate made by the CA.
pub struct Issued {
    /// PEM.
    pub chain_pem: String,
    /// PEM, PKCS#8.
    pub key_pem: String,
    /// When to make the next one, seconds since the epoch: two thirds into its life.
    pub renew_at: i64,
}

/// The development CA.
pub struct DevelopmentCa {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl DevelopmentCa {
    /// Loads the CA of a state directory, or makes one. Processes that start at once end up with the same.
    ///
    /// # Errors
    /// If the directory cannot be used, or holds files that are not a valid CA: those are never replaced.
    pub fn load_or_create(state_dir: &Path, now: i64) -> Result<Self, DevelopmentError> {
        let (certificate, key) = (state_dir.join("ca.crt"), state_dir.join("ca.key"));
        if certificate.exists() {
            publish(&certificate);
        } else {
            create(state_dir, &certificate, &key)?;
        }
        load(&certificate, &key, now)
    }

    /// The CA's certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Makes a server certificate for localhost, 127.0.0.1, ::1 and these host names.
    ///
    /// # Errors
    /// If a name is not a DNS name.
    pub fn issue(&self, hosts: &[String]) -> Result<Issued, DevelopmentError> {
        let mut names = vec!["localhost".to_owned()];
        names.extend(hosts.iter().cloned());
        let mut params = CertificateParams::new(names)?;
        for address in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            params.subject_alt_names.push(SanType::IpAddress(address));
        }
        let now = OffsetDateTime::now_utc();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "sealpost development");
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + CERTIFICATE_LIFE;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let renew_at = now.saturating_add(CERTIFICATE_LIFE * 2 / 3).unix_timestamp();
        Ok(Issued { chain_pem: certificate.pem(), key_pem: key.serialize_pem(), renew_at })
    }
}

/// Lets others read the certificate, as versions did not that made it for its owner only. Where that cannot be done, it is
/// somebody else's, who knows why.
fn publish(certificate: &Path) {
    let mode = fs::metadata(certificate).map(|metadata| metadata.permissions().mode() & 0o777);
    if mode.is_ok_and(|mode| mode == OWNER_ONLY)
        && let Err(error) = fs::set_permissions(certificate, Permissions::from_mode(PUBLIC))
    {
        tracing::debug!(%error, "The CA's certificate stays readable by its owner only");
    }
}

fn load(certificate: &Path, key: &Path, now: i64) -> Result<DevelopmentCa, DevelopmentError> {
    let unusable = |path: &Path, reason: String| DevelopmentError::Unusable { path: path.to_owned(), reason };
    let certificate_pem = read(certificate)?;
    let bundle = TrustBundle::from_pem(&certificate_pem).map_err(|error| unusable(certificate, error.to_string()))?;
    if let Some(expired) = bundle.invalid_at(now).next() {
        return Err(unusable(certificate, format!("the certificate of {} is not valid now", expired.subject)));
    }
    let key_pair = KeyPair::from_pem(&read(key)?).map_err(|error| unusable(key, error.to_string()))?;
    let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key_pair)
        .map_err(|error| unusable(certificate, error.to_string()))?;
    Ok(DevelopmentCa { certificate_pem, issuer })
}

/// Makes a CA. Of several processes the first key stays, and the first certificate for it; the others use those.
fn create(state_dir: &Path, certificate: &Path, key: &Path) -> Result<(), DevelopmentError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DevelopmentError::Directory { path, source }
    };
    state_directory(state_dir).map_err(failed(state_dir))?;
    write_new(key, &KeyPair::generate()?.serialize_pem(), OWNER_ONLY).map_err(failed(key))?;
    let unusable = |error: rcgen::Error| DevelopmentError::Unusable { path: key.to_owned(), reason: error.to_string() };
    let key_pair = KeyPair::from_pem(&read(key)?).map_err(unusable)?;
    write_new(certificate, &authority(&key_pair)?, PUBLIC).map_err(failed(certificate))
}

fn authority(key: &KeyPair) -> Result<String, DevelopmentError> {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "sealpost development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + CA_LIFE;
    Ok(params.self_signed(key)?.pem())
}

/// Makes the state directory, unless it exists. Others may look into it, since senders need the CA's certificate, perhaps
/// in a container under another user; what is secret there is readable by its owner only.
///
/// # Errors
/// If it cannot be made.
pub fn state_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Writes a file whole, of this mode whatever the umask is, unless it exists: then the one that exists stays.
fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let unfinished = path.with_file_name(format!(".{}.new", uuid::Uuid::new_v4()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(&unfinished)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

fn read(path: &Path) -> Result<String, DevelopmentError> {
    fs::read_to_string(path).map_err(|source| DevelopmentError::Directory { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::server::{Replaced, ServerIdentity};
    use tempfile::TempDir;

    fn now() -> i64 {
        OffsetDateTime::now_utc().unix_timestamp()
    }

    #[test]
    fn a_ca_is_made_once_and_its_certificates_are_usable() {
        let directory = TempDir::new().expect("a directory");
        let first = DevelopmentCa::load_or_create(&directory.path().join("state"), now()).expect("made");
        let second = DevelopmentCa::load_or_create(&directory.path().join("state"), now()).expect("loaded");
        assert_eq!(first.certificate_pem(), second.certificate_pem());
        let issued = second.issue(&["*.ns.svc.cluster.local".to_owned()]).expect("issued");
        let identity = ServerIdentity::default();
        let replaced = identity.replace(&issued.chain_pem, &issued.key_pem, now()).expect("usable");
        assert!(matches!(replaced, Replaced::Changed { not_after, .. } if issued.renew_at < not_after));
    }

    /// The certificate is for senders, under whatever user they run; the key is for nobody else.
    #[test]
    fn the_certificate_is_public_and_the_key_is_not() {
        let directory = TempDir::new().expect("a directory");
        let state = directory.path().join("state");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        let modes = || [mode(&state), mode(&state.join("ca.crt")), mode(&state.join("ca.key"))];
        DevelopmentCa::load_or_create(&state, now()).expect("made");
        assert_eq!(modes(), [0o755, 0o644, 0o600]);
        fs::set_permissions(state.join("ca.crt"), Permissions::from_mode(0o600)).expect("as it was once");
        DevelopmentCa::load_or_create(&state, now()).expect("loaded");
        assert_eq!(modes(), [0o755, 0o644, 0o600]);
    }

    #[test]
    fn what_is_there_is_never_replaced() {
        let directory = TempDir::new().expect("a directory");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
        write("ca.crt", "nothing");
        assert!(matches!(
            DevelopmentCa::load_or_create(directory.path(), now()),
            Err(DevelopmentError::Unusable { .. })
        ));
        fs::remove_file(directory.path().join("ca.crt")).expect("removed");
        write("ca.key", "nothing");
        assert!(matches!(
            DevelopmentCa::load_or_create(directory.path(), now()),
            Err(DevelopmentError::Unusable { .. })
        ));
        fs::remove_file(directory.path().join("ca.key")).expect("removed");
        DevelopmentCa::load_or_create(directory.path(), now()).expect("made");
        let later = now() + CA_LIFE.whole_seconds() + 1;
        assert!(matches!(
            DevelopmentCa::load_or_create(directory.path(), later),
            Err(DevelopmentError::Unusable { .. })
        ));
        fs::remove_file(directory.path().join("ca.crt")).expect("removed");
        let mended = DevelopmentCa::load_or_create(directory.path(), now());
        assert!(mended.is_ok(), "a key whose certificate was not written gets one");
    }
}
