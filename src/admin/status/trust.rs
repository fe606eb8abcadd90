//! The destinations of the status document: how each is reached, and the certificates that it is
//! verified by.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use time::OffsetDateTime;

use super::format_timestamp;
use crate::control::Resolution;
use crate::model::{Addressable, DestinationRoute, TrustBundle, TrustedCertificate};
use crate::scrub;
use crate::tls::server_identity::ServerIdentity;

/// The route of events to a destination, and their protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum DestinationSecurity {
    /// By http, in the clear.
    Http,
    /// By TLS, verified by CACerts of its own besides bundles and system roots.
    HttpsOwn,
    /// By TLS, verified by trust bundles and the roots of the system.
    HttpsBundles,
    /// By TLS, verified by the roots of the system.
    HttpsSystem,
    /// By TLS, but no certificate of its CACerts can be read, so that nothing is sent.
    HttpsNobody,
    /// Into a channel or broker of this process.
    Inside,
    /// Onto standard output, by the event display.
    Display,
}

/// A destination as the status document shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusDestination {
    url: String,
    lock: DestinationSecurity,
    /// True if requests to it carry a token that authenticates the sender.
    token: bool,
    /// The first expiry among its own CACerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_not_after: Option<String>,
    /// The last expiry among its own CACerts; after it nothing is sent, unless there are bundles.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_not_after: Option<String>,
    #[serde(skip)]
    ends: ValidityEnds,
}

impl StatusDestination {
    /// True if nothing of its CACerts can be read, so that nothing is sent.
    pub(super) fn trusts_nobody(&self) -> bool {
        self.lock == DestinationSecurity::HttpsNobody
    }

    /// A destination whose own CACerts end then.
    #[cfg(test)]
    pub(super) fn with_ends(first: i64, last: i64) -> Self {
        Self {
            url: String::new(),
            lock: DestinationSecurity::HttpsOwn,
            token: false,
            first_not_after: None,
            last_not_after: None,
            ends: Some((first, last)),
        }
    }

    /// The first and the last expiry among its own CACerts, in seconds since the epoch.
    pub(super) fn ends(&self) -> ValidityEnds {
        self.ends
    }
}

/// A certificate in use, of the server or of those that destinations are verified by.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CertificateUse<'s> {
    /// The use: `server`, `ca-certs` or `bundle`.
    #[serde(rename = "use")]
    of: &'static str,
    subject: std::borrow::Cow<'s, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    not_after: String,
    /// True if the certificate is valid now.
    valid: bool,
    /// Number of destinations that have it among their CACerts.
    destinations: usize,
}

/// The first and the last expiry among a destination's own certificates, in seconds since the
/// epoch; `None` if it has none.
pub(super) type ValidityEnds = Option<(i64, i64)>;

/// The certificates of all destinations, each of them counted once.
pub(super) struct TrustedCertificates<'s> {
    common: HashSet<&'s [u8]>,
    bundles: Vec<&'s TrustedCertificate>,
    /// The certificates by their bytes, each with the number of destinations that have it.
    own: BTreeMap<&'s [u8], (&'s TrustedCertificate, usize)>,
}

impl<'s> TrustedCertificates<'s> {
    pub(super) fn of_resolution(shown: &'s Resolution) -> Self {
        let mut common = HashSet::new();
        let bundles = shown
            .common_certificates()
            .filter(|certificate| common.insert(certificate.der.as_ref()));
        let bundles = bundles.collect();
        Self {
            common,
            bundles,
            own: BTreeMap::new(),
        }
    }

    /// Returns how this destination is reached, and counts its certificates.
    pub(super) fn destination(&mut self, to: &'s Addressable) -> StatusDestination {
        let (lock, ends) = self.security_of(to);
        StatusDestination {
            url: scrub::url(to.url.as_str()).into_owned(),
            lock,
            token: to.audience.is_some(),
            first_not_after: ends.map(|(first, _)| format_timestamp(first)),
            last_not_after: ends.map(|(_, last)| format_timestamp(last)),
            ends,
        }
    }

