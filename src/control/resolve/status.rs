//! The inventory: every object as written, with the status that Knative would show (contract 2.4, 4, 5.3).

use std::sync::Arc;

use super::Own;
use super::channel::{Parent, Parents};
use super::collect::{Collected, Item, Items, Name};
use super::destination::Resolver;
use super::flow::{self, Flows};
use super::request_reply::{trigger_key, trigger_of};
use super::routes::Routes;
use crate::control::kind::Kind;
use crate::control::report::{Report, UNRESOLVED};
use crate::model::{
    Addressable, ChannelKey, ChannelKind, Conditions, Entrance, Form, Inventory, Object, ObjectKind, RequestReply,
    Subscriber, SubscriptionKey, SubscriptionKind, Unready,
};

/// Conditions, and what the rest of a status is made from.
type Status = (Conditions, Form);

/// What is added to what is wrong with an object.
const KEPT: &str = " (its last good form is still served)";

/// What the status is made from.
struct Shown<'s, 'd> {
    collected: &'s Collected<'d>,
    routes: &'s Routes,
    parents: &'s Parents,
    request_replies: &'s [Arc<RequestReply>],
    resolver: &'s Resolver<'s>,
}

const TRIGGER_PARTS: &[&str] = &["BrokerReady", "DeadLetterSinkResolved", "DependencyReady", "SubscriberResolved"];

/// Every channel, broker, trigger, subscription, sequence, parallel and RequestReply, in this order, each by namespace and
/// name.
pub(super) fn inventory(collected: &Collected<'_>, own: &Own, resolver: &Resolver<'_>) -> Inventory {
    let Own { parents, flows, routes, request_replies } = own;
    let shown = Shown { collected, routes, parents, request_replies, resolver };
    let of_flows = flows.values().flat_map(|flow| flow.objects(routes, resolver));
    let (mut objects, mut of_subscriptions): (Vec<_>, Vec<_>) =
        of_flows.partition(|object| object.kind == ObjectKind::Channel);
    for items in [&collected.channels, &collected.in_memory_channels, &collected.rabbitmq_channels] {
        objects.extend(all(ObjectKind::Channel, items, |name, report| shown.channel(name, report)));
    }
    by_name(&mut objects);
    objects.extend(all(ObjectKind::Broker, &collected.brokers, |name, report| shown.broker(name, report)));
    let mut triggers = all(ObjectKind::Trigger, &collected.triggers, |name, report| shown.trigger(name, report));
    triggers.extend(request_replies.iter().filter_map(|request_reply| shown.made(request_reply)));
    by_name(&mut triggers);
    objects.extend(triggers);
    let subscriptions = &collected.subscriptions;
    of_subscriptions
        .extend(all(ObjectKind::Subscription, subscriptions, |name, report| shown.subscription(name, report)));
    by_name(&mut of_subscriptions);
    objects.extend(of_subscriptions);
    objects.extend(all(ObjectKind::Sequence, &collected.sequences, |name, report| {
        shown.flow(Kind::Sequence, name, flows, report)
    }));
    objects.extend(all(ObjectKind::Parallel, &collected.parallels, |name, report| {
        shown.flow(Kind::Parallel, name, flows, report)
    }));
    let request_replies = &collected.request_replies;
    objects.extend(all(ObjectKind::RequestReply, request_replies, |name, report| shown.request_reply(name, report)));
    Inventory { objects }
}

fn by_name(objects: &mut [Arc<Object>]) {
    objects.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
}

/// A Broker or Trigger that a role relays: ready if it is known where to.
pub(super) fn relayed(kind: ObjectKind, name: &Name, report: &Report<'_>, way: Option<&Addressable>) -> Object {
    let mut conditions = conditions(&[], way, report);
    if way.is_none() && !report.is_bad() {
        let message = "its status in the cluster does not say yet where its events go".to_owned();
        conditions.unready = Some(Box::new(Unready { status: "Unknown", reason: UNRESOLVED, message }));
    }
    object(kind, name, report, (conditions, Form::Nothing))
}

