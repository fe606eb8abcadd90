//! Subscriptions and channels of a routing table that are not served now, and why. The queues
//! themselves are asked, whenever somebody wants to know.

mod readiness;
mod reason;
mod trouble_log;

use std::collections::HashMap;

use super::ChannelBackend;
use super::backends::ChannelBackends;
use crate::model::{BackendKind, Channel, ChannelKey, RoutingTable, SubscriptionKey};
pub use readiness::{ReadinessDecision, ServiceReadiness};
pub use reason::TroubleReason;
pub use trouble_log::{TroubleLog, TroubleTransition};

/// Largest number of subscriptions that a summary names.
const NAMED: usize = 5;

/// Subscriptions and channels of a table that are not served at one moment.
#[derive(Debug, Default)]
pub struct TroubleReport<'t> {
    /// True if RabbitMQ is connected; `None` if none is configured.
    connected: Option<bool>,
    /// Number of channels of the table.
    channels: usize,
    /// Number of subscriptions of those channels that are on RabbitMQ.
    rabbitmq_subscriptions: usize,
    /// True if the table holds sources or relays, which need no channel.
    serves_without_channels: bool,
    /// Each subscription that is not served, with the reason and its words.
    by_subscription: HashMap<&'t SubscriptionKey, (TroubleReason, String)>,
    by_channel: HashMap<&'t ChannelKey, ChannelTrouble>,
}

/// Description of why a channel is not served, or not as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelTrouble {
    /// The reason in words, for status and log.
    pub message: String,
    /// The reason, if it is the same for each of the channel's subscriptions.
    pub reason: Option<TroubleReason>,
    /// True if senders are refused; otherwise, events wait for the subscriptions that are not
    /// served.
    pub refuses_senders: bool,
}

impl ChannelTrouble {
    /// Trouble of a channel whose subscriptions all have the same reason, and whose senders are
    /// refused.
    fn for_all_subscriptions(reason: TroubleReason) -> Self {
        Self {
            message: reason.to_string(),
            reason: Some(reason),
            refuses_senders: true,
        }
    }
}

impl<'t> TroubleReport<'t> {
    /// Asks the backends about each subscription of the table.
    #[must_use]
    pub fn collect(table: &'t RoutingTable, backends: &ChannelBackends) -> Self {
        Self::collect_from(table, backends, backends.is_rabbitmq_connected())
    }

    fn collect_from(
        table: &'t RoutingTable,
        backend: &dyn ChannelBackend,
        connected: Option<bool>,
    ) -> Self {
        let channels = table.channels().len();
        let has_more = !table.sources().is_empty() || !table.relays().is_empty();
        let mut report = Self {
            connected,
            channels,
            serves_without_channels: has_more,
            ..Self::default()
        };
        // The memory backend is always there, so that a process without RabbitMQ has no trouble.
        if connected.is_some() {
            let on_rabbitmq = table
                .channels()
                .iter()
                .filter(|channel| channel.backend == BackendKind::Rabbitmq);
            on_rabbitmq.for_each(|channel| report.add_channel(channel, backend));
        }
        report
    }

    fn add_channel(&mut self, channel: &'t Channel, backend: &dyn ChannelBackend) {
        let mut refuses = false;
        let mut troubles = Vec::new();
        // Each queue is asked, since each may be in trouble for a reason of its own.
        for subscription in &channel.subscriptions {
            if let Some(reason) = backend.trouble(&subscription.key) {
                refuses |= reason.refuses_senders(subscription.delivery.order);
                troubles.push((&subscription.key, reason));
            }
        }
        let of = channel.subscriptions.len();
        self.rabbitmq_subscriptions += of;
        // A channel without subscriptions has no queue that could say that RabbitMQ is away.
        if of == 0 && self.connected == Some(false) {
            self.by_channel.insert(
                &channel.key,
                ChannelTrouble::for_all_subscriptions(TroubleReason::Disconnected),
            );
        } else if let Some((first, reason)) = troubles.first() {
            let is_whole =
                troubles.len() == of && troubles.iter().all(|(_, other)| other == reason);
            let trouble = if is_whole {
                ChannelTrouble {
                    refuses_senders: refuses,
                    ..ChannelTrouble::for_all_subscriptions(reason.clone())
                }
            } else {
                let why = format!(
                    "{} of {of} subscriptions are not served; {}: {reason}",
                    troubles.len(),
                    namespaced_name(first)
                );
                ChannelTrouble {
                    message: why,
                    reason: None,
                    refuses_senders: refuses,
                }
            };
            self.by_channel.insert(&channel.key, trouble);
        }
        // Words are kept beside the reasons, since reports are asked for references.
        let in_words = |(key, reason): (&'t SubscriptionKey, TroubleReason)| {
            let words = reason.to_string();
            (key, (reason, words))
        };
        self.by_subscription
            .extend(troubles.into_iter().map(in_words));
    }

