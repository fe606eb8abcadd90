//! Which certificate the HTTPS listener shows: the one given by files, else that of the TLS Secret, else, but not in
//! a cluster, one from the development CA. Renewed and replaced while running.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::cli::RunOptions;
use crate::control::{CaCerts, Resolution};
use crate::telemetry::counters::Counters;
use crate::tls::development::{DevelopmentCa, Issued};
use crate::tls::refusal;
use crate::tls::server::{Replaced, ServerIdentity};

/// How often files are looked at, and the development certificate's age.
const PERIOD: Duration = Duration::from_secs(1);

/// Seconds before its end from which a CA that is in use should be renewed: the life of a certificate that it makes.
const CA_REMINDER: i64 = 90 * 24 * 3600;

/// Keeps the server's certificate current. Clones share it.
#[derive(Clone)]
pub(super) struct Certificates {
    identity: ServerIdentity,
    source: Arc<Source>,
}

enum Source {
    /// Files given on the command line.
    Files { certificate: PathBuf, key: PathBuf, ca: Option<String>, last: Mutex<Option<(String, String)>> },
    /// The Secret of a cluster. Until there is one, handshakes fail (contract 3.12).
    Secret,
    /// The development CA, unless a Secret brings a certificate.
    Development { ca: Box<DevelopmentCa>, issued: Mutex<Development> },
}

/// What the development CA has last made.
#[derive(Default)]
struct Development {
    hosts: Vec<String>,
    renew_at: i64,
    by_secret: Option<String>,
}

impl Certificates {
    /// Loads what the options name.
    pub(super) fn load(options: &RunOptions) -> anyhow::Result<Self> {
        let identity = ServerIdentity::default();
        let (Some(certificate), Some(key)) = (&options.served.tls_cert, &options.served.tls_key) else {
            if options.kubernetes {
                return Ok(Self { identity, source: Arc::new(Source::Secret) });
            }
            let ca = Box::new(DevelopmentCa::load_or_create(
                &options.state_dir,
                options.manifests.cluster_domain(),
                OffsetDateTime::now_utc().unix_timestamp(),
            )?);
            let source = Source::Development { ca, issued: Mutex::default() };
            return Ok(Self { identity, source: Arc::new(source) });
        };
        let ca = options.served.tls_ca.as_deref().map(read).transpose()?;
        let pair = (read(certificate)?, read(key)?);
        identity
            .replace(&pair.0, &pair.1, OffsetDateTime::now_utc().unix_timestamp())
            .context("--tls-cert and --tls-key")?;
        let source =
            Source::Files { certificate: certificate.clone(), key: key.clone(), ca, last: Mutex::new(Some(pair)) };
        Ok(Self { identity, source: Arc::new(source) })
    }

    /// What the listener shows.
    pub(super) fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// What addresses advertise.
    pub(super) fn ca_certs(&self) -> CaCerts {
        match self.source.as_ref() {
            Source::Files { ca, .. } => CaCerts::Given(ca.clone()),
            Source::Secret => CaCerts::Unknown,
            Source::Development { ca, .. } => CaCerts::Development(ca.certificate_pem().to_owned()),
        }
    }

    /// Uses the certificate of a configuration's Secret, or makes one for its host names.
    pub(super) fn follow(&self, resolution: &Resolution) {
        let (ca, issued) = match self.source.as_ref() {
            Source::Files { .. } => return,
            Source::Secret => {
                if let Some(secret) = &resolution.certificate {
                    self.replace(&secret.origin, &secret.certificate_chain_pem, &secret.private_key_pem);
                }
                return;
            }
            Source::Development { ca, issued } => (ca, issued),
        };
        let mut issued = issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = &resolution.certificate {
            let replaced = self.replace(&secret.origin, &secret.certificate_chain_pem, &secret.private_key_pem);
            if replaced || issued.by_secret.is_some() {
                issued.by_secret = Some(secret.origin.clone());
                return;
            }
        }
        if issued.hosts != resolution.hosts || issued.renew_at == 0 {
            issued.hosts.clone_from(&resolution.hosts);
            self.issue(ca, &mut issued);
        }
    }

    fn issue(&self, ca: &DevelopmentCa, issued: &mut Development) {
        match ca.issue(&issued.hosts) {
            Ok(Issued { chain_pem, key_pem, renew_at }) => {
                issued.renew_at = renew_at;
                self.replace("development CA", &chain_pem, &key_pem);
            }
            Err(error) => tracing::error!(%error, "Could not make a server certificate"),
        }
    }

    /// Whether this pair is in use now. A bad one is reported and changes nothing.
    fn replace(&self, origin: &str, chain: &str, key: &str) -> bool {
        match self.identity.replace(chain, key, OffsetDateTime::now_utc().unix_timestamp()) {
            Ok(Replaced::Unchanged) => true,
            Ok(Replaced::Changed { subject, not_after }) => {
                tracing::info!(origin, subject, not_after = refusal::rfc3339(not_after), "Server certificate in use");
                true
            }
            Err(error) => {
                tracing::error!(origin, %error, "Server certificate not usable, the one before stays");
                false
            }
        }
    }

    /// Follows files, and renews what the development CA made, until the stop.
    pub(super) async fn keep_fresh(self, counters: Arc<Counters>, stop: CancellationToken) {
        let mut expired = None;
        loop {
            let not_after = self.identity.not_after();
            counters.note(|facts| facts.server_certificate = not_after);
            self.tell_expired(not_after, &mut expired);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            match self.source.as_ref() {
                Source::Files { certificate, key, last, .. } => self.reread(certificate, key, last),
                Source::Secret => {}
                Source::Development { ca, issued } => self.renew(ca, issued),
            }
        }
    }

    /// Says once of a certificate that it has expired while it was in use.
    fn tell_expired(&self, not_after: Option<i64>, told: &mut Option<i64>) {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let Some(end) = not_after.filter(|end| *end < now && *told != Some(*end)) else { return };
        *told = Some(end);
        let (subject, not_after) = (self.identity.subject().unwrap_or_default(), refusal::rfc3339(end));
        tracing::error!(subject, not_after, "Server certificate has expired: senders refuse it, replace it");
    }

    fn renew(&self, ca: &DevelopmentCa, issued: &Mutex<Development>) {
        let mut issued = issued.lock().unwrap_or_else(PoisonError::into_inner);
        if issued.by_secret.is_none()
            && issued.renew_at != 0
            && OffsetDateTime::now_utc().unix_timestamp() >= issued.renew_at
        {
            self.issue(ca, &mut issued);
            self.tell_ca_ends(ca);
        }
    }

    /// The CA itself is renewed at a start only, since it is part of what addresses advertise.
    fn tell_ca_ends(&self, ca: &DevelopmentCa) {
        if ca.not_after() - OffsetDateTime::now_utc().unix_timestamp() < CA_REMINDER {
            let not_after = refusal::rfc3339(ca.not_after());
            tracing::warn!(not_after, "The development CA ends: start sealpost anew to have it renewed");
        }
    }

    fn reread(&self, certificate: &Path, key: &Path, last: &Mutex<Option<(String, String)>>) {
        let (Ok(chain), Ok(key)) = (read(certificate), read(key)) else { return };
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

fn read(path: impl AsRef<Path>) -> anyhow::Result<String> {
    let path = path.as_ref();
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
