//! The demands on senders, and the accounts of subscriptions (contract 4.1, 7.1 to 7.8). Policies
//! are read from `status`, as a cluster's controllers have decided; without a cluster, from `spec`.

mod flows;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::policy::{self, PolicyTarget, ResolvedPolicy};
use super::service_account::is_sender_account_name;
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::ManifestDocument;
use crate::control::read::problem::ObjectName;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedObjects, is_dns_name, object_name};
use crate::control::resolve::config::flags::{FeatureFlags, FeatureSwitch};
use crate::control::resolve::config::trust::DestinationTrust;
use crate::control::resolve::destination::uri;
use crate::control::settings::{ApiServerAvailability, ControlSettings};
use crate::correlation::KeyRing;
use crate::model::NamespacedName;
use crate::model::{
    Addressable, AuthorizationMode, AuthorizationRule, ChannelKey, ChannelKind, DestinationRoute,
    EventPolicy, EventTypeOwner, OidcAuthentication, OidcDiscovery, SenderAuthorization,
    ServiceAccount,
};

/// The ServiceAccount as which the role `ingress` sends (contract 5.11).
const INGRESS: &str = "mt-broker-ingress-oidc";
/// The audience of the tokens that the role `filter` takes (contract AU-5).
const FILTER_AUDIENCE: &str = "mt-broker-filter";

/// All that the manifests say about senders.
#[derive(Debug)]
pub(crate) struct SenderRules {
    oidc: Option<Arc<OidcAuthentication>>,
    mode: AuthorizationMode,
    api_server: ApiServerAvailability,
    /// The kind of a cluster's channels that is served.
    channel_kind: ResourceKind,
    ingress: Arc<ServiceAccount>,
    policies: BTreeMap<NamespacedName, ResolvedPolicy>,
    requirements: HashMap<ChannelKey, SenderRequirements>,
    event_types: FeatureSwitch,
    cross_namespace: FeatureSwitch,
    /// The namespaces in which an object that is not understood may be an EventPolicy.
    uncertain: Vec<UncertainPolicies>,
}

/// A namespace whose policies are not all known, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
enum UncertainPolicies {
    Namespace(String),
    AllNamespaces,
}

/// The demands of one channel or Broker.
#[derive(Debug)]
struct SenderRequirements {
    audience: String,
    /// The names of the policies that apply; `None` if they cannot be read.
    policies: Option<Vec<String>>,
    /// The policy of a channel within a flow, which nobody has written.
    generated_policy: Option<Arc<EventPolicy>>,
    owner: Option<Arc<EventTypeOwner>>,
}

impl SenderRules {
    /// Reads flags, policies, channels and Brokers. `last` is the issuer in use.
    pub(crate) fn from_collected(
        collected: &mut CollectedObjects<'_>,
        settings: &ControlSettings,
        (flags, last): (&FeatureFlags, Option<&Arc<OidcAuthentication>>),
        (trust, keys): (&DestinationTrust, &Arc<KeyRing>),
    ) -> Self {
        let oidc = (flags.oidc == FeatureSwitch::On).then(|| {
            let oidc = OidcAuthentication {
                discovery: oidc_discovery(flags, settings, trust),
            };
            last.filter(|last| ***last == oidc)
                .cloned()
                .unwrap_or_else(|| Arc::new(oidc))
        });
        let targets = PolicyTarget::all_targets(collected);
        let policies = policy::resolve(
            &mut collected.event_policies,
            (&targets, keys),
            settings.api_server,
        );
        if oidc.is_none() {
            policy::warn_without_tokens(&mut collected.event_policies, settings);
        }
        let name = INGRESS.to_owned();
        let ingress = Arc::new(ServiceAccount {
            namespace: settings.system_namespace.clone(),
            name,
        });
        let mut rules = Self {
            oidc,
            mode: flags.authorization,
            api_server: settings.api_server,
            channel_kind: settings.task.channel_kind().resource_kind(),
            ingress,
            policies,
            requirements: HashMap::new(),
            event_types: flags.event_types,
            cross_namespace: flags.cross_namespace,
            uncertain: find_uncertain_policies(collected, settings),
        };
        if rules.are_needed() {
            rules.read_collected(collected);
        }
        rules
    }