/// A channel of a cluster: its addresses are those that the cluster gave it, the rest is what is true of it here.
/// `subscribers` names those it is served with; `None` if it is not served.
pub(super) fn reconciled(key: &ChannelKey, report: &Report<'_>, subscribers: Option<&[String]>) -> Arc<Object> {
    let conditions = conditions(&["Addressable"], subscribers, report);
    let uid = |uid: &String| Subscriber::Uid(uid.as_str().into());
    let form = Form::Reconciled(subscribers.map(|subscribers| subscribers.iter().map(uid).collect()));
    let name = (key.namespace.clone(), key.name.clone());
    Arc::new(object(ObjectKind::Channel, &name, report, (conditions, form)))
}

fn all<T>(kind: ObjectKind, items: &Items<'_, T>, status: impl Fn(&Name, &Report<'_>) -> Status) -> Vec<Arc<Object>> {
    let of = |(name, Item { report, .. }): (&Name, &Item<'_, T>)| {
        let status = status(name, report);
        Arc::new(object(kind, name, report, status))
    };
    items.iter().map(of).collect()
}

fn object(kind: ObjectKind, (namespace, name): &Name, report: &Report<'_>, (conditions, form): Status) -> Object {
    let (namespace, name) = (namespace.clone(), name.clone());
    Object { kind, namespace, name, written: Arc::clone(&report.document().value), conditions, form }
}

impl Shown<'_, '_> {
    fn channel(&self, name: &Name, report: &Report<'_>) -> Status {
        let key = channel_key(ChannelKind::Channel, name);
        let kind = report.object().kind.as_str();
        let shadowed = kind != "Channel" && self.collected.channels.contains_key(name)
            || kind == "RabbitmqChannel" && self.collected.in_memory_channels.contains_key(name);
        let parent = self.parents.get(&key).filter(|_| !shadowed);
        let conditions = conditions(&["Addressable", "ChannelServiceReady"], parent, report);
        let subscribers = || self.routes.of(&key).map(|subscription| self.subscriber(&subscription.key)).collect();
        let form = parent.map(|parent| self.entrance(&key, parent, Some(subscribers())));
        (conditions, form.unwrap_or(Form::Nothing))
    }

    fn broker(&self, name: &Name, report: &Report<'_>) -> Status {
        let key = channel_key(ChannelKind::Broker, name);
        let parent = self.parents.get(&key);
        let conditions = conditions(&["Addressable", "FilterReady", "IngressReady"], parent, report);
        (conditions, parent.map_or(Form::Nothing, |parent| self.entrance(&key, parent, None)))
    }

    /// Addresses and dead letter sink of a channel or broker; `parent` is what it is served as.
    fn entrance(&self, key: &ChannelKey, parent: &Parent, subscribers: Option<Box<[Subscriber]>>) -> Form {
        let dead_letter_sink = parent.dead_letter_sink.clone();
        Form::Entrance(Box::new(Entrance { dead_letter_sink, subscribers, ..self.doors(key) }))
    }

    /// Addresses, and nothing else.
    fn doors(&self, key: &ChannelKey) -> Entrance {
        Entrance {
            addresses: self.resolver.addresses.advertised(key),
            ca_certs: self.resolver.addresses.ca_certs(),
            audience: self.resolver.rules.audience(key),
            dead_letter_sink: None,
            subscribers: None,
        }
    }

    fn flow(&self, kind: Kind, name: &Name, flows: &Flows, report: &Report<'_>) -> Status {
        let (namespace, channel) = (name.0.clone(), flow::plan::entrance(kind, &name.1).unwrap_or_default());
        let made = flows.get(&channel_key(ChannelKind::Channel, &(namespace, channel)));
        let mut conditions = conditions(flow::status::PARTS, made, report);
        match (conditions.unready.as_mut(), made) {
            (Some(unready), Some(made)) if made.is_kept() && !report.is_bad() => unready.message.push_str(KEPT),
            (Some(unready), Some(made)) if !made.is_kept() => {
                if let Some((_, message)) = report.first_error() {
                    unready.message = message;
                }
                conditions.fault = Some("SubscriptionsReady");
            }
            _ => {}
        }
        (conditions, made.map_or(Form::Nothing, |made| made.form(self.resolver)))
    }

    fn trigger(&self, name: &Name, report: &Report<'_>) -> Status {
        self.exit(&subscription_key(SubscriptionKind::Trigger, name), TRIGGER_PARTS, report)
    }

