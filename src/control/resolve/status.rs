//! Makes the inventory: every object as written, with the status that Knative would show (contract
//! 2.4, 4, 5.3).

use std::sync::Arc;

use super::collect::{CollectedItem, CollectedItems, CollectedObjects};
use super::destination::DestinationResolver;
use super::written::WrittenObjects;
use crate::control::read::kind::ResourceKind;
use crate::control::read::report::{ObjectReport, UNRESOLVED};
use crate::control::resolve::written::channel::{ResolvedParent, ResolvedParents};
use crate::control::resolve::written::flow::{self, ResolvedFlows};
use crate::control::resolve::written::request_reply::{trigger_key, trigger_object};
use crate::control::resolve::written::routes::SubscriptionRoutes;
use crate::model::NamespacedName;
use crate::model::{
    AddressStatus, Addressable, ChannelKey, ChannelKind, Inventory, InventoryObject,
    NotReadyReason, ObjectConditions, ObjectKind, ObjectStatus, RequestReply, SubscriberId,
    SubscriptionKey, SubscriptionKind,
};

/// The conditions of an object, and the rest of its status.
type ResolvedStatus = (ObjectConditions, ObjectStatus);

/// The text that is added to the message of an object which is served in its last good form.
const KEPT: &str = " (its last good form is still served)";

/// Builds the status of objects from the results of resolving.
struct StatusBuilder<'s, 'd> {
    collected: &'s CollectedObjects<'d>,
    routes: &'s SubscriptionRoutes,
    parents: &'s ResolvedParents,
    request_replies: &'s [Arc<RequestReply>],
    resolver: &'s DestinationResolver<'s>,
}

const TRIGGER_PARTS: &[&str] = &[
    "BrokerReady",
    "DeadLetterSinkResolved",
    "DependencyReady",
    "SubscriberResolved",
];

/// Makes the inventory of every channel, Broker, Trigger, Subscription, Sequence, Parallel and
/// RequestReply, in this order, each kind by namespace and name.
pub(super) fn inventory(
    collected: &CollectedObjects<'_>,
    own: &WrittenObjects,
    resolver: &DestinationResolver<'_>,
) -> Inventory {
    let WrittenObjects {
        parents,
        flows,
        routes,
        request_replies,
        ..
    } = own;
    let shown = StatusBuilder {
        collected,
        routes,
        parents,
        request_replies,
        resolver,
    };
    // Objects that flows generate are sorted among the written ones of their kind.
    let of_flows = flows
        .values()
        .flat_map(|flow| flow.generated_objects(routes, resolver));
    let (mut objects, mut of_subscriptions): (Vec<_>, Vec<_>) =
        of_flows.partition(|object| object.kind == ObjectKind::Channel);
    for items in [
        &collected.channels,
        &collected.in_memory_channels,
        &collected.rabbitmq_channels,
    ] {
        objects.extend(objects_of_kind(
            ObjectKind::Channel,
            items,
            |name, report| shown.channel_status(name, report),
        ));
    }
    sort_by_name(&mut objects);
    objects.extend(objects_of_kind(
        ObjectKind::Broker,
        &collected.brokers,
        |name, report| shown.broker_status(name, report),
    ));
    let mut triggers = objects_of_kind(ObjectKind::Trigger, &collected.triggers, |name, report| {
        shown.trigger_status(name, report)
    });
    triggers.extend(
        request_replies
            .iter()
            .filter_map(|request_reply| shown.generated_trigger(request_reply)),
    );
    sort_by_name(&mut triggers);
    objects.extend(triggers);
    let subscriptions = &collected.subscriptions;
    of_subscriptions.extend(objects_of_kind(
        ObjectKind::Subscription,
        subscriptions,
        |name, report| shown.subscription_status(name, report),
    ));
    sort_by_name(&mut of_subscriptions);
    objects.extend(of_subscriptions);
    objects.extend(objects_of_kind(
        ObjectKind::Sequence,
        &collected.sequences,
        |name, report| shown.flow_status(ResourceKind::Sequence, name, flows, report),
    ));
    objects.extend(objects_of_kind(
        ObjectKind::Parallel,
        &collected.parallels,
        |name, report| shown.flow_status(ResourceKind::Parallel, name, flows, report),
    ));
    let request_replies = &collected.request_replies;
    objects.extend(objects_of_kind(
        ObjectKind::RequestReply,
        request_replies,
        |name, report| shown.request_reply_status(name, report),
    ));
    Inventory { objects }
}