    fn are_needed(&self) -> bool {
        self.oidc.is_some() || self.event_types == FeatureSwitch::On
    }

    /// Reads the demands of a channel that a cluster has reconciled.
    pub(crate) fn read_reconciled(&mut self, key: &ChannelKey, document: &ManifestDocument) {
        if self.are_needed() {
            self.add_requirements(
                key.kind,
                self.channel_kind,
                &(key.namespace.clone(), key.name.clone()),
                document,
            );
        }
    }

    /// Reads the physical channels before `Channel`s of the same names, which count.
    fn read_collected(&mut self, collected: &CollectedObjects<'_>) {
        let channels = [
            (&collected.rabbitmq_channels, ResourceKind::RabbitmqChannel),
            (&collected.in_memory_channels, ResourceKind::InMemoryChannel),
            (&collected.channels, ResourceKind::Channel),
        ];
        for (items, kind) in channels {
            for (name, item) in items {
                self.add_requirements(ChannelKind::Channel, kind, name, item.report.document());
            }
        }
        for (name, item) in &collected.brokers {
            self.add_requirements(
                ChannelKind::Broker,
                ResourceKind::Broker,
                name,
                item.report.document(),
            );
        }
        for (name, item) in &collected.request_replies {
            self.add_requirements(
                ChannelKind::RequestReply,
                ResourceKind::RequestReply,
                name,
                item.report.document(),
            );
        }
        self.read_flows(collected);
    }

    fn add_requirements(
        &mut self,
        of: ChannelKind,
        kind: ResourceKind,
        (namespace, name): &NamespacedName,
        document: &ManifestDocument,
    ) {
        let written = document
            .text(&["status", "address", "audience"])
            .map(str::to_owned);
        let audience = written.unwrap_or_else(|| default_audience(kind, namespace, name));
        let policies = match self.api_server {
            ApiServerAvailability::Given => status_policies(document),
            ApiServerAvailability::Missing => {
                status_policies(document).map(|listed| match listed.is_empty() {
                    true => {
                        policy::applying_policies(&self.policies, kind, (namespace, name), document)
                    }
                    false => listed,
                })
            }
        };
        let owner = build_event_type_owner(kind, (namespace, name), document)
            .filter(|_| self.event_types == FeatureSwitch::On);
        let key = ChannelKey {
            kind: of,
            namespace: namespace.clone(),
            name: name.clone(),
        };
        self.requirements.insert(
            key,
            SenderRequirements {
                audience,
                policies,
                generated_policy: None,
                owner: owner.map(Arc::new),
            },
        );
    }

    /// The issuer whose tokens are asked for; `None` if none are.
    pub(crate) fn oidc(&self) -> Option<Arc<OidcAuthentication>> {
        self.oidc.clone()
    }

