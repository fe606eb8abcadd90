//! What channels and Brokers ask of senders, and as whom subscriptions send (contract 4.1, 7.1 to 7.8).
//!
//! In a cluster its controllers have decided which policies are for which channel, and whom they name; that stands in
//! `status`. Where there is no cluster, `spec` is followed.

mod flows;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::account::is_made_to_send;
use super::collect::{Collected, Item, Name, is_dns_name};
use super::flags::{Flags, Switch};
use super::policy::{self, Known, Target as PolicyTarget};
use super::trust::Trust;
use super::uri;
use crate::control::kind::Kind;
use crate::control::manifest::Document;
use crate::control::report::Report;
use crate::control::{ApiServer, Settings};
use crate::correlation::KeyRing;
use crate::model::{
    Access, Addressable, AuthorizationMode, ChannelKey, ChannelKind, Discovery, EventTypeOwner, Oidc, Policy, Rule,
    ServiceAccount, Target,
};

/// As whom the role `ingress` sends (contract 5.11).
const INGRESS: &str = "mt-broker-ingress-oidc";
/// For whom tokens are that the role `filter` takes (contract AU-5).
const FILTER_AUDIENCE: &str = "mt-broker-filter";

/// What the documents say about senders.
#[derive(Debug)]
pub(super) struct Rules {
    oidc: Option<Arc<Oidc>>,
    mode: AuthorizationMode,
    api_server: ApiServer,
    /// Of a cluster.
    channels: Kind,
    ingress: Arc<ServiceAccount>,
    policies: BTreeMap<Name, Known>,
    asked: HashMap<ChannelKey, Asked>,
    event_types: Switch,
    cross_namespace: Switch,
    /// Where an object that is not understood may be an EventPolicy.
    doubtful: Vec<Doubtful>,
}

/// Whose policies are not all known.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Doubtful {
    Namespace(String),
    All,
}

/// What is known of one channel or Broker.
#[derive(Debug)]
struct Asked {
    audience: String,
    /// Names of the policies that are for it; `None` if they cannot be read.
    policies: Option<Vec<String>>,
    /// One that is written nowhere: of a channel within a flow.
    own: Option<Arc<Policy>>,
    owner: Option<Arc<EventTypeOwner>>,
}

impl Rules {
    /// Reads flags, policies, and what channels and Brokers say. `last` is the issuer in use.
    pub(super) fn of(
        collected: &mut Collected<'_>,
        settings: &Settings,
        (flags, last): (&Flags, Option<&Arc<Oidc>>),
        (trust, keys): (&Trust, &Arc<KeyRing>),
    ) -> Self {
        let oidc = (flags.oidc == Switch::On).then(|| {
            let oidc = Oidc { discovery: discovery(flags, settings, trust) };
            last.filter(|last| ***last == oidc).cloned().unwrap_or_else(|| Arc::new(oidc))
        });
        let targets = PolicyTarget::all(collected);
        let policies = policy::resolve(&mut collected.event_policies, (&targets, keys), settings.api_server);
        let name = INGRESS.to_owned();
        let ingress = Arc::new(ServiceAccount { namespace: settings.system_namespace.clone(), name });
        let mut rules = Self {
            oidc,
            mode: flags.authorization,
            api_server: settings.api_server,
            channels: settings.channels.kind(),
            ingress,
            policies,
            asked: HashMap::new(),
            event_types: flags.event_types,
            cross_namespace: flags.cross_namespace,
            doubtful: doubts(collected),
        };
        if rules.are_wanted() {
            rules.read(collected);
        }
        rules
    }

    fn are_wanted(&self) -> bool {
        self.oidc.is_some() || self.event_types == Switch::On
    }

    /// Reads what a channel says that a cluster has reconciled.
    pub(super) fn learn(&mut self, key: &ChannelKey, document: &Document) {
        if self.are_wanted() {
            self.ask(key.kind, self.channels, &(key.namespace.clone(), key.name.clone()), document);
        }
    }

