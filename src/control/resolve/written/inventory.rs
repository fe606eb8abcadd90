//! The inventory of written objects: each as written, with the status that Knative would show
//! (contract 2.4, 4, 5.3).

use std::sync::Arc;

use super::WrittenObjects;
use super::flow::planned::flow_channel_key;
use super::flow::{self, ResolvedFlows};
use super::routes::SubscriptionRoutes;
use crate::control::read::kind::ResourceKind;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedItems, CollectedObjects};
use crate::control::resolve::destination::DestinationResolver;
use crate::control::resolve::keys::channel_key;
use crate::control::resolve::parent::{ResolvedParent, ResolvedParents};
use crate::control::resolve::status::{KEPT, ResolvedStatus, inventory_object, object_conditions};
use crate::control::resolve::written::request_reply::trigger::{trigger_key, trigger_object};
use crate::model::{
    AddressStatus, ChannelKey, ChannelKind, Inventory, InventoryObject, NamespacedName,
    ObjectConditions, ObjectKind, ObjectStatus, RequestReply, SubscriberId, SubscriptionKey,
    SubscriptionKind,
};

const TRIGGER_PARTS: &[&str] = &[
    "BrokerReady",
    "DeadLetterSinkResolved",
    "DependencyReady",
    "SubscriberResolved",
];

/// Builds the status of objects from the results of resolving.
struct StatusBuilder<'s, 'd> {
    collected: &'s CollectedObjects<'d>,
    routes: &'s SubscriptionRoutes,
    parents: &'s ResolvedParents,
    flows: &'s ResolvedFlows,
    request_replies: &'s [Arc<RequestReply>],
    resolver: &'s DestinationResolver<'s>,
}

impl WrittenObjects {
    /// Makes the inventory of every channel, Broker, Trigger, Subscription, Sequence, Parallel and
    /// RequestReply, in this order, each kind by namespace and name.
    pub(in crate::control::resolve) fn inventory(
        &self,
        collected: &CollectedObjects<'_>,
        resolver: &DestinationResolver<'_>,
    ) -> Inventory {
        let shown = StatusBuilder {
            collected,
            routes: &self.routes,
            parents: &self.parents,
            flows: &self.flows,
            request_replies: &self.request_replies,
            resolver,
        };
        let of_flows = self
            .flows
            .values()
            .flat_map(|flow| flow.generated_objects(&self.routes, resolver));
        let (channels, subscriptions): (Vec<_>, Vec<_>) =
            of_flows.partition(|object| object.kind == ObjectKind::Channel);
        let objects = [
            shown.channels(channels),
            shown.brokers(),
            shown.triggers(),
            shown.subscriptions(subscriptions),
            shown.sequences(),
            shown.parallels(),
            shown.request_replies(),
        ];
        Inventory {
            objects: objects.into_iter().flatten().collect(),
        }
    }
}

