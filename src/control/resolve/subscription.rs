//! Resolves Subscriptions, Triggers and the subscribers of channels: each becomes one
//! `model::Subscription`.

use std::sync::Arc;

use super::channel::{ResolvedParent, ResolvedParents};
use super::delivery;
use super::destination::{DestinationResolver, WrittenDestination};
use super::features;
use super::filter;
use super::flags::FeatureSwitch;
use super::reference::{self, ReferencedKind};
use crate::control::DeliveryMerge;
use crate::control::kind::ResourceKind;
use crate::control::manifest::duck::{self, DestinationManifest, KReference};
use crate::control::manifest::eventing::TriggerSpec;
use crate::control::manifest::messaging::{SubscriberSpec, SubscriptionSpec};
use crate::control::report::ObjectReport;
use crate::filter::Filter;
use crate::model::{
    Addressable, ChannelKey, ChannelKind, DeliverySpec, EventTypeOwner, HttpVersions, Subscription, SubscriptionKey,
    SubscriptionKind,
};

/// A subscription, and the channel or Broker that it belongs to.
pub(super) type ResolvedSubscription = (ChannelKey, Subscription);

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
            report.error("spec.subscriber", "is missing: give a subscriber, a reply, or both");
        }
        let subscriber = self.resolve_destination("spec.subscriber", spec.subscriber.as_ref(), report);
        let reply = self.resolve_destination("spec.reply", spec.reply.as_ref(), report);
        let parent = channel.as_ref().and_then(|key| self.parents.get(key));
        let own = spec.delivery.as_ref().map(|own| ("spec.delivery", own));
        let (delivery, dead_letter_sink) = resolve_delivery(self.resolver, own, parent, report);
        let key = subscription_key(SubscriptionKind::Subscription, report);
        // The namespace is that of the channel, which need not be the Subscription's (contract
        // DP-5).
        let namespace = channel.as_ref().map_or_else(|| key.namespace.clone(), |channel| channel.namespace.clone());
        let filter = Filter::MatchAll;
        let sender = self.resolver.sender_rules.sender_account(ResourceKind::Subscription, report);
        let event_types = None;
        let made =
            Subscription { key, filter, subscriber, reply, dead_letter_sink, delivery, sender, event_types, namespace };
        let made = with_http_versions(made, features::read_http_versions(report));
        unless_errors(channel, made, report)
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
        let subscriber = self.resolve_destination("spec.subscriber", spec.subscriber.as_ref(), report);
        let reply = broker.as_ref().and_then(|key| self.resolver.local_addressable(key));
        let parent = broker.as_ref().and_then(|key| self.parents.get(key));
        let own = spec.delivery.as_ref().map(|own| ("spec.delivery", own));
        let (delivery, dead_letter_sink) = resolve_delivery(self.resolver, own, parent, report);
        let key = subscription_key(SubscriptionKind::Trigger, report);
        let namespace = key.namespace.clone();
        let sender = self.resolver.sender_rules.sender_account(ResourceKind::Trigger, report);
        let event_types = None;
        let made =
            Subscription { key, filter, subscriber, reply, dead_letter_sink, delivery, sender, event_types, namespace };
        let made = with_http_versions(made, features::read_http_versions(report));
        unless_errors(broker, made, report)
    }

    /// Resolves an entry of a channel's `spec.subscribers`, whose delivery spec is complete already
    /// (contract 2.1). `id` names the entry within its channel, `field` is its place.
    pub(super) fn resolve_subscriber(
        &mut self,
        (written, id): (&SubscriberSpec, &str),
        channel: &ChannelKey,
        field: &str,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedSubscription> {
        let before = report.error_count();
        let subscriber = written.subscriber_uri.as_deref().map(|uri| WrittenDestination {
            ca_certs: written.subscriber_ca_certs.as_deref(),
            audience: written.subscriber_audience.as_deref(),
            ..WrittenDestination::from_uri(uri, format!("{field}.subscriber"))
        });
        let reply = written.reply_uri.as_deref().map(|uri| WrittenDestination {
            ca_certs: written.reply_ca_certs.as_deref(),
            audience: written.reply_audience.as_deref(),
            ..WrittenDestination::from_uri(uri, format!("{field}.reply"))
        });
        if subscriber.is_none() && reply.is_none() {
            report.error(field, "has neither subscriberUri nor replyUri: give one of them");
        }
        let subscriber = subscriber.map(|wanted| self.resolver.resolve_or_unresolved(&wanted, report));
        let reply = reply.map(|wanted| self.resolver.resolve_or_unresolved(&wanted, report));
        let delivery_field = format!("{field}.delivery");
        let own = written.delivery.as_ref().map(|own| (delivery_field.as_str(), own));
        let (delivery, dead_letter_sink) = resolve_delivery(self.resolver, own, None, report);
        let namespace = channel.namespace.clone();
        let key = subscriber_key(channel, id);
        let filter = Filter::MatchAll;
        let account = written.auth.as_ref().and_then(|auth| auth.service_account_name.as_deref());
        let auth_field = format!("{field}.auth.serviceAccountName");
        let sender =
            account.and_then(|name| self.resolver.sender_rules.sender_account_named(name, &auth_field, report));
        let event_types = self.reply_event_type_owner(written, channel);
        let made =
            Subscription { key, filter, subscriber, reply, dead_letter_sink, delivery, sender, event_types, namespace };
        let made = with_http_versions(made, features::read_http_versions(report));
        (report.error_count() == before).then(|| (channel.clone(), made))
    }

    /// The owner of `EventType`s for the replies of a channel's subscriber; `None` if none are
    /// created (contract 8.3).
    fn reply_event_type_owner(&self, written: &SubscriberSpec, channel: &ChannelKey) -> Option<Arc<EventTypeOwner>> {
        self.resolver.sender_rules.event_type_owner(channel)?;
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Some(Arc::new(EventTypeOwner {
            api_version: ResourceKind::Subscription.api_version(),
            kind: ResourceKind::Subscription.as_str(),
            namespace: channel.namespace.clone(),
            name: text(&written.name)?,
            uid: text(&written.uid)?,
            address: None,
        }))
    }

    fn resolve_destination(
        &mut self,
        field: &str,
        written: Option<&DestinationManifest>,
        report: &mut ObjectReport<'_>,
    ) -> Option<Addressable> {
        Some(self.resolver.resolve_or_unresolved(&WrittenDestination::at_field(field.to_owned(), written?), report))
    }

    fn channel_of(&self, spec: &SubscriptionSpec, report: &mut ObjectReport<'_>) -> Option<ChannelKey> {
        let Some(reference) = &spec.channel else {
            report.error("spec.channel", "is missing: give apiVersion, kind and name of the channel");
            return None;
        };
        match reference::referenced_kind(reference, "spec.channel", report)? {
            ReferencedKind::Known(
                ResourceKind::Channel | ResourceKind::InMemoryChannel | ResourceKind::RabbitmqChannel,
            ) => {}
            ReferencedKind::Known(kind) => {
                let remedy = "is no channel: write Channel, InMemoryChannel or RabbitmqChannel";
                report.error("spec.channel.kind", format!("{} {remedy}", kind.as_str()));
                return None;
            }
            ReferencedKind::Other { group, kind } => {
                match reference::replacement_remedy(&group, &kind) {
                    Some(remedy) => report.warn_not_served("spec.channel", not_served_message(&kind, remedy, report)),
                    None => {
                        let remedy =
                            "is no channel that is served here: write Channel, InMemoryChannel or RabbitmqChannel";
                        report.error("spec.channel.kind", format!("{kind} {remedy}"));
                    }
                }
                return None;
            }
        }
        let Some(name) = reference.name.clone().filter(|name| !name.is_empty()) else {
            report.error("spec.channel.name", "is missing: name the channel");
            return None;
        };
        let namespace = self.namespace_of(reference, ("spec.channel", "channel"), report)?;
        self.require_served(ChannelKey { kind: ChannelKind::Channel, namespace, name }, "spec.channel", report)
    }

    /// The namespace of a channel or Broker that a reference names: another one than the object's
    /// own only if the flag allows that.
    fn namespace_of(
        &self,
        reference: &KReference,
        (field, what): (&str, &str),
        report: &mut ObjectReport<'_>,
    ) -> Option<String> {
        let own = report.object().namespace.clone();
        let written = reference.namespace.clone().filter(|namespace| !namespace.is_empty() && *namespace != own);
        let Some(other) = written else { return Some(own) };
        if self.resolver.sender_rules.cross_namespace() == FeatureSwitch::On {
            return Some(other);
        }
        let kind = &report.object().kind;
        let message = format!(
            "is {other}, and a {kind} of the namespace {own} may belong to a {what} there only with \
             cross-namespace-event-links: enabled in the ConfigMap config-features: set that, or name a {what} of {own}"
        );
        report.error(&format!("{field}.namespace"), message);
        None
    }

    fn broker_of(&self, spec: &TriggerSpec, report: &mut ObjectReport<'_>) -> Option<ChannelKey> {
        let written = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
        let referred = spec.broker_ref.as_ref();
        let (by_name, by_reference) =
            (written(spec.broker.as_ref()), written(referred.and_then(|broker| broker.name.as_ref())));
        if by_name.is_some() && referred.is_some() {
            report.error("spec.brokerRef", "is there beside broker: keep one of the two");
            return None;
        }
        let namespace = match referred {
            Some(reference) => {
                self.namespace_of(&default_to_broker(reference, report)?, ("spec.brokerRef", "Broker"), report)?
            }
            None => report.object().namespace.clone(),
        };
        let field = if referred.is_some() { "spec.brokerRef" } else { "spec.broker" };
        let name = by_name.or(by_reference);
        let Some(name) = name else {
            report.error("spec.broker", "is missing: name the Broker");
            return None;
        };
        self.require_served(ChannelKey { kind: ChannelKind::Broker, namespace, name }, field, report)
    }

    /// The channel or Broker of this name, if it is served; else reports why not, at `field`.
    pub(super) fn require_served(
        &self,
        key: ChannelKey,
        field: &str,
        report: &mut ObjectReport<'_>,
    ) -> Option<ChannelKey> {
        match self.resolver.check_served(&key) {
            Ok(()) => Some(key),
            // The parent is not served on purpose, and so neither are its Triggers and Subscriptions.
            Err(message) if self.resolver.is_left_alone(&key) => {
                report.warn_not_served(field, format!("{message}: this {} is left alone, too", report.object().kind));
                None
            }
            Err(message) => {
                report.unresolved_reference(field, message);
                None
            }
        }
    }
}

