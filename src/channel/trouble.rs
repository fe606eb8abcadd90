//! Subscriptions and channels of a routing table that are not served now, and why. The queues
//! themselves are asked, whenever somebody wants to know.

mod readiness;
mod trouble_log;

use std::collections::HashMap;

use super::trouble_reason::{BackendConnection, TroubleReason, TroubleScope};
use crate::model::{BackendKind, Channel, ChannelKey, RoutingTable, SubscriptionKey};
pub(crate) use readiness::{ReadinessDecision, ServiceReadiness};
pub(crate) use trouble_log::TroubleLog;

/// Largest number of channels that a summary names.
const NAMED: usize = 5;

/// The backends of a process, as a report asks them.
pub(crate) trait TroubleSource {
    /// Connections of the backends whose queues are outside of the process.
    fn connections(&self) -> Vec<BackendConnection>;

    /// Reason for which events of a subscription cannot be put into its queue, or taken out of it,
    /// now; `None` if they can.
    fn subscription_trouble(&self, subscription: &SubscriptionKey) -> Option<TroubleReason>;
}

/// Subscriptions and channels of a table that are not served at one moment.
#[derive(Debug, Default)]
pub(crate) struct TroubleReport<'t> {
    /// Connections of the backends that may be away.
    connections: Vec<BackendConnection>,
    /// Number of channels of the table.
    channels: usize,
    /// Number of subscriptions of those channels that are on a backend which may be away.
    remote_subscriptions: usize,
    /// The backends which may be away that those subscriptions are on.
    remote_backends: Vec<BackendKind>,
    /// True if the table holds sources or relays, which need no channel.
    serves_without_channels: bool,
    /// Each subscription that is not served, with the reason and its words.
    by_subscription: HashMap<&'t SubscriptionKey, (TroubleReason, String)>,
    by_channel: HashMap<&'t ChannelKey, ChannelTrouble>,
}

/// Description of why a channel is not served, or not as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChannelTrouble {
    /// The reason in words, for status and log.
    pub message: String,
    /// The reason of the condition `Ready`, by the backend.
    pub condition: &'static str,
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
            condition: reason.condition,
            reason: Some(reason),
            refuses_senders: true,
        }
    }
}

/// A subscription that is not served, and the reason.
struct SubscriptionTrouble<'t> {
    subscription: &'t SubscriptionKey,
    reason: TroubleReason,
    refuses_senders: bool,
}

impl ChannelTrouble {
    /// Trouble of a channel of which these subscriptions, out of `total`, are not served; `None` if
    /// there are none.
    fn of_subscriptions(troubles: &[SubscriptionTrouble<'_>], total: usize) -> Option<Self> {
        let first = troubles.first()?;
        let refuses_senders = troubles.iter().any(|trouble| trouble.refuses_senders);
        let have_one_reason = troubles.iter().all(|other| other.reason == first.reason);
        if troubles.len() == total && have_one_reason {
            return Some(Self {
                refuses_senders,
                ..Self::for_all_subscriptions(first.reason.clone())
            });
        }
        let message = format!(
            "{} of {total} subscriptions are not served; {}: {}",
            troubles.len(),
            namespaced_name(first.subscription),
            first.reason
        );
        Some(Self {
            message,
            condition: first.reason.condition,
            reason: None,
            refuses_senders,
        })
    }
}

impl<'t> TroubleReport<'t> {
    /// Asks the backends about each subscription of the table. A backend whose queues are in this
    /// process is never in trouble.
    #[must_use]
    pub(crate) fn collect(table: &'t RoutingTable, backends: &dyn TroubleSource) -> Self {
        let connections = backends.connections();
        let mut report = Self {
            channels: table.channels().len(),
            serves_without_channels: !table.sources().is_empty() || !table.relays().is_empty(),
            ..Self::default()
        };
        for channel in table.channels() {
            let connection = connections
                .iter()
                .find(|connection| connection.backend == channel.backend);
            if let Some(connection) = connection {
                report.add_channel(channel, connection, backends);
            }
        }
        Self {
            connections,
            ..report
        }
    }

    fn add_channel(
        &mut self,
        channel: &'t Channel,
        connection: &BackendConnection,
        backends: &dyn TroubleSource,
    ) {
        // Each queue is asked, since each may be in trouble for a reason of its own.
        let subscriptions = channel.subscriptions.iter().filter_map(|subscription| {
            let reason = backends.subscription_trouble(&subscription.key)?;
            Some(SubscriptionTrouble {
                subscription: &subscription.key,
                refuses_senders: reason.refuses_senders(subscription.delivery.order),
                reason,
            })
        });
        let troubles: Vec<SubscriptionTrouble<'t>> = subscriptions.collect();
        let total = channel.subscriptions.len();
        self.remote_subscriptions += total;
        if total > 0 && !self.remote_backends.contains(&channel.backend) {
            self.remote_backends.push(channel.backend);
        }
        let trouble = match &connection.outage {
            // A channel without subscriptions has no queue that could say that its backend is away.
            Some(outage) if total == 0 => {
                Some(ChannelTrouble::for_all_subscriptions(outage.clone()))
            }
            _ => ChannelTrouble::of_subscriptions(&troubles, total),
        };
        self.by_channel
            .extend(trouble.map(|trouble| (&channel.key, trouble)));
        // Words are kept beside the reasons, since reports are asked for references.
        let in_words = |trouble: SubscriptionTrouble<'t>| {
            let words = trouble.reason.to_string();
            (trouble.subscription, (trouble.reason, words))
        };
        self.by_subscription
            .extend(troubles.into_iter().map(in_words));
    }

