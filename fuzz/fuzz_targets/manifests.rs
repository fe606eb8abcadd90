//! What holds for every manifest that somebody may write: it is read, or told what is wrong with it
//! in words, and what was resolved once is resolved again to the same.

use sealpost::control::{
    ChannelScope, ControlSettings, ControlTask, ManifestSet, ObjectSource, Problem, Resolution,
    ServedChannelKind, UnknownFields, parse_manifests, resolve,
};
use serde_json::{Value, json};

/// Keys of ConfigMaps whose values are documents themselves, or words.
const KEYS: [(&str, &str); 9] = [
    ("config-features", "transport-encryption"),
    ("config-features", "authentication-oidc"),
    ("config-br-defaults", "default-br-config"),
    ("default-ch-webhook", "default-ch-config"),
    ("config-br-default-channel", "channel-template-spec"),
    ("config-br-default-channel", "channelTemplateSpec"),
    ("config-observability", "tracing-endpoint"),
    ("config-logging", "zap-logger-config"),
    ("config-logging", "_example"),
];

/// Each text is a file of manifests, and the value of each key of a ConfigMap.
pub(crate) fn manifest(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let written = parse_manifests("a.yaml", &text);
    let maps =
        ManifestSet::from_objects(KEYS.iter().map(|(name, key)| config_map(name, key, &text)));
    let mut settings = ControlSettings::default();
    for unknown_fields in [UnknownFields::Error, UnknownFields::Warn] {
        settings.unknown_fields = unknown_fields;
        same_again(&written, &settings);
        same_again(&maps, &settings);
    }
    let channels = ControlTask::ServeChannels {
        kind: ServedChannelKind::default(),
        scope: ChannelScope::default(),
    };
    for task in [
        channels,
        ControlTask::RelayBrokers(ObjectSource::Reconciled),
        ControlTask::RelayTriggers(ObjectSource::Reconciled),
    ] {
        settings.task = task;
        same_again(&written, &settings);
        same_again(&maps, &settings);
    }
}

fn config_map(name: &str, key: &str, text: &str) -> Value {
    let metadata = json!({ "name": name, "namespace": "knative-eventing" });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { key: text } })
}

fn same_again(manifests: &ManifestSet, settings: &ControlSettings) {
    let first = resolve(manifests, None, settings);
    assert!(first.problems.iter().all(is_told));
    let again = resolve(manifests, Some(&first), settings);
    assert_eq!(keys(&first), keys(&again));
}

/// Whether there is something to read in one line.
fn is_told(problem: &Problem) -> bool {
    let line = problem.to_string();
    !problem.message.is_empty() && !line.contains(char::is_control)
}

fn keys(resolution: &Resolution) -> Vec<String> {
    resolution
        .table
        .channels()
        .iter()
        .map(|channel| channel.key.to_string())
        .collect()
}
