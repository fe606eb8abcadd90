//! An object's `spec` as the type of its kind; wrong types and misspelt fields are reported.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Broken, Findings};
use crate::control::typo;

/// Reads `spec`. A missing one is empty.
pub(super) fn read<S: DeserializeOwned>(findings: &mut Findings<'_>) -> Result<S, Broken> {
    let empty = Value::Object(serde_json::Map::new());
    let spec = findings.raw.value.get("spec").filter(|spec| !spec.is_null()).unwrap_or(&empty);
    let mut ignored = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| ignored.push(path.to_string());
    let read = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(spec, &mut note));
    for path in ignored {
        report_ignored(findings, &path);
    }
    read.map_err(|error: serde_path_to_error::Error<serde_json::Error>| {
        let path = error.path().to_string().replace('[', ".").replace(']', "");
        let field = if path == "." { "spec".to_owned() } else { format!("spec.{path}") };
        findings.error(&field, error.into_inner().to_string())
    })
}

/// Options show up as `?` in the paths of ignored fields.
fn report_ignored(findings: &mut Findings<'_>, path: &str) {
    let path: Vec<&str> = path.split('.').filter(|segment| *segment != "?").collect();
    let Some(meant) = path.last().and_then(|name| typo::meant(name)) else { return };
    let field = format!("spec.{}", path.join("."));
    findings.warning(&field, format!("is not a known field and ignored: did you mean {meant}?"));
}