    /// Reason in words for which a subscription is not served; `None` if it is served.
    #[must_use]
    pub(crate) fn subscription_message(&self, key: &SubscriptionKey) -> Option<&str> {
        self.by_subscription.get(key).map(|(_, why)| why.as_str())
    }

    /// Reason of the condition `Ready` of a subscription that is not served; `None` if it is served.
    #[must_use]
    pub(crate) fn subscription_condition(&self, key: &SubscriptionKey) -> Option<&'static str> {
        self.by_subscription
            .get(key)
            .map(|(reason, _)| reason.condition)
    }

    /// Trouble of a channel of which some subscription is not served; `None` if all are.
    #[must_use]
    pub(crate) fn channel_trouble(&self, key: &ChannelKey) -> Option<&ChannelTrouble> {
        self.by_channel.get(key)
    }

    /// True if every channel is served.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_channel.is_empty()
    }

    /// Number of channels that are not served, and number of all channels.
    #[must_use]
    pub(crate) fn count_channels(&self) -> (usize, usize) {
        (self.by_channel.len(), self.channels)
    }

    /// Subscriptions that are not served, by namespace, name and kind.
    #[must_use]
    pub(crate) fn subscriptions(&self) -> Vec<&'t SubscriptionKey> {
        let mut keys: Vec<_> = self.by_subscription.keys().copied().collect();
        keys.sort_by(|a, b| (&a.namespace, &a.name, a.kind).cmp(&(&b.namespace, &b.name, b.kind)));
        keys
    }

    /// Reason for which a backend is away; `None` if each of those that may be away is connected.
    fn outage(&self) -> Option<&TroubleReason> {
        self.connections
            .iter()
            .find_map(|connection| connection.outage.as_ref())
    }

    /// Reason for which the process should get no traffic, whatever else it can serve.
    fn failure(&self) -> Option<&TroubleReason> {
        self.connections
            .iter()
            .find_map(|connection| connection.failure.as_ref())
    }

    /// Names of the backends which may be away and that subscriptions are on.
    fn backend_names(&self) -> String {
        let names = self.remote_backends.iter().map(|kind| kind.display_name());
        names.collect::<Vec<_>>().join(" and ")
    }

    /// Number of subscriptions whose queue is not declared, and number of all that are on a backend
    /// which may be away.
    fn count_undeclared(&self) -> (usize, usize) {
        let undeclared = self
            .by_subscription
            .values()
            .filter(|(reason, _)| reason.scope == TroubleScope::UndeclaredQueue);
        (undeclared.count(), self.remote_subscriptions)
    }

    /// Reason in words for which nothing at all is served, unless queues are still being declared;
    /// `None` if something is served.
    fn why_nothing_is_served(&self) -> Option<String> {
        if self.channels == 0 {
            let outage = self.outage().filter(|_| !self.serves_without_channels);
            return outage.map(ToString::to_string);
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
    pub(crate) fn summary(&self) -> Option<String> {
        let (unserved, channels) = self.count_channels();
        if unserved == 0 {
            let outage = self.outage().filter(|_| channels > 0);
            return outage.map(|outage| format!("{outage}: no channel is on it"));
        }
        let verb = if unserved == 1 { "is" } else { "are" };
        let count = format!("{unserved} of {channels} channels {verb} not served");
        match self
            .common_reason()
            .filter(|common| common.scope == TroubleScope::Backend)
        {
            Some(common) => Some(format!("{common}: {count}")),
            None => Some(format!("{count}: {}", self.describe_channels())),
        }
    }

    /// Names of the first [`NAMED`] channels that are not served, with their reasons: those that have
    /// the same one are named together.
    fn describe_channels(&self) -> String {
        let mut keys: Vec<_> = self.by_channel.keys().copied().collect();
        keys.sort();
        let mut groups: Vec<UnservedChannels<'_>> = Vec::new();
        for key in keys.iter().take(NAMED) {
            let why = self.by_channel.get(key).map(|it| it.message.as_str());
            let (why, name) = (why.unwrap_or_default(), key.to_string());
            match groups.iter_mut().find(|group| group.why == why) {
                Some(group) => group.names.push(name),
                None => groups.push(UnservedChannels {
                    names: vec![name],
                    why,
                }),
            }
        }
        let named = groups
            .iter()
            .map(|group| format!("{}: {}", group.names.join(", "), group.why));
        let more = keys.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!("and {more} more"));
        named.chain(more).collect::<Vec<_>>().join("; ")
    }
}

/// Channels that are not served for the same reason.
struct UnservedChannels<'t> {
    names: Vec<String>,
    why: &'t str,
}

fn namespaced_name(key: &SubscriptionKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}

#[cfg(test)]
mod tests;
