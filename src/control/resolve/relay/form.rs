//! Forms of relays, each remembered with the value that it was made from: in a cluster of thousands, a change costs what
//! has changed. What is asked of senders depends on other objects, and is looked at each time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::BrokerAddress;
use crate::control::kind::Kind;
use crate::control::manifest::{self, Reading};
use crate::control::report::{Findings, Report};
use crate::control::resolve::collect::{Items, Name};
use crate::control::resolve::destination::Resolver;
use crate::control::resolve::flags::Switch;
use crate::control::resolve::status;
use crate::control::settings::Objects;
use crate::correlation::KeyRing;
use crate::model::{Addressable, BrokerRelay, Fingerprint, Object, ObjectKind, TriggerRelay};

/// The forms of the objects of a kind.
pub(crate) type Forms<R> = BTreeMap<Name, Arc<Made<R>>>;

/// What a form depends on besides the value of its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// What every https destination trusts.
    common: Fingerprint,
    /// Whether it proves who sends.
    oidc: bool,
    /// Whether events are described.
    event_types: Switch,
    /// The keys of correlation ids.
    keys: Arc<KeyRing>,
    /// The Broker of a Trigger.
    broker: Option<Arc<BrokerAddress>>,
}

impl Context {
    /// What everything depends on.
    pub(super) fn of(resolver: &Resolver<'_>) -> Self {
        let common = resolver.trust.common().fingerprint();
        let rules = &resolver.rules;
        let (oidc, event_types, keys) = (rules.oidc().is_some(), rules.event_types(), Arc::clone(&resolver.keys));
        Self { common, oidc, event_types, keys, broker: None }
    }

    /// The same for a Trigger of this Broker.
    pub(super) fn with_broker(&self, broker: Option<Arc<BrokerAddress>>) -> Self {
        Self { broker, ..self.clone() }
    }

    /// The Broker of a Trigger, if that is known.
    pub(super) fn broker(&self) -> Option<&BrokerAddress> {
        self.broker.as_deref()
    }
}

/// A form, and what it was made from.
#[derive(Clone, Debug)]
pub(crate) struct Made<R> {
    document: Arc<Value>,
    context: Context,
    /// Of an earlier value if this one has errors.
    relay: Arc<R>,
    findings: Findings,
    object: Arc<Object>,
}

/// What is made of an object of some kind.
pub(super) trait Form: Clone + PartialEq {
    /// In which list it is shown.
    const KIND: ObjectKind;
    /// Of which kind its objects are.
    const OF: Kind;

    /// Where events go; without it nothing works.
    fn way(&self) -> Option<&Addressable>;

    /// Every destination.
    fn destinations(&self) -> impl Iterator<Item = &Addressable>;

    /// The form of an object that has errors now: of before is what these have left without a value, and nothing else, so
    /// that one fault does not take away what is right beside it. What is asked of senders never stays.
    fn kept(before: &Self, now: Self, context: &Context) -> Self;
}

impl Form for BrokerRelay {
    const KIND: ObjectKind = ObjectKind::Broker;
    const OF: Kind = Kind::Broker;

    fn way(&self) -> Option<&Addressable> {
        self.channel.as_ref()
    }

    fn destinations(&self) -> impl Iterator<Item = &Addressable> {
        self.channel.iter()
    }

    fn kept(before: &Self, now: Self, _context: &Context) -> Self {
        Self { channel: now.channel.or_else(|| before.channel.clone()), ..now }
    }
}

impl Form for TriggerRelay {
    const KIND: ObjectKind = ObjectKind::Trigger;
    const OF: Kind = Kind::Trigger;

    fn way(&self) -> Option<&Addressable> {
        self.subscriber.as_ref()
    }

    fn destinations(&self) -> impl Iterator<Item = &Addressable> {
        [&self.subscriber, &self.broker, &self.dead_letter_sink].into_iter().flatten()
    }

