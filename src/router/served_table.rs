//! The table that is served, with what publishes and counts for each of its channels.

use std::collections::HashMap;
use std::sync::Arc;

use super::PendingRepliesMap;
use crate::channel::ChannelPublisher;
use crate::model::{Channel, RoutingTable};
use crate::telemetry::series::{ArrivalOutcome, ChannelSeries, SubscriptionSeries};

/// A routing table, with publisher and counters for each of its channels.
pub struct ServedTable {
    /// The table, which knows channels by address.
    pub table: Arc<RoutingTable>,
    /// Publishers, in the order of [`RoutingTable::channels`].
    pub publishers: Vec<Arc<dyn ChannelPublisher>>,
    /// Counters of the channels, in the same order.
    pub channel_series: Vec<Arc<ChannelSeries>>,
    /// Counters of relayed Brokers and Triggers.
    pub relayed_series: RelayedSeries,
    /// Requests that wait at RequestReplies.
    pub pending_replies: PendingRepliesMap,
}

/// A channel with its publisher and its counters.
pub struct RoutedChannel {
    /// The channel, as it is configured.
    pub channel: Arc<Channel>,
    /// Publisher to the channel's queues, which go on being consumed as long as it exists.
    pub publisher: Arc<dyn ChannelPublisher>,
    /// Counters of the channel.
    pub series: Arc<ChannelSeries>,
}

/// Counters of relayed Brokers and Triggers, by `/namespace/name`.
#[derive(Debug, Default)]
pub struct RelayedSeries {
    /// Counters of Brokers, for the role `ingress`.
    pub brokers: HashMap<String, Arc<ChannelSeries>>,
    /// Counters of Triggers, for the role `filter`.
    pub triggers: HashMap<String, Arc<SubscriptionSeries>>,
}

impl ServedTable {
    /// Counts the outcome of events for the channel at `index`.
    pub(super) fn count_arrival(&self, index: usize, arrival: ArrivalOutcome, events: usize) {
        if let Some(series) = self.channel_series.get(index) {
            series.count_arrivals(arrival, events as u64);
        }
    }
}
