//! The inventory of flows, and of the channels and Subscriptions that are generated for them.

use std::sync::Arc;

use serde_json::Value;

use super::generated_objects::channel_kind;
use super::{ResolvedFlow, ResolvedFlowSubscription};
use crate::control::read::report::ReportedError;
use crate::control::resolve::destination::DestinationResolver;
use crate::control::resolve::written::routes::SubscriptionRoutes;
use crate::model::{
    AddressStatus, ChannelKey, FlowStatus, FlowSubscription, InventoryObject, NotReadyReason,
    ObjectConditions, ObjectKind, ObjectStatus, SubscriberId,
};

/// The types of the conditions that a flow's `Ready` consists of.
pub(in crate::control::resolve) const PARTS: &[&str] = &[
    "Addressable",
    "ChannelsReady",
    "EventPoliciesReady",
    "SubscriptionsReady",
];

impl ResolvedFlow {
    /// The status of the flow without its conditions.
    pub(in crate::control::resolve) fn status(
        &self,
        resolver: &DestinationResolver<'_>,
    ) -> ObjectStatus {
        let kind = channel_kind(self.parent.backend);
        let channels = self
            .channels
            .iter()
            .map(|(key, _)| key.name.clone())
            .collect();
        let subscription = |exit: &ResolvedFlowSubscription| FlowSubscription {
            name: exit.subscription.key.name.clone(),
            not_ready: exit.fault.as_ref().map(not_ready_reason),
        };
        let entrance = self.channels.first().map(|(key, _)| AddressStatus {
            addresses: resolver.addresses.advertised_addresses(key),
            ca_certs: resolver.addresses.ca_certs(),
            audience: resolver.sender_rules.audience(key),
            dead_letter_sink: None,
            subscribers: None,
        });
        let Some(entrance) = entrance else {
            return ObjectStatus::ConditionsOnly;
        };
        let channel_kind = (kind.api_version(), kind.as_str());
        let subscriptions = self.subscriptions.iter().map(subscription).collect();
        ObjectStatus::Flow(Box::new(FlowStatus {
            address: entrance,
            channel_kind,
            channels,
            subscriptions,
        }))
    }

    /// True if the flow is served in its last good form.
    pub(in crate::control::resolve) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// The inventory objects of its channels and Subscriptions, as if somebody had written them.
    pub(in crate::control::resolve) fn generated_objects(
        &self,
        routes: &SubscriptionRoutes,
        resolver: &DestinationResolver<'_>,
    ) -> Vec<Arc<InventoryObject>> {
        let channels = self
            .channels
            .iter()
            .map(|(key, written)| self.generated_channel(key, written, resolver));
        let subscriptions = self
            .subscriptions
            .iter()
            .map(|subscription| subscription.generated_object(routes, resolver));
        channels.chain(subscriptions).map(Arc::new).collect()
    }

    fn generated_channel(
        &self,
        key: &ChannelKey,
        written: &Arc<Value>,
        resolver: &DestinationResolver<'_>,
    ) -> InventoryObject {
        let subscribers = self
            .subscriptions
            .iter()
            .filter(|subscription| subscription.channel == *key)
            .map(|own| SubscriberId::Name(own.subscription.key.name.as_str().into()));
        let address = AddressStatus {
            addresses: resolver.addresses.advertised_addresses(key),
            ca_certs: resolver.addresses.ca_certs(),
            audience: resolver.sender_rules.audience(key),
            dead_letter_sink: self.parent.dead_letter_sink.clone(),
            subscribers: Some(subscribers.collect()),
        };
        InventoryObject {
            kind: ObjectKind::Channel,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            manifest: Arc::clone(written),
            conditions: served_conditions(&["Addressable", "ChannelServiceReady"], None),
            status: ObjectStatus::Address(Box::new(address)),
        }
    }
}

impl ResolvedFlowSubscription {
    fn generated_object(
        &self,
        routes: &SubscriptionRoutes,
        resolver: &DestinationResolver<'_>,
    ) -> InventoryObject {
        let key = &self.subscription.key;
        let subscription = routes.get(key).map(|(_, served)| Arc::clone(served));
        let own_ca_certs = resolver.addresses.ca_certs();
        InventoryObject {
            kind: ObjectKind::Subscription,
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            manifest: Arc::clone(&self.object),
            conditions: served_conditions(
                &["AddedToChannel", "ChannelReady", "ReferencesResolved"],
                self.fault.as_ref(),
            ),
            status: subscription.map_or(ObjectStatus::ConditionsOnly, |subscription| {
                ObjectStatus::Subscription {
                    subscription,
                    own_ca_certs,
                }
            }),
        }
    }
}

/// The conditions of a channel or Subscription that is served, perhaps with a fault.
fn served_conditions(
    parts: &'static [&'static str],
    fault: Option<&ReportedError>,
) -> ObjectConditions {
    ObjectConditions {
        parts,
        served: true,
        not_ready: fault.map(not_ready_reason),
        failed_part: None,
    }
}

fn not_ready_reason(fault: &ReportedError) -> Box<NotReadyReason> {
    Box::new(NotReadyReason {
        status: "False",
        reason: fault.reason,
        message: fault.message.clone(),
    })
}
