//! A certification authority for development: made once, kept in the state directory, used when no
//! certificate is given. It can sign for the names and addresses of standalone, and for nothing
//! else.

mod ca_files;
mod ownership;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, SanType,
};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::model::TrustBundle;
pub(crate) use ca_files::create_state_directory;
use ca_files::{
    OWNER_ONLY, PUBLIC, directory_error, make_readable, read_file, replace_certificate, write_new,
};
use ownership::CaFileKind;

/// Validity of the CA. A CA that has lived for half of that is renewed at a start, with the same
/// name and key: a client that knows only the old certificate still believes what the new one has
/// signed.
const CA_LIFE: Duration = Duration::days(365);
const NAME: &str = "sealpost development CA";
const CERTIFICATE_LIFE: Duration = Duration::days(90);
/// Validity starts this much before now, since clocks differ.
const CLOCK_SKEW: Duration = Duration::hours(1);

/// The reason for which there is no development CA.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevelopmentCaError {
    /// The state directory cannot be used.
    #[error(
        "state directory {path}: {source}; choose another one by --state-dir, or give \
         --tls-cert and --tls-key"
    )]
    Directory {
        /// The directory, or the file in it.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The files of the directory are not a CA and its key.
    #[error(
        "{path} cannot be used: {reason}; remove ca.crt and ca.key there to have a new CA made"
    )]
    Unusable {
        /// The file that cannot be used.
        path: PathBuf,
        /// The reason, for the operator.
        reason: String,
    },
    /// Another user may have written the file, or can read the key.
    #[error(
        "{path} is not used for the development CA: {complaint}; or choose another directory by --state-dir"
    )]
    Foreign {
        /// The directory, or the file in it.
        path: PathBuf,
        /// The user who could, and the remedy.
        complaint: String,
    },
    /// A certificate could not be made.
    #[error("could not make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

/// A server certificate that the CA has signed, with its private key.
pub(crate) struct IssuedCertificate {
    /// The certificate chain in PEM, leaf first.
    pub chain_pem: String,
    /// The private key in PEM, as PKCS#8.
    pub key_pem: String,
    /// The time to make the next certificate, in seconds since the epoch: two thirds into the life
    /// of this one.
    pub renew_at: i64,
}

/// The development CA: its certificate, and the key by which it signs.
pub(crate) struct DevelopmentCa {
    certificate_pem: String,
    not_after: i64,
    issuer: Issuer<'static, KeyPair>,
}

impl DevelopmentCa {
    /// Loads the CA of a state directory, or makes one, for hosts of this cluster domain. `now` is
    /// in seconds since the epoch. Processes that start at once end up with the same key. A
    /// certificate that was made here is renewed when half of its life is over, or if it can sign
    /// for more, or less, than one that is made today.
    ///
    /// # Errors
    /// Fails if the directory cannot be used, belongs to another user or can be written to by
    /// others, or holds files of which that is so, or that are not a valid CA: such files are never
    /// replaced.
    pub(crate) fn load_or_create(
        state_dir: &Path,
        cluster_domain: &str,
        now: i64,
    ) -> Result<Self, DevelopmentCaError> {
        let (certificate, key) = (state_dir.join("ca.crt"), state_dir.join("ca.key"));
        create_state_directory(state_dir).map_err(directory_error(state_dir))?;
        // The owner of each file is checked before the file is read: a CA that somebody else could
        // have written is never advertised.
        refuse_foreign(state_dir, CaFileKind::Directory)?;
        if !certificate.exists() {
            create_ca(&certificate, &key, cluster_domain)?;
        }
        refuse_foreign(&certificate, CaFileKind::Certificate)?;
        if !key.exists() {
            let reason = "it is not there, and ca.crt is".to_owned();
            return Err(DevelopmentCaError::Unusable { path: key, reason });
        }
        refuse_foreign(&key, CaFileKind::Key)?;
        make_readable(&certificate);
        // Renewal comes after all checks, so that a new certificate is never signed for a foreign
        // key.
        renew_if_due(&certificate, &key, cluster_domain, now)?;
        load_ca(&certificate, &key, now)
    }

    /// Returns the end of the CA's validity, in seconds since the epoch.
    #[must_use]
    pub(crate) fn not_after(&self) -> i64 {
        self.not_after
    }

    /// Returns the certificate of the CA in PEM.
    #[must_use]
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Makes a server certificate for localhost, 127.0.0.1, ::1 and these host names. It is valid
    /// for 90 days, but no longer than the CA.
    ///
    /// # Errors
    /// Fails if a name is not a DNS name.
    pub(crate) fn issue(&self, hosts: &[String]) -> Result<IssuedCertificate, DevelopmentCaError> {
        let now = OffsetDateTime::now_utc();
        let params = server_certificate_params(hosts, self.not_after, now)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let renew_at = now
            .saturating_add(CERTIFICATE_LIFE * 2 / 3)
            .unix_timestamp();
        Ok(IssuedCertificate {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            renew_at,
        })
    }
}

fn renew_if_due(
    certificate: &Path,
    key: &Path,
    cluster_domain: &str,
    now: i64,
) -> Result<(), DevelopmentCaError> {
    if is_renewal_due(certificate, cluster_domain, now) {
        let renewed = sign_ca_certificate(&read_key_pair(key)?, cluster_domain)?;
        replace_certificate(certificate, &renewed);
    }
    Ok(())
}

