//! Channels and brokers with their subscriptions and triggers: what is configured, whether it is served, and what
//! happened there.

use std::collections::BTreeMap;

use serde::Serialize;

use super::trust::{Destination, Trusted};
use super::{View, present, rfc3339};
use crate::channel::trouble::TroubleReport;
use crate::channel::{ChannelBackend, counted};
use crate::control::Resolution;
use crate::filter::Undecided;
use crate::model::{
    Acknowledge, Channel, ChannelKey, ChannelKind, Condition, Object, ObjectKind, Storage, Subscription,
    SubscriptionKey, SubscriptionKind,
};
use crate::scrub;
use crate::telemetry::series::{Arrival, End, LastError, SubscriptionSeries};

/// A channel or broker.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group<'s> {
    kind: &'s str,
    namespace: &'s str,
    name: &'s str,
    /// Its address.
    url: Option<String>,
    /// `memory` or `rabbitmq`, `schedule` of a PingSource, `flow` of a Sequence or Parallel, or `reply` of a RequestReply;
    /// `None` if it is not served here.
    storage: Option<&'static str>,
    /// When senders are answered: `delivery` or `enqueue`.
    acknowledge: Option<&'static str>,
    ready: Option<Ready>,
    subscriptions: Vec<Row<'s>>,
}

/// A subscription or trigger.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'s> {
    kind: &'s str,
    namespace: &'s str,
    name: &'s str,
    ready: Option<Ready>,
    subscriber: Option<Destination>,
    reply: Option<Destination>,
    dead_letter_sink: Option<Destination>,
    /// `None` if it is not served here.
    counts: Option<Counts>,
    last_error: Option<Failed>,
    #[serde(flatten)]
    last: Last,
}

/// When deliveries of a subscription last ended so; absent if none did since the process took it up.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Last {
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_dead_letter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_lost: Option<String>,
}

/// A `Ready` condition.
#[derive(Serialize)]
struct Ready {
    status: String,
    reason: String,
    message: String,
}

/// What happened since the process took the subscription up, and how much is under way or parked now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
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
struct Failed {
    time: String,
    leg: &'static str,
    destination: String,
    reason: String,
}

/// Of a channel or broker: kind, namespace, name.
type GroupKey<'s> = (ChannelKind, &'s str, &'s str);
/// Of a subscription or trigger: kind, namespace, name.
type RowKey<'s> = (SubscriptionKind, &'s str, &'s str);

/// A group that is being put together.
struct Draft<'s> {
    group: Group<'s>,
    rows: BTreeMap<RowKey<'s>, Row<'s>>,
}

/// Everything that is configured, by kind, namespace and name.
pub(super) fn of<'s>(view: &View, shown: &'s Resolution, trusted: &mut Trusted<'s>) -> Vec<Group<'s>> {
    let mut drafts: BTreeMap<GroupKey<'s>, Draft<'s>> = BTreeMap::new();
    let report = TroubleReport::of(&shown.table, &view.storages);
    for channel in shown.table.channels() {
        let draft = draft(&mut drafts, channel.key.kind, &channel.key.namespace, &channel.key.name);
        serve(&mut draft.group, channel);
        draft.group.ready = present::of_channel(&report, &channel.key).map(|trouble| trouble.ready().into());
        for subscription in &channel.subscriptions {
            let trouble = present::of_subscription(&report, &subscription.key);
            let ready = trouble.map(|trouble| trouble.ready().into());
            let row = Row { ready, ..served(view, subscription, trusted) };
            draft.rows.insert(key(&subscription.key), row);
        }
    }
    for request_reply in shown.table.request_replies() {
        let ChannelKey { kind, namespace, name } = &request_reply.key;
        draft(&mut drafts, *kind, namespace, name).group.storage = Some("reply");
    }
    for object in &shown.inventory.objects {
        describe(&mut drafts, object);
    }
    relayed(&mut drafts, view, shown, trusted);
    let mut groups: Vec<_> = drafts.into_values().map(Draft::finish).collect();
    groups.extend(shown.inventory.objects.iter().filter_map(|object| flow(object)));
    groups.extend(shown.table.sources().iter().map(|source| scheduled(view, &source.subscription, trusted)));
    groups
}

fn key(key: &SubscriptionKey) -> RowKey<'_> {
    (key.kind, &key.namespace, &key.name)
}

fn draft<'d, 's>(
    drafts: &'d mut BTreeMap<GroupKey<'s>, Draft<'s>>,
    kind: ChannelKind,
    namespace: &'s str,
    name: &'s str,
) -> &'d mut Draft<'s> {
    drafts.entry((kind, namespace, name)).or_insert_with(|| {
        let kind = match kind {
            ChannelKind::Channel => "Channel",
            ChannelKind::Broker => "Broker",
            ChannelKind::RequestReply => "RequestReply",
        };
        let (url, storage, acknowledge, ready, subscriptions) = (None, None, None, None, Vec::new());
        let group = Group { kind, namespace, name, url, storage, acknowledge, ready, subscriptions };
        Draft { group, rows: BTreeMap::new() }
    })
}

