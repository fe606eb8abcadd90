//! Channels as a cluster's control plane has reconciled them: each stands for itself, with its subscribers in its own
//! spec (control-plane.md 2).
//!
//! A channel is taken as a whole or not at all (2.17), and its form is remembered with the value that it was made from:
//! in a cluster of thousands, a change costs what has changed. `spec.delivery` is folded into the subscribers already
//! and means nothing here (2.1).

mod entry;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::access::Rules;
use super::backends::{self, Backends, Choice};
use super::collect::Collected;
use super::destination::Resolver;
use super::features;
use super::flags::Switch;
use super::status;
use super::subscription::Maker;
use super::trust::Trust;
use crate::control::manifest::messaging::{Channel as Written, Subscriber};
use crate::control::manifest::{self, Document, Reading};
use crate::control::report::Report;
use crate::control::settings::{Objects, Scope};
use crate::control::{Channels, ObjectName, Problem, Rabbitmq, Settings};
use crate::model::annotation::{BACKEND, SCOPE};
use crate::model::{
    Addressable, Channel, ChannelKey, ChannelKind, Fingerprint, Inventory, Object, RoutingTable, Storage, Subscription,
    TransportEncryption,
};

/// Host names that a channel is known by, at most: the present one and those that senders may still hold.
const MAX_HOSTS: usize = 8;

/// Every channel of the cluster that is served here.
pub(crate) type Reconciled = BTreeMap<ChannelKey, Arc<Made>>;

/// What a form depends on besides its own value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// What every https destination trusts.
    common: Fingerprint,
    /// Whether its subscribers prove who sends.
    oidc: bool,
    /// Whether events are described.
    event_types: Switch,
    /// What is to keep its events, unless it says so itself.
    backend: Choice,
}

/// A channel's form, and what it was made from.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    document: Arc<Value>,
    context: Context,
    /// What is served; of an earlier value if this one has errors, `None` if there was none.
    form: Option<Form>,
    problems: Vec<Problem>,
    object: Arc<Object>,
    duty: Option<Duty>,
}

/// A channel as it is served.
#[derive(Clone, Debug)]
struct Form {
    uid: String,
    channel: Arc<Channel>,
    /// What `status.subscribers` calls its subscriptions, in their order.
    shown: Vec<String>,
    /// The last one is the present one.
    hosts: Vec<String>,
}

/// What the cluster should be told of a channel once it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// `status.subscribers` is not what it should be: this is, or null if there should be none (2.9).
    Subscribers(Value),
    /// The spec is not applied, and why (2.17).
    Warning(String),
}

impl Made {
    /// The value that this is the form of.
    pub(crate) fn document(&self) -> &Arc<Value> {
        &self.document
    }

    /// What is to be told.
    pub(crate) fn duty(&self) -> Option<&Duty> {
        self.duty.as_ref()
    }
}

/// A document that a form was made from already.
#[derive(Debug)]
pub(super) struct Known<'r, 'd> {
    key: &'r ChannelKey,
    made: &'r Arc<Made>,
    document: &'d Document,
}

/// Sorts out the documents that a form of `last` was made from: there is nothing to find out about them.
pub(super) fn known<'r, 'd>(
    documents: impl Iterator<Item = &'d Document>,
    last: Option<&'r Reconciled>,
) -> (Vec<Known<'r, 'd>>, Vec<&'d Document>) {
    let place = |value: &Arc<Value>| Arc::as_ptr(value);
    let of = |(key, made): (&'r ChannelKey, &'r Arc<Made>)| (place(&made.document), (key, made));
    let by_place: HashMap<_, _> = last.into_iter().flatten().map(of).collect();
    let (mut known, mut others) = (Vec::with_capacity(by_place.len()), Vec::new());
    for document in documents {
        match by_place.get(&place(&document.value)) {
            Some((key, made)) => known.push(Known { key, made, document }),
            None => others.push(document),
        }
    }
    (known, others)
}

