//! Certificates that expire soon: those by which destinations are verified, and that of the HTTPS
//! listener.

use std::collections::{BTreeMap, HashSet};

use super::system_event::{SystemEvent, SystemEventType, format_seconds};
use crate::model::{Addressable, RoutingTable};

/// Seconds before the expiry of a certificate from which that is told: enough to ask somebody for
/// another one. The alerts warn from the same time on.
const SOON: i64 = 14 * 24 * 3600;

/// A certificate that ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct CertificateEnd {
    /// Who it is of; empty of the listener's own.
    subject: String,
    /// The end in seconds since the epoch.
    not_after: i64,
}

/// News of one certificate.
#[derive(Debug)]
pub(super) struct CertificateNews {
    told: ToldCertificate,
    event: SystemEvent,
}

impl CertificateNews {
    pub(super) fn event(&self) -> &SystemEvent {
        &self.event
    }
}

/// A certificate as it was told: it ends soon, or has ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ToldCertificate {
    certificate: CertificateEnd,
    has_expired: bool,
}

/// The certificates that were told, and are used still.
#[derive(Debug, Default)]
pub(super) struct CertificateWatch(HashSet<ToldCertificate>);

/// The destinations that a certificate verifies.
struct EndingCertificateUse<'t> {
    /// The first of them: its subscription or Trigger, and its role.
    first: (String, &'static str),
    url: &'t str,
    destinations: usize,
}

impl CertificateWatch {
    /// The certificates of a table, and of the listener, that are to be told now, in seconds since
    /// the epoch.
    pub(super) fn news(
        &mut self,
        table: &RoutingTable,
        server: Option<i64>,
        now: i64,
    ) -> Vec<CertificateNews> {
        let uses = ending_certificates(table, now);
        let server = server.filter(|end| *end < now + SOON);
        let of_server = |not_after| CertificateEnd {
            subject: String::new(),
            not_after,
        };
        let used = |told: &ToldCertificate| {
            uses.contains_key(&told.certificate)
                || server.map(of_server).as_ref() == Some(&told.certificate)
        };
        self.0.retain(used);
        let of_destinations = uses.iter().map(|(certificate, at)| {
            let (object, role) = &at.first;
            let event = SystemEvent::new(SystemEventType::CertificateExpiring, object.clone())
                .with("use", "trust")
                .with("certificate", &*certificate.subject)
                .with("destination", *role)
                .with("url", at.url)
                .with("destinations", at.destinations);
            (certificate.clone(), event)
        });
        let of_server = server.map(|end| {
            let event = SystemEvent::new(SystemEventType::CertificateExpiring, String::new());
            (of_server(end), event.with("use", "server"))
        });
        let all = of_destinations.chain(of_server);
        let news = all.map(|(certificate, event)| certificate_news(certificate, event, now));
        news.filter(|news| !self.0.contains(&news.told)).collect()
    }

    /// Notes that news have been told.
    pub(super) fn set_told(&mut self, news: CertificateNews) {
        self.0.insert(news.told);
    }
}

fn certificate_news(certificate: CertificateEnd, event: SystemEvent, now: i64) -> CertificateNews {
    let end = certificate.not_after;
    let has_expired = end < now;
    CertificateNews {
        event: event
            .with("notAfter", format_seconds(end))
            .with("expired", has_expired),
        told: ToldCertificate {
            certificate,
            has_expired,
        },
    }
}

/// The certificates that end soon or have ended, each with the destinations that it verifies.
fn ending_certificates(
    table: &RoutingTable,
    now: i64,
) -> BTreeMap<CertificateEnd, EndingCertificateUse<'_>> {
    let mut ending: BTreeMap<CertificateEnd, EndingCertificateUse<'_>> = BTreeMap::new();
    for (object, role, destination) in destinations(table) {
        let certificates = destination.trust.certificates().iter();
        for certificate in certificates.filter(|one| one.not_after < now + SOON) {
            let end = CertificateEnd {
                subject: certificate.subject.clone(),
                not_after: certificate.not_after,
            };
            let at = ending.entry(end).or_insert_with(|| EndingCertificateUse {
                first: (object.clone(), role),
                url: destination.url.as_written(),
                destinations: 0,
            });
            at.destinations += 1;
        }
    }
    ending
}

/// The destinations of a table, each with its subscription or Trigger and its role.
fn destinations(
    table: &RoutingTable,
) -> impl Iterator<Item = (String, &'static str, &Addressable)> {
    let of_channels = table.channels().iter().flat_map(|channel| {
        channel.subscriptions.iter().flat_map(|subscription| {
            let key = &subscription.key;
            let object = format!("{}/{}/{}", key.kind.as_str(), key.namespace, key.name);
            with_roles(
                object,
                [
                    subscription.subscriber.as_ref(),
                    subscription.reply.as_ref(),
                    subscription.dead_letter_sink.as_ref(),
                ],
            )
        })
    });
    let of_triggers = table.relays().triggers.iter().flat_map(|(path, trigger)| {
        with_roles(
            format!("trigger{path}"),
            [
                trigger.subscriber.as_ref(),
                trigger.broker.as_ref(),
                trigger.dead_letter_sink.as_ref(),
            ],
        )
    });
    of_channels.chain(of_triggers)
}

fn with_roles(
    object: String,
    destinations: [Option<&Addressable>; 3],
) -> impl Iterator<Item = (String, &'static str, &Addressable)> {
    let roles = ["subscriber", "reply", "dead letter sink"];
    let with_roles = roles.into_iter().zip(destinations);
    with_roles.filter_map(move |(role, destination)| Some((object.clone(), role, destination?)))
}
