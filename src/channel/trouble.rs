//! What of a routing table is not served now, and why. The queues themselves are asked, whenever somebody wants to know.

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

/// Names of subscriptions that a sentence holds.
const NAMED: usize = 5;

/// The subscriptions and channels of a table that are not served at one moment.
#[derive(Debug, Default)]
pub struct TroubleReport<'t> {
    /// Whether RabbitMQ is connected; `None` without one.
    connected: Option<bool>,
    /// Channels of the table.
    channels: usize,
    /// Subscriptions of those that are on RabbitMQ.
    rabbitmq_subscriptions: usize,
    /// Whether the table holds what needs no channel.
    serves_without_channels: bool,
    /// With the reason in words.
    by_subscription: HashMap<&'t SubscriptionKey, (TroubleReason, String)>,
    by_channel: HashMap<&'t ChannelKey, ChannelTrouble>,
}

/// Why a channel is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelTrouble {
    /// In words.
    pub message: String,
    /// The reason, if it is the same for each of its subscriptions.
    pub reason: Option<TroubleReason>,
    /// Whether senders are refused; where it is not so, events wait for the subscriptions that are not served.
    pub refuses_senders: bool,
}

impl ChannelTrouble {
    /// Of a channel whose subscriptions are all in the same trouble, for which senders are refused.
    fn for_all_subscriptions(reason: TroubleReason) -> Self {
        Self { message: reason.to_string(), reason: Some(reason), refuses_senders: true }
    }
}

impl<'t> TroubleReport<'t> {
    /// Asks for each subscription of the table.
    #[must_use]
    pub fn collect(table: &'t RoutingTable, storages: &ChannelBackends) -> Self {
        Self::collect_from(table, storages, storages.is_rabbitmq_connected())
    }

    fn collect_from(table: &'t RoutingTable, backend: &dyn ChannelBackend, connected: Option<bool>) -> Self {
        let channels = table.channels().len();
        let has_more = !table.sources().is_empty() || !table.relays().is_empty();
        let mut report = Self { connected, channels, serves_without_channels: has_more, ..Self::default() };
        // Memory is always there.
        if connected.is_some() {
            let on_rabbitmq = table.channels().iter().filter(|channel| channel.backend == BackendKind::Rabbitmq);
            on_rabbitmq.for_each(|channel| report.add_channel(channel, backend));
        }
        report
    }

    fn add_channel(&mut self, channel: &'t Channel, backend: &dyn ChannelBackend) {
        let mut refuses = false;
        let mut troubles = Vec::new();
        for subscription in &channel.subscriptions {
            if let Some(reason) = backend.trouble(&subscription.key) {
                refuses |= reason.refuses_senders(subscription.delivery.order);
                troubles.push((&subscription.key, reason));
            }
        }
        let of = channel.subscriptions.len();
        self.rabbitmq_subscriptions += of;
        if of == 0 && self.connected == Some(false) {
            self.by_channel.insert(&channel.key, ChannelTrouble::for_all_subscriptions(TroubleReason::Disconnected));
        } else if let Some((first, reason)) = troubles.first() {
            let is_whole = troubles.len() == of && troubles.iter().all(|(_, other)| other == reason);
            let trouble = if is_whole {
                ChannelTrouble { refuses_senders: refuses, ..ChannelTrouble::for_all_subscriptions(reason.clone()) }
            } else {
                let why = format!(
                    "{} of {of} subscriptions are not served; {}: {reason}",
                    troubles.len(),
                    namespaced_name(first)
                );
                ChannelTrouble { message: why, reason: None, refuses_senders: refuses }
            };
            self.by_channel.insert(&channel.key, trouble);
        }
        let in_words = |(key, reason): (&'t SubscriptionKey, TroubleReason)| {
            let words = reason.to_string();
            (key, (reason, words))
        };
        self.by_subscription.extend(troubles.into_iter().map(in_words));
    }

    /// Why a subscription is not served; `None` if it is.
    #[must_use]
    pub fn subscription_message(&self, key: &SubscriptionKey) -> Option<&str> {
        self.by_subscription.get(key).map(|(_, why)| why.as_str())
    }

    /// Why a channel, or some of its subscriptions, are not served; `None` if they are.
    #[must_use]
    pub fn channel_trouble(&self, key: &ChannelKey) -> Option<&ChannelTrouble> {
        self.by_channel.get(key)
    }

    /// Whether everything is served.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_channel.is_empty()
    }

    /// Channels that are not served, and all channels.
    #[must_use]
    pub fn count_channels(&self) -> (usize, usize) {
        (self.by_channel.len(), self.channels)
    }

    /// The subscriptions that are not served, in the order of their names.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<&'t SubscriptionKey> {
        let mut keys: Vec<_> = self.by_subscription.keys().copied().collect();
        keys.sort_by(|a, b| (&a.namespace, &a.name, a.kind).cmp(&(&b.namespace, &b.name, b.kind)));
        keys
    }

    /// Whether there is no connection to a RabbitMQ that is configured.
    fn is_disconnected(&self) -> bool {
        self.connected == Some(false)
    }

    /// Subscriptions whose queue is not declared, and all that are on RabbitMQ.
    fn count_undeclared(&self) -> (usize, usize) {
        (
            self.by_subscription.values().filter(|(reason, _)| *reason == TroubleReason::NotDeclared).count(),
            self.rabbitmq_subscriptions,
        )
    }

    /// Why nothing is served, if that is no matter of queues that are being declared; `None` if something is.
    fn why_nothing_is_served(&self) -> Option<String> {
        if self.channels == 0 {
            return (self.is_disconnected() && !self.serves_without_channels)
                .then(|| TroubleReason::Disconnected.to_string());
        }
        let is_down = |trouble: &&ChannelTrouble| trouble.reason.is_some() || trouble.refuses_senders;
        if self.by_channel.values().filter(is_down).count() < self.channels || self.count_undeclared().0 > 0 {
            return None;
        }
        Some(self.common_reason().map_or_else(|| "no channel is served".to_owned(), ToString::to_string))
    }

    /// Why, if it is the same for all that are not served.
    fn common_reason(&self) -> Option<&TroubleReason> {
        let mut reasons = self.by_channel.values().map(|trouble| trouble.reason.as_ref());
        let first = reasons.next()?;
        reasons.all(|reason| reason == first).then_some(first)?
    }

    /// What is not served, in a sentence; `None` if everything is.
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

    /// The first subscriptions that are not served, each with its reason.
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
