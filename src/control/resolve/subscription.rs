//! Resolves Subscriptions, Triggers and the subscribers of channels: each becomes one
//! `model::Subscription`.

mod parent_reference;
pub(super) mod subscriber;

use super::delivery::WrittenDelivery;
use super::destination::{DestinationResolver, WrittenDestination};
use super::filter;
use super::parent::{ResolvedParent, ResolvedParents};
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::duck::DestinationManifest;
use crate::control::read::manifest::eventing::TriggerSpec;
use crate::control::read::manifest::messaging::SubscriptionSpec;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::config::features;
use crate::control::settings::DeliveryMerge;
use crate::filter::Filter;
use crate::model::{
    Addressable, ChannelKey, DeliverySpec, HttpVersions, Subscription, SubscriptionKey,
    SubscriptionKind,
};

/// A subscription, and the channel or Broker that it belongs to.
#[derive(Debug)]
pub(super) struct ResolvedSubscription {
    pub(super) channel: ChannelKey,
    pub(super) subscription: Subscription,
}

/// Resolves subscriptions; its methods give `None` if a problem was reported.
#[derive(Debug)]
pub(super) struct SubscriptionResolver<'m, 's> {
    pub(super) resolver: &'m mut DestinationResolver<'s>,
    pub(super) parents: &'m ResolvedParents,
}

