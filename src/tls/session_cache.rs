//! The TLS sessions that a client resumes. A server is not verified again when a session is
//! resumed, so that a session ends when the certificates that were verified do.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Sessions that a client keeps to resume: eight for each of its four latest hosts. The memory for
/// all is allocated at once.
const SESSIONS: usize = 8 * 4;
/// Number of hosts whose verification is remembered. Beyond it, all are forgotten and verified
/// again.
const MAX_HOSTS: usize = 64;
/// Seconds after which a server is verified again, however long its certificate is valid.
const LONGEST: u64 = 60 * 60;

/// The sessions of one client, and the time until which each server counts as verified, in seconds
/// since the epoch.
#[derive(Debug)]
pub(super) struct TlsSessionCache {
    cache: ClientSessionMemoryCache,
    verified_until: Mutex<HashMap<ServerName<'static>, u64>>,
}

impl TlsSessionCache {
    pub(super) fn new() -> Self {
        Self {
            cache: ClientSessionMemoryCache::new(SESSIONS),
            verified_until: Mutex::default(),
        }
    }

    /// Records that a server was verified by these certificates, until the first of them expires or
    /// for an hour.
    pub(super) fn set_verified(
        &self,
        server: &ServerName<'_>,
        chain: &[&CertificateDer<'_>],
        now: UnixTime,
    ) {
        let now = now.as_secs();
        let ends = chain
            .iter()
            .filter_map(|certificate| not_after_of(certificate))
            .filter(|end| *end > now);
        let until = ends.min().unwrap_or(now).min(now.saturating_add(LONGEST));
        let mut verified = self.lock();
        if verified.len() >= MAX_HOSTS {
            verified.clear();
        }
        verified.insert(server.to_owned(), until);
    }

    fn is_verified(&self, server: &ServerName<'_>) -> bool {
        let until = self.lock().get(server).copied();
        until.is_some_and(|until| UnixTime::now().as_secs() < until)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServerName<'static>, u64>> {
        self.verified_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the end of a certificate's validity, in seconds since the epoch.
fn not_after_of(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    u64::try_from(certificate.validity().not_after.timestamp()).ok()
}

impl ClientSessionStore for TlsSessionCache {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.cache.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.cache.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.cache.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.cache
            .tls12_session(server_name)
            .filter(|_| self.is_verified(server_name))
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.cache.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.cache.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        self.cache
            .take_tls13_ticket(server_name)
            .filter(|_| self.is_verified(server_name))
    }
}
