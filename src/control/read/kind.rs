//! The kinds of objects that are read, and how the kind of an object is recognized by its
//! `apiVersion` and `kind`.

use std::borrow::Cow;

use super::spelling;

const EVENTING: &str = "eventing.knative.dev/v1";
const MESSAGING: &str = "messaging.knative.dev/v1";
const FLOWS: &str = "flows.knative.dev/v1";

/// Knative's groups whose kinds are read.
const KNATIVE_GROUPS: [&str; 4] = [
    "eventing.knative.dev",
    "messaging.knative.dev",
    "flows.knative.dev",
    "sources.knative.dev",
];
/// What the name of a kind says that is meant to be a policy.
const LIKE_POLICY: [&str; 5] = ["polic", "eventpol", "authoriz", "authoris", "access"];

/// A kind of objects that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ResourceKind {
    Broker,
    Trigger,
    EventPolicy,
    RequestReply,
    Channel,
    InMemoryChannel,
    RabbitmqChannel,
    DiskChannel,
    Subscription,
    Sequence,
    Parallel,
    PingSource,
    ConfigMap,
    Secret,
    Service,
    Pod,
    /// Read in a cluster only: the addresses of the pods of a Service.
    EndpointSlice,
}

/// The meaning of an object's `apiVersion` and `kind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecognizedKind {
    /// A kind that is read.
    Known(ResourceKind),
    /// A kind of somebody else, which is ignored.
    Foreign,
    /// Probably a kind that is read, but misspelled: the field that is wrong, and what to write in
    /// it.
    Mistaken {
        field: &'static str,
        message: String,
    },
}

impl ResourceKind {
    /// The kinds that manifests may hold.
    pub(crate) const ALL: [Self; 16] = [
        Self::Broker,
        Self::Trigger,
        Self::EventPolicy,
        Self::RequestReply,
        Self::Channel,
        Self::InMemoryChannel,
        Self::RabbitmqChannel,
        Self::DiskChannel,
        Self::Subscription,
        Self::Sequence,
        Self::Parallel,
        Self::PingSource,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::Pod,
    ];