impl SubscriptionResolver<'_, '_> {
    /// Resolves a `Subscription` of a channel.
    pub(super) fn resolve_subscription(
        &mut self,
        spec: Option<&SubscriptionSpec>,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedSubscription> {
        let Some(spec) = spec else {
            report.error("spec", "is missing: give channel and subscriber");
            return None;
        };
        let channel = self.channel_of(spec, report);
        if spec.subscriber.is_none() && spec.reply.is_none() {
            report.error(
                "spec.subscriber",
                "is missing: give a subscriber, a reply, or both",
            );
        }
        let subscriber =
            self.resolve_destination("spec.subscriber", spec.subscriber.as_ref(), report);
        let reply = self.resolve_destination("spec.reply", spec.reply.as_ref(), report);
        let parent = channel.as_ref().and_then(|key| self.parents.get(key));
        let own = spec.delivery.as_ref().map(WrittenDelivery::own);
        let (delivery, dead_letter_sink) = resolve_delivery(self.resolver, own, parent, report);
        let key = subscription_key(SubscriptionKind::Subscription, report);
        // The namespace is that of the channel, which need not be the Subscription's (contract
        // DP-5).
        let namespace = channel.as_ref().map_or_else(
            || key.namespace.clone(),
            |channel| channel.namespace.clone(),
        );
        let filter = Filter::MatchAll;
        let sender = self
            .resolver
            .sender_rules
            .sender_account(ResourceKind::Subscription, report);
        let event_types = None;
        let made = Subscription {
            key,
            filter,
            subscriber,
            reply,
            dead_letter_sink,
            delivery,
            sender,
            event_types,
            namespace,
        };
        finish(channel, made, report)
    }

    /// Resolves a `Trigger`: a subscription of its Broker, whose replies go back to it (contract
    /// BF-1, BF-3).
    pub(super) fn resolve_trigger(
        &mut self,
        spec: Option<&TriggerSpec>,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedSubscription> {
        let Some(spec) = spec else {
            report.error("spec", "is missing: give broker and subscriber");
            return None;
        };
        let broker = self.broker_of(spec, report);
        let filter = filter::compile_trigger_filter(spec, &self.resolver.key_ring, report);
        if spec.subscriber.is_none() {
            report.error("spec.subscriber", "is missing: say who gets the events");
        }
        let subscriber =
            self.resolve_destination("spec.subscriber", spec.subscriber.as_ref(), report);
        let reply = broker
            .as_ref()
            .and_then(|key| self.resolver.local_addressable(key));
        let parent = broker.as_ref().and_then(|key| self.parents.get(key));
        let own = spec.delivery.as_ref().map(WrittenDelivery::own);
        let (delivery, dead_letter_sink) = resolve_delivery(self.resolver, own, parent, report);
        let key = subscription_key(SubscriptionKind::Trigger, report);
        let namespace = key.namespace.clone();
        let sender = self
            .resolver
            .sender_rules
            .sender_account(ResourceKind::Trigger, report);
        let event_types = None;
        let made = Subscription {
            key,
            filter,
            subscriber,
            reply,
            dead_letter_sink,
            delivery,
            sender,
            event_types,
            namespace,
        };
        finish(broker, made, report)
    }

    fn resolve_destination(
        &mut self,
        field: &str,
        written: Option<&DestinationManifest>,
        report: &mut ObjectReport<'_>,
    ) -> Option<Addressable> {
        Some(self.resolver.resolve_or_unresolved(
            &WrittenDestination::at_field(field.to_owned(), written?),
            report,
        ))
    }
}

/// Resolves the delivery spec and the dead letter sink of a subscription: its own spec, which
/// stands at this field, if it has any at all, else its parent's; and its own sink if it has one,
/// else its parent's (contract BF-3, 5.4). With `DeliveryMerge::Fields`, specs are merged field by
/// field.
pub(super) fn resolve_delivery(
    resolver: &mut DestinationResolver<'_>,
    own: Option<WrittenDelivery<'_>>,
    parent: Option<&ResolvedParent>,
    report: &mut ObjectReport<'_>,
) -> (DeliverySpec, Option<Addressable>) {
    let inherited = parent
        .map(|parent| parent.delivery.clone())
        .unwrap_or_default();
    let delivery = match (own, resolver.settings.delivery_merge) {
        (None, _) => inherited,
        (Some(own), DeliveryMerge::Fields) => own.resolve(report).merge_parent(&inherited),
        (Some(own), DeliveryMerge::Replace) => {
            let fields = own.resolve(report);
            warn_of_missing(&fields.missing_fields(&inherited), own.field, report);
            fields
        }
    };
    let sink = match own.and_then(WrittenDelivery::dead_letter_sink) {
        Some(sink) => Some(resolver.resolve_or_unresolved(&sink, report)),
        None => parent.and_then(|parent| parent.dead_letter_sink.clone()),
    };
    (
        DeliverySpec {
            order: features::read_delivery_order(report),
            start_at: features::read_start_at(parent.map(|parent| parent.backend), report),
            ..delivery.to_delivery_spec()
        },
        sink,
    )
}

/// Warns of fields of the parent's spec that are lost: an own spec replaces the parent's as a
/// whole, which surprises an author who only wants to add a field (contract G-34).
fn warn_of_missing(missing: &[&str], field: &str, report: &mut ObjectReport<'_>) {
    if !missing.is_empty() {
        let fields = missing.join(", ");
        let rule = "replaces the parent's, so that its";
        let remedy = "not used: write them here too, or run with --delivery-merge fields";
        report.warning(field, format!("{rule} {fields} are {remedy}"));
    }
}

fn subscription_key(kind: SubscriptionKind, report: &ObjectReport<'_>) -> SubscriptionKey {
    let object = report.object();
    SubscriptionKey {
        kind,
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    }
}

/// The same subscription, whose destinations are spoken to by these versions of HTTP.
pub(super) fn with_http_versions(mut made: Subscription, versions: HttpVersions) -> Subscription {
    let Subscription {
        subscriber,
        reply,
        dead_letter_sink,
        ..
    } = &mut made;
    for to in [subscriber, reply, dead_letter_sink].into_iter().flatten() {
        to.url = to.url.clone().with_http_versions(versions);
    }
    made
}

/// Completes a subscription by what its annotations say of its destinations; `None` without a parent
/// that is known, or if a problem was reported.
fn finish(
    parent: Option<ChannelKey>,
    made: Subscription,
    report: &mut ObjectReport<'_>,
) -> Option<ResolvedSubscription> {
    let subscription = with_http_versions(made, features::read_http_versions(report));
    parent
        .filter(|_| !report.has_errors())
        .map(|channel| ResolvedSubscription {
            channel,
            subscription,
        })
}
