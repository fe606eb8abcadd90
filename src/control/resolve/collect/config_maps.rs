//! Checks ConfigMaps by their names and keys: those that are misspelled, and keys that nobody
//! reads. What holds the flags of `config-features` under another kind is found here, too.

mod unread_keys;

use serde_json::{Map, Value};

use super::CollectedObjects;
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::{self, UnknownFieldPolicy};
use crate::control::read::problem::{ObjectName, Severity};
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::UnknownFieldStrictness;
use crate::control::read::schema::config_maps::{CONFIG_FEATURES, ConfigMapKeys, ConfigMapPlace};
use crate::control::read::spelling::suggest_word;
use crate::control::settings::ControlSettings;
use crate::model::NamespacedName;
use unread_keys::{report_edited_example, report_keys_in_metadata, report_operator_config};

/// Flags without which more events pass, each with the values that are not upstream's default: a
/// ConfigMap that holds one is meant to be `config-features`, whatever it is called.
const CLOSING_FLAGS: [(&str, &[&str]); 3] = [
    ("transport-encryption", &["permissive", "strict"]),
    ("authentication-oidc", &["enabled"]),
    ("default-authorization-mode", &["allow-all", "deny-all"]),
];

/// Where Knative Serving has a ConfigMap of the same name, with flags of its own.
const SERVING: &str = "knative-serving";

/// True if an object holds a flag without which more events pass: in its `data`, or where the data
/// of another kind stands.
pub(super) fn has_closing_flag(value: &Value) -> bool {
    let fields = value.as_object().into_iter().flat_map(Map::values);
    std::iter::once(value).chain(fields).any(|place| {
        CLOSING_FLAGS
            .iter()
            .any(|(flag, _)| place.get(flag).is_some())
    })
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
        .contains_key(&NamespacedName::new(system, CONFIG_FEATURES));
    for (NamespacedName { namespace, name }, item) in &mut collected.config_maps {
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
    if is_written {
        report_features_of_other_kinds(collected, system);
        report_operator_config(collected, system);
    }
}

/// Reports what holds flags of `config-features`, by its name or by where it stands, and is no
/// ConfigMap, as a Secret or a `CM`. Like a ConfigMap of another namespace, it closes if there is
/// no `config-features` where it counts.
fn report_features_of_other_kinds(collected: &mut CollectedObjects<'_>, system: &str) {
    let has_features = collected
        .config_maps
        .contains_key(&NamespacedName::new(system, CONFIG_FEATURES));
    let secrets = collected.secrets.values_mut().map(|item| &mut item.report);
    for report in secrets.chain(collected.others.values_mut()) {
        let (
            document,
            ObjectName {
                kind,
                namespace,
                name,
            },
        ) = (report.document(), report.object());
        let is_meant = namespace == system || (name == CONFIG_FEATURES && namespace != SERVING);
        if !is_meant || !has_closing_flag(&document.value) {
            continue;
        }
        let [config_map, version] = [
            ResourceKind::ConfigMap.as_str(),
            ResourceKind::ConfigMap.api_version(),
        ];
        let (field, right) = if kind == config_map {
            ("apiVersion", version)
        } else {
            ("kind", config_map)
        };
        let rule = format!(
            "holds flags of {CONFIG_FEATURES}, which count in a {config_map} of {version} only"
        );
        if has_features {
            report.warning(field, format!("{rule}: it is ignored"));
        } else {
            report.error(
                field,
                format!("{rule}: write {right}, and {CONFIG_FEATURES} as its name"),
            );
            collected.unidentified.push(document);
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

/// Reports what `config-features` has instead of flags, so that none counts.
fn check_features_data(report: &mut ObjectReport<'_>) {
    let document = report.document();
    let has_binary_data = document
        .value
        .get("binaryData")
        .is_some_and(|data| data.as_object().is_some_and(|data| !data.is_empty()));
    if has_binary_data {
        report.error("binaryData", "is not read: write its keys into data");
    }
    if document.value.get("data").is_some_and(Value::is_null) {
        report.error(
            "data",
            "is nothing: write the flags, or {} if there are none",
        );
    }
}

/// Reports keys that one of Knative's ConfigMaps does not have.
pub(super) fn check_keys(report: &mut ObjectReport<'_>, settings: &ControlSettings) {
    let document = report.document();
    let is_features = report.object().name == CONFIG_FEATURES;
    if is_features {
        check_features_data(report);
    }
    let nothing = Map::new();
    let data = document
        .value
        .get("data")
        .and_then(Value::as_object)
        .unwrap_or(&nothing);
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
    if settings.task.reads_written_objects() {
        report_keys_in_metadata(report, keys, data);
        report_edited_example(report, data);
    }
    let reading = UnknownFieldPolicy::from_settings(settings);
    for key in data.keys().filter(|key| !keys.has(key)) {
        let message = match keys.suggest_key(key) {
            Some(meant) => format!("is no key that {name} has; did you mean {meant}?"),
            None => format!("is no key that {name} has: remove it"),
        };
        // If a flag were ignored, what it is to close would be open.
        let strictness = if is_features {
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