    /// The text of the field `kind`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "Broker",
            Self::Trigger => "Trigger",
            Self::EventPolicy => "EventPolicy",
            Self::RequestReply => "RequestReply",
            Self::Channel => "Channel",
            Self::InMemoryChannel => "InMemoryChannel",
            Self::RabbitmqChannel => "RabbitmqChannel",
            Self::DiskChannel => "DiskChannel",
            Self::Subscription => "Subscription",
            Self::Sequence => "Sequence",
            Self::Parallel => "Parallel",
            Self::PingSource => "PingSource",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::Pod => "Pod",
            Self::EndpointSlice => "EndpointSlice",
        }
    }

    /// The `apiVersion` that is preferred; the others of [`Self::api_versions`] are older.
    pub(crate) fn api_version(self) -> &'static str {
        self.api_versions().first().copied().unwrap_or_default()
    }

    /// Every `apiVersion` under which the kind is read, the preferred one first: upstream serves
    /// PingSources of an older one, too, with the same fields.
    pub(crate) fn api_versions(self) -> &'static [&'static str] {
        match self {
            Self::Broker | Self::Trigger => &[EVENTING],
            Self::Channel | Self::InMemoryChannel | Self::Subscription => &[MESSAGING],
            Self::Sequence | Self::Parallel => &[FLOWS],
            Self::EventPolicy | Self::RequestReply => &["eventing.knative.dev/v1alpha1"],
            Self::RabbitmqChannel | Self::DiskChannel => &["messaging.knative.dev/v1alpha1"],
            Self::EndpointSlice => &["discovery.k8s.io/v1"],
            Self::PingSource => &["sources.knative.dev/v1", "sources.knative.dev/v1beta2"],
            Self::ConfigMap | Self::Secret | Self::Service | Self::Pod => &["v1"],
        }
    }

    /// Recognizes the kind of an object, or says what is wrong with its `apiVersion` or `kind`.
    pub(crate) fn recognize(api_version: &str, kind: &str) -> RecognizedKind {
        let exact = Self::ALL.into_iter().find(|known| known.as_str() == kind);
        match exact {
            Some(known) if known.api_versions().contains(&api_version) => {
                RecognizedKind::Known(known)
            }
            Some(known) if known.is_foreign(api_version) => RecognizedKind::Foreign,
            Some(known) => RecognizedKind::Mistaken {
                field: "apiVersion",
                message: known.api_version_remedy(api_version),
            },
            None if is_like_policy(kind) && group_of(api_version).ends_with("knative.dev") => {
                RecognizedKind::Mistaken {
                    field: "kind",
                    message: format!(
                        "{kind:?} is unknown; did you mean {}?",
                        Self::EventPolicy.as_str()
                    ),
                }
            }
            None => {
                match spelling::suggest_word(&singular(kind), Self::ALL.map(Self::as_str))
                    .or_else(|| Self::of_plural(kind))
                {
                    Some(meant)
                        if Self::ALL.iter().any(|known| {
                            known.as_str() == meant && !known.is_foreign(api_version)
                        }) =>
                    {
                        RecognizedKind::Mistaken {
                            field: "kind",
                            message: format!("{kind:?} is unknown; did you mean {meant}?"),
                        }
                    }
                    _ => RecognizedKind::Foreign,
                }
            }
        }
    }

    /// The kind of which this text is the plural with an end of more than one letter, such as
    /// `RequestReplies`.
    fn of_plural(kind: &str) -> Option<&'static str> {
        Self::ALL
            .map(Self::as_str)
            .into_iter()
            .find(|known| kind != *known && singular(kind) == *known)
    }

    /// The remedy for this `apiVersion`: the one to write instead, and what to do about fields that
    /// only older ones have.
    fn api_version_remedy(self, api_version: &str) -> String {
        let (kind, remedy) = (self.as_str(), self.api_version());
        let group = |text: &str| text.split_once('/').map(|(group, _)| group.to_owned());
        let older = former_fields_remedy(self)
            .filter(|_| group(api_version) == group(remedy))
            .unwrap_or_default();
        let comma = if older.is_empty() { "" } else { ", " };
        if api_version.is_empty() {
            return format!("is missing: write {remedy}");
        }
        format!("{api_version:?} has no {kind} that is served here: write {remedy}{comma}{older}")
    }

    /// True if this `apiVersion` is of a group that has nothing to do with Knative's, so that its
    /// kind may have any name.
    fn is_foreign(self, api_version: &str) -> bool {
        let group = |text: &str| {
            text.split_once('/')
                .map_or(String::new(), |(group, _)| group.to_ascii_lowercase())
        };
        let (group, ours) = (group(api_version), group(self.api_version()));
        let [a, b] = [&group, &ours].map(|text| text.chars().collect::<Vec<_>>());
        let knative = group.ends_with("knative.dev") && group != "serving.knative.dev";
        // Nobody else has a kind of this name, and a policy that is left alone leaves open what it
        // was for.
        let is_policy = self == Self::EventPolicy;
        // `eventing` of `eventing/v1` is the first part of one of Knative's.
        let is_first_part = KNATIVE_GROUPS
            .iter()
            .any(|known| known.split('.').next() == Some(&group));
        !is_policy
            && !group.is_empty()
            && !knative
            && !is_first_part
            && spelling::edit_distance(&a, &b) > 3
    }
}

/// The singular of a kind that ends in `ies`: `RequestReply` for `RequestReplies`.
fn singular(kind: &str) -> Cow<'_, str> {
    kind.strip_suffix("ies")
        .map_or(kind.into(), |stem| format!("{stem}y").into())
}

/// The group of an `apiVersion`; empty for Kubernetes' own kinds.
pub(crate) fn group_of(api_version: &str) -> &str {
    api_version
        .split_once('/')
        .map_or("", |(group, _version)| group)
}

/// True if a kind is named like a policy. Knative has one kind of policy, and without it more
/// events would be let in.
pub(crate) fn is_like_policy(kind: &str) -> bool {
    let kind = kind.to_lowercase();
    LIKE_POLICY.iter().any(|part| kind.contains(part))
}

