//! Finds keys of Knative's ConfigMaps where nothing reads them: among annotations and labels, in
//! the text of an example, and in what Knative's operator makes ConfigMaps of.

use serde_json::{Map, Value};

use super::CLOSING_FLAGS;
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::config_maps::{
    CONFIG_FEATURES, ConfigMapKeys, ConfigMapPlace, DEFAULT_TEMPLATE,
};
use crate::control::resolve::collect::CollectedObjects;
use crate::model::NamespacedName;

/// The key under which Knative's ConfigMaps show what could be written beside it.
const EXAMPLE: &str = "_example";
/// The annotation with the checksum of the example, by which upstream's webhook refuses an example
/// that somebody has edited.
const EXAMPLE_CHECKSUM: &str = "knative.dev/example-checksum";
/// What a line break counts as in the checksum of an example: upstream's code has these two
/// letters.
const CHECKSUM_LINE_BREAK: &str = "\\n";

/// Reports keys that stand among the annotations or labels of a ConfigMap, and not in its data.
pub(super) fn report_keys_in_metadata(
    report: &mut ObjectReport<'_>,
    keys: &ConfigMapKeys,
    data: &Map<String, Value>,
) {
    let metadata = report.document().value.get("metadata");
    for part in ["annotations", "labels"] {
        let written = metadata.and_then(|metadata| metadata.get(part)?.as_object());
        for key in written.into_iter().flat_map(Map::keys) {
            let Some(meant) = keys
                .meant_by(key)
                .filter(|meant| !data.contains_key(*meant))
            else {
                continue;
            };
            let message = format!("has no effect in {part}: write {meant} directly below data");
            report.warning(&format!("metadata.{part}.{key}"), message);
        }
    }
}

/// Reports an example that somebody has edited, as far as that can be known: its checksum is
/// another one, or it sets a flag of `config-features` as upstream does not, while `data` does not
/// have the flag.
pub(super) fn report_edited_example(report: &mut ObjectReport<'_>, data: &Map<String, Value>) {
    let Some(text) = data.get(EXAMPLE).and_then(Value::as_str) else {
        return;
    };
    let checksum = report
        .document()
        .text(&["metadata", "annotations", EXAMPLE_CHECKSUM]);
    if checksum.is_some_and(|checksum| checksum == example_checksum(text)) {
        return;
    }
    let (field, mut is_told) = (format!("data.{EXAMPLE}"), false);
    let is_features = report.object().name == CONFIG_FEATURES;
    for (flag, values) in CLOSING_FLAGS
        .iter()
        .filter(|(flag, _)| is_features && !data.contains_key(*flag))
    {
        let written = value_in_example(text, flag);
        if let Some(value) =
            written.filter(|value| values.iter().any(|known| value.eq_ignore_ascii_case(known)))
        {
            let message = format!(
                "sets {flag} to {value:?}, which has no effect there: write it directly below data"
            );
            report.warning(&field, message);
            is_told = true;
        }
    }
    if checksum.is_some() && !is_told {
        let rule = "so that somebody has edited it, which has no effect: write what is to count \
             directly below data";
        report.warning(
            &field,
            format!("is not what {EXAMPLE_CHECKSUM} says, {rule}"),
        );
    }
}

/// The value of a key in the text of an example, if a line says it that is no comment.
fn value_in_example<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let bare = |part: &'t str| part.trim().trim_matches(['"', '\'']);
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let value = value
            .split_once('#')
            .map_or(value, |(value, _comment)| value);
        (bare(name) == key).then(|| bare(value))
    })
}

/// The checksum of an example, as upstream computes it.
fn example_checksum(text: &str) -> String {
    let lines: Vec<&str> = text
        .trim()
        .split(['\r', '\n'])
        .filter(|line| !line.is_empty())
        .collect();
    let text = lines.join(CHECKSUM_LINE_BREAK);
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

/// Reports what an object of Knative's operator says of a ConfigMap that is read here and is not
/// there: only the operator makes ConfigMaps of it.
pub(super) fn report_operator_config(collected: &mut CollectedObjects<'_>, system: &str) {
    let is_operators =
        |kind: &str, group: &str| kind == "KnativeEventing" && group == "operator.knative.dev";
    for (referent, report) in &mut collected.others {
        let config = report
            .document()
            .value
            .get("spec")
            .and_then(|spec| spec.get("config")?.as_object());
        let is_empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
        for (key, _) in config
            .filter(|_| is_operators(&referent.kind, &referent.group))
            .into_iter()
            .flatten()
            .filter(|(_, value)| !is_empty(value))
        {
            let is_there = |name: &String| {
                collected
                    .config_maps
                    .contains_key(&NamespacedName::new(system, name))
            };
            let name = [key.clone(), format!("config-{key}")]
                .into_iter()
                .find(|name| is_read(name));
            if let Some(name) = name.filter(|name| !is_there(name)) {
                let rule = "is for Knative's operator, and has no effect here";
                let message =
                    format!("{rule}: write it as data of the ConfigMap {name} in {system}");
                report.warning(&format!("spec.config.{key}"), message);
            }
        }
    }
}

/// True if a ConfigMap of this name is read in the system namespace.
fn is_read(name: &str) -> bool {
    name == DEFAULT_TEMPLATE
        || ConfigMapKeys::for_config_map(name, ConfigMapPlace::SystemNamespace, |_| false).is_some()
}
