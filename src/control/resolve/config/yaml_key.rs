//! YAML texts under the keys of ConfigMaps.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::control::read::manifest::core::ConfigMapManifest;
use crate::control::read::manifest::duck;
use crate::control::read::manifest::{self, UnknownFieldPolicy};
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::ObjectSchema;
use crate::control::read::yaml;

/// Reads the YAML under a key of a ConfigMap; `None` if it is missing or not understood, which is
/// reported.
pub(super) fn parse_yaml_key<T: DeserializeOwned>(
    config_map: &ConfigMapManifest,
    key: &str,
    schema: impl Fn(&Value) -> &'static ObjectSchema,
    reading: UnknownFieldPolicy,
    report: &mut ObjectReport<'_>,
) -> Option<T> {
    let field = format!("data.{key}");
    let Some(text) = duck::text(&config_map.data, key) else {
        report.error(
            "data",
            format!("has no key {key}: write the defaults under it, as YAML text"),
        );
        return None;
    };
    let value = parse_yaml_text(text, &field, report)?;
    let value = manifest::validate_fields(report, schema(&value), &field, reading, &value);
    serde_path_to_error::deserialize(value.as_ref())
        .map_err(|error| {
            report.error(
                &format!("{field}.{}", error.path()),
                error.inner().to_string(),
            )
        })
        .ok()
}

/// Reads the YAML of a text at this field; `None` if it is not understood, which is reported. A text
/// of comments only is an empty object.
pub(super) fn parse_yaml_text(
    text: &str,
    field: &str,
    report: &mut ObjectReport<'_>,
) -> Option<Value> {
    match yaml::parse_documents(text).into_iter().next() {
        Some(Ok(parsed)) => Some(parsed.value),
        Some(Err(broken)) => {
            report.error(
                field,
                format!(
                    "is no YAML: line {} of the text {}",
                    broken.line, broken.message
                ),
            );
            None
        }
        None => Some(Value::Object(Map::new())),
    }
}