    /// The subscriber goes with the filter that it was let through by: both are of before.
    fn kept(before: &Self, now: Self, context: &Context) -> Self {
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
            access: now.access,
            event_types: now.event_types,
        }
    }
}

impl Form for BrokerAddress {
    const KIND: ObjectKind = ObjectKind::Broker;
    const OF: Kind = Kind::Broker;

    fn way(&self) -> Option<&Addressable> {
        self.address.as_ref()
    }

    fn destinations(&self) -> impl Iterator<Item = &Addressable> {
        [&self.address, &self.dead_letter_sink].into_iter().flatten()
    }

    fn kept(before: &Self, now: Self, _context: &Context) -> Self {
        let kept = before.clone();
        Self { address: now.address.or(kept.address), dead_letter_sink: now.dead_letter_sink.or(kept.dead_letter_sink) }
    }
}

impl<R: Form> Made<R> {
    /// What is served.
    pub(super) fn relay(&self) -> &Arc<R> {
        &self.relay
    }

    /// What is shown.
    pub(super) fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// `metadata.uid`.
    pub(super) fn uid(&self) -> Option<&str> {
        self.document.get("metadata")?.get("uid")?.as_str()
    }
}

/// The form of each object. Those whose value and context are the same as in `last` are not made again.
pub(super) fn each<'d, T: DeserializeOwned, R: Form>(
    items: &mut Items<'d, T>,
    resolver: &mut Resolver<'_>,
    last: &Forms<R>,
    context: impl Fn(&Report<'d>) -> Context,
    mut make: impl FnMut(Option<&T>, &Context, &mut Report<'d>, &mut Resolver<'_>) -> R,
) -> Forms<R> {
    let mut forms = Forms::new();
    for (name, item) in items {
        let (report, before) = (&mut item.report, last.get(name));
        let (context, document) = (context(report), Arc::clone(&report.document().value));
        let is_same = |made: &&Arc<Made<R>>| Arc::ptr_eq(&made.document, &document) && made.context == context;
        if let Some(same) = before.filter(is_same) {
            report.repeat(&same.findings);
            same.relay.destinations().for_each(|to| resolver.trust.keep(&to.trust));
            forms.insert(name.clone(), Arc::clone(same));
            continue;
        }
        if resolver.settings.objects != Objects::Written {
            item.object = manifest::decode(report, R::OF, Reading::of(resolver.settings));
        }
        let mut relay = make(item.object.as_deref(), &context, report, resolver);
        if let Some(before) = before.filter(|_| report.is_bad()) {
            relay = R::kept(&before.relay, relay, &context);
            relay.destinations().for_each(|to| resolver.trust.keep(&to.trust));
        }
        let object = status::relayed(R::KIND, name, report, relay.way());
        let relay = same(before.map(|before| &before.relay), relay);
        let object = same(before.map(|before| &before.object), object);
        let made = Made { document, context, relay, findings: report.findings(), object };
        forms.insert(name.clone(), Arc::new(made));
    }
    forms
}

/// The value of before, if it is equal.
fn same<T: PartialEq>(before: Option<&Arc<T>>, now: T) -> Arc<T> {
    before.filter(|before| ***before == now).cloned().unwrap_or_else(|| Arc::new(now))
}

/// Replaces the forms that `change` has another one for.
pub(super) fn adjust<R: Form>(forms: &mut Forms<R>, change: impl Fn(&Name, &Made<R>) -> Option<R>) {
    for (name, made) in forms {
        if let Some(changed) = change(name, made) {
            Arc::make_mut(made).relay = Arc::new(changed);
        }
    }
}

/// The relays by `/namespace/name`.
pub(super) fn by_path<R: Form>(forms: &Forms<R>) -> HashMap<String, Arc<R>> {
    let entry =
        |((namespace, name), made): (&Name, &Arc<Made<R>>)| (format!("/{namespace}/{name}"), Arc::clone(&made.relay));
    forms.iter().map(entry).collect()
}
