//! What of the series an operator is told beyond the log: failure spells that last, and events that
//! were parked.

use tokio::time::Instant;

use super::channel_series::ChannelSeries;
use super::last_error::LastError;
use super::outcome::DeliveryEnd;
use super::registry::SeriesRegistry;
use super::series_key::SeriesKey;
use super::subscription_series::SubscriptionSeries;
use crate::model::DestinationRole;

/// A destination of the events of a subscription or Broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FailingDestination {
    /// Whose it is.
    pub(crate) key: SeriesKey,
    /// The role of the destination, in words.
    pub(crate) role: &'static str,
}

/// A failure spell that lasts, and whose beginning was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToldSpell {
    since: Instant,
    /// Number of attempts that have failed.
    pub(crate) failures: u64,
    /// The URL of the destination, without secrets; empty if another one failed after it.
    pub(crate) url: String,
    /// Why it failed; empty if another one failed after it.
    pub(crate) reason: String,
}

impl ToldSpell {
    /// Seconds since the first failure.
    pub(crate) fn seconds(&self) -> i64 {
        i64::try_from(self.since.elapsed().as_secs()).unwrap_or(i64::MAX)
    }
}

/// Number of events that a subscription has parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParkedCount {
    /// The subscription.
    pub(crate) key: SeriesKey,
    /// Events that were parked since the process started.
    pub(crate) parked: u64,
    /// Events that are parked now.
    pub(crate) now: i64,
    /// The attempt that failed last.
    pub(crate) last_error: Option<LastError>,
}

const ROLES: [DestinationRole; 3] = [
    DestinationRole::Subscriber,
    DestinationRole::Reply,
    DestinationRole::DeadLetterSink,
];

impl SubscriptionSeries {
    fn told_spells(&self) -> impl Iterator<Item = (FailingDestination, ToldSpell)> {
        ROLES.into_iter().filter_map(|role| {
            let (since, failures) = self.failure_trackers.get(role).told()?;
            let error = self.last_error();
            let error = error.filter(|error| error.destination_role == role.as_str());
            let (url, reason) = error.map_or_else(Default::default, |error| {
                (String::from(error.url), String::from(error.reason))
            });
            let spell = ToldSpell {
                since,
                failures,
                url,
                reason,
            };
            let destination = FailingDestination {
                key: self.name.clone(),
                role: role.as_str(),
            };
            Some((destination, spell))
        })
    }
}

impl ChannelSeries {
    fn told_spell(&self) -> Option<(FailingDestination, ToldSpell)> {
        let (since, failures) = self.failure_tracker.told()?;
        let spell = ToldSpell {
            since,
            failures,
            url: String::new(),
            reason: String::new(),
        };
        let destination = FailingDestination {
            key: self.name.clone(),
            role: "channel",
        };
        Some((destination, spell))
    }
}

impl SeriesRegistry {
    /// Returns the failure spells that last and were logged, by series and the role of the
    /// destination.
    pub(crate) fn told_spells(&self) -> Vec<(FailingDestination, ToldSpell)> {
        let mut spells = Vec::new();
        for series in self.subscriptions.live() {
            spells.extend(series.told_spells());
        }
        let channels = self.channels.live();
        spells.extend(channels.iter().filter_map(|series| series.told_spell()));
        spells
    }

    /// Returns true if a subscription, channel or Broker of this name is counted.
    pub(crate) fn is_live(&self, key: &SeriesKey) -> bool {
        let subscriptions = self.subscriptions.live();
        let channels = self.channels.live();
        subscriptions.iter().any(|series| series.name == *key)
            || channels.iter().any(|series| series.name == *key)
    }

    /// Returns how many events each subscription has parked, of those that have parked any.
    pub(crate) fn parked_counts(&self) -> Vec<ParkedCount> {
        let live = self.subscriptions.live();
        let counts = live.iter().filter_map(|series| {
            let parked = series.end_count(DeliveryEnd::Parked);
            (parked > 0).then(|| ParkedCount {
                key: series.name.clone(),
                parked,
                now: series.parked_now.get(),
                last_error: series.last_error(),
            })
        });
        counts.collect()
    }
}