impl<'s> Draft<'s> {
    fn finish(self) -> Group<'s> {
        Group { subscriptions: self.rows.into_values().collect(), ..self.group }
    }
}

fn serve(group: &mut Group<'_>, channel: &Channel) {
    group.storage = Some(match channel.storage {
        Storage::Memory => "memory",
        Storage::Rabbitmq => "rabbitmq",
    });
    group.acknowledge = Some(match (channel.storage, channel.acknowledge) {
        (Storage::Memory, Acknowledge::AfterDelivery) => "delivery",
        (Storage::Memory, Acknowledge::AfterEnqueue) | (Storage::Rabbitmq, _) => "enqueue",
    });
}

/// A row that has nothing but its name.
fn named<'s>(kind: SubscriptionKind, namespace: &'s str, name: &'s str) -> Row<'s> {
    let kind = match kind {
        SubscriptionKind::Subscription => "Subscription",
        SubscriptionKind::Trigger => "Trigger",
        SubscriptionKind::Subscriber => "Subscriber",
        SubscriptionKind::Source => "PingSource",
    };
    let (ready, subscriber, reply, dead_letter_sink, counts, last_error) = (None, None, None, None, None, None);
    let last = Last::default();
    Row { kind, namespace, name, ready, subscriber, reply, dead_letter_sink, counts, last_error, last }
}

fn served<'s>(view: &View, subscription: &'s Subscription, trusted: &mut Trusted<'s>) -> Row<'s> {
    let key = &subscription.key;
    let lane = view.lanes.get(key);
    let mut shown = |to: &'s Option<_>| to.as_ref().map(|to| trusted.destination(to));
    Row {
        subscriber: shown(&subscription.subscriber),
        reply: shown(&subscription.reply),
        dead_letter_sink: shown(&subscription.dead_letter_sink),
        counts: lane.as_deref().map(|lane| counts(lane.series(), view.storages.unfinished(key))),
        last: lane.as_deref().map(|lane| Last::of(lane.series())).unwrap_or_default(),
        last_error: lane.and_then(|lane| lane.series().last_error()).map(Failed::from),
        ..named(key.kind, &key.namespace, &key.name)
    }
}

/// A Sequence or Parallel; what happens there, its channels tell, which are groups of their own.
fn flow(object: &Object) -> Option<Group<'_>> {
    let kind = match object.kind {
        ObjectKind::Sequence => "Sequence",
        ObjectKind::Parallel => "Parallel",
        _ => return None,
    };
    let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
    let (storage, acknowledge, subscriptions) = (Some("flow"), None, Vec::new());
    let mut group = Group { kind, namespace, name, url: None, storage, acknowledge, ready: None, subscriptions };
    introduce(&mut group, object);
    Some(group)
}

/// A PingSource, which has no channel, with its sink.
fn scheduled<'s>(view: &View, source: &'s Subscription, trusted: &mut Trusted<'s>) -> Group<'s> {
    let SubscriptionKey { namespace, name, .. } = &source.key;
    let (url, acknowledge, ready) = (None, None, None);
    let row = counted_here(view, served(view, source, trusted), &source.key);
    let (storage, subscriptions) = (Some("schedule"), vec![row]);
    Group { kind: "PingSource", namespace, name, url, storage, acknowledge, ready, subscriptions }
}

/// The row of what has no queue, with what is counted of it.
fn counted_here<'s>(view: &View, row: Row<'s>, key: &SubscriptionKey) -> Row<'s> {
    let series = counted::subscription(&view.counters, key);
    let last_error = series.last_error().map(Failed::from);
    Row { counts: Some(counts(&series, None)), last_error, last: Last::of(&series), ..row }
}

fn counts(series: &SubscriptionSeries, unfinished: Option<usize>) -> Counts {
    let exceeded = series.left_undecided(Undecided::Limit);
    Counts {
        delivered: series.ended(End::Delivered),
        dead_lettered: series.ended(End::DeadLettered),
        lost: series.ended(End::Lost),
        parked: u64::try_from(series.parked_now.get()).unwrap_or(0),
        deferred: series.ended(End::Deferred),
        returned: series.ended(End::Returned),
        retries: series.retries.get(),
        failures: series.failures.get(),
        filter_errors: series.left_undecided(Undecided::Expression).saturating_add(exceeded),
        filter_limit_exceeded: exceeded,
        in_flight: series.in_flight.get(),
        unfinished,
    }
}

impl Last {
    fn of(series: &SubscriptionSeries) -> Self {
        let at = |end: End| series.last(end).map(|at| rfc3339(at.into()));
        Self { last_success: at(End::Delivered), last_dead_letter: at(End::DeadLettered), last_lost: at(End::Lost) }
    }
}

