//! Logs what happens to a subscription while events are delivered to it: destinations that begin
//! and cease to fail, and losses. What happens to single events is logged at DEBUG, or as a sum.

use tokio::time::Instant;

use super::channel_series::ChannelSeries;
use super::registry::SeriesRegistry;
use super::subscription_series::SubscriptionSeries;
use crate::filter::UndecidedReason;
use crate::filter::cesql::MeterExceeded;
use crate::model::DestinationRole;

impl SubscriptionSeries {
    /// Counts a failed attempt at a destination with this URL, keeps it as the last error, and logs
    /// the first failure of a failure spell.
    pub(crate) fn record_failure(&self, destination: DestinationRole, place: &str, reason: &str) {
        self.failures.increment();
        self.last_error.set(destination.as_str(), place, reason);
        let tracker = self.failure_trackers.get(destination);
        if let Some(failures) = tracker.record_failure(Instant::now()) {
            let (subscription, to) = (&self.name, destination.as_str());
            tracing::warn!(
                %subscription,
                to,
                destination = place,
                failures,
                reason,
                "A destination fails"
            );
        }
    }

    /// Records a reply that cannot be read: the subscriber has taken the event, and the reply
    /// address was not asked.
    pub(crate) fn record_unreadable_reply(&self, place: &str, reason: &str) {
        self.failures.increment();
        self.last_error
            .set(DestinationRole::Reply.as_str(), place, reason);
        if let Some(failures) = self.unreadable_replies.record_failure(Instant::now()) {
            let subscription = &self.name;
            tracing::warn!(
                %subscription,
                destination = place,
                failures,
                reason,
                "A subscriber's replies cannot be read"
            );
        }
    }

    /// Records an attempt that succeeded, and `began` at this time. Logs the end of a failure
    /// spell.
    pub(crate) fn record_success(&self, destination: DestinationRole, began: Instant) {
        let tracker = self.failure_trackers.get(destination);
        if let Some(ended) = tracker.record_success(began, Instant::now()) {
            let (subscription, to, failures) = (&self.name, destination.as_str(), ended.failures);
            tracing::info!(
                %subscription,
                to,
                failures,
                after = ?ended.after,
                "A destination takes events again"
            );
        }
    }

    /// Records a reply that could be read, to an event that was sent at this time. Logs the end of
    /// a failure spell.
    pub(crate) fn record_readable_reply(&self, began: Instant) {
        if let Some(ended) = self
            .unreadable_replies
            .record_success(began, Instant::now())
        {
            let (subscription, failures) = (&self.name, ended.failures);
            tracing::info!(
                %subscription,
                failures,
                after = ?ended.after,
                "A subscriber's replies can be read again"
            );
        }
    }

    /// Counts an event for which the filter could not be decided, and logs the first one of those
    /// that take too much work.
    pub(crate) fn record_undecided_filter(&self, why: UndecidedReason) {
        self.undecided.get(why).increment();
        if why == UndecidedReason::Limit
            && self
                .filter_limit_tracker
                .record_failure(Instant::now())
                .is_some()
        {
            let (subscription, reason) = (&self.name, MeterExceeded);
            tracing::warn!(
                %subscription,
                %reason,
                "A filter takes too much work for an event, which does not pass"
            );
        }
    }

    /// Records a lost event; returns true if it is to be logged in full. Further ones within a
    /// minute are logged as a sum.
    #[must_use]
    pub(crate) fn is_first_loss(&self) -> bool {
        self.loss_log.is_first_of_minute(Instant::now())
    }

    /// Records a parked event; returns true if it is to be logged in full. Further ones within a
    /// minute are logged as a sum.
    #[must_use]
    pub(crate) fn is_first_parked(&self) -> bool {
        self.parked_log.is_first_of_minute(Instant::now())
    }

    /// Logs how many events were lost, and how many parked, besides those that were logged in full.
    fn log_losses(&self, now: Option<Instant>) {
        let subscription = &self.name;
        if let Some(more) = self.loss_log.take_sum(now) {
            tracing::error!(
                %subscription,
                more,
                "More events lost since the one that was told: deliveries failed"
            );
        }
        if let Some(more) = self.parked_log.take_sum(now) {
            tracing::warn!(%subscription, more, "More events parked since the one that was told");
        }
    }
}

impl ChannelSeries {
    /// Records that the channel of a broker, at this URL, did not take an event. Logs the first
    /// failure of a failure spell.
    pub(crate) fn record_forward_failure(&self, place: &str, reason: &str) {
        if let Some(failures) = self.failure_tracker.record_failure(Instant::now()) {
            let broker = &self.name;
            tracing::warn!(
                %broker,
                channel = place,
                failures,
                reason,
                "The channel of a broker takes no events"
            );
        }
    }

    /// Records that the channel of a broker took an event that was sent at this time. Logs the end
    /// of a failure spell.
    pub(crate) fn record_forward_success(&self, began: Instant) {
        if let Some(ended) = self.failure_tracker.record_success(began, Instant::now()) {
            let (broker, failures) = (&self.name, ended.failures);
            tracing::info!(
                %broker,
                failures,
                after = ?ended.after,
                "The channel of a broker takes events again"
            );
        }
    }
}

impl Drop for SubscriptionSeries {
    /// Logs the sums that are left when the subscription is gone.
    fn drop(&mut self) {
        self.log_losses(None);
    }
}

impl SeriesRegistry {
    /// Logs the losses and parked events whose minute is over; all of them if `now` is `None`.
    pub(crate) fn log_losses(&self, now: Option<Instant>) {
        self.subscriptions
            .live()
            .iter()
            .for_each(|series| series.log_losses(now));
    }
}
