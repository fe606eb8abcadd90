//! The groups of the status document: channels and brokers with their subscriptions and triggers,
//! what is configured, whether it is served, and what happened to events.

use std::collections::BTreeMap;

use serde::Serialize;

use super::trust::{StatusDestination, TrustedCertificates};
use super::{StatusSource, format_time, objects};
use crate::channel::trouble::TroubleReport;
use crate::channel::{ChannelBackend, metrics};
use crate::control::Resolution;
use crate::filter::UndecidedReason;
use crate::model::{
    AcknowledgeMode, BackendKind, Channel, ChannelKey, ChannelKind, Condition, InventoryObject,
    ObjectKind, Subscription, SubscriptionKey, SubscriptionKind,
};
use crate::scrub;
use crate::telemetry::series::{ArrivalOutcome, DeliveryEnd, LastError, SubscriptionSeries};

/// A channel or broker, or another object that is shown like one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatusGroup<'s> {
    kind: &'s str,
    namespace: &'s str,
    name: &'s str,
    /// The address, without secrets.
    url: Option<String>,
    /// `memory` or `rabbitmq`, `schedule` of a PingSource, `flow` of a Sequence or Parallel, or
    /// `reply` of a RequestReply; `None` if the object is not served here.
    storage: Option<&'static str>,
    /// The time at which senders are answered: after `delivery` or after `enqueue`.
    acknowledge: Option<&'static str>,
    ready: Option<ReadyCondition>,
    subscriptions: Vec<SubscriptionRow<'s>>,
}

/// A subscription or trigger.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionRow<'s> {
    kind: &'s str,
    namespace: &'s str,
    name: &'s str,
    ready: Option<ReadyCondition>,
    subscriber: Option<StatusDestination>,
    reply: Option<StatusDestination>,
    dead_letter_sink: Option<StatusDestination>,
    /// The counts of its deliveries; `None` if it is not served here.
    counts: Option<SubscriptionCounts>,
    last_error: Option<FailedAttempt>,
    #[serde(flatten)]
    last: LastDeliveryTimes,
}

/// The last times at which deliveries of a subscription ended in these ways; absent if none did
/// since the process took the subscription up.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct LastDeliveryTimes {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_dead_letter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_lost: Option<String>,
}

/// The `Ready` condition of an object.
#[derive(Serialize)]
struct ReadyCondition {
    status: String,
    reason: String,
    message: String,
}

/// Counts since the process took the subscription up, and what is in flight or parked now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionCounts {
    delivered: u64,
    dead_lettered: u64,
    lost: u64,
    parked: u64,
    deferred: u64,
    returned: u64,
    retries: u64,
    failures: u64,
    filter_errors: u64,
    filter_limit_exceeded: u64,
    in_flight: i64,
    unfinished: Option<usize>,
}

#[derive(Serialize)]
struct FailedAttempt {
    time: String,
    leg: &'static str,
    destination: String,
    reason: String,
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

/// Returns everything that is configured, by kind, namespace and name.
pub(super) fn collect_groups<'s>(
    view: &StatusSource,
    shown: &'s Resolution,
    trusted: &mut TrustedCertificates<'s>,
) -> Vec<StatusGroup<'s>> {
    let mut drafts: BTreeMap<StatusGroupKey<'s>, GroupDraft<'s>> = BTreeMap::new();
    let report = TroubleReport::collect(&shown.table, &*view.backends);
    // First what is served, with its trouble; then the conditions of objects are laid over it.
    for channel in shown.table.channels() {
        let draft = group_draft(
            &mut drafts,
            channel.key.kind,
            &channel.key.namespace,
            &channel.key.name,
        );
        add_channel(&mut draft.group, channel);
        draft.group.ready = objects::trouble_of_channel(&report, &channel.key)
            .map(|trouble| trouble.ready_condition().into());
        for subscription in &channel.subscriptions {
            let trouble = objects::trouble_of_subscription(&report, &subscription.key);
            let ready = trouble.map(|trouble| trouble.ready_condition().into());
            let row = SubscriptionRow {
                ready,
                ..served_row(view, subscription, trusted)
            };
            draft.rows.insert(row_key(&subscription.key), row);
        }
    }
    for request_reply in shown.table.request_replies() {
        let ChannelKey {
            kind,
            namespace,
            name,
        } = &request_reply.key;
        group_draft(&mut drafts, *kind, namespace, name)
            .group
            .storage = Some("reply");
    }
    for object in &shown.inventory.objects {
        add_object(&mut drafts, object);
    }
    add_relays(&mut drafts, view, shown, trusted);
    let mut groups: Vec<_> = drafts.into_values().map(GroupDraft::finish).collect();
    groups.extend(
        shown
            .inventory
            .objects
            .iter()
            .filter_map(|object| flow_group(object)),
    );
    groups.extend(
        shown
            .table
            .sources()
            .iter()
            .map(|source| schedule_group(view, &source.subscription, trusted)),
    );
    groups
}

