//! Resolves the roles `ingress` and `filter`: Brokers and Triggers as the upstream control plane
//! has reconciled them, since their channels and subscribers are in other processes (contract 5.7,
//! 5.9, 5.11, 5.12).
//!
//! Their `status` counts. Without a cluster, a Trigger without a status is resolved by its `spec`,
//! so that manifests as users write them can be tried, too.

mod resolved_relay;

use std::sync::Arc;

use super::collect::CollectedObjects;
use super::delivery;
use super::destination::{DestinationResolver, WrittenDestination};
use super::filter;
use crate::control::read::document::ManifestDocument;
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::eventing::{BrokerManifest, TriggerManifest, TriggerSpec};
use crate::control::read::problem::ObjectName;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::config::flags::FeatureSwitch;
use crate::control::resolve::keys::channel_key;
use crate::control::resolve::senders::trigger_subjects::TriggerSubjects;
use crate::control::task::ControlTask;
use crate::model::{
    Addressable, BrokerRelay, ChannelKind, Inventory, NamespacedName, RelayTable, TriggerRelay,
};
use resolved_relay::{RelaysByName, ResolvedRelay, ResolvedRelayContext};

/// Every relay of the process.
#[derive(Clone, Debug, Default)]
pub(super) struct ResolvedRelays {
    /// The Brokers of the role `ingress`.
    brokers: RelaysByName<BrokerRelay>,
    /// The addresses of Brokers, for the Triggers of the role `filter`.
    addresses: RelaysByName<BrokerAddress>,
    /// The Triggers of the role `filter`.
    triggers: RelaysByName<TriggerRelay>,
}

/// The addresses that Triggers need of their Broker.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BrokerAddress {
    address: Option<Addressable>,
    dead_letter_sink: Option<Addressable>,
}

impl ResolvedRelays {
    /// The relays in the form of the routing table.
    pub(super) fn to_relay_table(&self) -> RelayTable {
        RelayTable {
            brokers: resolved_relay::by_path(&self.brokers),
            triggers: resolved_relay::by_path(&self.triggers),
        }
    }

    /// The inventory of the relayed Brokers and Triggers.
    pub(super) fn inventory(&self) -> Inventory {
        let brokers = self.brokers.values().map(|resolved| resolved.object());
        let triggers = self.triggers.values().map(|resolved| resolved.object());
        Inventory {
            objects: brokers.chain(triggers).cloned().collect(),
        }
    }
}

/// Resolves the relays of a role; one with problems keeps its form of `last`.
pub(super) fn resolve(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    last: Option<&ResolvedRelays>,
) -> ResolvedRelays {
    let nothing = ResolvedRelays::default();
    let last = last.unwrap_or(&nothing);
    match resolver.settings.task {
        ControlTask::RelayBrokers(_) => ResolvedRelays {
            brokers: resolve_brokers(collected, resolver, &last.brokers),
            ..ResolvedRelays::default()
        },
        ControlTask::RelayTriggers(_) => {
            let context = ResolvedRelayContext::from_resolver(resolver);
            let items = &mut collected.brokers;
            let addresses = resolved_relay::resolve_each(
                items,
                resolver,
                &last.addresses,
                |_| context.clone(),
                |_, _, report, resolver| resolve_broker_address(report, resolver),
            );
            let triggers = resolve_triggers(collected, resolver, &addresses, &last.triggers);
            ResolvedRelays {
                addresses,
                triggers,
                ..ResolvedRelays::default()
            }
        }
        ControlTask::ServeManifests
        | ControlTask::ServeChannels { .. }
        | ControlTask::ReconcileChannels(_) => ResolvedRelays::default(),
    }
}

fn resolve_brokers(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    last: &RelaysByName<BrokerRelay>,
) -> RelaysByName<BrokerRelay> {
    let context = ResolvedRelayContext::from_resolver(resolver);
    let make =
        |_: Option<&BrokerManifest>,
         _: &ResolvedRelayContext,
         report: &mut ObjectReport<'_>,
         resolver: &mut DestinationResolver<'_>| { resolve_broker(report, resolver) };
    let mut brokers = resolved_relay::resolve_each(
        &mut collected.brokers,
        resolver,
        last,
        |_| context.clone(),
        make,
    );
    resolved_relay::replace_relays(&mut brokers, |name, resolved| {
        let key = channel_key(
            ChannelKind::Broker,
            name.namespace.clone(),
            name.name.clone(),
        );
        let (relay, access) = (
            resolved.relay().as_ref(),
            resolver.sender_rules.authorization(&key),
        );
        (relay.authorization != access).then(|| BrokerRelay {
            authorization: access,
            ..relay.clone()
        })
    });
    brokers
}