    /// Those that have others' names go first, so that the others stay.
    fn read(&mut self, collected: &Collected<'_>) {
        let channels = [
            (&collected.rabbitmq_channels, Kind::RabbitmqChannel),
            (&collected.in_memory_channels, Kind::InMemoryChannel),
            (&collected.channels, Kind::Channel),
        ];
        for (items, kind) in channels {
            for (name, item) in items {
                self.ask(ChannelKind::Channel, kind, name, item.report.document());
            }
        }
        for (name, item) in &collected.brokers {
            self.ask(ChannelKind::Broker, Kind::Broker, name, item.report.document());
        }
        for (name, item) in &collected.request_replies {
            self.ask(ChannelKind::RequestReply, Kind::RequestReply, name, item.report.document());
        }
        self.read_flows(collected);
    }

    fn ask(&mut self, of: ChannelKind, kind: Kind, (namespace, name): &Name, document: &Document) {
        let written = document.text(&["status", "address", "audience"]).map(str::to_owned);
        let audience = written.unwrap_or_else(|| computed_audience(kind, namespace, name));
        let policies = match self.api_server {
            ApiServer::Given => listed(document),
            ApiServer::Missing => listed(document).map(|listed| match listed.is_empty() {
                true => policy::applying(&self.policies, kind, (namespace, name), document),
                false => listed,
            }),
        };
        let owner = owner(kind, (namespace, name), document).filter(|_| self.event_types == Switch::On);
        let key = ChannelKey { kind: of, namespace: namespace.clone(), name: name.clone() };
        self.asked.insert(key, Asked { audience, policies, own: None, owner: owner.map(Arc::new) });
    }

    /// Whose tokens are asked for, if any are.
    pub(super) fn oidc(&self) -> Option<Arc<Oidc>> {
        self.oidc.clone()
    }

    /// What a channel or Broker asks of senders.
    pub(super) fn access(&self, key: &ChannelKey) -> Option<Access> {
        let oidc = Arc::clone(self.oidc.as_ref()?);
        let Some(asked) = self.asked.get(key) else {
            let rule = Rule::Unknown(format!("{key} is not known well enough: nothing is taken"));
            return Some(Access { oidc, audience: String::new(), rule });
        };
        let is_doubtful = |place: &Doubtful| match place {
            Doubtful::Namespace(namespace) => *namespace == key.namespace,
            Doubtful::All => true,
        };
        if self.doubtful.iter().any(is_doubtful) {
            let rule =
                Rule::Unknown(format!("an EventPolicy that may be for {key} is not understood: nothing is taken"));
            return Some(Access { oidc, audience: asked.audience.clone(), rule });
        }
        let rule = match &asked.policies {
            None => Rule::Unknown(format!("status.policies of {key} cannot be read: nothing is taken")),
            Some(names) if names.is_empty() && asked.own.is_none() => Rule::Default(self.mode, key.namespace.clone()),
            Some(names) => self.by_policies(names, asked.own.as_ref(), key),
        };
        Some(Access { oidc, audience: asked.audience.clone(), rule })
    }

    /// One that is missing makes it unknown who may send (contract 7.8).
    fn by_policies(&self, names: &[String], own: Option<&Arc<Policy>>, key: &ChannelKey) -> Rule {
        let mut policies: Vec<_> = own.into_iter().cloned().collect();
        for name in names {
            match self.policies.get(&(key.namespace.clone(), name.clone())) {
                Some(known) => policies.push(Arc::clone(&known.policy)),
                None => {
                    let rule = "is not known here yet: nothing is taken before it is";
                    return Rule::Unknown(format!("EventPolicy {}/{name} of {key} {rule}", key.namespace));
                }
            }
        }
        Rule::Policies(policies)
    }

    /// Whether a Trigger may name a Broker of another namespace.
    pub(super) fn cross_namespace(&self) -> Switch {
        self.cross_namespace
    }

    /// Whether events are described.
    pub(super) fn event_types(&self) -> Switch {
        self.event_types
    }