fn row_key(key: &SubscriptionKey) -> SubscriptionRowKey<'_> {
    (key.kind, &key.namespace, &key.name)
}

fn group_draft<'d, 's>(
    drafts: &'d mut BTreeMap<StatusGroupKey<'s>, GroupDraft<'s>>,
    kind: ChannelKind,
    namespace: &'s str,
    name: &'s str,
) -> &'d mut GroupDraft<'s> {
    drafts.entry((kind, namespace, name)).or_insert_with(|| {
        let kind = match kind {
            ChannelKind::Channel => "Channel",
            ChannelKind::Broker => "Broker",
            ChannelKind::RequestReply => "RequestReply",
        };
        let (url, storage, acknowledge, ready, subscriptions) =
            (None, None, None, None, Vec::new());
        let group = StatusGroup {
            kind,
            namespace,
            name,
            url,
            storage,
            acknowledge,
            ready,
            subscriptions,
        };
        GroupDraft {
            group,
            rows: BTreeMap::new(),
        }
    })
}

impl<'s> GroupDraft<'s> {
    fn finish(self) -> StatusGroup<'s> {
        StatusGroup {
            subscriptions: self.rows.into_values().collect(),
            ..self.group
        }
    }
}

fn add_channel(group: &mut StatusGroup<'_>, channel: &Channel) {
    group.storage = Some(match channel.backend {
        BackendKind::Memory => "memory",
        BackendKind::Rabbitmq => "rabbitmq",
    });
    group.acknowledge = Some(match (channel.backend, channel.acknowledge) {
        (BackendKind::Memory, AcknowledgeMode::AfterDelivery) => "delivery",
        (BackendKind::Memory, AcknowledgeMode::AfterEnqueue) | (BackendKind::Rabbitmq, _) => {
            "enqueue"
        }
    });
}

/// Returns a row that has nothing but its name.
fn empty_row<'s>(kind: SubscriptionKind, namespace: &'s str, name: &'s str) -> SubscriptionRow<'s> {
    let kind = match kind {
        SubscriptionKind::Subscription => "Subscription",
        SubscriptionKind::Trigger => "Trigger",
        SubscriptionKind::Subscriber => "Subscriber",
        SubscriptionKind::PingSource => "PingSource",
    };
    let (ready, subscriber, reply, dead_letter_sink, counts, last_error) =
        (None, None, None, None, None, None);
    let last = LastDeliveryTimes::default();
    SubscriptionRow {
        kind,
        namespace,
        name,
        ready,
        subscriber,
        reply,
        dead_letter_sink,
        counts,
        last_error,
        last,
    }
}

fn served_row<'s>(
    view: &StatusSource,
    subscription: &'s Subscription,
    trusted: &mut TrustedCertificates<'s>,
) -> SubscriptionRow<'s> {
    let key = &subscription.key;
    let worker = view.subscription_workers.get(key);
    let mut shown = |to: &'s Option<_>| to.as_ref().map(|to| trusted.destination(to));
    SubscriptionRow {
        subscriber: shown(&subscription.subscriber),
        reply: shown(&subscription.reply),
        dead_letter_sink: shown(&subscription.dead_letter_sink),
        counts: worker
            .as_deref()
            .map(|worker| counts(worker.series(), view.backends.unfinished(key))),
        last: worker
            .as_deref()
            .map(|worker| LastDeliveryTimes::of_series(worker.series()))
            .unwrap_or_default(),
        last_error: worker
            .and_then(|worker| worker.series().last_error())
            .map(FailedAttempt::from),
        ..empty_row(key.kind, &key.namespace, &key.name)
    }
}