fn resolve_triggers(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    addresses: &RelaysByName<BrokerAddress>,
    last: &RelaysByName<TriggerRelay>,
) -> RelaysByName<TriggerRelay> {
    let subscribers = TriggerSubjects::from_collected(collected);
    let common = ResolvedRelayContext::from_resolver(resolver);
    let cross_namespace = resolver.sender_rules.cross_namespace();
    let context = |report: &ObjectReport<'_>| {
        let name = broker_of(report, cross_namespace);
        common.with_broker(
            name.and_then(|name| addresses.get(&name))
                .map(|resolved| Arc::clone(resolved.relay())),
        )
    };
    let make = |written: Option<&TriggerManifest>,
                context: &ResolvedRelayContext,
                report: &mut ObjectReport<'_>,
                resolver: &mut DestinationResolver<'_>| {
        resolve_trigger(written, context.broker(), report, resolver)
    };
    let mut triggers =
        resolved_relay::resolve_each(&mut collected.triggers, resolver, last, context, make);
    resolved_relay::replace_relays(
        &mut triggers,
        |_, resolved: &ResolvedRelay<TriggerRelay>| {
            let (relay, access) = (
                resolved.relay().as_ref(),
                resolver
                    .sender_rules
                    .trigger_authorization(resolved.uid(), &subscribers),
            );
            (relay.authorization != access).then(|| TriggerRelay {
                authorization: access,
                ..relay.clone()
            })
        },
    );
    triggers
}

/// The Broker of a Trigger; one of another namespace only if the flag allows that (contract 3.2).
fn broker_of(report: &ObjectReport<'_>, cross_namespace: FeatureSwitch) -> Option<NamespacedName> {
    let (document, own) = (report.document(), &report.object().namespace);
    let referred = |field| document.text(&["spec", "brokerRef", field]);
    if let (FeatureSwitch::On, Some(name)) = (cross_namespace, referred("name")) {
        return Some(NamespacedName::new(
            referred("namespace").unwrap_or(own),
            name,
        ));
    }
    let name = document
        .text(&["spec", "broker"])
        .or_else(|| referred("name"))?;
    Some(NamespacedName::new(own, name))
}

/// Resolves a Broker. `status.annotations` name its channel (contract 5.7); its class does not
/// matter (contract BI-4).
fn resolve_broker(
    report: &mut ObjectReport<'_>,
    resolver: &mut DestinationResolver<'_>,
) -> BrokerRelay {
    let annotation = |key| ["status", "annotations", key];
    let [url, ca_certs, audience] = [
        "knative.dev/channelAddress",
        "knative.dev/channelCACerts",
        "knative.dev/channelAudience",
    ]
    .map(annotation);
    let fields = StatusAddressFields {
        url: &url,
        ca_certs: &ca_certs,
        audience: &audience,
    };
    let channel = fields.resolve(resolver, report);
    if channel.is_none() && !report.has_errors() && is_without_cluster(resolver) {
        let field = "status.annotations.knative.dev/channelAddress";
        let rule = "is missing, so that events are answered by 500: give the Broker as it is in the cluster";
        report.unresolved_reference(field, rule);
    }
    let ObjectName {
        namespace, name, ..
    } = report.object().clone();
    let key = channel_key(ChannelKind::Broker, namespace, name);
    let rules = &resolver.sender_rules;
    BrokerRelay {
        channel,
        authorization: rules.authorization(&key),
        sender: rules.ingress_account(),
        event_types: rules.event_type_owner(&key),
    }
}

/// The address of a Broker: that of its status, else, without a cluster, the one that it would have
/// there.
fn resolve_broker_address(
    report: &mut ObjectReport<'_>,
    resolver: &mut DestinationResolver<'_>,
) -> BrokerAddress {
    let fields = StatusAddressFields {
        url: &["status", "address", "url"],
        ca_certs: &["status", "address", "CACerts"],
        audience: &["status", "address", "audience"],
    };
    let mut address = fields.resolve(resolver, report);
    if address.is_none() && is_without_cluster(resolver) {
        let ObjectName {
            namespace, name, ..
        } = report.object().clone();
        address = resolver
            .cluster_addressable(&channel_key(ChannelKind::Broker, namespace, name), report);
    }
    BrokerAddress {
        address,
        dead_letter_sink: DEAD_LETTER_SINK.resolve(resolver, report),
    }
}

