//! The table that is served, with what publishes and counts for each of its channels.

use std::sync::Arc;

use super::pending_replies::PendingRepliesMap;
use super::relayed_series::RelayedSeries;
use crate::budget::{LimitExceeded, MemoryBudget, NamespaceQuota};
use crate::channel::ChannelPublisher;
use crate::model::{Channel, RoutingTable};
use crate::observation::ObservedObject;
use crate::telemetry::series::{ArrivalOutcome, ChannelSeries};

/// A routing table, with publisher and counters for each of its channels.
pub struct ServedTable {
    /// The table, which knows channels by address.
    pub(crate) table: Arc<RoutingTable>,
    /// The channels with their publishers, in the order of [`RoutingTable::channels`].
    pub(crate) channels: Vec<Arc<RoutedChannel>>,
    /// Counters of relayed Brokers and Triggers.
    pub(crate) relayed_series: RelayedSeries,
    /// Requests that wait at RequestReplies.
    pub(crate) pending_replies: PendingRepliesMap,
}

impl ServedTable {
    /// The budget of the namespace of a channel; `None` if namespaces have no limits.
    #[must_use]
    pub(crate) fn budget(&self, index: usize) -> Option<&Arc<MemoryBudget>> {
        self.channels.get(index)?.budget()
    }

    /// Makes the table of a process that serves no channel yet, or none any more.
    #[must_use]
    pub fn without_channels(table: Arc<RoutingTable>) -> Self {
        Self {
            table,
            channels: Vec::new(),
            relayed_series: RelayedSeries::default(),
            pending_replies: PendingRepliesMap::default(),
        }
    }

    /// The channel at `index` as records of events name it.
    pub(crate) fn observed_channel(&self, index: usize) -> Option<&Arc<ObservedObject>> {
        self.channels.get(index).map(|routed| &routed.observed)
    }
}

/// A channel with its publisher and its counters.
pub(crate) struct RoutedChannel {
    /// The channel, as it is configured.
    pub(crate) channel: Arc<Channel>,
    /// Publisher to the channel's queues, which go on being consumed as long as it exists.
    pub(crate) publisher: Arc<dyn ChannelPublisher>,
    /// Counters of the channel.
    pub(crate) series: Arc<ChannelSeries>,
    /// The channel as records of events name it.
    pub(super) observed: Arc<ObservedObject>,
    /// The budget of its namespace, if namespaces have limits.
    budget: Option<Arc<MemoryBudget>>,
}

impl RoutedChannel {
    /// Makes a channel that is open.
    pub(crate) fn new(
        channel: &Arc<Channel>,
        publisher: Arc<dyn ChannelPublisher>,
        series: Arc<ChannelSeries>,
    ) -> Self {
        Self {
            channel: Arc::clone(channel),
            publisher,
            series,
            observed: ObservedObject::of_channel(channel),
            budget: None,
        }
    }

    /// Sets the budget of its namespace, if namespaces have limits.
    #[must_use]
    pub(crate) fn with_budget(self, budget: Option<Arc<MemoryBudget>>) -> Self {
        Self { budget, ..self }
    }

    /// The budget of its namespace; `None` if namespaces have no limits.
    #[must_use]
    pub(crate) fn budget(&self) -> Option<&Arc<MemoryBudget>> {
        self.budget.as_ref()
    }

    /// Counts events that somebody sends.
    ///
    /// # Errors
    /// If the rate of its namespace does not allow them.
    pub(super) fn take_rate(&self, events: usize) -> Result<(), LimitExceeded> {
        self.quota().map_or(Ok(()), |quota| quota.take_rate(events))
    }

    /// Refuses who would be refused anyway.
    ///
    /// # Errors
    /// If the rate of its namespace allows no event now.
    pub(super) fn check_rate(&self) -> Result<(), LimitExceeded> {
        self.quota().map_or(Ok(()), |quota| quota.check_rate())
    }

    /// Counts an event that is not refused, whatever the rate of its namespace is.
    pub(super) fn charge_rate(&self) {
        if let Some(quota) = self.quota() {
            quota.charge_rate();
        }
    }

    fn quota(&self) -> Option<&Arc<NamespaceQuota>> {
        self.budget()?.quota()
    }

    /// Counts the outcome of events for the channel.
    pub(super) fn count_arrivals(&self, arrival: ArrivalOutcome, events: usize) {
        self.series.count_arrivals(arrival, events as u64);
    }
}