fn sort_by_name(objects: &mut [Arc<InventoryObject>]) {
    objects.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
}

/// A Broker or Trigger that a role relays: ready if the address of its events is known.
pub(super) fn relayed_object(
    kind: ObjectKind,
    name: &NamespacedName,
    report: &ObjectReport<'_>,
    way: Option<&Addressable>,
) -> InventoryObject {
    let mut conditions = object_conditions(&[], way, report);
    if way.is_none() && !report.has_errors() {
        let message = "its status in the cluster does not say yet where its events go".to_owned();
        conditions.not_ready = Some(Box::new(NotReadyReason {
            status: "Unknown",
            reason: UNRESOLVED,
            message,
        }));
    }
    inventory_object(
        kind,
        name,
        report,
        (conditions, ObjectStatus::ConditionsOnly),
    )
}

/// A channel of a cluster: its addresses are those that the cluster gave it, the rest is its state
/// in this process. `subscribers` are those that it is served with; `None` if it is not served.
pub(super) fn reconciled_object(
    key: &ChannelKey,
    report: &ObjectReport<'_>,
    subscribers: Option<&[String]>,
) -> Arc<InventoryObject> {
    let conditions = object_conditions(&["Addressable"], subscribers, report);
    let uid = |uid: &String| SubscriberId::Uid(uid.as_str().into());
    let form = ObjectStatus::ReconciledChannel(
        subscribers.map(|subscribers| subscribers.iter().map(uid).collect()),
    );
    let name = (key.namespace.clone(), key.name.clone());
    Arc::new(inventory_object(
        ObjectKind::Channel,
        &name,
        report,
        (conditions, form),
    ))
}