/// The forms of all channels. Those that are known are not made again, unless what all depend on has changed.
pub(super) fn resolve(
    collected: &mut Collected<'_>,
    resolver: &mut Resolver<'_>,
    known: Vec<Known<'_, '_>>,
    backends: &Backends,
    last: Option<&Reconciled>,
) -> Reconciled {
    let common = resolver.trust.common().fingerprint();
    let (oidc, event_types) = (resolver.rules.oidc().is_some(), resolver.rules.event_types());
    let mut reconciled = Reconciled::new();
    let context =
        |key: &ChannelKey| Context { common, oidc, event_types, backend: backends.of_namespace(&key.namespace) };
    for Known { key, made, document } in known {
        let context = context(key);
        let made = if made.context == context {
            keep_trust(made, &mut resolver.trust);
            Arc::clone(made)
        } else {
            let ChannelKey { namespace, name, .. } = key.clone();
            let kind = resolver.settings.channels.kind().as_str().to_owned();
            let report = Report::new(document, ObjectName { kind, namespace, name });
            Arc::new(make(key, report, made.form.as_ref(), resolver, context))
        };
        resolver.rules.learn(key, document);
        reconciled.insert(key.clone(), ruled(made, key, &resolver.rules));
    }
    for ((namespace, name), report) in std::mem::take(&mut collected.reconciled) {
        if is_ours(&report, resolver.settings.objects) {
            let key = ChannelKey { kind: ChannelKind::Channel, namespace, name };
            let before = last.and_then(|last| last.get(&key)?.form.as_ref());
            resolver.rules.learn(&key, report.document());
            let made = Arc::new(make(&key, report, before, resolver, context(&key)));
            let made = ruled(made, &key, &resolver.rules);
            reconciled.insert(key, made);
        }
    }
    reconciled
}

/// The same form with what its channel asks of senders, which depends on other objects, too.
fn ruled(mut made: Arc<Made>, key: &ChannelKey, rules: &Rules) -> Arc<Made> {
    let (access, event_types) = (rules.access(key), rules.owner(key));
    let known = made.form.as_ref().map(|form| (&form.channel.access, &form.channel.event_types));
    if known.is_some_and(|known| known != (&access, &event_types))
        && let Some(form) = &mut Arc::make_mut(&mut made).form
    {
        let channel = Arc::make_mut(&mut form.channel);
        (channel.access, channel.event_types) = (access, event_types);
    }
    made
}

/// The routing table of these channels.
pub(super) fn table(reconciled: &Reconciled, resolver: &Resolver<'_>, mode: TransportEncryption) -> RoutingTable {
    let forms = || reconciled.values().filter_map(|made| made.form.as_ref());
    let channels = forms().map(|form| Arc::clone(&form.channel)).collect();
    // Those of the past first: where two channels claim a host, the one that has it now gets it.
    let past = forms().flat_map(|form| form.hosts.iter().rev().skip(1).map(move |host| (host, form)));
    let present = forms().filter_map(|form| Some((form.hosts.last()?, form)));
    let names = past.chain(present).map(|(host, form)| (host.clone(), form.channel.key.clone()));
    RoutingTable::new(mode, resolver.addresses.hosts.clone(), channels, names)
}

/// What `get` shows.
pub(super) fn inventory(reconciled: &Reconciled) -> Inventory {
    Inventory { objects: reconciled.values().map(|made| Arc::clone(&made.object)).collect() }
}

/// What is wrong.
pub(super) fn problems(reconciled: &Reconciled) -> impl Iterator<Item = Problem> {
    reconciled.values().flat_map(|made| made.problems.iter().cloned())
}

/// Serves channels of the cluster's scope, or of its namespace's (2.6, 1.6).
fn is_ours(report: &Report<'_>, objects: Objects) -> bool {
    let written = report.document().text(&["metadata", "annotations", SCOPE]);
    match objects {
        Objects::Written => false,
        Objects::Reconciled(Scope::Cluster) => written != Some("namespace"),
        Objects::Reconciled(Scope::Namespace) => written == Some("namespace"),
    }
}

