//! The groups of the status document: channels and brokers with their subscriptions and triggers,
//! what is configured, whether it is served, and what happened to events.

use std::collections::BTreeMap;

use serde::Serialize;

use super::StatusSource;
use super::ready_condition::{ReadyCondition, set_ready};
use super::row_state::StateJudge;
use super::subscription_row::{SubscriptionCounts, SubscriptionRow};
use super::trust::TrustedCertificates;
use crate::admin::object_trouble::{trouble_of_channel, trouble_of_subscription};
use crate::channel::trouble::TroubleReport;
use crate::control::Resolution;
use crate::model::{
    AcknowledgeMode, BackendKind, Channel, ChannelKind, InventoryObject, ObjectKind, RelayTable,
    Subscription, SubscriptionKey, SubscriptionKind, TriggerRelay,
};
use crate::scrub;

/// A channel or broker, or another object that is shown like one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusGroup<'s> {
    kind: &'s str,
    namespace: &'s str,
    name: &'s str,
    /// The address, without secrets.
    url: Option<String>,
    /// `memory`, `rabbitmq` or `disk`, `schedule` of a PingSource, `flow` of a Sequence or Parallel, or
    /// `reply` of a RequestReply; `None` if the object is not served here.
    storage: Option<&'static str>,
    /// The time at which senders are answered: after `delivery` or after `enqueue`.
    acknowledge: Option<&'static str>,
    ready: Option<ReadyCondition>,
    pub(super) subscriptions: Vec<SubscriptionRow<'s>>,
}

/// The key of a channel or broker: kind, namespace, name.
type StatusGroupKey<'s> = (ChannelKind, &'s str, &'s str);
/// The key of a subscription or trigger: kind, namespace, name.
type SubscriptionRowKey<'s> = (SubscriptionKind, &'s str, &'s str);

/// A group to which rows are still added.
struct GroupDraft<'s> {
    group: StatusGroup<'s>,
    rows: BTreeMap<SubscriptionRowKey<'s>, SubscriptionRow<'s>>,
}

impl<'s> StatusGroup<'s> {
    /// Returns a group that has nothing but its name.
    fn empty(kind: &'s str, namespace: &'s str, name: &'s str) -> Self {
        Self {
            kind,
            namespace,
            name,
            url: None,
            storage: None,
            acknowledge: None,
            ready: None,
            subscriptions: Vec::new(),
        }
    }
}

impl<'s> GroupDraft<'s> {
    fn finish(self) -> StatusGroup<'s> {
        StatusGroup {
            subscriptions: self.rows.into_values().collect(),
            ..self.group
        }
    }
}

/// Collects the groups of a status document.
struct GroupCollector<'c, 's> {
    view: &'c StatusSource,
    trusted: &'c mut TrustedCertificates<'s>,
    drafts: BTreeMap<StatusGroupKey<'s>, GroupDraft<'s>>,
}

/// Returns everything that is configured, by kind, namespace and name.
pub(super) fn collect_groups<'s>(
    view: &StatusSource,
    shown: &'s Resolution,
    trusted: &mut TrustedCertificates<'s>,
) -> Vec<StatusGroup<'s>> {
    let mut collector = GroupCollector {
        view,
        trusted,
        drafts: BTreeMap::new(),
    };
    // First what is served, with its trouble; then the conditions of objects are laid over it.
    collector.add_channels(shown);
    collector.add_request_replies(shown);
    let objects = shown.inventory.objects.iter();
    for object in objects.clone() {
        collector.add_object(object);
    }
    // The rows of Triggers are there already, by their objects; the relay adds destinations.
    let relays = shown.table.relays();
    collector.add_relayed_brokers(relays);
    collector.add_relayed_triggers(relays);
    let drafts = collector.drafts.into_values();
    let sources = shown.table.sources().iter();
    let flows = objects.filter_map(|object| flow_group(object));
    let mut groups: Vec<_> = drafts.map(GroupDraft::finish).chain(flows).collect();
    groups.extend(sources.map(|source| schedule_group(view, &source.subscription, trusted)));
    // All that a state follows from is known now.
    let judge = StateJudge::new(view, shown);
    let rows = groups.iter_mut().flat_map(|group| &mut group.subscriptions);
    rows.for_each(|row| judge.judge(row));
    groups
}