    /// The audience of a channel or Broker, if senders need one.
    pub(super) fn audience(&self, key: &ChannelKey) -> Option<String> {
        self.oidc.as_ref()?;
        self.asked.get(key).map(|asked| asked.audience.clone())
    }

    /// As what the events of a channel or Broker are described, if they are.
    pub(super) fn owner(&self, key: &ChannelKey) -> Option<Arc<EventTypeOwner>> {
        self.asked.get(key)?.owner.clone()
    }

    /// As what the events of a Trigger's replies are described, if they are.
    pub(super) fn trigger_owner(&self, name: &Name, report: &Report<'_>) -> Option<Arc<EventTypeOwner>> {
        if self.event_types == Switch::Off {
            return None;
        }
        owner(Kind::Trigger, (&name.0, &name.1), report.document()).map(Arc::new)
    }

    /// As whom the role `ingress` sends.
    pub(super) fn ingress(&self) -> Option<Arc<ServiceAccount>> {
        self.oidc.as_ref().map(|_| Arc::clone(&self.ingress))
    }

    /// What the filter asks of whoever sends events for a Trigger: to be the Subscription that was made of it (contract
    /// AU-13).
    pub(super) fn of_trigger(&self, uid: Option<&str>, collected: &Subscribers) -> Option<Access> {
        let oidc = Arc::clone(self.oidc.as_ref()?);
        let rule = match uid.map(|uid| collected.0.get(uid)) {
            Some(Some(Some(subject))) => Rule::Only(subject.clone()),
            Some(Some(None)) => {
                Rule::Unknown("the subscription of this trigger has no status.auth.serviceAccountName yet".to_owned())
            }
            Some(None) | None => Rule::Absent("the subscription of this trigger is not known here yet".to_owned()),
        };
        Some(Access { oidc, audience: FILTER_AUDIENCE.to_owned(), rule })
    }

    /// As whom an object sends: as `status` says; where there is no cluster, as it would be named there (contract 7.1).
    pub(super) fn sender(&self, kind: Kind, report: &mut Report<'_>) -> Option<Arc<ServiceAccount>> {
        self.oidc.as_ref()?;
        let document = report.document();
        if let Some(name) = document.text(&["status", "auth", "serviceAccountName"]) {
            return self.account(name, "status.auth.serviceAccountName", report);
        }
        self.sender_named(kind, (&report.object().namespace, &report.object().name))
    }

    /// As whom an object of this name sends, where there is no cluster that names its ServiceAccount.
    pub(super) fn sender_named(&self, kind: Kind, (namespace, name): (&str, &str)) -> Option<Arc<ServiceAccount>> {
        self.oidc.as_ref().filter(|_| self.api_server == ApiServer::Missing)?;
        let group = kind.api_version().split('/').next().unwrap_or_default();
        let name = format!("{name}-oidc-{group}-{}", kind.as_str()).to_ascii_lowercase();
        Some(Arc::new(ServiceAccount { namespace: namespace.to_owned(), name }))
    }

    /// The ServiceAccount of this name in the namespace of the object (contract 7.2), unless nobody asks.
    pub(super) fn account(&self, name: &str, field: &str, report: &mut Report<'_>) -> Option<Arc<ServiceAccount>> {
        self.oidc.as_ref()?;
        if !is_dns_name(name, 253) {
            report.error(field, format!("{name:?} is no name of a ServiceAccount"));
            return None;
        }
        if !is_made_to_send(name) {
            let remedy = "leave it to Knative, which names it NAME-oidc-GROUP-KIND";
            report
                .error(field, format!("{name:?} is no ServiceAccount of a Subscription, Trigger or source: {remedy}"));
            return None;
        }
        Some(Arc::new(ServiceAccount { namespace: report.object().namespace.clone(), name: name.to_owned() }))
    }
}

/// The subjects of the Subscriptions that were made of Triggers, by the uid of those; `None` for one without.
#[derive(Debug, Default)]
pub(super) struct Subscribers(HashMap<String, Option<String>>);