    /// The demands of a channel or Broker on senders; `None` without OIDC.
    pub(crate) fn authorization(&self, key: &ChannelKey) -> Option<SenderAuthorization> {
        let oidc = Arc::clone(self.oidc.as_ref()?);
        let Some(asked) = self.requirements.get(key) else {
            let rule = AuthorizationRule::Unknown(format!(
                "{key} is not known well enough: nothing is taken"
            ));
            return Some(SenderAuthorization {
                oidc,
                audience: String::new(),
                rule,
            });
        };
        let is_doubtful = |place: &UncertainPolicies| match place {
            UncertainPolicies::Namespace(namespace) => *namespace == key.namespace,
            UncertainPolicies::AllNamespaces => true,
        };
        if self.uncertain.iter().any(is_doubtful) {
            let rule = AuthorizationRule::Unknown(format!(
                "an EventPolicy that may be for {key} is not understood: nothing is taken"
            ));
            return Some(SenderAuthorization {
                oidc,
                audience: asked.audience.clone(),
                rule,
            });
        }
        let rule = match &asked.policies {
            None => AuthorizationRule::Unknown(format!(
                "status.policies of {key} cannot be read: nothing is taken"
            )),
            Some(names) if names.is_empty() && asked.generated_policy.is_none() => {
                AuthorizationRule::Default(self.mode, key.namespace.clone())
            }
            Some(names) => self.rule_of_policies(names, asked.generated_policy.as_ref(), key),
        };
        Some(SenderAuthorization {
            oidc,
            audience: asked.audience.clone(),
            rule,
        })
    }

    /// The rule of these policies, which is unknown while one of them is missing (contract 7.8).
    fn rule_of_policies(
        &self,
        names: &[String],
        own: Option<&Arc<EventPolicy>>,
        key: &ChannelKey,
    ) -> AuthorizationRule {
        let mut policies: Vec<_> = own.into_iter().cloned().collect();
        for name in names {
            match self.policies.get(&(key.namespace.clone(), name.clone())) {
                Some(known) => policies.push(Arc::clone(&known.policy)),
                None => {
                    let rule = "is not known here yet: nothing is taken before it is";
                    return AuthorizationRule::Unknown(format!(
                        "EventPolicy {}/{name} of {key} {rule}",
                        key.namespace
                    ));
                }
            }
        }
        AuthorizationRule::Policies(policies)
    }

    /// Says if a Trigger may name a Broker of another namespace.
    pub(crate) fn cross_namespace(&self) -> FeatureSwitch {
        self.cross_namespace
    }

    /// Says if `EventType`s are created for events.
    pub(crate) fn event_types(&self) -> FeatureSwitch {
        self.event_types
    }

    /// The audience of a channel or Broker; `None` without OIDC.
    pub(crate) fn audience(&self, key: &ChannelKey) -> Option<String> {
        self.oidc.as_ref()?;
        self.requirements
            .get(key)
            .map(|asked| asked.audience.clone())
    }

    /// The owner of `EventType`s for a channel's events; `None` if none are created.
    pub(crate) fn event_type_owner(&self, key: &ChannelKey) -> Option<Arc<EventTypeOwner>> {
        self.requirements.get(key)?.owner.clone()
    }

    /// The owner of `EventType`s for a Trigger's replies; `None` if none are created.
    pub(crate) fn trigger_event_type_owner(
        &self,
        name: &NamespacedName,
        report: &ObjectReport<'_>,
    ) -> Option<Arc<EventTypeOwner>> {
        if self.event_types == FeatureSwitch::Off {
            return None;
        }
        build_event_type_owner(ResourceKind::Trigger, (&name.0, &name.1), report.document())
            .map(Arc::new)
    }

    /// The ServiceAccount as which the role `ingress` sends; `None` without OIDC.
    pub(crate) fn ingress_account(&self) -> Option<Arc<ServiceAccount>> {
        self.oidc.as_ref().map(|_| Arc::clone(&self.ingress))
    }

    /// Only the Trigger's own Subscription may send events for it to the filter (contract AU-13).
    pub(crate) fn trigger_authorization(
        &self,
        uid: Option<&str>,
        collected: &TriggerSubjects,
    ) -> Option<SenderAuthorization> {
        let oidc = Arc::clone(self.oidc.as_ref()?);
        let rule = match uid.map(|uid| collected.0.get(uid)) {
            Some(Some(Some(subject))) => AuthorizationRule::OnlySubject(subject.clone()),
            Some(Some(None)) => AuthorizationRule::Unknown(
                "the subscription of this trigger has no status.auth.serviceAccountName yet"
                    .to_owned(),
            ),
            Some(None) | None => AuthorizationRule::ObjectMissing(
                "the subscription of this trigger is not known here yet".to_owned(),
            ),
        };
        Some(SenderAuthorization {
            oidc,
            audience: FILTER_AUDIENCE.to_owned(),
            rule,
        })
    }

