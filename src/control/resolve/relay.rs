//! The roles `ingress` and `filter`: Brokers and Triggers as the upstream control plane has reconciled them, since their
//! channels and subscribers are elsewhere (contract 5.7, 5.9, 5.11, 5.12).
//!
//! What `status` says counts. Where there is no cluster, a Trigger without it is resolved by its `spec`, so that manifests
//! as users write them can be tried, too.

mod form;

use std::sync::Arc;

use super::access::Subscribers;
use super::collect::{Collected, Name};
use super::destination::{Resolver, Wanted};
use super::flags::Switch;
use super::{delivery, filter};
use crate::control::ObjectName;
use crate::control::kind::Kind;
use crate::control::manifest::Document;
use crate::control::manifest::eventing::{Broker, Trigger, TriggerSpec};
use crate::control::report::Report;
use crate::control::settings::Objects;
use crate::model::{Addressable, BrokerRelay, ChannelKey, ChannelKind, Inventory, Relays, Role, TriggerRelay};

use form::{Context, Forms, Made};

/// Every relay of the process.
#[derive(Clone, Debug, Default)]
pub(super) struct Relayed {
    /// Of the role `ingress`.
    brokers: Forms<BrokerRelay>,
    /// Of the role `filter`.
    addresses: Forms<BrokerAddress>,
    triggers: Forms<TriggerRelay>,
}

/// What Triggers need of a Broker.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BrokerAddress {
    address: Option<Addressable>,
    dead_letter_sink: Option<Addressable>,
}

impl Relayed {
    /// For the routing table.
    pub(super) fn relays(&self) -> Relays {
        Relays { brokers: form::by_path(&self.brokers), triggers: form::by_path(&self.triggers) }
    }

    /// What `get` shows.
    pub(super) fn inventory(&self) -> Inventory {
        let brokers = self.brokers.values().map(|made| made.object());
        let triggers = self.triggers.values().map(|made| made.object());
        Inventory { objects: brokers.chain(triggers).cloned().collect() }
    }
}

/// The relays of a role; one with problems keeps its form of `last`.
pub(super) fn resolve(collected: &mut Collected<'_>, resolver: &mut Resolver<'_>, last: Option<&Relayed>) -> Relayed {
    let nothing = Relayed::default();
    let last = last.unwrap_or(&nothing);
    match resolver.settings.role {
        Role::Channel => Relayed::default(),
        Role::Ingress => Relayed { brokers: brokers(collected, resolver, &last.brokers), ..Relayed::default() },
        Role::Filter => {
            let context = Context::of(resolver);
            let items = &mut collected.brokers;
            let addresses = form::each(
                items,
                resolver,
                &last.addresses,
                |_| context.clone(),
                |_, _, report, resolver| address(report, resolver),
            );
            let triggers = triggers(collected, resolver, &addresses, &last.triggers);
            Relayed { addresses, triggers, ..Relayed::default() }
        }
    }
}

fn brokers(
    collected: &mut Collected<'_>,
    resolver: &mut Resolver<'_>,
    last: &Forms<BrokerRelay>,
) -> Forms<BrokerRelay> {
    let context = Context::of(resolver);
    let make = |_: Option<&Broker>, _: &Context, report: &mut Report<'_>, resolver: &mut Resolver<'_>| {
        broker(report, resolver)
    };
    let mut brokers = form::each(&mut collected.brokers, resolver, last, |_| context.clone(), make);
    form::adjust(&mut brokers, |(namespace, name), made| {
        let key = ChannelKey { kind: ChannelKind::Broker, namespace: namespace.clone(), name: name.clone() };
        let (relay, access) = (made.relay().as_ref(), resolver.rules.access(&key));
        (relay.access != access).then(|| BrokerRelay { access, ..relay.clone() })
    });
    brokers
}

fn triggers(
    collected: &mut Collected<'_>,
    resolver: &mut Resolver<'_>,
    addresses: &Forms<BrokerAddress>,
    last: &Forms<TriggerRelay>,
) -> Forms<TriggerRelay> {
    let subscribers = Subscribers::of(collected);
    let common = Context::of(resolver);
    let cross_namespace = resolver.rules.cross_namespace();
    let context = |report: &Report<'_>| {
        let name = broker_of(report, cross_namespace);
        common.with_broker(name.and_then(|name| addresses.get(&name)).map(|made| Arc::clone(made.relay())))
    };
    let make = |written: Option<&Trigger>, context: &Context, report: &mut Report<'_>, resolver: &mut Resolver<'_>| {
        trigger(written, context.broker(), report, resolver)
    };
    let mut triggers = form::each(&mut collected.triggers, resolver, last, context, make);
    form::adjust(&mut triggers, |_, made: &Made<TriggerRelay>| {
        let (relay, access) = (made.relay().as_ref(), resolver.rules.of_trigger(made.uid(), &subscribers));
        (relay.access != access).then(|| TriggerRelay { access, ..relay.clone() })
    });
    triggers
}

/// The Broker of a Trigger; of another namespace only where the flag allows that (contract 3.2).
fn broker_of(report: &Report<'_>, cross_namespace: Switch) -> Option<Name> {
    let (document, own) = (report.document(), &report.object().namespace);
    let referred = |field| document.text(&["spec", "brokerRef", field]);
    if let (Switch::On, Some(name)) = (cross_namespace, referred("name")) {
        return Some((referred("namespace").unwrap_or(own).to_owned(), name.to_owned()));
    }
    let name = document.text(&["spec", "broker"]).or_else(|| referred("name"))?;
    Some((own.clone(), name.to_owned()))
}