impl StatusBuilder<'_, '_> {
    /// The channels, with those that flows generate sorted among them.
    fn channels(&self, mut objects: Vec<Arc<InventoryObject>>) -> Vec<Arc<InventoryObject>> {
        for items in self.collected.all_channels() {
            let status = |name: &NamespacedName, report: &ObjectReport<'_>| {
                self.channel_status(name, report)
            };
            objects.extend(objects_of_kind(ObjectKind::Channel, items, status));
        }
        sort_by_name(&mut objects);
        objects
    }

    fn brokers(&self) -> Vec<Arc<InventoryObject>> {
        let brokers = &self.collected.brokers;
        objects_of_kind(ObjectKind::Broker, brokers, |name, report| {
            self.broker_status(name, report)
        })
    }

    /// The Triggers, with those that were generated for RequestReplies sorted among them.
    fn triggers(&self) -> Vec<Arc<InventoryObject>> {
        let triggers = &self.collected.triggers;
        let mut objects = objects_of_kind(ObjectKind::Trigger, triggers, |name, report| {
            self.trigger_status(name, report)
        });
        objects.extend(
            self.request_replies
                .iter()
                .filter_map(|request_reply| self.generated_trigger(request_reply)),
        );
        sort_by_name(&mut objects);
        objects
    }

    /// The Subscriptions, with those that flows generate sorted among them.
    fn subscriptions(&self, mut objects: Vec<Arc<InventoryObject>>) -> Vec<Arc<InventoryObject>> {
        let subscriptions = &self.collected.subscriptions;
        objects.extend(objects_of_kind(
            ObjectKind::Subscription,
            subscriptions,
            |name, report| self.subscription_status(name, report),
        ));
        sort_by_name(&mut objects);
        objects
    }

    fn sequences(&self) -> Vec<Arc<InventoryObject>> {
        let sequences = &self.collected.sequences;
        objects_of_kind(ObjectKind::Sequence, sequences, |name, report| {
            self.flow_status(ResourceKind::Sequence, name, report)
        })
    }

    fn parallels(&self) -> Vec<Arc<InventoryObject>> {
        let parallels = &self.collected.parallels;
        objects_of_kind(ObjectKind::Parallel, parallels, |name, report| {
            self.flow_status(ResourceKind::Parallel, name, report)
        })
    }

    fn request_replies(&self) -> Vec<Arc<InventoryObject>> {
        let request_replies = &self.collected.request_replies;
        objects_of_kind(ObjectKind::RequestReply, request_replies, |name, report| {
            self.request_reply_status(name, report)
        })
    }

    fn channel_status(&self, name: &NamespacedName, report: &ObjectReport<'_>) -> ResolvedStatus {
        let key = named_channel_key(ChannelKind::Channel, name);
        let kind = report.object().kind.as_str();
        let shadowed = kind != "Channel" && self.collected.channels.contains_key(name)
            || self.collected.is_physical_shadowed(kind, name);
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
        ResolvedStatus {
            conditions,
            status: form.unwrap_or(ObjectStatus::ConditionsOnly),
        }
    }

    fn broker_status(&self, name: &NamespacedName, report: &ObjectReport<'_>) -> ResolvedStatus {
        let key = named_channel_key(ChannelKind::Broker, name);
        let parent = self.parents.get(&key);
        let conditions = object_conditions(
            &["Addressable", "FilterReady", "IngressReady"],
            parent,
            report,
        );
        ResolvedStatus {
            conditions,
            status: parent.map_or(ObjectStatus::ConditionsOnly, |parent| {
                self.parent_address_status(&key, parent, None)
            }),
        }
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
        report: &ObjectReport<'_>,
    ) -> ResolvedStatus {
        let channel = flow::plan::entry_channel_name(kind, &name.name).unwrap_or_default();
        let made = self.flows.get(&flow_channel_key(&name.namespace, &channel));
        let mut conditions = object_conditions(flow::status::PARTS, made, report);
        match (conditions.not_ready.as_mut(), made) {
            (Some(unready), Some(made)) if made.is_kept() && !report.has_errors() => {
                unready.message.push_str(KEPT)
            }
            (Some(unready), Some(made)) if !made.is_kept() => {
                if let Some(error) = report.first_error() {
                    unready.message = error.message;
                }
                conditions.failed_part = Some("SubscriptionsReady");
            }
            _ => {}
        }
        ResolvedStatus {
            conditions,
            status: made.map_or(ObjectStatus::ConditionsOnly, |made| {
                made.status(self.resolver)
            }),
        }
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
        let key = named_channel_key(ChannelKind::RequestReply, name);
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
        ResolvedStatus {
            conditions: object_conditions(parts, served, report),
            status: served.map_or(ObjectStatus::ConditionsOnly, address),
        }
    }

    /// The Trigger that was generated for a RequestReply; `None` if it is not served.
    fn generated_trigger(&self, request_reply: &RequestReply) -> Option<Arc<InventoryObject>> {
        let ChannelKey {
            namespace, name, ..
        } = &request_reply.key;
        let key = trigger_key(&NamespacedName::new(namespace, name));
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
        ResolvedStatus {
            conditions,
            status: made.map_or(ObjectStatus::ConditionsOnly, |subscription| {
                ObjectStatus::Subscription {
                    subscription,
                    own_ca_certs,
                }
            }),
        }
    }

    /// The id of an entry of `status.subscribers`: the uid, or the name if it is written without
    /// one.
    fn subscriber_id(&self, key: &SubscriptionKey) -> SubscriberId {
        let name = NamespacedName::new(&key.namespace, &key.name);
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

fn sort_by_name(objects: &mut [Arc<InventoryObject>]) {
    objects.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
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

fn named_channel_key(kind: ChannelKind, name: &NamespacedName) -> ChannelKey {
    channel_key(kind, name.namespace.clone(), name.name.clone())
}

fn subscription_key(kind: SubscriptionKind, name: &NamespacedName) -> SubscriptionKey {
    SubscriptionKey {
        kind,
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    }
}
