//! Channels as a cluster's control plane has reconciled them: each stands for itself, with its subscribers in its own
//! spec (contract 2.6 to 2.18).
//!
//! An entry of `spec.subscribers` that is wrong in any way harms itself alone, unlike upstream, where it keeps the whole
//! channel as it was (contract 2.17): it keeps its own last good form, else it is not served, and the status says why.
//! What is wrong beside the entries keeps the channel as it was. A channel's form is remembered with the value that it
//! was made from: in a cluster of thousands, a change costs what has changed. `spec.delivery` is folded into the
//! subscribers already and means nothing here (contract 2.1).

mod entry;
mod subscribers;

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
use super::subscription::{Maker, subscriber_key};
use super::trust::Trust;
use crate::control::manifest::messaging::{Channel as Written, Subscriber};
use crate::control::manifest::{self, Document, Reading};
use crate::control::report::Report;
use crate::control::settings::{Objects, Scope};
use crate::control::{Channels, ObjectName, Problem, Rabbitmq, Settings};
use crate::model::annotation::{BACKEND, SCOPE};
use crate::model::{
    Addressable, Channel, ChannelKey, ChannelKind, Fingerprint, Inventory, Object, RoutingTable, Storage, Subscription,
    SubscriptionKey, TransportEncryption,
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
    duties: Vec<Duty>,
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
    /// `status.subscribers` is not what it should be: this is, or null if there should be none (contract 2.9).
    Subscribers(Value),
    /// The spec, or an entry of it, is not applied, and why (contract 2.17).
    Warning(String),
}

impl Made {
    /// The value that this is the form of.
    pub(crate) fn document(&self) -> &Arc<Value> {
        &self.document
    }

    /// What is to be told, at most one of each kind.
    pub(crate) fn duties(&self) -> &[Duty] {
        &self.duties
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

/// Serves channels of the cluster's scope, or of its namespace's (contract 2.6, 1.6).
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
    // One that was deleted and made again has nothing to do with the one before (contract 2.15b).
    let before = before.filter(|form| form.uid == uid);
    let (kind, reading) = (resolver.settings.channels.kind(), Reading::of(resolver.settings));
    let written: Option<Written> = manifest::decode(&mut report, kind, reading);
    let storage = storage(context.backend, before, resolver.settings, &mut report);
    let channel = written.as_ref().map(|written| channel((written, storage), key, before, resolver, &mut report));
    if channel.is_some() {
        report.excuse(|field| subscribers::entry_of(field).is_some());
    }
    let good = channel.filter(|_| !report.is_bad());
    let list = if report.is_bad() { None } else { subscribers::outdated(&document, &subscribers::unready(&report)) };
    let warning = report.first_error().map(|(_, message)| Duty::Warning(message));
    let duties = list.map(Duty::Subscribers).into_iter().chain(warning).collect();
    let hosts = hosts(&document, before);
    let form = match good {
        Some((channel, shown)) => Some(Form { uid, channel: shared(channel, before), shown, hosts }),
        None => before.map(|before| Form { hosts, ..before.clone() }),
    };
    let object = status::reconciled(key, &report, form.as_ref().map(|form| form.shown.as_slice()));
    Made { document, context, form, problems: report.into_problems(), object, duties }
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
    let (mut ids, mut uids) = (HashSet::new(), HashSet::new());
    let mut subscriptions = Vec::new();
    for (index, (entry, id)) in entries.into_iter().zip(&names).enumerate() {
        let field = subscribers::field(index);
        let is_misread = report.is_misread_inside(&field);
        let made = maker.subscriber((entry, id), key, &field, report).filter(|_| !is_misread);
        let is_first = entry::uid(entry).is_none_or(|uid| uids.insert(uid));
        if !is_first {
            let message = "is that of an entry before it: the first one counts, give this one a uid of its own";
            report.error(&format!("{field}.uid"), message);
        } else if entry::uid(entry).is_none() {
            report.error(&format!("{field}.uid"), "is missing, so that nothing says whose entry this is: give it one");
        }
        let made = made.filter(|_| is_first).map(|(_, made)| kept(made, before));
        let made = made.or_else(|| last_form(&subscriber_key(key, id), before)).filter(|_| ids.insert(id));
        subscriptions.extend(made.map(|made| (made, entry::shown(entry, id))));
    }
    // The order in the spec means nothing, and concurrent writers change it (contract 2.20).
    subscriptions.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
    let (subscriptions, shown) = subscriptions.into_iter().unzip();
    // What it asks of senders is added later.
    let (access, event_types) =
        before.map(|form| (form.channel.access.clone(), form.channel.event_types.clone())).unwrap_or_default();
    let channel = Channel { key: key.clone(), storage, acknowledge, access, event_types, subscriptions };
    (channel, shown)
}

/// What keeps the events of a channel: what its annotation says, else what is configured for its namespace (contract
/// 11.4). Where that is no backend, it stays what it was. Without a RabbitMQ, a channel that is to be on it is not
/// served: what was promised to be durable is not kept in memory by mistake.
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

/// What an entry was before it became wrong. What is named by its place may have been another one.
fn last_form(key: &SubscriptionKey, before: Option<&Form>) -> Option<Arc<Subscription>> {
    let mut known = before.iter().flat_map(|form| &form.channel.subscriptions);
    known.find(|known| known.key == *key && !entry::is_place(key)).cloned()
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

/// The host names of the channel: those of its status as they stand there (contract 4.4, 4.5), and those before it,
/// which senders may hold while modes flip (contract 4.6). An address with a path names the dispatcher, and no channel.
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
