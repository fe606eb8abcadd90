//! The inventory: every object as written, with the status that Knative would show (control-plane.md 2.4, 4, 5.3).

use std::sync::Arc;

use serde_json::{Map, Value, json};
use url::Url;

use super::address::Advertised;
use super::channel::{Parent, Parents};
use super::collect::{Collected, Items, Name};
use super::destination::{Resolver, local_key};
use super::routes::Routes;
use crate::control::manifest::Document;
use crate::control::report::{Report, UNRESOLVED};
use crate::model::{
    Addressable, ChannelKey, ChannelKind, Condition, Inventory, Object, ObjectKind, SubscriptionKey, SubscriptionKind,
};

/// What the status is made from.
struct Shown<'s, 'd> {
    collected: &'s Collected<'d>,
    routes: &'s Routes,
    parents: &'s Parents,
    resolver: &'s Resolver<'s>,
}

/// Every channel, broker, trigger and subscription, in this order, each by namespace and name.
pub(super) fn inventory(
    collected: &Collected<'_>,
    routes: &Routes,
    parents: &Parents,
    resolver: &Resolver<'_>,
) -> Inventory {
    let shown = Shown { collected, routes, parents, resolver };
    let mut objects = Vec::new();
    for items in [&collected.channels, &collected.in_memory_channels, &collected.rabbitmq_channels] {
        objects.extend(all(ObjectKind::Channel, items, |name, report| shown.channel(name, report)));
    }
    objects.sort_by(|a: &Arc<Object>, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    objects.extend(all(ObjectKind::Broker, &collected.brokers, |name, report| shown.broker(name, report)));
    objects.extend(all(ObjectKind::Trigger, &collected.triggers, |name, report| shown.trigger(name, report)));
    let subscriptions = &collected.subscriptions;
    objects.extend(all(ObjectKind::Subscription, subscriptions, |name, report| shown.subscription(name, report)));
    Inventory { objects }
}

/// A Broker or Trigger that a role relays: ready if it is known where to.
pub(super) fn relayed(kind: ObjectKind, name: &Name, report: &Report<'_>, way: Option<&Addressable>) -> Object {
    let conditions = match (way, report.first_error()) {
        (None, None) => {
            let message = "its status in the cluster does not say yet where its events go";
            json!([Condition {
                ty: "Ready".to_owned(),
                status: "Unknown".to_owned(),
                reason: Some(UNRESOLVED.to_owned()),
                message: Some(message.to_owned()),
            }])
        }
        _ => conditions(&[], way, report),
    };
    let value = object(report.document(), name, json!({ "conditions": conditions }));
    Object::new(kind, &name.0, &name.1, &value)
}

/// A channel of a cluster: its addresses are those that the cluster gave it, the rest is what is true of it here.
/// `subscribers` names those it is served with; `None` if it is not served.
pub(super) fn reconciled(key: &ChannelKey, report: &Report<'_>, subscribers: Option<&[String]>) -> Arc<Object> {
    let document = report.document();
    let mut status = Map::new();
    insert(&mut status, "conditions", conditions(&["Addressable"], subscribers, report));
    for field in ["address", "addresses"] {
        if let Some(written) = document.value.get("status").and_then(|status| status.get(field)) {
            insert(&mut status, field, written.clone());
        }
    }
    if let Some(subscribers) = subscribers {
        let list = subscribers.iter().map(|uid| json!({"uid": uid, "ready": "True"}));
        insert(&mut status, "subscribers", list.collect());
    }
    let name = (key.namespace.clone(), key.name.clone());
    let value = object(document, &name, Value::Object(status));
    Arc::new(Object::new(ObjectKind::Channel, &name.0, &name.1, &value))
}

fn all<T>(kind: ObjectKind, items: &Items<'_, T>, status: impl Fn(&Name, &Report<'_>) -> Value) -> Vec<Arc<Object>> {
    let of = |(name, item): (&Name, &super::collect::Item<'_, T>)| {
        let value = object(item.report.document(), name, status(name, &item.report));
        Arc::new(Object::new(kind, &name.0, &name.1, &value))
    };
    items.iter().map(of).collect()
}