/// Returns the group of a Sequence or Parallel. Its channels, which are groups of their own, show
/// the deliveries.
fn flow_group(object: &InventoryObject) -> Option<StatusGroup<'_>> {
    let kind = match object.kind {
        ObjectKind::Sequence => "Sequence",
        ObjectKind::Parallel => "Parallel",
        _ => return None,
    };
    let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
    let (storage, acknowledge, subscriptions) = (Some("flow"), None, Vec::new());
    let mut group = StatusGroup {
        kind,
        namespace,
        name,
        url: None,
        storage,
        acknowledge,
        ready: None,
        subscriptions,
    };
    set_object(&mut group, object);
    Some(group)
}

/// Returns the group of a PingSource, which has no channel, with its sink.
fn schedule_group<'s>(
    view: &StatusSource,
    source: &'s Subscription,
    trusted: &mut TrustedCertificates<'s>,
) -> StatusGroup<'s> {
    let SubscriptionKey {
        namespace, name, ..
    } = &source.key;
    let (url, acknowledge, ready) = (None, None, None);
    let row = with_counts(view, served_row(view, source, trusted), &source.key);
    let (storage, subscriptions) = (Some("schedule"), vec![row]);
    StatusGroup {
        kind: "PingSource",
        namespace,
        name,
        url,
        storage,
        acknowledge,
        ready,
        subscriptions,
    }
}

/// Adds the counts of the series to the row of an object that has no queue.
fn with_counts<'s>(
    view: &StatusSource,
    row: SubscriptionRow<'s>,
    key: &SubscriptionKey,
) -> SubscriptionRow<'s> {
    let series = metrics::subscription_series(&view.counters, key);
    let last_error = series.last_error().map(FailedAttempt::from);
    SubscriptionRow {
        counts: Some(counts(&series, None)),
        last_error,
        last: LastDeliveryTimes::of_series(&series),
        ..row
    }
}

fn counts(series: &SubscriptionSeries, unfinished: Option<usize>) -> SubscriptionCounts {
    let exceeded = series.undecided_count(UndecidedReason::Limit);
    SubscriptionCounts {
        delivered: series.end_count(DeliveryEnd::Delivered),
        dead_lettered: series.end_count(DeliveryEnd::DeadLettered),
        lost: series.end_count(DeliveryEnd::Lost),
        parked: u64::try_from(series.parked_now.get()).unwrap_or(0),
        deferred: series.end_count(DeliveryEnd::Deferred),
        returned: series.end_count(DeliveryEnd::Requeued),
        retries: series.retries.get(),
        failures: series.failures.get(),
        filter_errors: series
            .undecided_count(UndecidedReason::Expression)
            .saturating_add(exceeded),
        filter_limit_exceeded: exceeded,
        in_flight: series.in_flight.get(),
        unfinished,
    }
}

impl LastDeliveryTimes {
    fn of_series(series: &SubscriptionSeries) -> Self {
        let at = |end: DeliveryEnd| series.last_end(end).map(|at| format_time(at.into()));
        Self {
            last_success: at(DeliveryEnd::Delivered),
            last_dead_letter: at(DeliveryEnd::DeadLettered),
            last_lost: at(DeliveryEnd::Lost),
        }
    }
}

impl From<LastError> for FailedAttempt {
    fn from(error: LastError) -> Self {
        let LastError {
            at,
            destination_role: leg,
            url: destination,
            reason,
        } = error;
        Self {
            time: format_time(at.into()),
            leg,
            destination: destination.into(),
            reason: reason.into(),
        }
    }
}

/// Adds the condition of an object; an object that is not served gets its row here.
fn add_object<'s>(
    drafts: &mut BTreeMap<StatusGroupKey<'s>, GroupDraft<'s>>,
    object: &'s InventoryObject,
) {
    let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
    let (parent_kind, kind) = match object.kind {
        ObjectKind::Channel => {
            return set_object(
                &mut group_draft(drafts, ChannelKind::Channel, namespace, name).group,
                object,
            );
        }
        ObjectKind::Broker => {
            return set_object(
                &mut group_draft(drafts, ChannelKind::Broker, namespace, name).group,
                object,
            );
        }
        ObjectKind::RequestReply => {
            return set_object(
                &mut group_draft(drafts, ChannelKind::RequestReply, namespace, name).group,
                object,
            );
        }
        ObjectKind::Trigger => (ChannelKind::Broker, SubscriptionKind::Trigger),
        ObjectKind::Subscription => (ChannelKind::Channel, SubscriptionKind::Subscription),
        ObjectKind::Sequence | ObjectKind::Parallel => return,
    };
    let draft = group_draft(
        drafts,
        parent_kind,
        namespace,
        object.parent().unwrap_or("(none)"),
    );
    let row = draft
        .rows
        .entry((kind, namespace, name))
        .or_insert_with(|| empty_row(kind, namespace, name));
    set_ready(&mut row.ready, object);
}