    /// Reason in words for which a subscription is not served; `None` if it is served.
    #[must_use]
    pub fn subscription_message(&self, key: &SubscriptionKey) -> Option<&str> {
        self.by_subscription.get(key).map(|(_, why)| why.as_str())
    }

    /// Trouble of a channel of which some subscription is not served; `None` if all are.
    #[must_use]
    pub fn channel_trouble(&self, key: &ChannelKey) -> Option<&ChannelTrouble> {
        self.by_channel.get(key)
    }

    /// True if every channel is served.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_channel.is_empty()
    }

    /// Number of channels that are not served, and number of all channels.
    #[must_use]
    pub fn count_channels(&self) -> (usize, usize) {
        (self.by_channel.len(), self.channels)
    }

    /// Subscriptions that are not served, by namespace, name and kind.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<&'t SubscriptionKey> {
        let mut keys: Vec<_> = self.by_subscription.keys().copied().collect();
        keys.sort_by(|a, b| (&a.namespace, &a.name, a.kind).cmp(&(&b.namespace, &b.name, b.kind)));
        keys
    }

    /// True if RabbitMQ is configured and there is no connection to it.
    fn is_disconnected(&self) -> bool {
        self.connected == Some(false)
    }

    /// Number of subscriptions whose queue is not declared, and number of all that are on RabbitMQ.
    fn count_undeclared(&self) -> (usize, usize) {
        (
            self.by_subscription
                .values()
                .filter(|(reason, _)| *reason == TroubleReason::NotDeclared)
                .count(),
            self.rabbitmq_subscriptions,
        )
    }

    /// Reason in words for which nothing at all is served, unless queues are still being declared;
    /// `None` if something is served.
    fn why_nothing_is_served(&self) -> Option<String> {
        if self.channels == 0 {
            return (self.is_disconnected() && !self.serves_without_channels)
                .then(|| TroubleReason::Disconnected.to_string());
        }
        let is_down =
            |trouble: &&ChannelTrouble| trouble.reason.is_some() || trouble.refuses_senders;
        if self.by_channel.values().filter(is_down).count() < self.channels
            || self.count_undeclared().0 > 0
        {
            return None;
        }
        Some(
            self.common_reason()
                .map_or_else(|| "no channel is served".to_owned(), ToString::to_string),
        )
    }

    /// The reason, if it is the same for all channels that are not served.
    fn common_reason(&self) -> Option<&TroubleReason> {
        let mut reasons = self
            .by_channel
            .values()
            .map(|trouble| trouble.reason.as_ref());
        let first = reasons.next()?;
        reasons.all(|reason| reason == first).then_some(first)?
    }

    /// One sentence that says which channels are not served, and why; `None` if all are.
    #[must_use]
    pub fn summary(&self) -> Option<String> {
        let (unserved, channels) = self.count_channels();
        if unserved == 0 {
            return (self.is_disconnected() && channels > 0)
                .then(|| format!("{}: no channel is on it", TroubleReason::Disconnected));
        }
        let verb = if unserved == 1 { "is" } else { "are" };
        let count = format!("{unserved} of {channels} channels {verb} not served");
        match self
            .common_reason()
            .filter(|common| matches!(common, TroubleReason::Disconnected | TroubleReason::Blocked))
        {
            Some(common) => Some(format!("{common}: {count}")),
            None => Some(format!("{count}: {}", self.describe_subscriptions())),
        }
    }

    /// Names of the first [`NAMED`] subscriptions that are not served, each with its reason.
    fn describe_subscriptions(&self) -> String {
        let keys = self.subscriptions();
        let named = keys.iter().take(NAMED).map(|key| {
            let why = self.subscription_message(key).unwrap_or_default();
            format!("{}: {why}", namespaced_name(key))
        });
        let more = keys.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!("and {more} more"));
        named.chain(more).collect::<Vec<_>>().join(", ")
    }
}

fn namespaced_name(key: &SubscriptionKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}

#[cfg(test)]
mod tests;