    fn security_of(&mut self, to: &'s Addressable) -> (DestinationSecurity, ValidityEnds) {
        let lock = match &to.route {
            DestinationRoute::Local(_) | DestinationRoute::WaitingRequest(_) => {
                DestinationSecurity::Inside
            }
            DestinationRoute::EventDisplay => DestinationSecurity::Display,
            DestinationRoute::Remote { .. } | DestinationRoute::Unresolved(_)
                if to.url.scheme() != "https" =>
            {
                DestinationSecurity::Http
            }
            DestinationRoute::Remote { .. } if to.trust.trusts_nobody() => {
                DestinationSecurity::HttpsNobody
            }
            DestinationRoute::Unresolved(_) => DestinationSecurity::HttpsNobody,
            DestinationRoute::Remote { .. } => {
                let ends = self.validity_ends(&to.trust);
                let lock = match ends {
                    Some(_) => DestinationSecurity::HttpsOwn,
                    None if self.common.is_empty() => DestinationSecurity::HttpsSystem,
                    None => DestinationSecurity::HttpsBundles,
                };
                return (lock, ends);
            }
        };
        (lock, None)
    }

    /// Returns the expiries of the certificates that a trust has besides the bundles. A certificate
    /// that is in a bundle, too, counts as the bundle's.
    fn validity_ends(&mut self, trust: &'s TrustBundle) -> ValidityEnds {
        let own = trust
            .certificates()
            .iter()
            .filter(|certificate| !self.common.contains(certificate.der.as_ref()));
        let mut ends: ValidityEnds = None;
        for certificate in own {
            self.own
                .entry(certificate.der.as_ref())
                .or_insert((certificate, 0))
                .1 += 1;
            let end = certificate.not_after;
            ends = Some(ends.map_or((end, end), |(first, last)| (first.min(end), last.max(end))));
        }
        ends
    }

    /// Returns every certificate in use, by expiry, the first one first.
    pub(super) fn certificates(self, server: &ServerIdentity) -> Vec<CertificateUse<'s>> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let own = self.own.into_values().map(|(certificate, destinations)| {
            trusted_certificate_use("ca-certs", certificate, now, destinations)
        });
        let bundles = self.bundles.into_iter();
        let bundles =
            bundles.map(|certificate| trusted_certificate_use("bundle", certificate, now, 0));
        let server = server_certificate_use(server, now);
        let mut all: Vec<_> = server.into_iter().chain(own).chain(bundles).collect();
        all.sort_by_key(|(end, _)| *end);
        all.into_iter().map(|(_, shown)| shown).collect()
    }
}

/// Returns a certificate that destinations are verified by, with its expiry in seconds since the
/// epoch.
fn trusted_certificate_use<'s>(
    of: &'static str,
    certificate: &'s TrustedCertificate,
    now: i64,
    destinations: usize,
) -> (i64, CertificateUse<'s>) {
    let shown = CertificateUse {
        of,
        subject: certificate.subject.as_str().into(),
        not_before: Some(format_timestamp(certificate.not_before)),
        not_after: format_timestamp(certificate.not_after),
        valid: certificate.is_valid_at(now),
        destinations,
    };
    (certificate.not_after, shown)
}

/// Returns the certificate of the HTTPS listener, with its expiry in seconds since the epoch.
fn server_certificate_use<'s>(
    server: &ServerIdentity,
    now: i64,
) -> Option<(i64, CertificateUse<'s>)> {
    let (subject, end) = (server.subject()?, server.not_after()?);
    let shown = CertificateUse {
        of: "server",
        subject: subject.into(),
        not_before: None,
        not_after: format_timestamp(end),
        valid: now <= end,
        destinations: 0,
    };
    Some((end, shown))
}