    fn request_reply(&self, name: &Name, report: &Report<'_>) -> Status {
        let key = channel_key(ChannelKind::RequestReply, name);
        let served = self.request_replies.iter().find(|request_reply| request_reply.key == key);
        let parts = &["Addressable", "BrokerReady", "EventPoliciesReady", "TriggersReady"];
        let entrance = |_: &Arc<RequestReply>| Form::Entrance(Box::new(self.doors(&key)));
        (conditions(parts, served, report), served.map_or(Form::Nothing, entrance))
    }

    /// The Trigger that was made for a RequestReply.
    fn made(&self, request_reply: &RequestReply) -> Option<Arc<Object>> {
        let ChannelKey { namespace, name, .. } = &request_reply.key;
        let key = trigger_key(&(namespace.clone(), name.clone()));
        let subscription = Arc::clone(self.routes.get(&key)?.1);
        let written = Arc::new(trigger_of(request_reply, &subscription));
        let conditions = Conditions { parts: TRIGGER_PARTS, served: true, unready: None, fault: None };
        let form = Form::Exit { subscription, own_ca_certs: self.resolver.addresses.ca_certs() };
        let (kind, namespace, name) = (ObjectKind::Trigger, key.namespace, key.name);
        Some(Arc::new(Object { kind, namespace, name, written, conditions, form }))
    }

    fn subscription(&self, name: &Name, report: &Report<'_>) -> Status {
        let parts = &["AddedToChannel", "ChannelReady", "ReferencesResolved"];
        self.exit(&subscription_key(SubscriptionKind::Subscription, name), parts, report)
    }

    fn exit(&self, key: &SubscriptionKey, parts: &'static [&'static str], report: &Report<'_>) -> Status {
        let made = self.routes.get(key).map(|(_, made)| Arc::clone(made));
        let mut conditions = conditions(parts, made.as_ref(), report);
        if let Some(unready) = conditions.unready.as_mut().filter(|_| !report.is_bad() && self.routes.is_kept(key)) {
            unready.message.push_str(KEPT);
        }
        let own_ca_certs = self.resolver.addresses.ca_certs();
        (conditions, made.map_or(Form::Nothing, |subscription| Form::Exit { subscription, own_ca_certs }))
    }

    /// One of `status.subscribers`: named by the uid, or by its name where it is written without.
    fn subscriber(&self, key: &SubscriptionKey) -> Subscriber {
        let name = (key.namespace.clone(), key.name.clone());
        let object = self.collected.subscriptions.get(&name).and_then(|item| item.object.as_ref());
        let uid = match key.kind {
            SubscriptionKind::Subscriber => key.name.split_once('/').map(|(_, id)| id),
            SubscriptionKind::Subscription => object.and_then(|object| object.metadata.uid.as_deref()),
            SubscriptionKind::Trigger | SubscriptionKind::Source => None,
        };
        uid.map_or_else(|| Subscriber::Name(key.name.as_str().into()), |uid| Subscriber::Uid(uid.into()))
    }
}

/// `Ready` and its parts; `served` is what the object is served as. An object that is served in its last good form is not ready, though its parts are.
fn conditions<T: ?Sized>(parts: &'static [&'static str], served: Option<&T>, report: &Report<'_>) -> Conditions {
    let served = served.is_some();
    let unready = match (report.first_error(), served) {
        (None, true) => report.left_alone().map(|message| ("False", "LeftAlone", message.to_owned())),
        (None, false) => Some(("Unknown", "LeftAlone", "It belongs to another implementation".to_owned())),
        (Some((reason, message)), true) if report.is_bad() => Some(("False", reason, message + KEPT)),
        (Some((reason, message)), _) => Some(("False", reason, message)),
    };
    let unready = unready.map(|(status, reason, message)| Box::new(Unready { status, reason, message }));
    Conditions { parts, served, unready, fault: None }
}

fn channel_key(kind: ChannelKind, (namespace, name): &Name) -> ChannelKey {
    ChannelKey { kind, namespace: namespace.clone(), name: name.clone() }
}

fn subscription_key(kind: SubscriptionKind, (namespace, name): &Name) -> SubscriptionKey {
    SubscriptionKey { kind, namespace: namespace.clone(), name: name.clone() }
}
