//! The demands on senders, and the accounts of subscriptions (contract 4.1, 7.1 to 7.8). Policies
//! are read from `status`, as a cluster's controllers have decided; without a cluster, from `spec`.

mod accounts;
mod flows;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::discovery::oidc_discovery;
use super::policy::{self, ResolvedPolicy};
use super::policy_target::PolicyTarget;
use super::trigger_subjects::TriggerSubjects;
use super::uncertain::{UncertainPolicies, find_uncertain_policies};
use crate::control::read::document::ManifestDocument;
use crate::control::read::kind::ResourceKind;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::CollectedObjects;
use crate::control::resolve::config::flags::{FeatureFlags, FeatureSwitch};
use crate::control::resolve::config::trust::DestinationTrust;
use crate::control::resolve::keys::channel_key;
use crate::control::settings::{ApiServerAvailability, ControlSettings};
use crate::correlation::KeyRing;
use crate::model::{
    AuthorizationMode, AuthorizationRule, ChannelKey, ChannelKind, EventPolicy, EventTypeOwner,
    NamespacedName, OidcAuthentication, SenderAuthorization, ServiceAccount,
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

/// What is known before the objects themselves.
pub(crate) struct SenderSources<'s> {
    pub(crate) flags: &'s FeatureFlags,
    /// The issuer in use.
    pub(crate) last: Option<&'s Arc<OidcAuthentication>>,
    pub(crate) trust: &'s DestinationTrust,
    /// The keys that filters of policies verify ids with.
    pub(crate) keys: &'s Arc<KeyRing>,
}

impl SenderRules {
    /// Reads flags, policies, channels and Brokers.
    pub(crate) fn from_collected(
        collected: &mut CollectedObjects<'_>,
        settings: &ControlSettings,
        sources: &SenderSources<'_>,
    ) -> Self {
        let SenderSources {
            flags,
            last,
            trust,
            keys,
        } = *sources;
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
            &targets,
            keys,
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
                &NamespacedName::new(&key.namespace, &key.name),
                document,
            );
        }
    }

    /// Reads the physical channels before `Channel`s of the same names, which count.
    fn read_collected(&mut self, collected: &CollectedObjects<'_>) {
        let channels = [
            (&collected.disk_channels, ResourceKind::DiskChannel),
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
        name: &NamespacedName,
        document: &ManifestDocument,
    ) {
        let written = document
            .text(&["status", "address", "audience"])
            .map(str::to_owned);
        let audience = written.unwrap_or_else(|| default_audience(kind, name));
        let policies = match self.api_server {
            ApiServerAvailability::Given => status_policies(document),
            ApiServerAvailability::Missing => {
                status_policies(document).map(|listed| match listed.is_empty() {
                    true => policy::applying_policies(&self.policies, kind, name, document),
                    false => listed,
                })
            }
        };
        let owner = build_event_type_owner(kind, name, document)
            .filter(|_| self.event_types == FeatureSwitch::On);
        let key = channel_key(of, name.namespace.clone(), name.name.clone());
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
        let asked = self.requirements.get(key);
        Some(SenderAuthorization {
            oidc,
            audience: asked
                .map(|asked| asked.audience.clone())
                .unwrap_or_default(),
            rule: self.rule_for(asked, key),
        })
    }

    /// The rule for senders to a channel or Broker: what is not known is closed.
    fn rule_for(&self, asked: Option<&SenderRequirements>, key: &ChannelKey) -> AuthorizationRule {
        let Some(asked) = asked else {
            return AuthorizationRule::Unknown(format!(
                "{key} is not known well enough: nothing is taken"
            ));
        };
        if self
            .uncertain
            .iter()
            .any(|uncertain| uncertain.concern(&key.namespace))
        {
            return AuthorizationRule::Unknown(format!(
                "an EventPolicy that may be for {key} is not understood: nothing is taken"
            ));
        }
        match &asked.policies {
            None => AuthorizationRule::Unknown(format!(
                "status.policies of {key} cannot be read: nothing is taken"
            )),
            Some(names) if names.is_empty() && asked.generated_policy.is_none() => {
                AuthorizationRule::Default(self.mode, key.namespace.clone())
            }
            Some(names) => self.rule_of_policies(names, asked.generated_policy.as_ref(), key),
        }
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
            match self
                .policies
                .get(&NamespacedName::new(&key.namespace, name))
            {
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
        build_event_type_owner(ResourceKind::Trigger, name, report.document()).map(Arc::new)
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
}

/// Contract 4.1, 5.8: all lower case. The physical channel of a `Channel` has its name.
fn default_audience(kind: ResourceKind, name: &NamespacedName) -> String {
    let kind = match kind {
        ResourceKind::Broker => "eventing.knative.dev/broker",
        ResourceKind::RequestReply => "eventing.knative.dev/requestreply",
        ResourceKind::RabbitmqChannel => "messaging.knative.dev/rabbitmqchannel",
        ResourceKind::DiskChannel => "messaging.knative.dev/diskchannel",
        _ => "messaging.knative.dev/inmemorychannel",
    };
    format!("{kind}/{name}").to_ascii_lowercase()
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
    name: &NamespacedName,
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
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        uid: document.text(&["metadata", "uid"])?.to_owned(),
        address: document
            .text(&["status", "address", "name"])
            .map(str::to_owned),
    })
}