fn objects_of_kind<T>(
    kind: ObjectKind,
    items: &CollectedItems<'_, T>,
    status: impl Fn(&NamespacedName, &ObjectReport<'_>) -> ResolvedStatus,
) -> Vec<Arc<InventoryObject>> {
    let of = |(name, CollectedItem { report, .. }): (&NamespacedName, &CollectedItem<'_, T>)| {
        let status = status(name, report);
        Arc::new(inventory_object(kind, name, report, status))
    };
    items.iter().map(of).collect()
}

fn inventory_object(
    kind: ObjectKind,
    (namespace, name): &NamespacedName,
    report: &ObjectReport<'_>,
    (conditions, form): ResolvedStatus,
) -> InventoryObject {
    let (namespace, name) = (namespace.clone(), name.clone());
    InventoryObject {
        kind,
        namespace,
        name,
        manifest: Arc::clone(&report.document().value),
        conditions,
        status: form,
    }
}

impl StatusBuilder<'_, '_> {
    fn channel_status(&self, name: &NamespacedName, report: &ObjectReport<'_>) -> ResolvedStatus {
        let key = channel_key(ChannelKind::Channel, name);
        let kind = report.object().kind.as_str();
        let shadowed = kind != "Channel" && self.collected.channels.contains_key(name)
            || kind == "RabbitmqChannel" && self.collected.in_memory_channels.contains_key(name);
        let parent = self.parents.get(&key).filter(|_| !shadowed);
        let conditions = object_conditions(&["Addressable", "ChannelServiceReady"], parent, report);
        let subscribers = || {
            self.routes
                .of_channel(&key)
                .map(|subscription| self.subscriber_id(&subscription.key))
                .collect()
        };
        let form =
            parent.map(|parent| self.parent_address_status(&key, parent, Some(subscribers())));
        (conditions, form.unwrap_or(ObjectStatus::ConditionsOnly))
    }

    fn broker_status(&self, name: &NamespacedName, report: &ObjectReport<'_>) -> ResolvedStatus {
        let key = channel_key(ChannelKind::Broker, name);
        let parent = self.parents.get(&key);
        let conditions = object_conditions(
            &["Addressable", "FilterReady", "IngressReady"],
            parent,
            report,
        );
        (
            conditions,
            parent.map_or(ObjectStatus::ConditionsOnly, |parent| {
                self.parent_address_status(&key, parent, None)
            }),
        )
    }

    /// The addresses and the dead letter sink of a channel or Broker, which is served as `parent`.
    fn parent_address_status(
        &self,
        key: &ChannelKey,
        parent: &ResolvedParent,
        subscribers: Option<Box<[SubscriberId]>>,
    ) -> ObjectStatus {
        let dead_letter_sink = parent.dead_letter_sink.clone();
        ObjectStatus::Address(Box::new(AddressStatus {
            dead_letter_sink,
            subscribers,
            ..self.address_status(key)
        }))
    }

    /// The addresses, without the fields that only channels and Brokers have.
    fn address_status(&self, key: &ChannelKey) -> AddressStatus {
        AddressStatus {
            addresses: self.resolver.addresses.advertised_addresses(key),
            ca_certs: self.resolver.addresses.ca_certs(),
            audience: self.resolver.sender_rules.audience(key),
            dead_letter_sink: None,
            subscribers: None,
        }
    }

    fn flow_status(
        &self,
        kind: ResourceKind,
        name: &NamespacedName,
        flows: &ResolvedFlows,
        report: &ObjectReport<'_>,
    ) -> ResolvedStatus {
        let (namespace, channel) = (
            name.0.clone(),
            flow::plan::entry_channel_name(kind, &name.1).unwrap_or_default(),
        );
        let made = flows.get(&channel_key(ChannelKind::Channel, &(namespace, channel)));
        let mut conditions = object_conditions(flow::status::PARTS, made, report);
        match (conditions.not_ready.as_mut(), made) {
            (Some(unready), Some(made)) if made.is_kept() && !report.has_errors() => {
                unready.message.push_str(KEPT)
            }
            (Some(unready), Some(made)) if !made.is_kept() => {
                if let Some((_, message)) = report.first_error() {
                    unready.message = message;
                }
                conditions.failed_part = Some("SubscriptionsReady");
            }
            _ => {}
        }
        (
            conditions,
            made.map_or(ObjectStatus::ConditionsOnly, |made| {
                made.status(self.resolver)
            }),
        )
    }

    fn trigger_status(&self, name: &NamespacedName, report: &ObjectReport<'_>) -> ResolvedStatus {
        self.routed_status(
            &subscription_key(SubscriptionKind::Trigger, name),
            TRIGGER_PARTS,
            report,
        )
    }

    fn request_reply_status(
        &self,
        name: &NamespacedName,
        report: &ObjectReport<'_>,
    ) -> ResolvedStatus {
        let key = channel_key(ChannelKind::RequestReply, name);
        let served = self
            .request_replies
            .iter()
            .find(|request_reply| request_reply.key == key);
        let parts = &[
            "Addressable",
            "BrokerReady",
            "EventPoliciesReady",
            "TriggersReady",
        ];
        let address =
            |_: &Arc<RequestReply>| ObjectStatus::Address(Box::new(self.address_status(&key)));
        (
            object_conditions(parts, served, report),
            served.map_or(ObjectStatus::ConditionsOnly, address),
        )
    }

    /// The Trigger that was generated for a RequestReply; `None` if it is not served.
    fn generated_trigger(&self, request_reply: &RequestReply) -> Option<Arc<InventoryObject>> {
        let ChannelKey {
            namespace, name, ..
        } = &request_reply.key;
        let key = trigger_key(&(namespace.clone(), name.clone()));
        let subscription = Arc::clone(self.routes.get(&key)?.1);
        let written = Arc::new(trigger_object(request_reply, &subscription));
        let conditions = ObjectConditions {
            parts: TRIGGER_PARTS,
            served: true,
            not_ready: None,
            failed_part: None,
        };
        let form = ObjectStatus::Subscription {
            subscription,
            own_ca_certs: self.resolver.addresses.ca_certs(),
        };
        let (kind, namespace, name) = (ObjectKind::Trigger, key.namespace, key.name);
        Some(Arc::new(InventoryObject {
            kind,
            namespace,
            name,
            manifest: written,
            conditions,
            status: form,
        }))
    }

    fn subscription_status(
        &self,
        name: &NamespacedName,
        report: &ObjectReport<'_>,
    ) -> ResolvedStatus {
        let parts = &["AddedToChannel", "ChannelReady", "ReferencesResolved"];
        self.routed_status(
            &subscription_key(SubscriptionKind::Subscription, name),
            parts,
            report,
        )
    }

    fn routed_status(
        &self,
        key: &SubscriptionKey,
        parts: &'static [&'static str],
        report: &ObjectReport<'_>,
    ) -> ResolvedStatus {
        let made = self.routes.get(key).map(|(_, made)| Arc::clone(made));
        let mut conditions = object_conditions(parts, made.as_ref(), report);
        if let Some(unready) = conditions
            .not_ready
            .as_mut()
            .filter(|_| !report.has_errors() && self.routes.is_kept(key))
        {
            unready.message.push_str(KEPT);
        }
        let own_ca_certs = self.resolver.addresses.ca_certs();
        (
            conditions,
            made.map_or(ObjectStatus::ConditionsOnly, |subscription| {
                ObjectStatus::Subscription {
                    subscription,
                    own_ca_certs,
                }
            }),
        )
    }

    /// The id of an entry of `status.subscribers`: the uid, or the name if it is written without
    /// one.
    fn subscriber_id(&self, key: &SubscriptionKey) -> SubscriberId {
        let name = (key.namespace.clone(), key.name.clone());
        let object = self
            .collected
            .subscriptions
            .get(&name)
            .and_then(|item| item.object.as_ref());
        let uid = match key.kind {
            SubscriptionKind::Subscriber => key.name.split_once('/').map(|(_, id)| id),
            SubscriptionKind::Subscription => {
                object.and_then(|object| object.metadata.uid.as_deref())
            }
            SubscriptionKind::Trigger | SubscriptionKind::PingSource => None,
        };
        uid.map_or_else(
            || SubscriberId::Name(key.name.as_str().into()),
            |uid| SubscriberId::Uid(uid.into()),
        )
    }
}