impl Shown<'_, '_> {
    fn channel(&self, name: &Name, report: &Report<'_>) -> Value {
        let key = channel_key(ChannelKind::Channel, name);
        let kind = report.object().kind.as_str();
        let shadowed = kind != "Channel" && self.collected.channels.contains_key(name)
            || kind == "RabbitmqChannel" && self.collected.in_memory_channels.contains_key(name);
        let parent = self.parents.get(&key).filter(|_| !shadowed);
        let mut status = self.addressed(&key, parent, &["Addressable", "ChannelServiceReady"], report);
        if parent.is_some() {
            let subscribers = self.routes.of(&key).map(|subscription| self.subscriber(&subscription.key)).collect();
            insert(&mut status, "subscribers", subscribers);
        }
        Value::Object(status)
    }

    fn broker(&self, name: &Name, report: &Report<'_>) -> Value {
        let key = channel_key(ChannelKind::Broker, name);
        let parts = ["Addressable", "FilterReady", "IngressReady"];
        Value::Object(self.addressed(&key, self.parents.get(&key), &parts, report))
    }

    /// Conditions, addresses and dead letter sink of a channel or broker; `parent` is what it is served as.
    fn addressed(
        &self,
        key: &ChannelKey,
        parent: Option<&Parent>,
        parts: &[&str],
        report: &Report<'_>,
    ) -> Map<String, Value> {
        let mut status = Map::new();
        insert(&mut status, "conditions", conditions(parts, parent, report));
        let Some(parent) = parent else {
            return status;
        };
        let addresses = self.resolver.addresses.advertised(key);
        let audience = self.resolver.rules.audience(key);
        let address = |advertised: &Advertised| address(advertised, audience.as_deref());
        // The http address where there are both, as upstream (interface.md §3).
        if let Some(main) = addresses.last() {
            insert(&mut status, "address", address(main));
        }
        insert(&mut status, "addresses", addresses.iter().map(address).collect());
        self.destination(&mut status, "deadLetterSink", parent.dead_letter_sink.as_ref(), None);
        status
    }

    fn trigger(&self, name: &Name, report: &Report<'_>) -> Value {
        let made = self.routes.get(&subscription_key(SubscriptionKind::Trigger, name));
        let mut status = Map::new();
        let parts = ["BrokerReady", "DeadLetterSinkResolved", "DependencyReady", "SubscriberResolved"];
        insert(&mut status, "conditions", conditions(&parts, made.as_ref(), report));
        if let Some((_, made)) = made {
            let document = report.document();
            let ca_certs = document.text(&["spec", "subscriber", "CACerts"]);
            self.destination(&mut status, "subscriber", made.subscriber.as_ref(), ca_certs);
            let ca_certs = document.text(&["spec", "delivery", "deadLetterSink", "CACerts"]);
            self.destination(&mut status, "deadLetterSink", made.dead_letter_sink.as_ref(), ca_certs);
        }
        Value::Object(status)
    }

    fn subscription(&self, name: &Name, report: &Report<'_>) -> Value {
        let made = self.routes.get(&subscription_key(SubscriptionKind::Subscription, name));
        let mut status = Map::new();
        let parts = ["AddedToChannel", "ChannelReady", "ReferencesResolved"];
        insert(&mut status, "conditions", conditions(&parts, made.as_ref(), report));
        if let Some((_, made)) = made {
            let document = report.document();
            let mut physical = Map::new();
            for (prefix, destination, path) in [
                ("subscriber", &made.subscriber, &["spec", "subscriber", "CACerts"][..]),
                ("reply", &made.reply, &["spec", "reply", "CACerts"]),
                ("deadLetterSink", &made.dead_letter_sink, &["spec", "delivery", "deadLetterSink", "CACerts"]),
            ] {
                self.destination(&mut physical, prefix, destination.as_ref(), document.text(path));
            }
            insert(&mut status, "physicalSubscription", Value::Object(physical));
        }
        Value::Object(status)
    }

    /// One of `status.subscribers`: named by the uid, or by its name where it is written without.
    fn subscriber(&self, key: &SubscriptionKey) -> Value {
        let name = (key.namespace.clone(), key.name.clone());
        let object = self.collected.subscriptions.get(&name).and_then(|item| item.object.as_ref());
        let uid = match key.kind {
            SubscriptionKind::Subscriber => key.name.split_once('/').map(|(_, id)| id),
            SubscriptionKind::Subscription => object.and_then(|object| object.metadata.uid.as_deref()),
            SubscriptionKind::Trigger | SubscriptionKind::Source => None,
        };
        match uid {
            Some(uid) => json!({"uid": uid, "ready": "True"}),
            None => json!({"name": key.name, "ready": "True"}),
        }
    }

