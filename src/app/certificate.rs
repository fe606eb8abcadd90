//! Keeps the certificate that the HTTPS listener shows: the one given by files, else that of the
//! TLS Secret, else, but not in a cluster, one from the development CA. It is renewed and replaced
//! while the process runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::cli::RunOptions;
use crate::control::{AdvertisedCaCerts, Resolution, ServerCertificate};
use crate::telemetry::counters::ProcessCounters;
use crate::tls::development_ca::{DevelopmentCa, IssuedCertificate};
use crate::tls::refusal;
use crate::tls::server_identity::{CertificateReplacement, ServerIdentity};

/// Interval at which files are read, and the age of the development certificate is checked.
const PERIOD: Duration = Duration::from_secs(1);

/// Seconds before its expiry from which a CA that is in use should be renewed: the life of a
/// certificate that it makes.
const CA_REMINDER: i64 = 90 * 24 * 3600;

/// Keeps the server's certificate current. Clones share it.
#[derive(Clone)]
pub(super) struct ServerCertificateKeeper {
    identity: ServerIdentity,
    source: Arc<CertificateSource>,
}

enum CertificateSource {
    /// The files given on the command line.
    Files {
        certificate: PathBuf,
        key: PathBuf,
        ca: Option<String>,
        last: Mutex<Option<(String, String)>>,
    },
    /// The Secret of a cluster. Until there is one, handshakes fail (contract 3.12).
    Secret,
    /// The development CA, unless a Secret brings a certificate.
    Development {
        ca: Box<DevelopmentCa>,
        issued: Mutex<DevelopmentCertificate>,
    },
}

/// The certificate that the development CA has issued last.
#[derive(Default)]
struct DevelopmentCertificate {
    hosts: Vec<String>,
    renew_at: i64,
    secret_chain: Option<String>,
}

impl CertificateSource {
    /// Loads the files that are given. A bad pair at the start is an error; later the one before it
    /// stays.
    fn load_files(
        identity: &ServerIdentity,
        certificate: &Path,
        key: &Path,
        ca: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let ca = ca.map(read_file).transpose()?;
        let pair = (read_file(certificate)?, read_file(key)?);
        identity
            .replace(&pair.0, &pair.1, OffsetDateTime::now_utc().unix_timestamp())
            .context("--tls-cert and --tls-key")?;
        Ok(Self::Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            ca,
            last: Mutex::new(Some(pair)),
        })
    }
}

impl ServerCertificateKeeper {
    /// Loads the certificate that the options name, or the development CA if they name none.
    pub(super) fn load(options: &RunOptions) -> anyhow::Result<Self> {
        let identity = ServerIdentity::default();
        let files = (&options.served.tls_cert, &options.served.tls_key);
        let source = match files {
            (Some(certificate), Some(key)) => {
                let ca = options.served.tls_ca.as_deref();
                CertificateSource::load_files(&identity, certificate, key, ca)?
            }
            _ if options.kubernetes => CertificateSource::Secret,
            _ => CertificateSource::Development {
                ca: Box::new(DevelopmentCa::load_or_create(
                    &options.state_dir,
                    options.manifests.cluster_domain(),
                    OffsetDateTime::now_utc().unix_timestamp(),
                )?),
                issued: Mutex::default(),
            },
        };
        Ok(Self {
            identity,
            source: Arc::new(source),
        })
    }

    /// Returns the identity that the listener shows.
    pub(super) fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// Returns the CA that addresses advertise.
    pub(super) fn ca_certs(&self) -> AdvertisedCaCerts {
        match self.source.as_ref() {
            CertificateSource::Files { ca, .. } => AdvertisedCaCerts::Given(ca.clone()),
            CertificateSource::Secret => AdvertisedCaCerts::Unknown,
            CertificateSource::Development { ca, .. } => {
                AdvertisedCaCerts::Development(ca.certificate_pem().to_owned())
            }
        }
    }

    /// Uses the certificate of a configuration's Secret, or issues one for the host names of the
    /// configuration.
    pub(super) fn apply_resolution(&self, resolution: &Resolution) {
        match self.source.as_ref() {
            CertificateSource::Files { .. } => {}
            CertificateSource::Secret => {
                if let Some(secret) = &resolution.certificate {
                    self.use_secret(secret);
                }
            }
            CertificateSource::Development { ca, issued } => {
                let mut issued = issued.lock().unwrap_or_else(PoisonError::into_inner);
                self.prefer_secret(resolution, ca, &mut issued);
            }
        }
    }

    /// Uses the certificate of a Secret; returns true if it is in use now.
    fn use_secret(&self, secret: &ServerCertificate) -> bool {
        self.replace(
            &secret.origin,
            &secret.certificate_chain_pem,
            &secret.private_key_pem,
        )
    }