/// Checks that a reference of a Trigger means a Broker; a missing kind does.
fn default_to_broker(reference: &KReference, report: &mut ObjectReport<'_>) -> Option<KReference> {
    let kind = reference.kind.as_deref().filter(|kind| !kind.is_empty() && *kind != ResourceKind::Broker.as_str());
    if let Some(kind) = kind {
        report.error("spec.brokerRef.kind", format!("{kind} is no Broker: write Broker, or leave it out"));
        return None;
    }
    Some(reference.clone())
}

/// The message for an object whose channel or Broker is of a kind that is not served here.
fn not_served_message(kind: &str, remedy: &str, report: &ObjectReport<'_>) -> String {
    let own = &report.object().kind;
    format!("leads to a {kind}, which is left alone here, and so is this {own}: {remedy}")
}

/// Resolves the delivery spec and the dead letter sink of a subscription: its own spec, which
/// stands at this field, if it has any at all, else its parent's; and its own sink if it has one,
/// else its parent's (contract BF-3, 5.4). With `DeliveryMerge::Fields`, specs are merged field by
/// field.
pub(super) fn resolve_delivery(
    resolver: &mut DestinationResolver<'_>,
    own: Option<(&str, &duck::DeliverySpecManifest)>,
    parent: Option<&ResolvedParent>,
    report: &mut ObjectReport<'_>,
) -> (DeliverySpec, Option<Addressable>) {
    let inherited = parent.map(|parent| parent.delivery.clone()).unwrap_or_default();
    let read = own.map(|(field, own)| (field, delivery::resolve(own, field, report)));
    let delivery = match (read, resolver.settings.delivery_merge) {
        (None, _) => inherited,
        (Some((_, own)), DeliveryMerge::Fields) => own.merge_parent(&inherited),
        (Some((field, own)), DeliveryMerge::Replace) => {
            warn_of_missing(&own.missing_fields(&inherited), field, report);
            own
        }
    };
    let sink = match own.and_then(|(field, own)| Some((field, own.dead_letter_sink.as_ref()?))) {
        Some((field, sink)) => Some(
            resolver
                .resolve_or_unresolved(&WrittenDestination::at_field(format!("{field}.deadLetterSink"), sink), report),
        ),
        None => parent.and_then(|parent| parent.dead_letter_sink.clone()),
    };
    (DeliverySpec { order: features::read_delivery_order(report), ..delivery.to_delivery_spec() }, sink)
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

/// The key of a subscriber of a channel.
pub(super) fn subscriber_key(channel: &ChannelKey, id: &str) -> SubscriptionKey {
    let name = format!("{}/{id}", channel.name);
    SubscriptionKey { kind: SubscriptionKind::Subscriber, namespace: channel.namespace.clone(), name }
}

fn subscription_key(kind: SubscriptionKind, report: &ObjectReport<'_>) -> SubscriptionKey {
    let object = report.object();
    SubscriptionKey { kind, namespace: object.namespace.clone(), name: object.name.clone() }
}

/// The same subscription, whose destinations are spoken to by these versions of HTTP.
pub(super) fn with_http_versions(mut made: Subscription, versions: HttpVersions) -> Subscription {
    let Subscription { subscriber, reply, dead_letter_sink, .. } = &mut made;
    for to in [subscriber, reply, dead_letter_sink].into_iter().flatten() {
        to.url = to.url.clone().with_http_versions(versions);
    }
    made
}

fn unless_errors(
    channel: Option<ChannelKey>,
    made: Subscription,
    report: &ObjectReport<'_>,
) -> Option<ResolvedSubscription> {
    channel.filter(|_| !report.has_errors()).map(|channel| (channel, made))
}
