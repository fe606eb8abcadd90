//! The roles `ingress` and `filter`: Brokers and Triggers as the upstream control plane has reconciled them, since their
//! channels and subscribers are elsewhere (control-plane.md 5.7, 5.9, 5.11, 5.12).
//!
//! What `status` says counts. A Trigger without it is resolved by its `spec`, so that manifests as users write them can
//! be tried, too.

use std::collections::HashMap;
use std::sync::Arc;

use super::access::Subscribers;
use super::collect::{Collected, Item, Items, Name};
use super::destination::{Resolver, Wanted};
use super::{delivery, filter};
use crate::control::ObjectName;
use crate::control::kind::Kind;
use crate::control::manifest::Document;
use crate::control::manifest::eventing::{Broker, TriggerSpec};
use crate::control::report::Report;
use crate::model::{Addressable, BrokerRelay, ChannelKey, ChannelKind, Relays, Role, TriggerRelay};

/// The relays of a role; one with problems keeps its form of `last`.
pub(super) fn resolve(collected: &mut Collected<'_>, resolver: &mut Resolver<'_>, last: Option<&Relays>) -> Relays {
    let nothing = Relays::default();
    let last = last.unwrap_or(&nothing);
    let subscribers = Subscribers::of(collected);
    let Collected { brokers, triggers, .. } = collected;
    match resolver.settings.role {
        Role::Channel => Relays::default(),
        Role::Ingress => {
            let relay = |item: &mut Item<'_, Broker>, resolver: &mut Resolver<'_>| broker(item, resolver);
            // What is asked of senders never stays.
            let keep = |before: &BrokerRelay, made: BrokerRelay| BrokerRelay { access: made.access, ..before.clone() };
            Relays { brokers: each(brokers, resolver, &last.brokers, relay, keep), ..Relays::default() }
        }
        Role::Filter => {
            let known = addresses(brokers, resolver);
            let relay =
                |item: &mut Item<'_, _>, resolver: &mut Resolver<'_>| trigger(item, (&known, &subscribers), resolver);
            let keep =
                |before: &TriggerRelay, made: TriggerRelay| TriggerRelay { access: made.access, ..before.clone() };
            Relays { triggers: each(triggers, resolver, &last.triggers, relay, keep), ..Relays::default() }
        }
    }
}

/// The relay of each object, by `/namespace/name`.
fn each<'d, T, R: PartialEq>(
    items: &mut Items<'d, T>,
    resolver: &mut Resolver<'_>,
    last: &HashMap<String, Arc<R>>,
    mut relay: impl FnMut(&mut Item<'d, T>, &mut Resolver<'_>) -> R,
    keep: impl Fn(&R, R) -> R,
) -> HashMap<String, Arc<R>> {
    let mut relays = HashMap::with_capacity(items.len());
    for ((namespace, name), item) in items {
        let path = format!("/{namespace}/{name}");
        let mut made = relay(item, resolver);
        let before = last.get(&path);
        if let Some(before) = before.filter(|_| item.report.is_bad()) {
            made = keep(before, made);
        }
        let made = before.filter(|before| ***before == made).cloned().unwrap_or_else(|| Arc::new(made));
        relays.insert(path, made);
    }
    relays
}

/// `status.annotations` name the channel (5.7); its class does not matter (BI-4).
fn broker(item: &mut Item<'_, Broker>, resolver: &mut Resolver<'_>) -> BrokerRelay {
    let annotation = |key| ["status", "annotations", key];
    let [url, ca_certs, audience] =
        ["knative.dev/channelAddress", "knative.dev/channelCACerts", "knative.dev/channelAudience"].map(annotation);
    let fields = Fields { url: &url, ca_certs: &ca_certs, audience: &audience };
    let channel = fields.resolve(resolver, &mut item.report);
    if channel.is_none() && !item.report.is_bad() {
        let field = "status.annotations.knative.dev/channelAddress";
        let rule = "is missing, so that events are answered by 500: give the Broker as it is in the cluster";
        item.report.unresolved(field, rule);
    }
    let ObjectName { namespace, name, .. } = item.report.object().clone();
    let key = ChannelKey { kind: ChannelKind::Broker, namespace, name };
    let rules = &resolver.rules;
    BrokerRelay { channel, access: rules.access(&key), sender: rules.ingress(), event_types: rules.owner(&key) }
}