/// The fields of a kind's older `apiVersion` that the present one does not have, and how to rewrite
/// them; `None` if there are none.
fn former_fields_remedy(kind: ResourceKind) -> Option<&'static str> {
    Some(match kind {
        ResourceKind::Trigger => {
            "and filter.attributes with source and type where filter.sourceAndType was"
        }
        ResourceKind::Broker => {
            "and a ConfigMap with channel-template-spec, named in spec.config, where \
             spec.channelTemplate was"
        }
        ResourceKind::Channel | ResourceKind::InMemoryChannel => {
            "and spec.subscribers where spec.subscribable was"
        }
        ResourceKind::PingSource => {
            "and data with contentType: application/json where jsonData was"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_every_kind() {
        for kind in ResourceKind::ALL {
            for api_version in kind.api_versions() {
                assert_eq!(
                    ResourceKind::recognize(api_version, kind.as_str()),
                    RecognizedKind::Known(kind)
                );
            }
            assert_eq!(kind.api_versions().first(), Some(&kind.api_version()));
        }
    }

    #[test]
    fn recognizes_near_misses() {
        for (api_version, kind, remedy) in [
            (
                "eventing.knative.dev/v1beta1",
                "Subscription",
                "write messaging.knative.dev/v1",
            ),
            (
                "eventing.knative.dev/v1beta1",
                "Trigger",
                "where filter.sourceAndType was",
            ),
            (
                "messaging.knative.dev/v1",
                "Trigger",
                "write eventing.knative.dev/v1",
            ),
            (
                "eventing.knativ.dev/v1",
                "Trigger",
                "write eventing.knative.dev/v1",
            ),
            ("v1", "Subscription", "write messaging.knative.dev/v1"),
            (
                "messaging.knative.dev/v1",
                "RabbitmqChannel",
                "write messaging.knative.dev/v1alpha1",
            ),
            ("v2", "ConfigMap", "write v1"),
            (
                "flows.knative.dev/v1beta1",
                "Sequence",
                "write flows.knative.dev/v1",
            ),
            (
                "messaging.knative.dev/v1",
                "Parallel",
                "write flows.knative.dev/v1",
            ),
            ("flows.knative.dev/v1", "Sequenze", "did you mean Sequence?"),
            ("eventing.knative.dev/v1", "Brocker", "did you mean Broker?"),
            (
                "eventing.knative.dev/v1",
                "trigger",
                "did you mean Trigger?",
            ),
            (
                "messaging.knative.dev/v1",
                "RabbitMQChannel",
                "did you mean RabbitmqChannel?",
            ),
            ("v1", "Configmap", "did you mean ConfigMap?"),
            (
                "eventing.knative.dev/v1alpha1",
                "EventPolicies",
                "did you mean EventPolicy?",
            ),
            (
                "eventing.knative.dev/v1alpha1",
                "AuthorizationPolicy",
                "did you mean EventPolicy?",
            ),
            (
                "security.knative.dev/v1",
                "policy",
                "did you mean EventPolicy?",
            ),
            (
                "eventing.example.com/v1",
                "EventPolicy",
                "write eventing.knative.dev/v1alpha1",
            ),
            (
                "serving.knative.dev/v1",
                "EventPolicy",
                "write eventing.knative.dev/v1alpha1",
            ),
            (
                "eventing.knative.dev/v1alpha1",
                "RequestReplies",
                "did you mean RequestReply?",
            ),
            (
                "eventing.knative.dev/v1alpha1",
                "RequestRepliys",
                "did you mean RequestReply?",
            ),
        ] {
            let RecognizedKind::Mistaken { message, .. } =
                ResourceKind::recognize(api_version, kind)
            else {
                panic!("{api_version} {kind} is not recognised as a mistake");
            };
            assert!(message.ends_with(remedy), "{message}");
        }
    }

    #[test]
    fn recognizes_what_is_called_like_a_policy_and_parts_of_groups() {
        for (api_version, kind, remedy) in [
            (
                "eventing.knative.dev/v1alpha1",
                "EventPol",
                "did you mean EventPolicy?",
            ),
            (
                "eventing.knative.dev/v1alpha1",
                "EventAccess",
                "did you mean EventPolicy?",
            ),
            (
                "eventing.knative.dev/v1alpha1",
                "EventAuthorization",
                "did you mean EventPolicy?",
            ),
            ("eventing/v1", "Trigger", "write eventing.knative.dev/v1"),
            ("eventing/v1", "Broker", "write eventing.knative.dev/v1"),
            (
                "messaging/v1",
                "Subscription",
                "write messaging.knative.dev/v1",
            ),
        ] {
            let found = ResourceKind::recognize(api_version, kind);
            let RecognizedKind::Mistaken { message, .. } = found else {
                panic!("{api_version} {kind} is not recognised as a mistake");
            };
            assert!(message.ends_with(remedy), "{message}");
        }
    }

    #[test]
    fn leaves_other_peoples_kinds_alone() {
        for (api_version, kind) in [
            ("apps/v1", "Deployment"),
            ("serving.knative.dev/v1", "Service"),
            ("operators.coreos.com/v1alpha1", "Subscription"),
            ("triggers.tekton.dev/v1beta1", "Trigger"),
            ("example.com/v1", "Brokers"),
            ("v1", "Namespace"),
            ("networking.k8s.io/v1", "NetworkPolicy"),
            ("security.istio.io/v1", "AuthorizationPolicy"),
            ("v1", "Node"),
            ("example.com/v1", "Sequence"),
        ] {
            assert_eq!(
                ResourceKind::recognize(api_version, kind),
                RecognizedKind::Foreign,
                "{api_version} {kind}"
            );
        }
    }
}
