//! Events that nobody took, and that were parked: a sum for each subscription, once a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::failure_watch::about;
use super::own_deliveries::OwnDeliveries;
use super::system_event::{SystemEvent, SystemEventType};
use crate::telemetry::series::{ParkedCount, SeriesKey, SeriesRegistry};

/// Time between two events about one subscription.
const PERIOD: Duration = Duration::from_secs(60);

/// News of one subscription.
#[derive(Debug)]
pub(super) struct ParkedNews {
    key: SeriesKey,
    event: SystemEvent,
    /// Events that were parked up to now.
    count: u64,
}

impl ParkedNews {
    pub(super) fn event(&self) -> &SystemEvent {
        &self.event
    }
}

/// What was told of each subscription: how many had been parked, and when.
#[derive(Debug, Default)]
pub(super) struct ParkedWatch(BTreeMap<SeriesKey, (u64, Instant)>);

impl ParkedWatch {
    /// What has been parked and is to be told now.
    pub(super) fn news(
        &mut self,
        series: &SeriesRegistry,
        own: &OwnDeliveries,
        now: Instant,
    ) -> Vec<ParkedNews> {
        let counts = series.parked_counts();
        // Series that are gone begin anew when they come back.
        self.0
            .retain(|key, _| counts.iter().any(|count| count.key == *key));
        let counts = counts.into_iter().filter(|count| !own.has(&count.key));
        counts
            .filter_map(|count| self.news_of(count, now))
            .collect()
    }

    fn news_of(&self, count: ParkedCount, now: Instant) -> Option<ParkedNews> {
        let told = match self.0.get(&count.key) {
            Some((told, at)) => (now.saturating_duration_since(*at) >= PERIOD).then_some(*told)?,
            None => 0,
        };
        let more = count.parked.checked_sub(told).filter(|more| *more > 0)?;
        let mut event = about(SystemEventType::EventsParked, &count.key)
            .with("count", more)
            .with("parked", count.now);
        if let Some(error) = count.last_error {
            event = event
                .with("destination", error.destination_role)
                .with("url", &*error.url)
                .with("reason", &*error.reason);
        }
        Some(ParkedNews {
            event,
            count: count.parked,
            key: count.key,
        })
    }

    /// Notes that news have been told.
    pub(super) fn set_told(&mut self, news: ParkedNews, now: Instant) {
        self.0.insert(news.key, (news.count, now));
    }
}