    /// `<prefix>Uri`, and `<prefix>CACerts` if there are any: those written, or those of an address of our own.
    fn destination(
        &self,
        status: &mut Map<String, Value>,
        prefix: &str,
        destination: Option<&Addressable>,
        written: Option<&str>,
    ) {
        let Some(destination) = destination else {
            return;
        };
        insert(status, &format!("{prefix}Uri"), shown(&destination.url));
        let own =
            local_key(destination).and_then(|key| self.resolver.addresses.advertised(key).into_iter().next()?.ca_certs);
        if let Some(ca_certs) = written.map(str::to_owned).or(own) {
            insert(status, &format!("{prefix}CACerts"), ca_certs.into());
        }
        if let Some(audience) = &destination.audience {
            insert(status, &format!("{prefix}Audience"), audience.as_str().into());
        }
    }
}

fn insert(map: &mut Map<String, Value>, key: &str, value: Value) {
    map.insert(key.to_owned(), value);
}

/// An object as written, but for its metadata, of which only what is about it is shown.
fn object(document: &Document, name: &Name, status: Value) -> Value {
    let written = |key: &str| document.value.get(key).cloned();
    let mut metadata = Map::new();
    insert(&mut metadata, "name", name.1.as_str().into());
    insert(&mut metadata, "namespace", name.0.as_str().into());
    for key in ["uid", "labels", "annotations"] {
        if let Some(value) = document.value.get("metadata").and_then(|metadata| metadata.get(key)) {
            insert(&mut metadata, key, value.clone());
        }
    }
    let mut object = Map::new();
    insert(&mut object, "apiVersion", written("apiVersion").unwrap_or_default());
    insert(&mut object, "kind", written("kind").unwrap_or_default());
    insert(&mut object, "metadata", Value::Object(metadata));
    insert(&mut object, "spec", written("spec").unwrap_or_else(|| json!({})));
    insert(&mut object, "status", status);
    Value::Object(object)
}

/// A URL as Knative writes it: without the slash of an empty path.
fn shown(url: &Url) -> Value {
    let text = url.as_str();
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    text.strip_suffix('/').filter(|_| bare).unwrap_or(text).into()
}

fn address(address: &Advertised, audience: Option<&str>) -> Value {
    let mut value = json!({"name": address.name, "url": shown(&address.url)});
    if let (Some(ca_certs), Some(map)) = (&address.ca_certs, value.as_object_mut()) {
        insert(map, "CACerts", ca_certs.as_str().into());
    }
    if let (Some(audience), Some(map)) = (audience, value.as_object_mut()) {
        insert(map, "audience", audience.into());
    }
    value
}

/// `Ready` and its parts; `served` is what the object is served as. An object that is served in its last good form is not ready, though its parts are.
fn conditions<T: ?Sized>(parts: &[&str], served: Option<&T>, report: &Report<'_>) -> Value {
    let condition = |ty: &str, status: &str, because: Option<(&str, String)>| {
        let (reason, message) = because.unzip();
        Condition { ty: ty.to_owned(), status: status.to_owned(), reason: reason.map(str::to_owned), message }
    };
    let ready = match (report.first_error(), served.is_some()) {
        (None, true) => condition("Ready", "True", None),
        (None, false) => {
            condition("Ready", "Unknown", Some(("LeftAlone", "It belongs to another implementation".to_owned())))
        }
        (Some((reason, message)), true) => {
            let message = format!("{message} (its last good form is still served)");
            condition("Ready", "False", Some((reason, message)))
        }
        (Some(because), false) => condition("Ready", "False", Some(because)),
    };
    let part = if served.is_some() { "True" } else { "Unknown" };
    let parts = parts.iter().map(|ty| condition(ty, part, None));
    let mut conditions: Vec<_> = parts.chain([ready]).collect();
    conditions.sort_by(|a, b| a.ty.cmp(&b.ty));
    json!(conditions)
}

fn channel_key(kind: ChannelKind, (namespace, name): &Name) -> ChannelKey {
    ChannelKey { kind, namespace: namespace.clone(), name: name.clone() }
}

fn subscription_key(kind: SubscriptionKind, (namespace, name): &Name) -> SubscriptionKey {
    SubscriptionKey { kind, namespace: namespace.clone(), name: name.clone() }
}
