//! Which subscriptions have not finished an event, as far as its records tell.

use std::collections::BTreeMap;

use super::event_key::EventKey;
use super::observed_fact::{ObservedEnd, ObservedFact};

/// A delivery of an event to a subscription that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenDelivery {
    /// [`crate::event::Event::identity`] of the event.
    pub(crate) identity: u64,
    /// Whether an attempt has ended.
    pub(crate) progress: OpenProgress,
    pub(crate) id: String,
    pub(crate) source: String,
    /// Kind, namespace and name of the subscription.
    pub(crate) subscription: String,
}

/// How far a delivery has come that is open, as far as records tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenProgress {
    /// No attempt has ended.
    Untried,
    /// An attempt has ended.
    Tried,
}

impl OpenDelivery {
    /// A delivery of this event, to no subscription yet.
    pub(super) fn of_event(id: &str, source: &str) -> Self {
        Self {
            identity: 0,
            progress: OpenProgress::Untried,
            id: id.to_owned(),
            source: source.to_owned(),
            subscription: String::new(),
        }
    }
}

/// An event and a subscription, by their names in records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DeliveryName {
    event: EventKey,
    subscription: String,
}

impl DeliveryName {
    fn new(event: EventKey, subscription: &str) -> Self {
        Self {
            event,
            subscription: subscription.to_owned(),
        }
    }
}

/// Deliveries of events, each with how far it has come; `None` if it has ended. Facts are told in
/// their order.
#[derive(Debug, Default)]
pub(super) struct OpenDeliveries(BTreeMap<DeliveryName, Option<OpenProgress>>);

impl OpenDeliveries {
    /// Takes that the subscription wanted the event.
    pub(super) fn want(&mut self, event: EventKey, subscription: &str) {
        let name = DeliveryName::new(event, subscription);
        self.0.insert(name, Some(OpenProgress::Untried));
    }

    /// Takes what has happened to the event at the subscription.
    pub(super) fn tell(&mut self, event: EventKey, subscription: &str, fact: &ObservedFact<'_>) {
        let name = DeliveryName::new(event, subscription);
        let before = self.0.get(&name).copied().flatten();
        let progress = match fact {
            ObservedFact::Received => before.or(Some(OpenProgress::Untried)),
            ObservedFact::Attempted(_)
            | ObservedFact::Ended(ObservedEnd::Deferred | ObservedEnd::Requeued, _) => {
                Some(OpenProgress::Tried)
            }
            ObservedFact::Ended(..) => None,
            ObservedFact::Accepted(_)
            | ObservedFact::Refused(_)
            | ObservedFact::Filtered(_)
            | ObservedFact::NoReply(_) => return,
        };
        self.0.insert(name, progress);
    }

    /// Those that are open, each with what `describe` says of its event.
    pub(super) fn into_open(
        self,
        describe: impl Fn(EventKey) -> OpenDelivery,
    ) -> Vec<OpenDelivery> {
        let open = self.0.into_iter();
        open.filter_map(|(name, progress)| {
            Some(OpenDelivery {
                identity: name.event.0,
                progress: progress?,
                subscription: name.subscription,
                ..describe(name.event)
            })
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_open_until_it_ends() {
        let mut deliveries = OpenDeliveries::default();
        let event = EventKey(1);
        for name in ["waits", "ended", "deferred"] {
            deliveries.want(event, name);
        }
        let ended = |end| ObservedFact::Ended(end, "");
        deliveries.tell(event, "ended", &ended(ObservedEnd::Delivered));
        deliveries.tell(event, "deferred", &ended(ObservedEnd::Deferred));
        deliveries.tell(event, "received", &ObservedFact::Received);
        deliveries.tell(event, "filtered", &ObservedFact::Filtered("no"));
        let open = deliveries.into_open(|_| OpenDelivery::of_event("1", "/s"));
        let names: Vec<_> = open.iter().map(|open| open.subscription.as_str()).collect();
        assert_eq!(names, ["deferred", "received", "waits"]);
        let tried = [
            OpenProgress::Tried,
            OpenProgress::Untried,
            OpenProgress::Untried,
        ];
        assert_eq!(
            open.iter().map(|open| open.progress).collect::<Vec<_>>(),
            tried
        );
        assert!(open.iter().all(|open| open.identity == 1));
        assert!(
            open.iter()
                .all(|open| (&*open.id, &*open.source) == ("1", "/s"))
        );
    }
}
