//! Checks ConfigMaps by their names and keys: those that are misspelled, and keys that nobody
//! reads.

use serde_json::Value;

use super::CollectedObjects;
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::{self, UnknownFieldPolicy};
use crate::control::read::problem::{ObjectName, Severity};
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::UnknownFieldStrictness;
use crate::control::read::schema::config_maps::{CONFIG_FEATURES, ConfigMapKeys, ConfigMapPlace};
use crate::control::read::spelling::suggest_word;
use crate::control::settings::ControlSettings;

/// Flags without which more events pass: a ConfigMap that holds one is meant to be
/// `config-features`, whatever it is called.
const CLOSING_FLAGS: [&str; 3] = [
    "transport-encryption",
    "authentication-oidc",
    "default-authorization-mode",
];

/// Where Knative Serving has a ConfigMap of the same name, with flags of its own.
const SERVING: &str = "knative-serving";

/// True if an object holds a flag without which more events pass.
pub(super) fn has_closing_flag(value: &Value) -> bool {
    value
        .get("data")
        .is_some_and(|data| CLOSING_FLAGS.iter().any(|flag| data.get(*flag).is_some()))
}

/// Reports each `config-features` of another namespace. If there is none in the system namespace,
/// one that closes something was meant to be that: it counts as not identified, so that it closes.
pub(super) fn report_other_features(
    collected: &mut CollectedObjects<'_>,
    settings: &ControlSettings,
) {
    let system = &settings.system_namespace;
    let is_written = settings.task.reads_written_objects();
    let has_features = collected
        .config_maps
        .contains_key(&(system.clone(), CONFIG_FEATURES.to_owned()));
    for ((namespace, name), item) in &mut collected.config_maps {
        // What has an error is told already that it is not where it was meant to be.
        if name != CONFIG_FEATURES
            || namespace == system
            || namespace == SERVING
            || item.report.has_errors()
        {
            continue;
        }
        if is_written && !has_features && has_closing_flag(&item.report.document().value) {
            let message = format!("must be {system}, where {CONFIG_FEATURES} counts: write that");
            item.report.error("metadata.namespace", message);
            collected.unidentified.push(item.report.document());
        } else {
            let message = format!("counts in the namespace {system} only: it is ignored");
            item.report.warning("metadata.namespace", message);
        }
    }
}

/// Reports one of Knative's ConfigMaps whose namespace is missing or misspelled; true if it is
/// `config-features`, whose flags may close something. One of another namespace belongs to others,
/// such as Knative Serving.
pub(super) fn report_missing_namespace(
    report: &mut ObjectReport<'_>,
    settings: &ControlSettings,
) -> bool {
    let (
        system,
        ObjectName {
            namespace, name, ..
        },
    ) = (&settings.system_namespace, report.object());
    let is_missing = report.document().text(&["metadata", "namespace"]).is_none();
    let is_meant = is_missing || suggest_word(namespace, [system.as_str()]).is_some();
    let is_read =
        ConfigMapKeys::for_config_map(name, ConfigMapPlace::SystemNamespace, |_| false).is_some();
    if !is_read || namespace == system || !is_meant || !settings.task.reads_written_objects() {
        return false;
    }
    let what = if is_missing {
        "is missing"
    } else {
        "is misspelt"
    };
    let message = format!("{what}: {name} counts in {system} only; write that");
    if name != CONFIG_FEATURES {
        report.warning("metadata.namespace", message);
        return false;
    }
    report.error("metadata.namespace", message);
    true
}

/// Reports a ConfigMap that is probably meant to be another one, which is read. A misspelled
/// `config-features` is an error: without its flags more events would pass than was meant.
pub(super) fn report_near_name(
    report: &mut ObjectReport<'_>,
    settings: &ControlSettings,
) -> Option<Severity> {
    let ObjectName {
        kind,
        namespace,
        name,
    } = report.object();
    let is_read =
        kind == ResourceKind::ConfigMap.as_str() && *namespace == settings.system_namespace;
    let flags =
        ConfigMapKeys::for_config_map(CONFIG_FEATURES, ConfigMapPlace::SystemNamespace, |_| false);
    let data = report
        .document()
        .value
        .get("data")
        .and_then(Value::as_object);
    let is_other = || name != CONFIG_FEATURES && has_closing_flag(&report.document().value);
    let near = ConfigMapKeys::named_nearly(name)
        .or_else(|| is_other().then_some(CONFIG_FEATURES))
        .filter(|_| is_read && settings.task.reads_written_objects())?;
    let message = format!("is no ConfigMap that is read; did you mean {near}?");
    let flags = flags.filter(|_| near == CONFIG_FEATURES);
    let has_flag = flags
        .zip(data)
        .is_some_and(|(flags, data)| data.keys().any(|key| flags.has(key)));
    if has_flag || (near == CONFIG_FEATURES && suggest_word(name, [near]).is_some()) {
        report.error("metadata.name", message);
        return Some(Severity::Error);
    }
    report.warning("metadata.name", message);
    Some(Severity::Warning)
}

/// Reports keys that one of Knative's ConfigMaps does not have.
pub(super) fn check_keys(report: &mut ObjectReport<'_>, settings: &ControlSettings) {
    let document = report.document();
    let is_features = report.object().name == CONFIG_FEATURES;
    if is_features
        && document
            .value
            .get("binaryData")
            .is_some_and(|data| data.as_object().is_some_and(|data| !data.is_empty()))
    {
        report.error("binaryData", "is not read: write its keys into data");
    }
    if is_features && document.value.get("data").is_some_and(Value::is_null) {
        report.error(
            "data",
            "is nothing: write the flags, or {} if there are none",
        );
    }
    let Some(data) = document.value.get("data").and_then(|data| data.as_object()) else {
        return;
    };
    let ObjectName {
        namespace, name, ..
    } = report.object().clone();
    let place = if namespace == settings.system_namespace {
        ConfigMapPlace::SystemNamespace
    } else {
        ConfigMapPlace::OtherNamespace
    };
    let Some(keys) = ConfigMapKeys::for_config_map(&name, place, |key| data.contains_key(key))
    else {
        return;
    };
    let reading = UnknownFieldPolicy::from_settings(settings);
    for key in data.keys().filter(|key| !keys.has(key)) {
        let message = match keys.suggest_key(key) {
            Some(meant) => format!("is no key that {name} has; did you mean {meant}?"),
            None => format!("is no key that {name} has: remove it"),
        };
        // If a misspelled flag were ignored, what it closes would be open.
        let is_flag = is_features && keys.suggest_key(key).is_some();
        let strictness = if is_flag {
            UnknownFieldStrictness::NeverIgnored
        } else {
            UnknownFieldStrictness::MayBeIgnored
        };
        manifest::report_unknown_field(
            report,
            &format!("data.{key}"),
            &message,
            strictness,
            reading,
        );
    }
}
