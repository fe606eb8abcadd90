//! How destinations are reached, whom they are trusted by, and until when.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use time::OffsetDateTime;

use super::at;
use crate::control::Resolution;
use crate::model::{Addressable, Certificate, Target, TrustBundle};
use crate::scrub;
use crate::tls::server::ServerIdentity;

/// How events get to a destination, and what protects them on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Lock {
    /// In the clear.
    Http,
    /// TLS, verified by CACerts of its own besides bundles and system roots.
    HttpsOwn,
    /// TLS, verified by trust bundles and the roots of the system.
    HttpsBundles,
    /// TLS, verified by the roots of the system.
    HttpsSystem,
    /// TLS, but nothing of its CACerts can be read: nothing is sent.
    HttpsNobody,
    /// Into a channel or broker of this process.
    Inside,
    /// Onto standard output.
    Display,
}

/// A destination as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Destination {
    url: String,
    lock: Lock,
    /// Whether it gets a token that proves who sends.
    token: bool,
    /// When the first one of its own CACerts ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_not_after: Option<String>,
    /// When the last one ends: then nothing is sent any more, unless bundles are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_not_after: Option<String>,
}

/// A certificate in use.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Use<'s> {
    /// `server`, `ca-certs` or `bundle`.
    #[serde(rename = "use")]
    of: &'static str,
    subject: std::borrow::Cow<'s, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    not_after: String,
    /// Whether it can be used now.
    valid: bool,
    /// How many destinations have it among their CACerts.
    destinations: usize,
}

/// End of the first and of the last certificate of its own that a destination has, seconds since the epoch; `None` if it
/// has none.
type Ends = Option<(i64, i64)>;

/// The certificates of destinations, looked at once each.
pub(super) struct Trusted<'s> {
    common: HashSet<&'s [u8]>,
    bundles: Vec<&'s Certificate>,
    /// By their bytes: the certificate, and how many destinations have it.
    own: BTreeMap<&'s [u8], (&'s Certificate, usize)>,
}

impl<'s> Trusted<'s> {
    pub(super) fn of(shown: &'s Resolution) -> Self {
        let mut common = HashSet::new();
        let bundles = shown.common_certificates().filter(|certificate| common.insert(certificate.der.as_ref()));
        let bundles = bundles.collect();
        Self { common, bundles, own: BTreeMap::new() }
    }

    /// How this destination is reached.
    pub(super) fn destination(&mut self, to: &'s Addressable) -> Destination {
        let (lock, ends) = self.lock(to);
        Destination {
            url: scrub::url(to.url.as_str()).into_owned(),
            lock,
            token: to.audience.is_some(),
            first_not_after: ends.map(|(first, _)| at(first)),
            last_not_after: ends.map(|(_, last)| at(last)),
        }
    }

    fn lock(&mut self, to: &'s Addressable) -> (Lock, Ends) {
        let lock = match &to.target {
            Target::Local(_) | Target::Waiting(_) => Lock::Inside,
            Target::Display => Lock::Display,
            Target::Remote { .. } if to.url.scheme() != "https" => Lock::Http,
            Target::Remote { .. } if to.trust.is_nobody() => Lock::HttpsNobody,
            Target::Nowhere(_) => Lock::HttpsNobody,
            Target::Remote { .. } => {
                let ends = self.own(&to.trust);
                let lock = match ends {
                    Some(_) => Lock::HttpsOwn,
                    None if self.common.is_empty() => Lock::HttpsSystem,
                    None => Lock::HttpsBundles,
                };
                return (lock, ends);
            }
        };
        (lock, None)
    }

    /// What a set has besides the bundles. A certificate that is in a bundle, too, counts as the bundle's.
    fn own(&mut self, trust: &'s TrustBundle) -> Ends {
        let own = trust.certificates().iter().filter(|certificate| !self.common.contains(certificate.der.as_ref()));
        let mut ends: Ends = None;
        for certificate in own {
            self.own.entry(certificate.der.as_ref()).or_insert((certificate, 0)).1 += 1;
            let end = certificate.not_after;
            ends = Some(ends.map_or((end, end), |(first, last)| (first.min(end), last.max(end))));
        }
        ends
    }

    /// Every certificate in use, the one that ends first, first.
    pub(super) fn certificates(self, server: &ServerIdentity) -> Vec<Use<'s>> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let trusted = |of: &'static str, certificate: &'s Certificate, destinations: usize| {
            let shown = Use {
                of,
                subject: certificate.subject.as_str().into(),
                not_before: Some(at(certificate.not_before)),
                not_after: at(certificate.not_after),
                valid: certificate.is_valid_at(now),
                destinations,
            };
            (certificate.not_after, shown)
        };
        let mut all: Vec<(i64, Use<'s>)> = Vec::new();
        if let (Some(subject), Some(end)) = (server.subject(), server.not_after()) {
            let (subject, not_after) = (subject.into(), at(end));
            let valid = now <= end;
            all.push((end, Use { of: "server", subject, not_before: None, not_after, valid, destinations: 0 }));
        }
        all.extend(self.own.into_values().map(|(certificate, count)| trusted("ca-certs", certificate, count)));
        all.extend(self.bundles.into_iter().map(|certificate| trusted("bundle", certificate, 0)));
        all.sort_by_key(|(end, _)| *end);
        all.into_iter().map(|(_, shown)| shown).collect()
    }
}