impl<'s> GroupCollector<'_, 's> {
    fn draft(
        &mut self,
        kind: ChannelKind,
        namespace: &'s str,
        name: &'s str,
    ) -> &mut GroupDraft<'s> {
        let key = (kind, namespace, name);
        self.drafts.entry(key).or_insert_with(|| {
            let kind = match kind {
                ChannelKind::Channel => "Channel",
                ChannelKind::Broker => "Broker",
                ChannelKind::RequestReply => "RequestReply",
            };
            GroupDraft {
                group: StatusGroup::empty(kind, namespace, name),
                rows: BTreeMap::new(),
            }
        })
    }

    /// Adds what is served, with the trouble of its queues.
    fn add_channels(&mut self, shown: &'s Resolution) {
        let report = TroubleReport::collect(&shown.table, &*self.view.backends);
        for channel in shown.table.channels() {
            let mut rows = BTreeMap::new();
            for subscription in &channel.subscriptions {
                let key = &subscription.key;
                let mut row = SubscriptionRow::served(self.view, subscription, self.trusted);
                row.ready = trouble_of_subscription(&report, key)
                    .map(|trouble| trouble.ready_condition().into());
                rows.insert((key.kind, key.namespace.as_str(), key.name.as_str()), row);
            }
            let key = &channel.key;
            let draft = self.draft(key.kind, &key.namespace, &key.name);
            set_channel(&mut draft.group, channel);
            draft.group.ready =
                trouble_of_channel(&report, key).map(|trouble| trouble.ready_condition().into());
            draft.rows.append(&mut rows);
        }
    }

    fn add_request_replies(&mut self, shown: &'s Resolution) {
        for request_reply in shown.table.request_replies() {
            let key = &request_reply.key;
            let draft = self.draft(key.kind, &key.namespace, &key.name);
            draft.group.storage = Some("reply");
        }
    }

    /// Adds the condition of an object; an object that is not served gets its row here.
    fn add_object(&mut self, object: &'s InventoryObject) {
        let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
        let group_kind = match object.kind {
            ObjectKind::Trigger => {
                return self.add_row(ChannelKind::Broker, SubscriptionKind::Trigger, object);
            }
            ObjectKind::Subscription => {
                return self.add_row(ChannelKind::Channel, SubscriptionKind::Subscription, object);
            }
            ObjectKind::Sequence | ObjectKind::Parallel => return,
            ObjectKind::Channel => ChannelKind::Channel,
            ObjectKind::Broker => ChannelKind::Broker,
            ObjectKind::RequestReply => ChannelKind::RequestReply,
        };
        set_object(&mut self.draft(group_kind, namespace, name).group, object);
    }

    fn add_row(
        &mut self,
        parent_kind: ChannelKind,
        kind: SubscriptionKind,
        object: &'s InventoryObject,
    ) {
        let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
        let parent = object.parent().unwrap_or("(none)");
        let rows = &mut self.draft(parent_kind, namespace, parent).rows;
        let row = rows
            .entry((kind, namespace, name))
            .or_insert_with(|| SubscriptionRow::empty(kind, namespace, name));
        set_ready(&mut row.ready, object);
    }

    /// Adds the Brokers of the role `ingress`, each with its channel as a row.
    fn add_relayed_brokers(&mut self, relays: &'s RelayTable) {
        let kind = SubscriptionKind::Subscriber;
        for (path, broker) in &relays.brokers {
            let Some((namespace, name)) = split_path(path) else {
                continue;
            };
            let channel = broker.channel.as_ref();
            let row = SubscriptionRow {
                kind: "Channel",
                subscriber: channel.map(|to| self.trusted.destination(to)),
                counts: Some(SubscriptionCounts::of_broker(self.view, namespace, name)),
                ..SubscriptionRow::empty(kind, namespace, name)
            };
            let draft = self.draft(ChannelKind::Broker, namespace, name);
            draft.rows.insert((kind, namespace, name), row);
        }
    }

    /// Adds the destinations of the Triggers of the role `filter`.
    fn add_relayed_triggers(&mut self, relays: &'s RelayTable) {
        let rows = self.drafts.values_mut().flat_map(|draft| &mut draft.rows);
        let triggers = rows.filter(|((kind, ..), _)| *kind == SubscriptionKind::Trigger);
        for ((kind, namespace, name), row) in triggers {
            if let Some(trigger) = relays.triggers.get(&format!("/{namespace}/{name}")) {
                row.set_counts(self.view, &SubscriptionKey::new(*kind, namespace, name));
                set_destinations(row, trigger, self.trusted);
            }
        }
    }
}

fn set_destinations<'s>(
    row: &mut SubscriptionRow<'s>,
    trigger: &'s TriggerRelay,
    trusted: &mut TrustedCertificates<'s>,
) {
    let mut shown = |to: &'s Option<_>| to.as_ref().map(|to| trusted.destination(to));
    row.subscriber = shown(&trigger.subscriber);
    row.reply = shown(&trigger.broker);
    row.dead_letter_sink = shown(&trigger.dead_letter_sink);
}

fn set_channel(group: &mut StatusGroup<'_>, channel: &Channel) {
    group.storage = Some(match channel.backend {
        BackendKind::Memory => "memory",
        BackendKind::Rabbitmq => "rabbitmq",
        BackendKind::Disk => "disk",
    });
    group.acknowledge = Some(match (channel.backend, channel.acknowledge) {
        (BackendKind::Memory, AcknowledgeMode::AfterDelivery) => "delivery",
        (BackendKind::Memory, AcknowledgeMode::AfterEnqueue)
        | (BackendKind::Rabbitmq | BackendKind::Disk, _) => "enqueue",
    });
}

/// Returns the group of a Sequence or Parallel. Its channels, which are groups of their own, show
/// the deliveries.
fn flow_group(object: &InventoryObject) -> Option<StatusGroup<'_>> {
    let kind = match object.kind {
        ObjectKind::Sequence => "Sequence",
        ObjectKind::Parallel => "Parallel",
        _ => return None,
    };
    let mut group = StatusGroup::empty(kind, &object.namespace, &object.name);
    group.storage = Some("flow");
    set_object(&mut group, object);
    Some(group)
}

/// Returns the group of a PingSource, which has no channel, with its sink.
fn schedule_group<'s>(
    view: &StatusSource,
    source: &'s Subscription,
    trusted: &mut TrustedCertificates<'s>,
) -> StatusGroup<'s> {
    let key = &source.key;
    let mut row = SubscriptionRow::served(view, source, trusted);
    row.set_counts(view, key);
    StatusGroup {
        storage: Some("schedule"),
        subscriptions: vec![row],
        ..StatusGroup::empty("PingSource", &key.namespace, &key.name)
    }
}

fn set_object<'s>(group: &mut StatusGroup<'s>, object: &'s InventoryObject) {
    group.kind = object.manifest_kind().unwrap_or(group.kind);
    group.url = object.url().map(|url| scrub::url(url).into_owned());
    set_ready(&mut group.ready, object);
}

/// Splits `/namespace/name` into namespace and name.
fn split_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.split_once('/')
}
