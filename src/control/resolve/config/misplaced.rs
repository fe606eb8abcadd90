//! Secrets and trust bundles that are probably meant to count, and do not: their names, namespaces
//! or labels are nearly those that are read. ConfigMaps that are read by name are told of in the
//! same way where they are collected.

use serde_json::{Map, Value};

use super::system_namespace::astray;
use super::trust::LABEL;
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::config_maps::nearly_named;
use crate::control::read::spelling::suggest_word;
use crate::control::resolve::collect::CollectedObjects;
use crate::control::settings::ControlSettings;
use crate::control::task::ControlTask;
use crate::correlation;
use crate::model::NamespacedName;

/// The line with which a certificate begins, in PEM.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Warns of Secrets and labels that are nearly those that count.
pub(crate) fn warn(collected: &mut CollectedObjects<'_>, settings: &ControlSettings) {
    if !settings.task.reads_written_objects() {
        return;
    }
    for (NamespacedName { namespace, name }, item) in &mut collected.secrets {
        let is_astray = astray(item.report.document(), settings);
        if *namespace == settings.system_namespace || is_astray.is_some() {
            warn_of_secret(name, is_astray, settings, &mut item.report);
        }
    }
    for item in collected.config_maps.values_mut() {
        warn_of_labels(settings, &mut item.report);
    }
}

fn warn_of_secret(
    name: &str,
    is_astray: Option<&'static str>,
    settings: &ControlSettings,
    report: &mut ObjectReport<'_>,
) {
    let read = settings
        .task
        .tls_secrets()
        .iter()
        .copied()
        .chain([correlation::SECRET]);
    if read.clone().any(|read| read == name) {
        if let Some(what) = is_astray {
            let system = &settings.system_namespace;
            report.warning(
                "metadata.namespace",
                format!("{what}: {name} counts in {system} only; write that"),
            );
        }
    } else if ControlTask::ALL_TLS_SECRETS.contains(&name)
        || read.clone().any(|read| is_version(name, read))
    {
        // It is of another role, or kept beside the one that is read.
    } else if let Some(meant) = nearly_named(name, read) {
        report.warning(
            "metadata.name",
            format!("is no Secret that is read; did you mean {meant}?"),
        );
    }
}

/// True if a name is another one with a version behind it, such as `-v2`.
fn is_version(name: &str, of: &str) -> bool {
    name.strip_prefix(of)
        .and_then(|rest| rest.strip_prefix("-v"))
        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Warns of what is nearly the label of a trust bundle, and of the label among the annotations.
fn warn_of_labels(settings: &ControlSettings, report: &mut ObjectReport<'_>) {
    let (document, namespace) = (report.document(), &report.object().namespace);
    let is_meant = *namespace == settings.system_namespace || astray(document, settings).is_some();
    let value = &document.value;
    let map = |field: &str| value.pointer(field).and_then(Value::as_object);
    let values = ["/data", "/binaryData"]
        .into_iter()
        .filter_map(map)
        .flat_map(Map::values);
    // Labels of others may be called nearly so: what has no certificates in it is no bundle.
    let mut texts = values.filter_map(Value::as_str);
    if !texts
        .any(|text| text.contains(CERTIFICATE) || text.starts_with("LS0tLS1CRUdJTiBDRVJUSUZJQ0FUR"))
    {
        return;
    }
    let labels = map("/metadata/labels").map(Map::keys).into_iter().flatten();
    for label in
        labels.filter(|_| map("/metadata/labels").is_none_or(|labels| !labels.contains_key(LABEL)))
    {
        let last = label.rsplit('/').next().unwrap_or_default();
        let is_like_it =
            is_meant && (last == "trust-bundle" || suggest_word(last, ["trust-bundle"]).is_some());
        if is_like_it || suggest_word(label, [LABEL]).is_some() {
            let message = format!(
                "is no label that counts, and this is no trust bundle; did you mean {LABEL}?"
            );
            report.warning(&format!("metadata.labels.{label}"), message);
        }
    }
    if map("/metadata/annotations").is_some_and(|annotations| annotations.contains_key(LABEL)) {
        let message = "is a label, and counts as that only: write it below metadata.labels";
        report.warning(&format!("metadata.annotations.{LABEL}"), message);
    }
}
