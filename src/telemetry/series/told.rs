//! What the log tells of a subscription while events are delivered to it: destinations that begin and cease to fail, and
//! losses. Whatever happens to single events is told at DEBUG, or as a sum.

use std::fmt;

use tokio::time::Instant;

use super::{ChannelSeries, Destination, Name, Series, SubscriptionSeries, alive};
use crate::filter::Undecided;
use crate::filter::cesql::Exceeded;

impl fmt::Display for Name {
    /// `subscription default/s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl SubscriptionSeries {
    /// Counts a failed attempt at a destination, which is at this place, remembers it until the next one, and tells of the
    /// first one of several.
    pub fn failed(&self, destination: Destination, place: &str, reason: &str) {
        self.failures.increment();
        self.last_error.keep(destination.as_str(), place, reason);
        let failing = self.failing.get(destination as usize);
        if let Some(failures) = failing.and_then(|failing| failing.failed(Instant::now())) {
            let (subscription, to) = (&self.name, destination.as_str());
            tracing::warn!(%subscription, to, destination = place, failures, reason, "A destination fails");
        }
    }

    /// A reply cannot be read: the subscriber has taken the event, and the reply address was not asked.
    pub fn unreadable(&self, place: &str, reason: &str) {
        self.failures.increment();
        self.last_error.keep(Destination::Reply.as_str(), place, reason);
        if let Some(failures) = self.unreadable.failed(Instant::now()) {
            let subscription = &self.name;
            tracing::warn!(%subscription, destination = place, failures, reason, "A subscriber's replies cannot be read");
        }
    }

    /// An attempt at a destination succeeded that had begun then. Tells of it, if those before it failed.
    pub fn succeeded(&self, destination: Destination, began: Instant) {
        let failing = self.failing.get(destination as usize);
        if let Some(ended) = failing.and_then(|failing| failing.succeeded(began, Instant::now())) {
            let (subscription, to, failures) = (&self.name, destination.as_str(), ended.failures);
            tracing::info!(%subscription, to, failures, after = ?ended.after, "A destination takes events again");
        }
    }

    /// A reply could be read, of an event that was sent then.
    pub fn readable(&self, began: Instant) {
        if let Some(ended) = self.unreadable.succeeded(began, Instant::now()) {
            let (subscription, failures) = (&self.name, ended.failures);
            tracing::info!(%subscription, failures, after = ?ended.after, "A subscriber's replies can be read again");
        }
    }

    /// Its filter could not be decided for an event. Counts that, and tells of the first one of those that are too much work.
    pub fn undecided(&self, why: Undecided) {
        if let Some(counter) = self.undecided.get(why as usize) {
            counter.increment();
        }
        if why == Undecided::Limit && self.costly.failed(Instant::now()).is_some() {
            let (subscription, reason) = (&self.name, Exceeded);
            tracing::warn!(%subscription, %reason, "A filter takes too much work for an event, which does not pass");
        }
    }

    /// An event is lost. Whether that is to be told in full: those after it, within a minute, are told as a sum.
    #[must_use]
    pub fn is_first_loss(&self) -> bool {
        self.losses.is_first(Instant::now())
    }

    /// An event is parked. Whether that is to be told in full: those after it, within a minute, are told as a sum.
    #[must_use]
    pub fn is_first_parked(&self) -> bool {
        self.parked.is_first(Instant::now())
    }

    /// Tells how many events were lost, and how many parked, besides the ones that were told in full.
    fn tell_losses(&self, now: Option<Instant>) {
        let subscription = &self.name;
        if let Some(more) = self.losses.sum(now) {
            tracing::error!(%subscription, more, "More events lost since the one that was told: deliveries failed");
        }
        if let Some(more) = self.parked.sum(now) {
            tracing::warn!(%subscription, more, "More events parked since the one that was told");
        }
    }
}

impl ChannelSeries {
    /// The channel of a broker, which is at this place, did not take an event. Tells of the first one of several.
    pub fn not_forwarded(&self, place: &str, reason: &str) {
        if let Some(failures) = self.failing.failed(Instant::now()) {
            let broker = &self.name;
            tracing::warn!(%broker, channel = place, failures, reason, "The channel of a broker takes no events");
        }
    }

    /// The channel of a broker took an event that was sent then. Tells of it, if it did not take those before.
    pub fn forwarded(&self, began: Instant) {
        if let Some(ended) = self.failing.succeeded(began, Instant::now()) {
            let (broker, failures) = (&self.name, ended.failures);
            tracing::info!(%broker, failures, after = ?ended.after, "The channel of a broker takes events again");
        }
    }
}

impl Drop for SubscriptionSeries {
    /// Who is no longer counted for leaves nothing untold.
    fn drop(&mut self) {
        self.tell_losses(None);
    }
}

impl Series {
    /// Tells of the losses and parked events whose minute is over; of all, if there is no later time.
    pub fn tell_losses(&self, now: Option<Instant>) {
        alive(&self.subscriptions).iter().for_each(|series| series.tell_losses(now));
    }
}