/// `status.annotations` name the channel (contract 5.7); its class does not matter (contract BI-4).
fn broker(report: &mut Report<'_>, resolver: &mut Resolver<'_>) -> BrokerRelay {
    let annotation = |key| ["status", "annotations", key];
    let [url, ca_certs, audience] =
        ["knative.dev/channelAddress", "knative.dev/channelCACerts", "knative.dev/channelAudience"].map(annotation);
    let fields = Fields { url: &url, ca_certs: &ca_certs, audience: &audience };
    let channel = fields.resolve(resolver, report);
    if channel.is_none() && !report.is_bad() && is_written(resolver) {
        let field = "status.annotations.knative.dev/channelAddress";
        let rule = "is missing, so that events are answered by 500: give the Broker as it is in the cluster";
        report.unresolved(field, rule);
    }
    let ObjectName { namespace, name, .. } = report.object().clone();
    let key = ChannelKey { kind: ChannelKind::Broker, namespace, name };
    let rules = &resolver.rules;
    BrokerRelay { channel, access: rules.access(&key), sender: rules.ingress(), event_types: rules.owner(&key) }
}

/// The address of a Broker: that of its status, else, where there is no cluster, the one that it would have there.
fn address(report: &mut Report<'_>, resolver: &mut Resolver<'_>) -> BrokerAddress {
    let fields = Fields {
        url: &["status", "address", "url"],
        ca_certs: &["status", "address", "CACerts"],
        audience: &["status", "address", "audience"],
    };
    let mut address = fields.resolve(resolver, report);
    if address.is_none() && is_written(resolver) {
        let ObjectName { namespace, name, .. } = report.object().clone();
        address = resolver.elsewhere(&ChannelKey { kind: ChannelKind::Broker, namespace, name }, report);
    }
    BrokerAddress { address, dead_letter_sink: DEAD_LETTER_SINK.resolve(resolver, report) }
}

fn trigger(
    written: Option<&Trigger>,
    broker: Option<&BrokerAddress>,
    report: &mut Report<'_>,
    resolver: &mut Resolver<'_>,
) -> TriggerRelay {
    let unset = TriggerSpec::default();
    let spec = written.and_then(|trigger| trigger.spec.as_ref()).unwrap_or(&unset);
    let written = spec.delivery.as_ref();
    let format = written.map(|written| delivery::resolve(written, "spec.delivery", report).spec().format);
    let filter = filter::compiled(spec, &resolver.keys, report);
    let subscriber = subscriber(spec, resolver, report);
    let own = DEAD_LETTER_SINK.resolve(resolver, report).or_else(|| {
        let sink = written.and_then(|written| written.dead_letter_sink.as_ref()).filter(|_| is_written(resolver))?;
        resolver.resolve(&Wanted::at("spec.delivery.deadLetterSink".to_owned(), sink), report)
    });
    let sender = resolver.rules.sender(Kind::Trigger, report);
    let ObjectName { namespace, name, .. } = report.object().clone();
    let name = (namespace, name);
    TriggerRelay {
        // What is asked of senders is added when their Subscriptions are known.
        access: None,
        sender,
        event_types: resolver.rules.trigger_owner(&name, report),
        uid: report.document().text(&["metadata", "uid"]).map(str::to_owned),
        namespace: name.0,
        filter,
        format: format.unwrap_or_default(),
        // Closed, whatever is wrong.
        subscriber: subscriber.filter(|_| !report.is_bad()),
        broker: broker.and_then(|broker| broker.address.clone()),
        dead_letter_sink: own.or_else(|| broker.and_then(|broker| broker.dead_letter_sink.clone())),
    }
}

/// In a cluster, `status` alone says who the subscriber is: until it does, there is none (contract BF-7).
fn subscriber(spec: &TriggerSpec, resolver: &mut Resolver<'_>, report: &mut Report<'_>) -> Option<Addressable> {
    let fields = Fields {
        url: &["status", "subscriberUri"],
        ca_certs: &["status", "subscriberCACerts"],
        audience: &["status", "subscriberAudience"],
    };
    if let Some(subscriber) = fields.resolve(resolver, report) {
        return Some(subscriber);
    }
    if !is_written(resolver) {
        return None;
    }
    let Some(written) = &spec.subscriber else {
        report.error("spec.subscriber", "is missing: say who gets the events");
        return None;
    };
    resolver.resolve(&Wanted::at("spec.subscriber".to_owned(), written), report)
}

fn is_written(resolver: &Resolver<'_>) -> bool {
    resolver.settings.objects == Objects::Written
}

const DEAD_LETTER_SINK: Fields<'_> = Fields {
    url: &["status", "deadLetterSinkUri"],
    ca_certs: &["status", "deadLetterSinkCACerts"],
    audience: &["status", "deadLetterSinkAudience"],
};

/// Where the parts of an address stand that the control plane has written.
struct Fields<'f> {
    url: &'f [&'f str],
    ca_certs: &'f [&'f str],
    audience: &'f [&'f str],
}

impl Fields<'_> {
    /// `None` if there is no address, or a problem with it was reported.
    fn resolve(&self, resolver: &mut Resolver<'_>, report: &mut Report<'_>) -> Option<Addressable> {
        let document: &Document = report.document();
        let wanted = Wanted {
            ca_certs: document.text(self.ca_certs),
            audience: document.text(self.audience),
            uri_field: self.url.join("."),
            ca_certs_field: self.ca_certs.join("."),
            ..Wanted::uri(document.text(self.url)?, self.url.join("."))
        };
        resolver.resolve(&wanted, report)
    }
}