fn make(
    key: &ChannelKey,
    mut report: Report<'_>,
    before: Option<&Form>,
    resolver: &mut Resolver<'_>,
    context: Context,
) -> Made {
    let document = Arc::clone(&report.document().value);
    let uid = report.document().text(&["metadata", "uid"]).unwrap_or_default().to_owned();
    // One that was deleted and made again has nothing to do with the one before (2.15b).
    let before = before.filter(|form| form.uid == uid);
    let (kind, reading) = (resolver.settings.channels.kind(), Reading::of(resolver.settings));
    let written: Option<Written> = manifest::decode(&mut report, kind, reading);
    let storage = storage(context.backend, before, resolver.settings, &mut report);
    let channel = written.as_ref().map(|written| channel((written, storage), key, before, resolver, &mut report));
    let good = channel.filter(|_| !report.is_bad());
    let duty = match report.first_error().filter(|_| report.is_bad()) {
        Some((_, message)) => Some(Duty::Warning(message)),
        None => outdated(&document, &unready(&report)).map(Duty::Subscribers),
    };
    let hosts = hosts(&document, before);
    let form = match good {
        Some((channel, shown)) => Some(Form { uid, channel: shared(channel, before), shown, hosts }),
        None => before.map(|before| Form { hosts, ..before.clone() }),
    };
    let object = status::reconciled(key, &report, form.as_ref().map(|form| form.shown.as_slice()));
    Made { document, context, form, problems: report.into_problems(), object, duty }
}

/// The channel as written, and what its subscriptions are shown as. What is wrong is reported.
fn channel(
    (written, storage): (&Written, Storage),
    key: &ChannelKey,
    before: Option<&Form>,
    resolver: &mut Resolver<'_>,
    report: &mut Report<'_>,
) -> (Channel, Vec<String>) {
    let acknowledge = features::acknowledge(&written.metadata, report);
    let entries: Vec<&Subscriber> = written.spec.iter().flat_map(|spec| spec.subscribers.iter().flatten()).collect();
    let names = entry::ids(&entries);
    let parents = BTreeMap::new();
    let mut maker = Maker { resolver, parents: &parents };
    let mut ids = HashSet::new();
    let mut subscriptions = Vec::new();
    for (index, (entry, id)) in entries.into_iter().zip(&names).enumerate() {
        let field = format!("spec.subscribers[{index}]");
        let made = maker.subscriber((entry, id), key, &field, report);
        if ids.insert(id) {
            subscriptions.extend(made.map(|(_, made)| (kept(made, before), entry::shown(entry, id))));
        } else {
            report.warning(&format!("{field}.uid"), "is there twice: it gets each event once");
        }
    }
    // The order in the spec means nothing, and concurrent writers change it (2.20).
    subscriptions.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
    let (subscriptions, shown) = subscriptions.into_iter().unzip();
    // What it asks of senders is added later.
    let (access, event_types) =
        before.map(|form| (form.channel.access.clone(), form.channel.event_types.clone())).unwrap_or_default();
    let channel = Channel { key: key.clone(), storage, acknowledge, access, event_types, subscriptions };
    (channel, shown)
}

/// What keeps the events of a channel: what its annotation says, else what is configured for its namespace (11.4). Where
/// that is no backend, it stays what it was. Without a RabbitMQ, a channel that is to be on it is not served: what was
/// promised to be durable is not kept in memory by mistake.
fn storage(configured: Choice, before: Option<&Form>, settings: &Settings, report: &mut Report<'_>) -> Storage {
    let by_kind = Some(Some(Storage::Rabbitmq)).filter(|_| settings.channels == Channels::Rabbitmq);
    let annotated = by_kind.or_else(|| backends::annotated(report.document(), report));
    let wanted = annotated.unwrap_or(configured);
    let storage = wanted.or_else(|| before.map(|form| form.channel.storage)).unwrap_or_default();
    if storage == Storage::Rabbitmq && settings.rabbitmq == Rabbitmq::Missing {
        let by_annotation = format!("metadata.annotations.{}", BACKEND);
        let field = if annotated.is_some() && by_kind.is_none() { by_annotation } else { String::new() };
        let remedy = "give the process SEALPOST_RABBITMQ_URI, or choose memory";
        report.error(&field, format!("is to be kept on RabbitMQ, and there is none: {remedy}"));
    }
    storage
}