/// The condition `Ready` and its parts; `served` is the form that the object is served in. An
/// object that is served in its last good form is not ready, though its parts are.
fn object_conditions<T: ?Sized>(
    parts: &'static [&'static str],
    served: Option<&T>,
    report: &ObjectReport<'_>,
) -> ObjectConditions {
    let served = served.is_some();
    let unready = match (report.first_error(), served) {
        (None, true) => report
            .not_served_reason()
            .map(|message| ("False", "LeftAlone", message.to_owned())),
        (None, false) => Some((
            "Unknown",
            "LeftAlone",
            "It belongs to another implementation".to_owned(),
        )),
        (Some((reason, message)), true) if report.has_errors() => {
            Some(("False", reason, message + KEPT))
        }
        (Some((reason, message)), _) => Some(("False", reason, message)),
    };
    let unready = unready.map(|(status, reason, message)| {
        Box::new(NotReadyReason {
            status,
            reason,
            message,
        })
    });
    ObjectConditions {
        parts,
        served,
        not_ready: unready,
        failed_part: None,
    }
}

fn channel_key(kind: ChannelKind, (namespace, name): &NamespacedName) -> ChannelKey {
    ChannelKey {
        kind,
        namespace: namespace.clone(),
        name: name.clone(),
    }
}

fn subscription_key(kind: SubscriptionKind, (namespace, name): &NamespacedName) -> SubscriptionKey {
    SubscriptionKey {
        kind,
        namespace: namespace.clone(),
        name: name.clone(),
    }
}
