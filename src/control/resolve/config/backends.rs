//! The backends of a cluster's InMemoryChannels: the ConfigMap `config-imc-backend` of the system
//! namespace, and an annotation (contract 11.4).

use std::collections::BTreeMap;

use super::yaml_key::parse_yaml_text;
use crate::control::read::document::ManifestDocument;
use crate::control::read::manifest::core::ConfigMapManifest;
use crate::control::read::manifest::duck;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedObjects};
use crate::control::settings::ControlSettings;
use crate::model::annotation::BACKEND;
use crate::model::{BackendKind, NamespacedName};

/// The name of the ConfigMap in the system namespace.
pub(crate) const CONFIG_IMC_BACKEND: &str = "config-imc-backend";
const DEFAULT: &str = "default-backend";
const NAMESPACES: &str = "namespaces";
const VALUES: &str = "is no backend: write memory, rabbitmq or disk";

/// A backend that is asked for; `None` if the text is no backend, which is reported: then channels
/// keep the backend that they have.
pub(crate) type BackendChoice = Option<BackendKind>;

/// The content of the ConfigMap: a default, and the backends of single namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImcBackendConfig {
    /// The backend of namespaces without a row.
    default: BackendChoice,
    /// The backends of single namespaces.
    namespaces: BTreeMap<String, BackendChoice>,
}

impl Default for ImcBackendConfig {
    fn default() -> Self {
        Self {
            default: Some(BackendKind::Memory),
            namespaces: BTreeMap::new(),
        }
    }
}

impl ImcBackendConfig {
    /// Reads `config-imc-backend`. Without it the last content counts (as contract 3.12a), else
    /// memory for all.
    pub(crate) fn resolve(
        collected: &mut CollectedObjects<'_>,
        settings: &ControlSettings,
        last: Option<&Self>,
    ) -> Self {
        let name = NamespacedName::new(&settings.system_namespace, CONFIG_IMC_BACKEND);
        let item = collected.config_maps.get_mut(&name);
        let written = item.and_then(
            |CollectedItem {
                 object,
                 partly,
                 report,
             }| {
                let written = read_config_map(object.as_ref().or(partly.as_ref())?, last, report);
                Some(written).filter(|_| object.is_some())
            },
        );
        written.or_else(|| last.cloned()).unwrap_or_default()
    }

    /// The backend for channels of a namespace that have no annotation.
    pub(crate) fn of_namespace(&self, namespace: &str) -> BackendChoice {
        self.namespaces
            .get(namespace)
            .copied()
            .unwrap_or(self.default)
    }
}

fn read_config_map(
    config_map: &ConfigMapManifest,
    last: Option<&ImcBackendConfig>,
    report: &mut ObjectReport<'_>,
) -> ImcBackendConfig {
    let default = duck::text(&config_map.data, DEFAULT);
    let default = default.map_or(Some(BackendKind::Memory), |text| {
        parse_choice(text, &format!("data.{DEFAULT}"), report)
    });
    let text = duck::text(&config_map.data, NAMESPACES).unwrap_or_default();
    match read_namespaces(text, report) {
        Some(namespaces) => ImcBackendConfig {
            default,
            namespaces,
        },
        // The namespaces that have a row of their own are not known: they keep their backend, and
        // all others theirs.
        None => {
            let namespaces = last.map(|last| last.namespaces.clone()).unwrap_or_default();
            ImcBackendConfig {
                default: default.filter(|_| last.is_some()),
                namespaces,
            }
        }
    }
}

/// Reads one row for each namespace; `None` if they cannot be read.
fn read_namespaces(
    text: &str,
    report: &mut ObjectReport<'_>,
) -> Option<BTreeMap<String, BackendChoice>> {
    let field = format!("data.{NAMESPACES}");
    let value = parse_yaml_text(text, &field, report)?;
    let Some(rows) = value.as_object() else {
        if value.is_null() {
            return Some(BTreeMap::new());
        }
        report.error(
            &field,
            "is no list of namespaces: write a line such as billing: rabbitmq for each",
        );
        return None;
    };
    let row = |(namespace, written): (&String, &serde_json::Value)| {
        let text = written
            .as_str()
            .map_or_else(|| written.to_string(), str::to_owned);
        (
            namespace.clone(),
            parse_choice(&text, &format!("{field}.{namespace}"), report),
        )
    };
    Some(rows.iter().map(row).collect())
}

/// The backend that a channel's annotation asks for; `None` without the annotation.
pub(crate) fn annotated_backend(
    document: &ManifestDocument,
    report: &mut ObjectReport<'_>,
) -> Option<BackendChoice> {
    let text = document.text(&["metadata", "annotations", BACKEND])?;
    let chosen = parse_backend(text);
    if chosen.is_none() {
        let message = format!("{text:?} {VALUES}; until then the channel stays where it is");
        report.warning(&format!("metadata.annotations.{BACKEND}"), message);
    }
    Some(chosen)
}

fn parse_choice(text: &str, field: &str, report: &mut ObjectReport<'_>) -> BackendChoice {
    let chosen = parse_backend(text);
    if chosen.is_none() {
        report.error(
            field,
            format!("{text:?} {VALUES}; until then channels stay where they are"),
        );
    }
    chosen
}

fn parse_backend(text: &str) -> BackendChoice {
    match text.trim() {
        "memory" => Some(BackendKind::Memory),
        "rabbitmq" => Some(BackendKind::Rabbitmq),
        "disk" => Some(BackendKind::Disk),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
