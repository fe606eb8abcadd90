//! Channels that go in one change, and the way that what is left in them still has from one to the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::{Channel, ChannelKey, Subscription, Target};
use crate::router::Door;

/// The channels that are in the table no more.
pub(super) struct Gone<'g>(HashMap<&'g ChannelKey, &'g Arc<Door>>);

impl<'g> Gone<'g> {
    pub(super) fn of(doors: &'g [Arc<Door>]) -> Self {
        Self(doors.iter().map(|door| (&door.channel.key, door)).collect())
    }

    /// Those that a subscription of a channel leads into, but for those from where a way leads back: each of them would wait
    /// for the other one to end.
    pub(super) fn onward(&self, subscription: &Subscription, from: &Channel) -> Vec<Arc<Door>> {
        let onward = leads(subscription).filter_map(|key| self.0.get(key));
        onward.filter(|door| !self.reaches(&door.channel.key, &from.key)).map(|door| Arc::clone(door)).collect()
    }

    fn reaches(&self, from: &ChannelKey, to: &ChannelKey) -> bool {
        let (mut seen, mut next) = (HashSet::new(), vec![from]);
        while let Some(key) = next.pop() {
            if key == to {
                return true;
            }
            if let Some(door) = self.0.get(key).filter(|_| seen.insert(key)) {
                next.extend(door.channel.subscriptions.iter().flat_map(|subscription| leads(subscription)));
            }
        }
        false
    }
}

/// The channels of this process that a subscription's events go to.
fn leads(subscription: &Subscription) -> impl Iterator<Item = &ChannelKey> {
    let Subscription { subscriber, reply, dead_letter_sink, .. } = subscription;
    [subscriber, reply, dead_letter_sink].into_iter().flatten().filter_map(|to| match &to.target {
        Target::Local(key) => Some(key),
        Target::Remote { .. } | Target::Waiting(_) | Target::Display | Target::Nowhere(_) => None,
    })
}