/// What Triggers need of a Broker.
#[derive(Clone, Debug)]
struct BrokerAddress {
    address: Option<Addressable>,
    dead_letter_sink: Option<Addressable>,
}

/// The addresses of Brokers: those of their status, else those that the cluster would give them.
fn addresses(brokers: &mut Items<'_, Broker>, resolver: &mut Resolver<'_>) -> HashMap<Name, BrokerAddress> {
    let mut known = HashMap::with_capacity(brokers.len());
    for (name, item) in brokers {
        let report = &mut item.report;
        let key = ChannelKey { kind: ChannelKind::Broker, namespace: name.0.clone(), name: name.1.clone() };
        let fields = Fields {
            url: &["status", "address", "url"],
            ca_certs: &["status", "address", "CACerts"],
            audience: &["status", "address", "audience"],
        };
        let address = fields.resolve(resolver, report).or_else(|| resolver.elsewhere(&key, report));
        let dead_letter_sink = DEAD_LETTER_SINK.resolve(resolver, report);
        known.insert(name.clone(), BrokerAddress { address, dead_letter_sink });
    }
    known
}

fn trigger(
    item: &mut Item<'_, crate::control::manifest::eventing::Trigger>,
    (brokers, subscribers): (&HashMap<Name, BrokerAddress>, &Subscribers),
    resolver: &mut Resolver<'_>,
) -> TriggerRelay {
    let Item { object, report } = item;
    let unset = TriggerSpec::default();
    let spec = object.as_ref().and_then(|trigger| trigger.spec.as_ref()).unwrap_or(&unset);
    let namespace = report.object().namespace.clone();
    let named = spec.broker.clone().or_else(|| spec.broker_ref.as_ref()?.name.clone());
    let broker = named.and_then(|name| brokers.get(&(namespace.clone(), name)));
    let written = spec.delivery.as_ref();
    let format = written.map(|written| delivery::resolve(written, "spec.delivery", report).spec().format);
    let filter = filter::compiled(spec, report);
    let subscriber = subscriber(spec, resolver, report);
    let own = DEAD_LETTER_SINK.resolve(resolver, report).or_else(|| {
        let sink = written.and_then(|written| written.dead_letter_sink.as_ref())?;
        resolver.resolve(&Wanted::at("spec.delivery.deadLetterSink".to_owned(), sink), report)
    });
    let sender = resolver.rules.sender(Kind::Trigger, report);
    let name = (namespace.clone(), report.object().name.clone());
    TriggerRelay {
        access: resolver.rules.of_trigger(report.document(), subscribers),
        sender,
        event_types: resolver.rules.trigger_owner(&name, report),
        uid: report.document().text(&["metadata", "uid"]).map(str::to_owned),
        namespace,
        filter,
        format: format.unwrap_or_default(),
        // Closed, whatever is wrong.
        subscriber: subscriber.filter(|_| !report.is_bad()),
        broker: broker.and_then(|broker| broker.address.clone()),
        dead_letter_sink: own.or_else(|| broker.and_then(|broker| broker.dead_letter_sink.clone())),
    }
}

fn subscriber(spec: &TriggerSpec, resolver: &mut Resolver<'_>, report: &mut Report<'_>) -> Option<Addressable> {
    let fields = Fields {
        url: &["status", "subscriberUri"],
        ca_certs: &["status", "subscriberCACerts"],
        audience: &["status", "subscriberAudience"],
    };
    if let Some(subscriber) = fields.resolve(resolver, report) {
        return Some(subscriber);
    }
    let Some(written) = &spec.subscriber else {
        report.error("spec.subscriber", "is missing: say who gets the events");
        return None;
    };
    resolver.resolve(&Wanted::at("spec.subscriber".to_owned(), written), report)
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
