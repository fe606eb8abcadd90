//! Resolved relays, each kept with the value that it was made from: in a cluster of thousands, a
//! change costs what has changed. The demands on senders depend on other objects, and are computed
//! each time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::BrokerAddress;
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::{self, UnknownFieldPolicy};
use crate::control::read::report::{ObjectReport, ReportFindings};
use crate::control::resolve::collect::CollectedItems;
use crate::control::resolve::config::flags::FeatureSwitch;
use crate::control::resolve::destination::DestinationResolver;
use crate::control::resolve::reuse::reuse_if_equal;
use crate::control::resolve::status;
use crate::correlation::KeyRing;
use crate::model::{
    Addressable, BrokerRelay, InventoryObject, NamespacedName, ObjectKind, TriggerRelay,
    TrustFingerprint,
};

/// The resolved relays of the objects of one kind.
pub(crate) type RelaysByName<R> = BTreeMap<NamespacedName, Arc<ResolvedRelay<R>>>;

/// The facts that a relay depends on besides the value of its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvedRelayContext {
    /// The certificates that every https destination trusts.
    common_trust: TrustFingerprint,
    /// True if it sends tokens to destinations with an audience.
    oidc: bool,
    /// On if `EventType`s are created.
    event_types: FeatureSwitch,
    /// The keys of correlation ids.
    keys: Arc<KeyRing>,
    /// The Broker of a Trigger; `None` for Brokers, and if it is not known.
    broker: Option<Arc<BrokerAddress>>,
}

impl ResolvedRelayContext {
    /// The context that all relays have in common.
    pub(super) fn from_resolver(resolver: &DestinationResolver<'_>) -> Self {
        let common_trust = resolver.trust.common().fingerprint();
        let rules = &resolver.sender_rules;
        let (oidc, event_types, keys) = (
            rules.oidc().is_some(),
            rules.event_types(),
            Arc::clone(&resolver.key_ring),
        );
        Self {
            common_trust,
            oidc,
            event_types,
            keys,
            broker: None,
        }
    }

    /// The same context for a Trigger of this Broker.
    pub(super) fn with_broker(&self, broker: Option<Arc<BrokerAddress>>) -> Self {
        Self {
            broker,
            ..self.clone()
        }
    }

    /// The Broker of a Trigger; `None` if it is not known.
    pub(super) fn broker(&self) -> Option<&BrokerAddress> {
        self.broker.as_deref()
    }
}

/// A relay, and the value that it was made from.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedRelay<R> {
    document: Arc<Value>,
    context: ResolvedRelayContext,
    /// The relay that is served: that of an earlier value if this one has errors.
    relay: Arc<R>,
    /// The problems of the object, which are reported again if it is not resolved again.
    findings: ReportFindings,
    object: Arc<InventoryObject>,
}

/// A relay that is made of the objects of some kind.
pub(super) trait RelayForm: Clone + PartialEq {
    /// The list of the inventory that it is shown in.
    const KIND: ObjectKind;
    /// The kind of its objects.
    const OF: ResourceKind;

    /// The destination of the events; without it nothing works.
    fn main_destination(&self) -> Option<&Addressable>;

    /// Every destination of the relay.
    fn destinations(&self) -> impl Iterator<Item = &Addressable>;

    /// The relay of an object that has errors now. Only the fields that the errors have left
    /// without a value are taken from before, so that one mistake does not take away what is right
    /// beside it. The demands on senders are never taken from before.
    fn merge_last(before: &Self, now: Self, context: &ResolvedRelayContext) -> Self;
}

impl RelayForm for BrokerRelay {
    const KIND: ObjectKind = ObjectKind::Broker;
    const OF: ResourceKind = ResourceKind::Broker;

    fn main_destination(&self) -> Option<&Addressable> {
        self.channel.as_ref()
    }

    fn destinations(&self) -> impl Iterator<Item = &Addressable> {
        self.channel.iter()
    }

    fn merge_last(before: &Self, now: Self, _context: &ResolvedRelayContext) -> Self {
        Self {
            channel: now.channel.or_else(|| before.channel.clone()),
            ..now
        }
    }
}

impl RelayForm for TriggerRelay {
    const KIND: ObjectKind = ObjectKind::Trigger;
    const OF: ResourceKind = ResourceKind::Trigger;

    fn main_destination(&self) -> Option<&Addressable> {
        self.subscriber.as_ref()
    }

    fn destinations(&self) -> impl Iterator<Item = &Addressable> {
        [&self.subscriber, &self.broker, &self.dead_letter_sink]
            .into_iter()
            .flatten()
    }

    /// The subscriber belongs to the filter that lets events pass to it, so that both are taken
    /// from before.
    fn merge_last(before: &Self, now: Self, context: &ResolvedRelayContext) -> Self {
        let kept = before.clone();
        Self {
            filter: kept.filter,
            format: kept.format,
            subscriber: kept.subscriber,
            broker: now.broker.or(kept.broker),
            dead_letter_sink: now.dead_letter_sink.or(kept.dead_letter_sink),
            sender: now.sender.or(kept.sender).filter(|_| context.oidc),
            uid: now.uid,
            namespace: now.namespace,
            authorization: now.authorization,
            event_types: now.event_types,
        }
    }
}