fn resolve_trigger(
    written: Option<&TriggerManifest>,
    broker: Option<&BrokerAddress>,
    report: &mut ObjectReport<'_>,
    resolver: &mut DestinationResolver<'_>,
) -> TriggerRelay {
    let unset = TriggerSpec::default();
    let spec = written
        .and_then(|trigger| trigger.spec.as_ref())
        .unwrap_or(&unset);
    let written = spec.delivery.as_ref();
    let format = written.map(|written| {
        delivery::resolve(written, "spec.delivery", report)
            .to_delivery_spec()
            .format
    });
    let filter = filter::compile_trigger_filter(spec, &resolver.key_ring, report);
    let subscriber = resolve_subscriber(spec, resolver, report);
    let own = DEAD_LETTER_SINK.resolve(resolver, report).or_else(|| {
        let sink = written
            .and_then(|written| written.dead_letter_sink.as_ref())
            .filter(|_| is_without_cluster(resolver))?;
        resolver.resolve(
            &WrittenDestination::at_field("spec.delivery.deadLetterSink".to_owned(), sink),
            report,
        )
    });
    let sender = resolver
        .sender_rules
        .sender_account(ResourceKind::Trigger, report);
    let ObjectName {
        namespace, name, ..
    } = report.object().clone();
    let name = NamespacedName { namespace, name };
    TriggerRelay {
        // The demands on senders are added when their Subscriptions are known.
        authorization: None,
        sender,
        event_types: resolver
            .sender_rules
            .trigger_event_type_owner(&name, report),
        uid: report
            .document()
            .text(&["metadata", "uid"])
            .map(str::to_owned),
        namespace: name.namespace,
        filter,
        format: format.unwrap_or_default(),
        // With any error the Trigger is closed: nobody gets its events.
        subscriber: subscriber.filter(|_| !report.has_errors()),
        broker: broker.and_then(|broker| broker.address.clone()),
        dead_letter_sink: own.or_else(|| broker.and_then(|broker| broker.dead_letter_sink.clone())),
    }
}

/// The subscriber of a Trigger. In a cluster, `status` alone names it: until then, there is none
/// (contract BF-7).
fn resolve_subscriber(
    spec: &TriggerSpec,
    resolver: &mut DestinationResolver<'_>,
    report: &mut ObjectReport<'_>,
) -> Option<Addressable> {
    let fields = StatusAddressFields {
        url: &["status", "subscriberUri"],
        ca_certs: &["status", "subscriberCACerts"],
        audience: &["status", "subscriberAudience"],
    };
    if let Some(subscriber) = fields.resolve(resolver, report) {
        return Some(subscriber);
    }
    if !is_without_cluster(resolver) {
        return None;
    }
    let Some(written) = &spec.subscriber else {
        report.error("spec.subscriber", "is missing: say who gets the events");
        return None;
    };
    resolver.resolve(
        &WrittenDestination::at_field("spec.subscriber".to_owned(), written),
        report,
    )
}

fn is_without_cluster(resolver: &DestinationResolver<'_>) -> bool {
    resolver.settings.task.reads_written_objects()
}

const DEAD_LETTER_SINK: StatusAddressFields<'_> = StatusAddressFields {
    url: &["status", "deadLetterSinkUri"],
    ca_certs: &["status", "deadLetterSinkCACerts"],
    audience: &["status", "deadLetterSinkAudience"],
};

/// The fields of an object's status that the control plane has written an address into.
struct StatusAddressFields<'f> {
    /// The path of the URL, as keys.
    url: &'f [&'f str],
    /// The path of the CA certificates, as keys.
    ca_certs: &'f [&'f str],
    /// The path of the audience, as keys.
    audience: &'f [&'f str],
}

impl StatusAddressFields<'_> {
    /// Resolves the address; `None` if there is none, or a problem with it was reported.
    fn resolve(
        &self,
        resolver: &mut DestinationResolver<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<Addressable> {
        let document: &ManifestDocument = report.document();
        let wanted = WrittenDestination {
            ca_certs: document.text(self.ca_certs),
            audience: document.text(self.audience),
            uri_field: self.url.join("."),
            ca_certs_field: self.ca_certs.join("."),
            ..WrittenDestination::from_uri(document.text(self.url)?, self.url.join("."))
        };
        resolver.resolve(&wanted, report)
    }
}