/// Sets the condition, unless the trouble of the queue is there and the object is fine: a problem
/// of the object counts more.
fn set_ready(ready: &mut Option<ReadyCondition>, object: &InventoryObject) {
    if ready.is_none() || object.conditions.not_ready.is_some() {
        *ready = Some(object.conditions.ready_condition().into());
    }
}

fn set_object<'s>(group: &mut StatusGroup<'s>, object: &'s InventoryObject) {
    group.kind = object.manifest_kind().unwrap_or(group.kind);
    group.url = object.url().map(|url| scrub::url(url).into_owned());
    set_ready(&mut group.ready, object);
}

/// Adds the destinations of the roles `ingress` and `filter`. An event that a channel did not take
/// counts as returned: its sender has it still.
fn add_relays<'s>(
    drafts: &mut BTreeMap<StatusGroupKey<'s>, GroupDraft<'s>>,
    view: &StatusSource,
    shown: &'s Resolution,
    trusted: &mut TrustedCertificates<'s>,
) {
    let relays = shown.table.relays();
    for (path, broker) in &relays.brokers {
        let Some((namespace, name)) = split_path(path) else {
            continue;
        };
        let row = SubscriptionRow {
            kind: "Channel",
            subscriber: broker.channel.as_ref().map(|to| trusted.destination(to)),
            counts: Some(broker_counts(view, namespace, name)),
            ..empty_row(SubscriptionKind::Subscriber, namespace, name)
        };
        group_draft(drafts, ChannelKind::Broker, namespace, name)
            .rows
            .insert((SubscriptionKind::Subscriber, namespace, name), row);
    }
    // The rows of Triggers are there already, by their objects; the relay adds destinations.
    for draft in drafts.values_mut() {
        for ((kind, namespace, name), row) in &mut draft.rows {
            let path = format!("/{namespace}/{name}");
            let Some(trigger) = relays
                .triggers
                .get(&path)
                .filter(|_| *kind == SubscriptionKind::Trigger)
            else {
                continue;
            };
            let key = SubscriptionKey {
                kind: SubscriptionKind::Trigger,
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
            };
            let series = metrics::subscription_series(&view.counters, &key);
            row.counts = Some(counts(&series, None));
            row.last_error = series.last_error().map(FailedAttempt::from);
            row.last = LastDeliveryTimes::of_series(&series);
            row.subscriber = trigger
                .subscriber
                .as_ref()
                .map(|to| trusted.destination(to));
            row.reply = trigger.broker.as_ref().map(|to| trusted.destination(to));
            row.dead_letter_sink = trigger
                .dead_letter_sink
                .as_ref()
                .map(|to| trusted.destination(to));
        }
    }
}

/// Returns the counts of the events for a Broker.
fn broker_counts(view: &StatusSource, namespace: &str, name: &str) -> SubscriptionCounts {
    let (kind, namespace, name) = (ChannelKind::Broker, namespace.to_owned(), name.to_owned());
    let series = metrics::channel_series(
        &view.counters,
        &ChannelKey {
            kind,
            namespace,
            name,
        },
    );
    let nothing = counts(&SubscriptionSeries::default(), None);
    let (delivered, returned) = (
        series.arrival_count(ArrivalOutcome::Accepted),
        series.arrival_count(ArrivalOutcome::Unavailable),
    );
    SubscriptionCounts {
        delivered,
        returned,
        failures: returned,
        ..nothing
    }
}

/// Splits `/namespace/name` into namespace and name.
fn split_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.split_once('/')
}

impl From<Condition<'_>> for ReadyCondition {
    fn from(
        Condition {
            status,
            reason,
            message,
            ..
        }: Condition<'_>,
    ) -> Self {
        let part = |text: Option<&str>| scrub::text(text.unwrap_or_default()).into_owned();
        Self {
            status: status.to_owned(),
            reason: part(reason),
            message: part(message),
        }
    }
}