impl Subscribers {
    /// Of everything collected.
    pub(super) fn of(collected: &Collected<'_>) -> Self {
        let mut subscribers = HashMap::new();
        for ((namespace, _), Item { report, .. }) in &collected.subscriptions {
            let metadata = report.document().value.get("metadata");
            let owners = metadata.and_then(|metadata| metadata.get("ownerReferences")?.as_array());
            let is_trigger = |owner: &&Value| owner.get("kind").is_some_and(|kind| kind == "Trigger");
            let trigger = owners.into_iter().flatten().find(is_trigger).and_then(|owner| owner.get("uid")?.as_str());
            if let Some(trigger) = trigger {
                let name = report.document().text(&["status", "auth", "serviceAccountName"]);
                let account =
                    name.map(|name| ServiceAccount { namespace: namespace.clone(), name: name.to_owned() }.to_string());
                subscribers.insert(trigger.to_owned(), account);
            }
        }
        Self(subscribers)
    }
}

/// Where policies may be missing.
fn doubts(collected: &Collected<'_>) -> Vec<Doubtful> {
    let word = Kind::EventPolicy.as_str();
    let unread = collected.is_in_the_unread(word).then_some(Doubtful::All);
    collected.suspects(word).into_iter().map(doubtful).chain(unread).collect()
}

/// Where a policy would count that is not understood.
fn doubtful(document: &Document) -> Doubtful {
    let namespace = document.text(&["metadata", "namespace"]);
    namespace.map_or(Doubtful::All, |namespace| Doubtful::Namespace(namespace.to_owned()))
}

/// Where the issuer tells its keys.
fn discovery(flags: &Flags, settings: &Settings, trust: &Trust) -> Discovery {
    let Some(text) = &flags.discovery else { return Discovery::Cluster(trust.common()) };
    let Ok(url) = uri::absolute(text) else { return Discovery::Nowhere };
    let overriding = settings.resolve.iter().find(|overriding| overriding.matches(&url));
    let target = Target::Remote { connect: overriding.map(|overriding| overriding.to) };
    let trust = if url.scheme() == "https" { trust.common() } else { trust.none() };
    Discovery::At(Addressable { url: url.into(), target, trust, audience: None })
}

/// Contract 4.1, 5.8: all lower case. The channel that a `Channel` is made of has its name.
fn computed_audience(kind: Kind, namespace: &str, name: &str) -> String {
    let kind = match kind {
        Kind::Broker => "eventing.knative.dev/broker",
        Kind::RequestReply => "eventing.knative.dev/requestreply",
        Kind::RabbitmqChannel => "messaging.knative.dev/rabbitmqchannel",
        _ => "messaging.knative.dev/inmemorychannel",
    };
    format!("{kind}/{namespace}/{name}").to_ascii_lowercase()
}

/// The names in `status.policies` (contract 7.7).
fn listed(document: &Document) -> Option<Vec<String>> {
    match document.value.get("status").and_then(|status| status.get("policies")) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(policies) => {
            let name = |policy: &Value| policy.get("name").and_then(Value::as_str).map(str::to_owned);
            policies.as_array()?.iter().map(name).collect()
        }
    }
}

/// An object as `EventType`s refer to it; `None` if it has no uid, or belongs to a Broker, whose events are described
/// already (contract 8.1).
fn owner(kind: Kind, (namespace, name): (&str, &str), document: &Document) -> Option<EventTypeOwner> {
    let owners = document.value.get("metadata").and_then(|metadata| metadata.get("ownerReferences"));
    if owners.and_then(|owners| owners.get(0)?.get("kind")?.as_str()) == Some("Broker") {
        return None;
    }
    Some(EventTypeOwner {
        api_version: kind.api_version(),
        kind: kind.as_str(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: document.text(&["metadata", "uid"])?.to_owned(),
        address: document.text(&["status", "address", "name"]).map(str::to_owned),
    })
}