impl From<LastError> for Failed {
    fn from(error: LastError) -> Self {
        let LastError { at, leg, destination, reason } = error;
        Self { time: rfc3339(at.into()), leg, destination: destination.into(), reason: reason.into() }
    }
}

/// Adds what an object says of itself; one that is not served gets its row here.
fn describe<'s>(drafts: &mut BTreeMap<GroupKey<'s>, Draft<'s>>, object: &'s Object) {
    let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
    let (parent_kind, kind) = match object.kind {
        ObjectKind::Channel => {
            return introduce(&mut draft(drafts, ChannelKind::Channel, namespace, name).group, object);
        }
        ObjectKind::Broker => return introduce(&mut draft(drafts, ChannelKind::Broker, namespace, name).group, object),
        ObjectKind::RequestReply => {
            return introduce(&mut draft(drafts, ChannelKind::RequestReply, namespace, name).group, object);
        }
        ObjectKind::Trigger => (ChannelKind::Broker, SubscriptionKind::Trigger),
        ObjectKind::Subscription => (ChannelKind::Channel, SubscriptionKind::Subscription),
        ObjectKind::Sequence | ObjectKind::Parallel => return,
    };
    let draft = draft(drafts, parent_kind, namespace, object.parent().unwrap_or("(none)"));
    let row = draft.rows.entry((kind, namespace, name)).or_insert_with(|| named(kind, namespace, name));
    tell_ready(&mut row.ready, object);
}

/// What is wrong with an object goes before what is wrong with its queue now.
fn tell_ready(ready: &mut Option<Ready>, object: &Object) {
    if ready.is_none() || object.conditions.unready.is_some() {
        *ready = Some(object.conditions.ready().into());
    }
}

fn introduce<'s>(group: &mut Group<'s>, object: &'s Object) {
    group.kind = object.written_kind().unwrap_or(group.kind);
    group.url = object.url().map(|url| scrub::url(url).into_owned());
    tell_ready(&mut group.ready, object);
}

/// Where the roles `ingress` and `filter` send to. What a channel did not take, its sender has again.
fn relayed<'s>(
    drafts: &mut BTreeMap<GroupKey<'s>, Draft<'s>>,
    view: &View,
    shown: &'s Resolution,
    trusted: &mut Trusted<'s>,
) {
    let relays = shown.table.relays();
    for (path, broker) in &relays.brokers {
        let Some((namespace, name)) = split(path) else { continue };
        let row = Row {
            kind: "Channel",
            subscriber: broker.channel.as_ref().map(|to| trusted.destination(to)),
            counts: Some(taken(view, namespace, name)),
            ..named(SubscriptionKind::Subscriber, namespace, name)
        };
        draft(drafts, ChannelKind::Broker, namespace, name)
            .rows
            .insert((SubscriptionKind::Subscriber, namespace, name), row);
    }
    for draft in drafts.values_mut() {
        for ((kind, namespace, name), row) in &mut draft.rows {
            let path = format!("/{namespace}/{name}");
            let Some(trigger) = relays.triggers.get(&path).filter(|_| *kind == SubscriptionKind::Trigger) else {
                continue;
            };
            let key = SubscriptionKey {
                kind: SubscriptionKind::Trigger,
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
            };
            let series = counted::subscription(&view.counters, &key);
            row.counts = Some(counts(&series, None));
            row.last_error = series.last_error().map(Failed::from);
            row.last = Last::of(&series);
            row.subscriber = trigger.subscriber.as_ref().map(|to| trusted.destination(to));
            row.reply = trigger.broker.as_ref().map(|to| trusted.destination(to));
            row.dead_letter_sink = trigger.dead_letter_sink.as_ref().map(|to| trusted.destination(to));
        }
    }
}

/// What became of the events for a Broker.
fn taken(view: &View, namespace: &str, name: &str) -> Counts {
    let (kind, namespace, name) = (ChannelKind::Broker, namespace.to_owned(), name.to_owned());
    let series = counted::channel(&view.counters, &ChannelKey { kind, namespace, name });
    let nothing = counts(&SubscriptionSeries::default(), None);
    let (delivered, returned) = (series.arrivals(Arrival::Accepted), series.arrivals(Arrival::Unavailable));
    Counts { delivered, returned, failures: returned, ..nothing }
}

/// Namespace and name of `/namespace/name`.
fn split(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix('/')?.split_once('/')
}

impl From<Condition<'_>> for Ready {
    fn from(Condition { status, reason, message, .. }: Condition<'_>) -> Self {
        let part = |text: Option<&str>| scrub::text(text.unwrap_or_default()).into_owned();
        Self { status: status.to_owned(), reason: part(reason), message: part(message) }
    }
}