/// The same value as before, if it is equal.
fn kept(made: Subscription, before: Option<&Form>) -> Arc<Subscription> {
    let mut known = before.iter().flat_map(|form| &form.channel.subscriptions);
    known.find(|known| ***known == made).cloned().unwrap_or_else(|| Arc::new(made))
}

fn shared(channel: Channel, before: Option<&Form>) -> Arc<Channel> {
    let same = before.filter(|form| *form.channel == channel);
    same.map_or_else(|| Arc::new(channel), |form| Arc::clone(&form.channel))
}

/// The host names of the channel: those of its status as they stand there (4.4, 4.5), and those before it, which senders
/// may hold while modes flip (4.6). An address with a path names the dispatcher, and no channel.
fn hosts(document: &Value, before: Option<&Form>) -> Vec<String> {
    let status = document.get("status");
    let others = status.and_then(|status| status.get("addresses")?.as_array()).into_iter().flatten();
    let address = status.and_then(|status| status.get("address"));
    let written = others.chain(address).filter_map(|address| host_of(address.get("url")?.as_str()?));
    let mut hosts: Vec<String> = before.map(|form| form.hosts.clone()).unwrap_or_default();
    for host in written {
        hosts.retain(|known| *known != host);
        hosts.push(host);
    }
    hosts.drain(..hosts.len().saturating_sub(MAX_HOSTS));
    hosts
}

fn host_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    url.host_str().filter(|_| url.path() == "/").map(str::to_owned)
}

/// `status.subscribers` as it should be, if it is not (2.9, 2.12). A channel that is being deleted is left alone.
fn outdated(document: &Value, unready: &BTreeMap<usize, String>) -> Option<Value> {
    let list = |part: &str| document.get(part)?.get("subscribers")?.as_array();
    let deleted = document.get("metadata").is_some_and(|metadata| metadata.get("deletionTimestamp").is_some());
    let entries = list("spec").into_iter().flatten().enumerate();
    let wanted: Vec<Value> = entries.map(|(index, entry)| marked(entry, unready.get(&index))).collect();
    let written = list("status").map(Vec::as_slice).unwrap_or_default();
    if deleted || wanted == written {
        return None;
    }
    Some(if wanted.is_empty() { Value::Null } else { Value::Array(wanted) })
}

/// Why entries of `spec.subscribers` are not ready, by their places: a destination of theirs cannot work.
fn unready(report: &Report<'_>) -> BTreeMap<usize, String> {
    let mut unready = BTreeMap::new();
    for (field, message) in report.excused() {
        let rest = field.strip_prefix("spec.subscribers[");
        if let Some((index, field)) = rest.and_then(|rest| rest.split_once("].")) {
            let told = format!("{field}: {message}");
            unready.extend(index.parse().ok().filter(|index| !unready.contains_key(index)).map(|index| (index, told)));
        }
    }
    unready
}

fn marked(entry: &Value, unready: Option<&String>) -> Value {
    let mut marked = serde_json::Map::new();
    if let Some(uid) = entry.get("uid").filter(|uid| uid.as_str() != Some("")) {
        marked.insert("uid".to_owned(), uid.clone());
    }
    if let Some(generation) = entry.get("generation").filter(|generation| generation.as_i64() != Some(0)) {
        marked.insert("observedGeneration".to_owned(), generation.clone());
    }
    marked.insert("ready".to_owned(), if unready.is_some() { "False" } else { "True" }.into());
    marked.extend(unready.map(|message| ("message".to_owned(), message.as_str().into())));
    Value::Object(marked)
}

/// Trust that is in use stays the one value of its kind.
fn keep_trust(made: &Made, trust: &mut Trust) {
    let subscriptions = made.form.iter().flat_map(|form| &form.channel.subscriptions);
    for subscription in subscriptions {
        let Subscription { subscriber, reply, dead_letter_sink, .. } = subscription.as_ref();
        for Addressable { trust: used, .. } in [subscriber, reply, dead_letter_sink].into_iter().flatten() {
            trust.keep(used);
        }
    }
}

#[cfg(test)]
mod tests;
