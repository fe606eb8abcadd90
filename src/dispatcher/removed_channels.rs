//! Channels that are removed in one change, and the routes that events which are left in them still
//! have from one to the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::model::{Channel, ChannelKey, Subscription};
use crate::router::RoutedChannel;

/// The channels that are in the table no more, by key.
pub(super) struct RemovedChannels<'g>(HashMap<&'g ChannelKey, &'g Arc<RoutedChannel>>);

impl<'g> RemovedChannels<'g> {
    pub(super) fn new(channels: &'g [Arc<RoutedChannel>]) -> Self {
        Self(
            channels
                .iter()
                .map(|channel| (&channel.channel.key, channel))
                .collect(),
        )
    }

    /// Removed channels that a subscription of a channel leads into, except those from which a
    /// route leads back: each of them would wait for the other one to end.
    pub(super) fn onward_channels(
        &self,
        subscription: &Subscription,
        from: &Channel,
    ) -> Vec<Arc<RoutedChannel>> {
        let onward = local_destinations(subscription).filter_map(|key| self.0.get(key));
        onward
            .filter(|channel| !self.reaches(&channel.channel.key, &from.key))
            .map(|channel| Arc::clone(channel))
            .collect()
    }

    fn reaches(&self, from: &ChannelKey, to: &ChannelKey) -> bool {
        let (mut seen, mut next) = (HashSet::new(), vec![from]);
        while let Some(key) = next.pop() {
            if key == to {
                return true;
            }
            if let Some(channel) = self.0.get(key).filter(|_| seen.insert(key)) {
                next.extend(
                    channel
                        .channel
                        .subscriptions
                        .iter()
                        .flat_map(|subscription| local_destinations(subscription)),
                );
            }
        }
        false
    }
}

/// Channels of this process that a subscription's events go to.
fn local_destinations(subscription: &Subscription) -> impl Iterator<Item = &ChannelKey> {
    let Subscription {
        subscriber,
        reply,
        dead_letter_sink,
        ..
    } = subscription;
    [subscriber, reply, dead_letter_sink]
        .into_iter()
        .flatten()
        .filter_map(|to| to.route.local_channel())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::channel::{ChannelPublisher, PublishError};
    use crate::event::Event;
    use crate::filter::Filter;
    use crate::model::{
        AcknowledgeMode, Addressable, BackendKind, ChannelKind, DeliverySpec, DestinationRoute,
        SubscriptionKey, SubscriptionKind, TrustBundle,
    };

    struct Nobody;

    impl ChannelPublisher for Nobody {
        fn publish<'a>(&'a self, _: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>> {
            async { Ok(()) }.boxed()
        }
    }

    fn key(name: &str) -> ChannelKey {
        ChannelKey {
            kind: ChannelKind::Channel,
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        }
    }

    /// A channel whose subscription leads into others: by its reply, and by its dead letter sink.
    fn door(name: &str, [reply, sink]: [&str; 2]) -> Arc<RoutedChannel> {
        let to = |name: &str| {
            (!name.is_empty()).then(|| Addressable {
                url: "http://channel/".parse().expect("a URL"),
                route: DestinationRoute::Local(key(name)),
                trust: Arc::new(TrustBundle::default()),
                audience: None,
            })
        };
        let (kind, namespace) = (SubscriptionKind::Subscription, "ns".to_owned());
        let subscription = Subscription {
            key: SubscriptionKey {
                kind,
                namespace: namespace.clone(),
                name: name.to_owned(),
            },
            filter: Filter::MatchAll,
            subscriber: None,
            reply: to(reply),
            dead_letter_sink: to(sink),
            delivery: DeliverySpec::default(),
            sender: None,
            event_types: None,
            namespace,
        };
        let channel = Channel {
            key: key(name),
            backend: BackendKind::Memory,
            acknowledge: AcknowledgeMode::AfterEnqueue,
            retain: None,
            authorization: None,
            event_types: None,
            subscriptions: vec![Arc::new(subscription)],
        };
        Arc::new(RoutedChannel::new(
            &Arc::new(channel),
            Arc::new(Nobody),
            Arc::default(),
        ))
    }

    #[test]
    fn what_is_left_goes_on_but_never_in_circles() {
        for (channels, onward) in [
            (
                vec![
                    door("a", ["b", ""]),
                    door("b", ["c", ""]),
                    door("c", ["", ""]),
                ],
                vec!["b", "c", ""],
            ),
            (
                vec![
                    door("a", ["b", "c"]),
                    door("b", ["c", ""]),
                    door("c", ["elsewhere", ""]),
                ],
                vec!["b c", "c", ""],
            ),
            (
                vec![
                    door("a", ["b", ""]),
                    door("b", ["c", ""]),
                    door("c", ["a", ""]),
                ],
                vec!["", "", ""],
            ),
            (
                vec![
                    door("a", ["a", "b"]),
                    door("b", ["c", ""]),
                    door("c", ["b", ""]),
                ],
                vec!["b", "", ""],
            ),
        ] {
            let gone = RemovedChannels::new(&channels);
            let names = channels.iter().map(|channel| {
                let onward =
                    gone.onward_channels(&channel.channel.subscriptions[0], &channel.channel);
                onward
                    .iter()
                    .map(|channel| channel.channel.key.name.clone())
                    .collect::<Vec<_>>()
                    .join(" ")
            });
            assert_eq!(names.collect::<Vec<_>>(), onward);
        }
    }
}