/// Returns the parameters of a server certificate that begins at `now` and ends with the CA at the
/// latest.
fn server_certificate_params(
    hosts: &[String],
    ca_not_after: i64,
    now: OffsetDateTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(hosts.iter().cloned());
    let mut params = CertificateParams::new(names)?;
    for address in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ] {
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "sealpost development");
    params.not_before = now - CLOCK_SKEW;
    let end = OffsetDateTime::from_unix_timestamp(ca_not_after).unwrap_or(now);
    params.not_after = end.min(now + CERTIFICATE_LIFE);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn load_ca(certificate: &Path, key: &Path, now: i64) -> Result<DevelopmentCa, DevelopmentCaError> {
    let unusable = |path: &Path, reason: String| DevelopmentCaError::Unusable {
        path: path.to_owned(),
        reason,
    };
    let certificate_pem = read_file(certificate)?;
    let bundle = TrustBundle::from_pem(&certificate_pem)
        .map_err(|error| unusable(certificate, error.to_string()))?;
    if let Some(expired) = bundle.invalid_at(now).next() {
        let reason = format!("the certificate of {} is not valid now", expired.subject);
        return Err(unusable(certificate, reason));
    }
    let ends = bundle.certificates().iter().map(|held| held.not_after);
    let not_after = ends.min().unwrap_or(now);
    let issuer = Issuer::from_ca_cert_pem(&certificate_pem, read_key_pair(key)?)
        .map_err(|error| unusable(certificate, error.to_string()))?;
    Ok(DevelopmentCa {
        certificate_pem,
        not_after,
        issuer,
    })
}

fn read_key_pair(key: &Path) -> Result<KeyPair, DevelopmentCaError> {
    let unusable = |error: rcgen::Error| DevelopmentCaError::Unusable {
        path: key.to_owned(),
        reason: error.to_string(),
    };
    KeyPair::from_pem(&read_file(key)?).map_err(unusable)
}

fn refuse_foreign(path: &Path, file_kind: CaFileKind) -> Result<(), DevelopmentCaError> {
    match ownership::check_ownership(path, file_kind).map_err(directory_error(path))? {
        Some(complaint) => Err(DevelopmentCaError::Foreign {
            path: path.to_owned(),
            complaint,
        }),
        None => Ok(()),
    }
}

/// Makes a CA. Of several processes that do so at once, the first key stays, and the first
/// certificate for it; the others use those.
fn create_ca(
    certificate: &Path,
    key: &Path,
    cluster_domain: &str,
) -> Result<(), DevelopmentCaError> {
    write_new(key, &KeyPair::generate()?.serialize_pem(), OWNER_ONLY)
        .map_err(directory_error(key))?;
    refuse_foreign(key, CaFileKind::Key)?;
    write_new(
        certificate,
        &sign_ca_certificate(&read_key_pair(key)?, cluster_domain)?,
        PUBLIC,
    )
    .map_err(directory_error(certificate))
}

/// Returns the DNS names that certificates of the CA may be for: those by which standalone is
/// reached, in any namespace.
fn permitted_names(cluster_domain: &str) -> [String; 3] {
    [
        "localhost".to_owned(),
        "svc".to_owned(),
        format!("svc.{cluster_domain}"),
    ]
}

/// Returns true if a certificate was made here, and another one should be made for its key.
fn is_renewal_due(certificate: &Path, cluster_domain: &str, now: i64) -> bool {
    let bundle = read_file(certificate)
        .ok()
        .and_then(|pem| TrustBundle::from_pem(&pem).ok());
    let Some([only]) = bundle.as_ref().map(TrustBundle::certificates) else {
        return false;
    };
    let Ok((_, parsed)) = X509Certificate::from_der(&only.der) else {
        return false;
    };
    let common_name = parsed
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok());
    let half = only.not_before + CA_LIFE.whole_seconds() / 2;
    common_name == Some(NAME)
        && (now >= half.min(only.not_after) || !has_expected_constraints(&parsed, cluster_domain))
}

/// Returns true if a CA can sign no other CA, and nothing but the [permitted
/// names](permitted_names).
fn has_expected_constraints(certificate: &X509Certificate<'_>, cluster_domain: &str) -> bool {
    let constraints = certificate.basic_constraints().ok().flatten();
    let subtrees = certificate
        .name_constraints()
        .ok()
        .flatten()
        .and_then(|names| names.value.permitted_subtrees.as_ref());
    let dns = subtrees
        .into_iter()
        .flatten()
        .filter_map(|subtree| match subtree.base {
            GeneralName::DNSName(name) => Some(name),
            _ => None,
        });
    let is_single =
        constraints.is_some_and(|constraints| constraints.value.path_len_constraint == Some(0));
    is_single && dns.eq(permitted_names(cluster_domain).iter())
}

fn sign_ca_certificate(key: &KeyPair, cluster_domain: &str) -> Result<String, DevelopmentCaError> {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let loopback = [
        CidrSubnet::from_v4_prefix(Ipv4Addr::LOCALHOST.octets(), 8),
        CidrSubnet::from_v6_prefix(Ipv6Addr::LOCALHOST.octets(), 128),
    ];
    let addresses = loopback.map(GeneralSubtree::IpAddress);
    let permitted_subtrees = permitted_names(cluster_domain)
        .map(GeneralSubtree::DnsName)
        .into_iter()
        .chain(addresses)
        .collect();
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees,
        excluded_subtrees: Vec::new(),
    });
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + CA_LIFE;
    Ok(params.self_signed(key)?.pem())
}

#[cfg(test)]
mod tests;
