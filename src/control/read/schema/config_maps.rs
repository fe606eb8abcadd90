//! The keys that the data of Knative's ConfigMaps may have. ConfigMaps of other people may have any
//! key.

use super::suggest;
use crate::control::read::spelling;

/// The name of the ConfigMap that Brokers refer to in an installation that nobody has changed.
pub(crate) const DEFAULT_TEMPLATE: &str = "config-br-default-channel";
/// The name of the ConfigMap of feature flags.
pub(crate) const CONFIG_FEATURES: &str = "config-features";

/// A ConfigMap of Knative Serving whose name is nearly one of these.
const OF_SERVING: &str = "config-defaults";

/// The keys that a ConfigMap may have.
#[derive(Debug)]
pub(crate) struct ConfigMapKeys {
    /// The name of the ConfigMap; empty for every ConfigMap that has a channel template.
    pub(super) name: &'static str,
    /// The keys that are allowed as a whole.
    pub(super) keys: &'static [&'static str],
    /// The beginnings of keys that their author completes.
    pub(super) prefixes: &'static [&'static str],
}

const CHANNEL_TEMPLATE: [&str; 2] = ["channel-template-spec", "channelTemplateSpec"];

/// The ConfigMaps of the system namespace whose keys are checked.
pub(super) static SYSTEM: [ConfigMapKeys; 6] = [
    ConfigMapKeys {
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
        prefixes: &["apiserversources-nodeselector-"],
    },
    ConfigMapKeys {
        name: "config-br-defaults",
        keys: &["default-br-config"],
        prefixes: &[],
    },
    ConfigMapKeys {
        name: "default-ch-webhook",
        keys: &["default-ch-config"],
        prefixes: &[],
    },
    ConfigMapKeys {
        name: "config-imc-backend",
        keys: &["default-backend", "namespaces"],
        prefixes: &[],
    },
    ConfigMapKeys {
        name: "config-logging",
        keys: &["zap-logger-config", "klog-verbosity"],
        prefixes: &["loglevel."],
    },
    ConfigMapKeys {
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
        // These prefixes are of releases before 1.19; nothing reads such keys any more.
        prefixes: &[
            "metrics.",
            "logging.",
            "profiling.",
            "tracing.",
            "sink-event-error-reporting.",
        ],
    },
];

static TEMPLATE: ConfigMapKeys = ConfigMapKeys {
    name: "",
    keys: &CHANNEL_TEMPLATE,
    prefixes: &[],
};

impl ConfigMapKeys {
    /// The keys of a ConfigMap of this name; `None` if its keys are not checked. `has` is true for
    /// the keys that it has.
    pub(crate) fn for_config_map(
        name: &str,
        in_system_namespace: ConfigMapPlace,
        has: impl Fn(&str) -> bool,
    ) -> Option<&'static Self> {
        let by_name = SYSTEM.iter().find(|keys| {
            keys.name == name && in_system_namespace == ConfigMapPlace::SystemNamespace
        });
        by_name.or_else(|| Some(&TEMPLATE).filter(|_| CHANNEL_TEMPLATE.iter().any(|key| has(key))))
    }

    /// True if a key, without the blanks around it, is allowed. Keys that begin with `_` are notes
    /// for people (contract 3.2).
    pub(crate) fn has(&self, key: &str) -> bool {
        let key = key.trim();
        key.starts_with('_')
            || self.keys.contains(&key)
            || self
                .prefixes
                .iter()
                .any(|beginning| key.starts_with(beginning))
    }

    /// The allowed key that an unknown one is probably meant to be.
    pub(crate) fn suggest_key(&self, key: &str) -> Option<&'static str> {
        suggest::suggest_name(key, self.keys.iter().copied())
    }

    /// The key that a word outside of `data` means, which is the same or nearly so. A key of one
    /// word may be a label of somebody else.
    pub(crate) fn meant_by(&self, word: &str) -> Option<&'static str> {
        let known = self.keys.iter().copied().filter(|key| key.contains('-'));
        known
            .clone()
            .find(|key| *key == word)
            .or_else(|| spelling::suggest_word(word, known))
    }

    /// The ConfigMap of the system namespace that this name probably means, which is none of
    /// theirs: it is misspelled, or has its words in another order.
    pub(crate) fn named_nearly(name: &str) -> Option<&'static str> {
        nearly_named(
            name,
            SYSTEM
                .iter()
                .map(|keys| keys.name)
                .chain([DEFAULT_TEMPLATE]),
        )
    }

    /// The allowed keys that are known as a whole.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().copied()
    }
}

/// The one of these names that another name probably means, which is none of them: it is
/// misspelled, or has its words in another order.
pub(crate) fn nearly_named<'k>(
    name: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Option<&'k str> {
    if name == OF_SERVING || known.clone().any(|known| known == name) {
        return None;
    }
    let is_same = |known: &&str| {
        let (words, other) = (in_order(known), in_order(name));
        words == other || spelling::suggest_word(&other, [words.as_str()]).is_some()
    };
    spelling::suggest_word(name, known.clone()).or_else(|| known.into_iter().find(is_same))
}

/// The words of a name, sorted.
fn in_order(name: &str) -> String {
    let mut words: Vec<&str> = name.split(['-', '_', '.']).collect();
    words.sort_unstable();
    words.join("-")
}

/// The namespace in which a ConfigMap stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConfigMapPlace {
    /// The system namespace, which has the flags and defaults.
    SystemNamespace,
    /// Any namespace but the system namespace.
    OtherNamespace,
}