impl RelayForm for BrokerAddress {
    const KIND: ObjectKind = ObjectKind::Broker;
    const OF: ResourceKind = ResourceKind::Broker;

    fn main_destination(&self) -> Option<&Addressable> {
        self.address.as_ref()
    }

    fn destinations(&self) -> impl Iterator<Item = &Addressable> {
        [&self.address, &self.dead_letter_sink]
            .into_iter()
            .flatten()
    }

    fn merge_last(before: &Self, now: Self, _context: &ResolvedRelayContext) -> Self {
        let kept = before.clone();
        Self {
            address: now.address.or(kept.address),
            dead_letter_sink: now.dead_letter_sink.or(kept.dead_letter_sink),
        }
    }
}

impl<R: RelayForm> ResolvedRelay<R> {
    /// The relay that is served.
    pub(super) fn relay(&self) -> &Arc<R> {
        &self.relay
    }

    /// The object that the inventory shows.
    pub(super) fn object(&self) -> &Arc<InventoryObject> {
        &self.object
    }

    /// The `metadata.uid` of the object; `None` if it has none.
    pub(super) fn uid(&self) -> Option<&str> {
        self.document.get("metadata")?.get("uid")?.as_str()
    }
}

impl<R: RelayForm> ResolvedRelay<R> {
    /// A relay as it was resolved; with errors, it keeps what it can of the last one.
    fn new(
        mut relay: R,
        context: ResolvedRelayContext,
        before: Option<&Arc<Self>>,
        name: &NamespacedName,
        report: &ObjectReport<'_>,
    ) -> Self {
        if let Some(before) = before.filter(|_| report.has_errors()) {
            relay = R::merge_last(&before.relay, relay, &context);
        }
        // The inventory object is made last, of all problems.
        let object = status::relayed_object(R::KIND, name, report, relay.main_destination());
        Self {
            document: Arc::clone(&report.document().value),
            context,
            relay: reuse_if_equal(before.map(|before| &before.relay), relay),
            findings: report.findings(),
            object: reuse_if_equal(before.map(|before| &before.object), object),
        }
    }
}

/// Resolves each object. Objects whose value and context are the same as in `last` are not resolved
/// again.
pub(super) fn resolve_each<'d, T: DeserializeOwned, R: RelayForm>(
    items: &mut CollectedItems<'d, T>,
    resolver: &mut DestinationResolver<'_>,
    last: &RelaysByName<R>,
    context: impl Fn(&ObjectReport<'d>) -> ResolvedRelayContext,
    mut make: impl FnMut(
        Option<&T>,
        &ResolvedRelayContext,
        &mut ObjectReport<'d>,
        &mut DestinationResolver<'_>,
    ) -> R,
) -> RelaysByName<R> {
    let mut forms = RelaysByName::new();
    for (name, item) in items {
        // The context comes first, since it decides whether the last relay can be reused.
        let (report, before) = (&mut item.report, last.get(name));
        let (context, document) = (context(report), Arc::clone(&report.document().value));
        let is_same = |resolved: &&Arc<ResolvedRelay<R>>| {
            Arc::ptr_eq(&resolved.document, &document) && resolved.context == context
        };
        if let Some(same) = before.filter(is_same) {
            report.restore_findings(&same.findings);
            same.relay
                .destinations()
                .for_each(|to| resolver.trust.keep_bundle(&to.trust));
            forms.insert(name.clone(), Arc::clone(same));
            continue;
        }
        // In a cluster, objects are decoded only here, so that unchanged ones cost nothing.
        if !resolver.settings.task.reads_written_objects() {
            let reading = UnknownFieldPolicy::from_settings(resolver.settings);
            item.object = manifest::decode(report, R::OF, reading);
        }
        let relay = make(item.object.as_deref(), &context, report, resolver);
        let resolved = ResolvedRelay::new(relay, context, before, name, report);
        // What is kept of the last relay keeps its trust bundles.
        if before.is_some() && report.has_errors() {
            resolved
                .relay
                .destinations()
                .for_each(|to| resolver.trust.keep_bundle(&to.trust));
        }
        forms.insert(name.clone(), Arc::new(resolved));
    }
    forms
}

/// Replaces the relays for which `change` has another value.
pub(super) fn replace_relays<R: RelayForm>(
    forms: &mut RelaysByName<R>,
    change: impl Fn(&NamespacedName, &ResolvedRelay<R>) -> Option<R>,
) {
    for (name, resolved) in forms {
        if let Some(changed) = change(name, resolved) {
            Arc::make_mut(resolved).relay = Arc::new(changed);
        }
    }
}

/// The relays by the path `/namespace/name`.
pub(super) fn by_path<R: RelayForm>(forms: &RelaysByName<R>) -> HashMap<String, Arc<R>> {
    let entry = |(name, resolved): (&NamespacedName, &Arc<ResolvedRelay<R>>)| {
        (format!("/{name}"), Arc::clone(&resolved.relay))
    };
    forms.iter().map(entry).collect()
}