    /// The ServiceAccount of a sender, by `status`, or without a cluster by name (contract 7.1).
    pub(crate) fn sender_account(
        &self,
        kind: ResourceKind,
        report: &mut ObjectReport<'_>,
    ) -> Option<Arc<ServiceAccount>> {
        self.oidc.as_ref()?;
        let document = report.document();
        if let Some(name) = document.text(&["status", "auth", "serviceAccountName"]) {
            return self.sender_account_named(name, "status.auth.serviceAccountName", report);
        }
        self.generated_sender_account(kind, (&report.object().namespace, &report.object().name))
    }

    /// The ServiceAccount that Knative would give an object; `None` in a cluster.
    pub(crate) fn generated_sender_account(
        &self,
        kind: ResourceKind,
        (namespace, name): (&str, &str),
    ) -> Option<Arc<ServiceAccount>> {
        self.oidc
            .as_ref()
            .filter(|_| self.api_server == ApiServerAvailability::Missing)?;
        let group = kind.api_version().split('/').next().unwrap_or_default();
        let name = format!("{name}-oidc-{group}-{}", kind.as_str()).to_ascii_lowercase();
        Some(Arc::new(ServiceAccount {
            namespace: namespace.to_owned(),
            name,
        }))
    }

    /// The account of this name in the object's namespace (contract 7.2); `None` without OIDC.
    pub(crate) fn sender_account_named(
        &self,
        name: &str,
        field: &str,
        report: &mut ObjectReport<'_>,
    ) -> Option<Arc<ServiceAccount>> {
        self.oidc.as_ref()?;
        if !is_dns_name(name, 253) {
            report.error(field, format!("{name:?} is no name of a ServiceAccount"));
            return None;
        }
        if !is_sender_account_name(name) {
            let remedy = "leave it to Knative, which names it NAME-oidc-GROUP-KIND";
            report.error(
                field,
                format!(
                    "{name:?} is no ServiceAccount of a Subscription, Trigger or source: {remedy}"
                ),
            );
            return None;
        }
        Some(Arc::new(ServiceAccount {
            namespace: report.object().namespace.clone(),
            name: name.to_owned(),
        }))
    }
}

/// The subjects of the Triggers' Subscriptions, by the Trigger's uid; `None` for one without.
#[derive(Debug, Default)]
pub(crate) struct TriggerSubjects(HashMap<String, Option<String>>);

impl TriggerSubjects {
    /// Reads the subjects of all collected Subscriptions.
    pub(crate) fn from_collected(collected: &CollectedObjects<'_>) -> Self {
        let mut subscribers = HashMap::new();
        for ((namespace, _), CollectedItem { report, .. }) in &collected.subscriptions {
            let metadata = report.document().value.get("metadata");
            let owners = metadata.and_then(|metadata| metadata.get("ownerReferences")?.as_array());
            let is_trigger =
                |owner: &&Value| owner.get("kind").is_some_and(|kind| kind == "Trigger");
            let trigger = owners
                .into_iter()
                .flatten()
                .find(is_trigger)
                .and_then(|owner| owner.get("uid")?.as_str());
            if let Some(trigger) = trigger {
                let name = report
                    .document()
                    .text(&["status", "auth", "serviceAccountName"]);
                let account = name.map(|name| {
                    ServiceAccount {
                        namespace: namespace.clone(),
                        name: name.to_owned(),
                    }
                    .to_string()
                });
                subscribers.insert(trigger.to_owned(), account);
            }
        }
        Self(subscribers)
    }
}

