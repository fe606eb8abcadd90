//! The keys that the data of Knative's ConfigMaps may have. Other people's ConfigMaps may have any.

use super::near;
use crate::control::manifest::spelling;

/// What Brokers refer to in an installation that nobody has changed.
pub(crate) const DEFAULT_TEMPLATE: &str = "config-br-default-channel";
/// The ConfigMap of flags.
pub(crate) const CONFIG_FEATURES: &str = "config-features";

/// The keys of a ConfigMap.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Its name; empty for whatever has the first of its keys.
    pub(super) name: &'static str,
    pub(super) keys: &'static [&'static str],
    /// Beginnings of keys that their author completes.
    pub(super) beginnings: &'static [&'static str],
}

const CHANNEL_TEMPLATE: [&str; 2] = ["channel-template-spec", "channelTemplateSpec"];

/// Every ConfigMap of the system namespace whose keys are read.
pub(super) static SYSTEM: [Keys; 6] = [
    Keys {
        name: CONFIG_FEATURES,
        keys: &[
            "transport-encryption",
            "authentication-oidc",
            "default-authorization-mode",
            "oidc-discovery-base-url",
            "eventtype-auto-create",
            "cross-namespace-event-links",
            "delivery-timeout",
            "delivery-retryafter",
            "kreference-group",
            "kreference-mapping",
            "new-apiserversource-filters",
            "new-trigger-filters",
            "requestreply-default-timeout",
            "strict-subscriber",
            "istio",
        ],
        beginnings: &["apiserversources-nodeselector-"],
    },
    Keys { name: "config-br-defaults", keys: &["default-br-config"], beginnings: &[] },
    Keys { name: "default-ch-webhook", keys: &["default-ch-config"], beginnings: &[] },
    Keys { name: "config-imc-backend", keys: &["default-backend", "namespaces"], beginnings: &[] },
    Keys { name: "config-logging", keys: &["zap-logger-config"], beginnings: &["loglevel."] },
    Keys {
        name: "config-observability",
        keys: &[
            "metrics-protocol",
            "metrics-endpoint",
            "metrics-export-interval",
            "tracing-protocol",
            "tracing-endpoint",
            "tracing-sampling-rate",
            "runtime-profiling",
            "runtime-export-interval",
            "request-metrics-protocol",
            "request-metrics-endpoint",
            "request-metrics-export-interval",
        ],
        // Those of releases before 1.19, which nothing reads any more.
        beginnings: &["metrics.", "logging.", "profiling.", "tracing.", "sink-event-error-reporting."],
    },
];

static TEMPLATE: Keys = Keys { name: "", keys: &CHANNEL_TEMPLATE, beginnings: &[] };

impl Keys {
    /// Those of a ConfigMap of this name, if it is one that is read. `has` tells whether it has a key.
    pub(crate) fn of(name: &str, in_system_namespace: Place, has: impl Fn(&str) -> bool) -> Option<&'static Self> {
        let by_name = SYSTEM.iter().find(|keys| keys.name == name && in_system_namespace == Place::System);
        by_name.or_else(|| Some(&TEMPLATE).filter(|_| CHANNEL_TEMPLATE.iter().any(|key| has(key))))
    }

    /// Whether a key, without the blanks around it, is one of them. What begins with `_` is for people
    /// (contract 3.2).
    pub(crate) fn has(&self, key: &str) -> bool {
        let key = key.trim();
        key.starts_with('_')
            || self.keys.contains(&key)
            || self.beginnings.iter().any(|beginning| key.starts_with(beginning))
    }

    /// The key that one which is not known is probably meant to be.
    pub(crate) fn meant(&self, key: &str) -> Option<&'static str> {
        near::meant(key, self.keys.iter().copied())
    }

    /// The ConfigMap of the system namespace that is probably meant by this name, which is none of theirs: nearly theirs, or
    /// with its words in another order.
    pub(crate) fn named_nearly(name: &str) -> Option<&'static str> {
        let known = SYSTEM.iter().map(|keys| keys.name).chain([DEFAULT_TEMPLATE]);
        if known.clone().any(|known| known == name) {
            return None;
        }
        let is_same = |known: &&str| {
            let (words, other) = (in_order(known), in_order(name));
            words == other || spelling::meant(&other, [words.as_str()]).is_some()
        };
        spelling::meant(name, known.clone()).or_else(|| known.into_iter().find(is_same))
    }

    /// All that have a name.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().copied()
    }
}

/// The words of a name in the order of the alphabet.
fn in_order(name: &str) -> String {
    let mut words: Vec<&str> = name.split(['-', '_', '.']).collect();
    words.sort_unstable();
    words.join("-")
}

/// Where a ConfigMap stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the system namespace, where flags and defaults are.
    System,
    /// In another one.
    Elsewhere,
}
