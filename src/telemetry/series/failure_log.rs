//! What the log tells of a subscription while events are delivered to it: destinations that begin and cease to fail, and
//! losses. Whatever happens to single events is told at DEBUG, or as a sum.

use std::fmt;

use tokio::time::Instant;

use super::{ChannelSeries, DestinationRole, SeriesKey, SeriesRegistry, SubscriptionSeries, live_series};
use crate::filter::UndecidedReason;
use crate::filter::cesql::MeterExceeded;

impl fmt::Display for SeriesKey {
    /// `subscription default/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl SubscriptionSeries {
    /// Counts a failed attempt at a destination, which is at this place, remembers it until the next one, and tells of the
    /// first one of several.
    pub fn record_failure(&self, destination: DestinationRole, place: &str, reason: &str) {
        self.failures.increment();
        self.last_error.set(destination.as_str(), place, reason);
        let failing = self.failure_trackers.get(destination as usize);
        if let Some(failures) = failing.and_then(|failing| failing.record_failure(Instant::now())) {
            let (subscription, to) = (&self.name, destination.as_str());
            tracing::warn!(%subscription, to, destination = place, failures, reason, "A destination fails");
        }
    }

    /// A reply cannot be read: the subscriber has taken the event, and the reply address was not asked.
    pub fn record_unreadable_reply(&self, place: &str, reason: &str) {
        self.failures.increment();
        self.last_error.set(DestinationRole::Reply.as_str(), place, reason);
        if let Some(failures) = self.unreadable_replies.record_failure(Instant::now()) {
            let subscription = &self.name;
            tracing::warn!(%subscription, destination = place, failures, reason, "A subscriber's replies cannot be read");
        }
    }

    /// An attempt at a destination succeeded that had begun then. Tells of it, if those before it failed.
    pub fn record_success(&self, destination: DestinationRole, began: Instant) {
        let failing = self.failure_trackers.get(destination as usize);
        if let Some(ended) = failing.and_then(|failing| failing.record_success(began, Instant::now())) {
            let (subscription, to, failures) = (&self.name, destination.as_str(), ended.failures);
            tracing::info!(%subscription, to, failures, after = ?ended.after, "A destination takes events again");
        }
    }

    /// A reply could be read, of an event that was sent then.
    pub fn record_readable_reply(&self, began: Instant) {
        if let Some(ended) = self.unreadable_replies.record_success(began, Instant::now()) {
            let (subscription, failures) = (&self.name, ended.failures);
            tracing::info!(%subscription, failures, after = ?ended.after, "A subscriber's replies can be read again");
        }
    }

    /// Its filter could not be decided for an event. Counts that, and tells of the first one of those that are too much work.
    pub fn record_undecided_filter(&self, why: UndecidedReason) {
        if let Some(counter) = self.undecided.get(why as usize) {
            counter.increment();
        }
        if why == UndecidedReason::Limit && self.filter_limit_tracker.record_failure(Instant::now()).is_some() {
            let (subscription, reason) = (&self.name, MeterExceeded);
            tracing::warn!(%subscription, %reason, "A filter takes too much work for an event, which does not pass");
        }
    }

    /// An event is lost. Whether that is to be told in full: those after it, within a minute, are told as a sum.
    #[must_use]
    pub fn is_first_loss(&self) -> bool {
        self.loss_log.is_first_of_minute(Instant::now())
    }

    /// An event is parked. Whether that is to be told in full: those after it, within a minute, are told as a sum.
    #[must_use]
    pub fn is_first_parked(&self) -> bool {
        self.parked_log.is_first_of_minute(Instant::now())
    }

    /// Tells how many events were lost, and how many parked, besides the ones that were told in full.
    fn log_losses(&self, now: Option<Instant>) {
        let subscription = &self.name;
        if let Some(more) = self.loss_log.take_sum(now) {
            tracing::error!(%subscription, more, "More events lost since the one that was told: deliveries failed");
        }
        if let Some(more) = self.parked_log.take_sum(now) {
            tracing::warn!(%subscription, more, "More events parked since the one that was told");
        }
    }
}

impl ChannelSeries {
    /// The channel of a broker, which is at this place, did not take an event. Tells of the first one of several.
    pub fn record_forward_failure(&self, place: &str, reason: &str) {
        if let Some(failures) = self.failure_tracker.record_failure(Instant::now()) {
            let broker = &self.name;
            tracing::warn!(%broker, channel = place, failures, reason, "The channel of a broker takes no events");
        }
    }

    /// The channel of a broker took an event that was sent then. Tells of it, if it did not take those before.
    pub fn record_forward_success(&self, began: Instant) {
        if let Some(ended) = self.failure_tracker.record_success(began, Instant::now()) {
            let (broker, failures) = (&self.name, ended.failures);
            tracing::info!(%broker, failures, after = ?ended.after, "The channel of a broker takes events again");
        }
    }
}

impl Drop for SubscriptionSeries {
    /// Who is no longer counted for leaves nothing untold.
    fn drop(&mut self) {
        self.log_losses(None);
    }
}

impl SeriesRegistry {
    /// Tells of the losses and parked events whose minute is over; of all, if there is no later time.
    pub fn log_losses(&self, now: Option<Instant>) {
        live_series(&self.subscriptions).iter().for_each(|series| series.log_losses(now));
    }
}