/// The namespaces in which policies may be missing. What has the name of a policy is that one with a
/// mistake, whose last good form is in force.
fn find_uncertain_policies(
    collected: &CollectedObjects<'_>,
    settings: &ControlSettings,
) -> Vec<UncertainPolicies> {
    let is_in_force = |document: &&ManifestDocument| {
        let ObjectName {
            namespace, name, ..
        } = object_name(document, &settings.default_namespace);
        let known = collected.event_policies.get(&(namespace, name));
        known.is_some_and(|known| !std::ptr::eq(known.report.document(), *document))
    };
    let word = ResourceKind::EventPolicy.as_str();
    let unread = collected
        .is_in_unparsed_text(word)
        .then_some(UncertainPolicies::AllNamespaces);
    collected
        .unidentified_with_word(word)
        .into_iter()
        .filter(|document| !is_in_force(document))
        .map(uncertain_scope)
        .chain(unread)
        .collect()
}

/// The scope of a document that may be an EventPolicy.
fn uncertain_scope(document: &ManifestDocument) -> UncertainPolicies {
    let namespace = document.text(&["metadata", "namespace"]);
    namespace.map_or(UncertainPolicies::AllNamespaces, |namespace| {
        UncertainPolicies::Namespace(namespace.to_owned())
    })
}

/// The place where the issuer publishes its keys.
fn oidc_discovery(
    flags: &FeatureFlags,
    settings: &ControlSettings,
    trust: &DestinationTrust,
) -> OidcDiscovery {
    let Some(text) = &flags.discovery else {
        return OidcDiscovery::Cluster(trust.common());
    };
    let Ok(url) = uri::parse_absolute_url(text) else {
        return OidcDiscovery::Unavailable;
    };
    let overriding = settings
        .resolve_overrides
        .iter()
        .find(|overriding| overriding.matches(&url));
    let target = DestinationRoute::Remote {
        connect: overriding.map(|overriding| overriding.connect_to),
    };
    let trust = if url.scheme() == "https" {
        trust.common()
    } else {
        trust.none()
    };
    OidcDiscovery::BaseUrl(Addressable {
        url: url.into(),
        route: target,
        trust,
        audience: None,
    })
}

/// Contract 4.1, 5.8: all lower case. The physical channel of a `Channel` has its name.
fn default_audience(kind: ResourceKind, namespace: &str, name: &str) -> String {
    let kind = match kind {
        ResourceKind::Broker => "eventing.knative.dev/broker",
        ResourceKind::RequestReply => "eventing.knative.dev/requestreply",
        ResourceKind::RabbitmqChannel => "messaging.knative.dev/rabbitmqchannel",
        _ => "messaging.knative.dev/inmemorychannel",
    };
    format!("{kind}/{namespace}/{name}").to_ascii_lowercase()
}

/// The names in `status.policies`; `None` if they cannot be read (contract 7.7).
fn status_policies(document: &ManifestDocument) -> Option<Vec<String>> {
    match document
        .value
        .get("status")
        .and_then(|status| status.get("policies"))
    {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(policies) => {
            let name = |policy: &Value| {
                policy
                    .get("name")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            };
            policies.as_array()?.iter().map(name).collect()
        }
    }
}

/// The owner of an object's `EventType`s; `None` without a uid, or within a Broker (contract 8.1).
fn build_event_type_owner(
    kind: ResourceKind,
    (namespace, name): (&str, &str),
    document: &ManifestDocument,
) -> Option<EventTypeOwner> {
    let owners = document
        .value
        .get("metadata")
        .and_then(|metadata| metadata.get("ownerReferences"));
    if owners.and_then(|owners| owners.get(0)?.get("kind")?.as_str()) == Some("Broker") {
        return None;
    }
    Some(EventTypeOwner {
        api_version: kind.api_version(),
        kind: kind.as_str(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: document.text(&["metadata", "uid"])?.to_owned(),
        address: document
            .text(&["status", "address", "name"])
            .map(str::to_owned),
    })
}
