//! Logs that are due as time passes: sums of losses, and certificates of destinations that expire
//! while the process runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::{RoutingTable, Subscription, TableSource};
use crate::telemetry::counters::ProcessCounters;
use crate::tls::refusal;

/// Interval at which there may be something to log.
const PERIOD: Duration = Duration::from_secs(1);

/// Logs until the stop. Sums that are left then are logged when the last delivery has ended.
pub(super) async fn run(
    counters: Arc<ProcessCounters>,
    mut served: watch::Receiver<impl TableSource>,
    stop: CancellationToken,
) {
    let mut period = tokio::time::interval(PERIOD);
    let mut seen = now();
    let mut next = i64::MIN;
    while stop.run_until_cancelled(period.tick()).await.is_some() {
        counters.series.log_losses(Some(Instant::now()));
        let is_new = served.has_changed().unwrap_or(false);
        let now = now();
        // The table is looked through only if it is new, or if a certificate in it has
        // expired or has become valid.
        if is_new || next <= now {
            let table = Arc::clone(served.borrow_and_update().routing_table());
            log_expired(&table, seen..now);
            next = table.next_trust_change(now).unwrap_or(i64::MAX);
        }
        seen = seen.max(now);
    }
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// The expired certificates by subject and expiry, each with the subscriptions whose destinations
/// are verified by it.
type ExpiredCertificates<'t> = BTreeMap<(&'t str, i64), Vec<&'t Subscription>>;

/// Logs the certificates that expired within this time: a line for each, however many destinations
/// are verified by it. Those that had expired when the configuration was read are among its
/// problems.
fn log_expired(table: &RoutingTable, within: std::ops::Range<i64>) {
    for ((subject, not_after), subscriptions) in expired_certificates(table, within) {
        let Some(first) = subscriptions.first() else {
            continue;
        };
        let (subscription, destinations) = (&first.key, subscriptions.len());
        tracing::warn!(
            subject,
            not_after = refusal::rfc3339(not_after),
            %subscription,
            destinations,
            "A certificate in CACerts has expired: destinations that are verified by it \
             fail, replace it"
        );
    }
}

fn expired_certificates(
    table: &RoutingTable,
    within: std::ops::Range<i64>,
) -> ExpiredCertificates<'_> {
    let mut ended = ExpiredCertificates::new();
    for (subscription, destination) in table.destinations() {
        for certificate in destination.trust.certificates() {
            if within.contains(&certificate.not_after) {
                let of = ended
                    .entry((certificate.subject.as_str(), certificate.not_after))
                    .or_default();
                of.push(subscription);
            }
        }
    }
    ended
}
