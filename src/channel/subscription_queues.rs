//! Queues of the subscriptions of one channel, with the filters that say which events go into them.
//! Every backend publishes to its queues by way of these.

use std::sync::Arc;

use super::QueueConsumer;
use super::cooperative_yield::CooperativeYield;
use crate::event::Event;
use crate::filter::index::FilterIndex;
use crate::model::{Channel, Subscription};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::SubscriptionSeries;

/// Queue of a subscription, as its backend keeps it.
pub(super) trait CountedQueue {
    /// Counters of the subscription.
    fn series(&self) -> &SubscriptionSeries;
}

/// Queue of a subscription, with the filter that says what goes into it.
pub(super) struct SubscriptionQueue<Q> {
    pub(super) subscription: Arc<Subscription>,
    pub(super) queue: Arc<Q>,
}

/// A queue that a backend has opened.
pub(super) struct OpenedQueue<Q> {
    pub(super) queue: Arc<Q>,
    /// Consumer of a queue that is new; `None` if the queue was open before.
    pub(super) consumer: Option<QueueConsumer>,
}

/// Subscriptions whose queues are new, each with the consumer of its queue.
pub(super) type NewConsumers = Vec<(Arc<Subscription>, QueueConsumer)>;

/// Queues of all subscriptions of one channel.
pub(super) struct SubscriptionQueues<Q> {
    /// Index of the filters of `queues`, by their positions there.
    filter_index: FilterIndex,
    queues: Vec<SubscriptionQueue<Q>>,
}

impl<Q> SubscriptionQueues<Q> {
    /// Opens the queue of each subscription of a channel. Gives the consumers of those that are
    /// new, too.
    pub(super) fn open(
        channel: &Channel,
        mut open_queue: impl FnMut(&Arc<Subscription>) -> OpenedQueue<Q>,
    ) -> (Self, NewConsumers) {
        let mut consumers = Vec::new();
        let mut queues = Vec::with_capacity(channel.subscriptions.len());
        for subscription in &channel.subscriptions {
            let OpenedQueue { queue, consumer } = open_queue(subscription);
            consumers.extend(consumer.map(|consumer| (Arc::clone(subscription), consumer)));
            queues.push(SubscriptionQueue {
                subscription: Arc::clone(subscription),
                queue,
            });
        }
        let filters = queues.iter().map(|to| &to.subscription.filter);
        let filter_index = FilterIndex::new(filters);
        (
            Self {
                filter_index,
                queues,
            },
            consumers,
        )
    }

    /// Queues whose filters may let the event pass; no other does.
    pub(super) fn candidates(&self, event: &Event) -> impl Iterator<Item = &SubscriptionQueue<Q>> {
        self.filter_index
            .candidates(event)
            .filter_map(|place| self.queues.get(place))
    }
}

/// Asks filters for the events of one request, counts their decisions, and lets other tasks run in
/// between.
pub(super) struct FilterDecider<'c> {
    counters: &'c ProcessCounters,
    cooperative_yield: CooperativeYield,
}

impl<'c> FilterDecider<'c> {
    pub(super) fn new(counters: &'c ProcessCounters) -> Self {
        Self {
            counters,
            cooperative_yield: CooperativeYield::default(),
        }
    }

    /// True if the event passes the filter of the subscription.
    pub(super) async fn passes<Q: CountedQueue>(
        &mut self,
        to: &SubscriptionQueue<Q>,
        event: &Event,
    ) -> bool {
        let decision = to.subscription.filter.decide(event);
        let passes = self
            .counters
            .count_filter_decision(to.queue.series(), decision);
        self.cooperative_yield.yield_if_due(decision).await;
        passes
    }
}