    /// Uses the certificate of a Secret before one of the development CA. Once one was used, a bad
    /// one that follows changes nothing, and does not bring the development certificate back.
    fn prefer_secret(
        &self,
        resolution: &Resolution,
        ca: &DevelopmentCa,
        issued: &mut DevelopmentCertificate,
    ) {
        if let Some(secret) = &resolution.certificate
            && (self.use_secret(secret) || issued.secret_chain.is_some())
        {
            issued.secret_chain = Some(secret.origin.clone());
            return;
        }
        if issued.hosts != resolution.hosts || issued.renew_at == 0 {
            issued.hosts.clone_from(&resolution.hosts);
            self.issue_development_certificate(ca, issued);
        }
    }

    fn issue_development_certificate(
        &self,
        ca: &DevelopmentCa,
        issued: &mut DevelopmentCertificate,
    ) {
        match ca.issue(&issued.hosts) {
            Ok(IssuedCertificate {
                chain_pem,
                key_pem,
                renew_at,
            }) => {
                issued.renew_at = renew_at;
                self.replace("development CA", &chain_pem, &key_pem);
            }
            Err(error) => tracing::error!(%error, "Could not make a server certificate"),
        }
    }

    /// Replaces the certificate; returns true if this pair is in use now. A bad pair is logged and
    /// changes nothing.
    fn replace(&self, origin: &str, chain: &str, key: &str) -> bool {
        match self
            .identity
            .replace(chain, key, OffsetDateTime::now_utc().unix_timestamp())
        {
            Ok(CertificateReplacement::Unchanged) => true,
            Ok(CertificateReplacement::Changed { subject, not_after }) => {
                tracing::info!(
                    origin,
                    subject,
                    not_after = refusal::rfc3339(not_after),
                    "Server certificate in use"
                );
                true
            }
            Err(error) => {
                tracing::error!(
                    origin,
                    %error,
                    "Server certificate not usable, the one before stays"
                );
                false
            }
        }
    }

    /// Follows the files, and renews the certificate of the development CA, until the stop.
    pub(super) async fn run(self, counters: Arc<ProcessCounters>, stop: CancellationToken) {
        let mut expired = None;
        loop {
            let not_after = self.identity.not_after();
            counters.update_configuration(|facts| facts.server_certificate_not_after = not_after);
            self.log_expired(not_after, &mut expired);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            match self.source.as_ref() {
                CertificateSource::Files {
                    certificate,
                    key,
                    last,
                    ..
                } => self.reload_files(certificate, key, last),
                CertificateSource::Secret => {}
                CertificateSource::Development { ca, issued } => {
                    self.renew_development_certificate(ca, issued)
                }
            }
        }
    }

    /// Logs once that a certificate has expired while it was in use.
    fn log_expired(&self, not_after: Option<i64>, told: &mut Option<i64>) {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let Some(end) = not_after.filter(|end| *end < now && *told != Some(*end)) else {
            return;
        };
        *told = Some(end);
        let (subject, not_after) = (
            self.identity.subject().unwrap_or_default(),
            refusal::rfc3339(end),
        );
        tracing::error!(
            subject,
            not_after,
            "Server certificate has expired: senders refuse it, replace it"
        );
    }

    fn renew_development_certificate(
        &self,
        ca: &DevelopmentCa,
        issued: &Mutex<DevelopmentCertificate>,
    ) {
        let mut issued = issued.lock().unwrap_or_else(PoisonError::into_inner);
        if issued.secret_chain.is_none()
            && issued.renew_at != 0
            && OffsetDateTime::now_utc().unix_timestamp() >= issued.renew_at
        {
            self.issue_development_certificate(ca, &mut issued);
            self.log_ca_expiry(ca);
        }
    }

    /// Warns that the CA expires soon. The CA itself is renewed at a start only, since it is part
    /// of what addresses advertise.
    fn log_ca_expiry(&self, ca: &DevelopmentCa) {
        if ca.not_after() - OffsetDateTime::now_utc().unix_timestamp() < CA_REMINDER {
            let not_after = refusal::rfc3339(ca.not_after());
            tracing::warn!(
                not_after,
                "The development CA ends: start sealpost anew to have it renewed"
            );
        }
    }

    fn reload_files(&self, certificate: &Path, key: &Path, last: &Mutex<Option<(String, String)>>) {
        let (Ok(chain), Ok(key)) = (read_file(certificate), read_file(key)) else {
            return;
        };
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = Some((chain, key));
        if *last != pair {
            if let Some((chain, key)) = &pair {
                self.replace("--tls-cert", chain, key);
            }
            *last = pair;
        }
    }
}

fn read_file(path: impl AsRef<Path>) -> anyhow::Result<String> {
    let path = path.as_ref();
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
