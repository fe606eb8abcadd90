//! Which subscriptions have not finished an event, as far as its records tell.

use std::collections::BTreeMap;

use super::event_key::EventKey;
use super::observed_fact::{ObservedEnd, ObservedFact};

/// A delivery of an event to a subscription that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenDelivery {
    pub(crate) id: String,
    pub(crate) source: String,
    /// Kind, namespace and name of the subscription.
    pub(crate) subscription: String,
}

impl OpenDelivery {
    /// A delivery of this event, to no subscription yet.
    pub(super) fn of_event(id: &str, source: &str) -> Self {
        Self {
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

/// Deliveries of events, each with whether it is open. Facts are told in their order.
#[derive(Debug, Default)]
pub(super) struct OpenDeliveries(BTreeMap<DeliveryName, bool>);

impl OpenDeliveries {
    /// Takes that the subscription wanted the event.
    pub(super) fn want(&mut self, event: EventKey, subscription: &str) {
        self.0.insert(DeliveryName::new(event, subscription), true);
    }

    /// Takes what has happened to the event at the subscription.
    pub(super) fn tell(&mut self, event: EventKey, subscription: &str, fact: &ObservedFact<'_>) {
        let is_open = match fact {
            ObservedFact::Received | ObservedFact::Attempted(_) => true,
            ObservedFact::Ended(end, _) => {
                matches!(end, ObservedEnd::Deferred | ObservedEnd::Requeued)
            }
            ObservedFact::Accepted(_)
            | ObservedFact::Refused(_)
            | ObservedFact::Filtered(_)
            | ObservedFact::NoReply(_) => return,
        };
        self.0
            .insert(DeliveryName::new(event, subscription), is_open);
    }

    /// Those that are open, each with what `describe` says of its event.
    pub(super) fn into_open(
        self,
        describe: impl Fn(EventKey) -> OpenDelivery,
    ) -> Vec<OpenDelivery> {
        let open = self.0.into_iter().filter(|(_, is_open)| *is_open);
        open.map(|(name, _)| OpenDelivery {
            subscription: name.subscription,
            ..describe(name.event)
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
        assert!(
            open.iter()
                .all(|open| (&*open.id, &*open.source) == ("1", "/s"))
        );
    }
}
