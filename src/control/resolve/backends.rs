//! What keeps the events of a cluster's InMemoryChannels: the ConfigMap `config-imc-backend` of the system namespace, and
//! an annotation (contract 11.4).

use std::collections::BTreeMap;

use super::collect::{Collected, Item};
use crate::control::manifest::Document;
use crate::control::manifest::config::ConfigMap;
use crate::control::manifest::duck;
use crate::control::report::Report;
use crate::control::{Settings, yaml};
use crate::model::Storage;
use crate::model::annotation::BACKEND;

/// The ConfigMap.
pub(crate) const CONFIG_IMC_BACKEND: &str = "config-imc-backend";
const DEFAULT: &str = "default-backend";
const NAMESPACES: &str = "namespaces";
const VALUES: &str = "is no backend: write memory or rabbitmq";

/// A backend that is asked for; `None` if what is written is none, which is reported: then channels keep what they have.
pub(super) type Choice = Option<Storage>;

/// What the ConfigMap asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backends {
    default: Choice,
    namespaces: BTreeMap<String, Choice>,
}

impl Default for Backends {
    fn default() -> Self {
        Self { default: Some(Storage::Memory), namespaces: BTreeMap::new() }
    }
}

impl Backends {
    /// What `config-imc-backend` says, else what it said until now (as contract 3.12a), else memory for all.
    pub(super) fn resolve(collected: &mut Collected<'_>, settings: &Settings, last: Option<&Self>) -> Self {
        let name = (settings.system_namespace.clone(), CONFIG_IMC_BACKEND.to_owned());
        let item = collected.config_maps.get_mut(&name);
        let written = item.and_then(|Item { object, partly, report }| {
            let written = written(object.as_ref().or(partly.as_ref())?, last, report);
            Some(written).filter(|_| object.is_some())
        });
        written.or_else(|| last.cloned()).unwrap_or_default()
    }

    /// What channels of a namespace are to be kept in, unless they say it themselves.
    pub(super) fn of_namespace(&self, namespace: &str) -> Choice {
        self.namespaces.get(namespace).copied().unwrap_or(self.default)
    }
}

fn written(config_map: &ConfigMap, last: Option<&Backends>, report: &mut Report<'_>) -> Backends {
    let default = duck::text(&config_map.data, DEFAULT);
    let default = default.map_or(Some(Storage::Memory), |text| choice(text, &format!("data.{DEFAULT}"), report));
    let text = duck::text(&config_map.data, NAMESPACES).unwrap_or_default();
    match namespaces(text, report) {
        Some(namespaces) => Backends { default, namespaces },
        // Whoever has a row of their own is not known: they keep what they had, and everybody else, too.
        None => {
            let namespaces = last.map(|last| last.namespaces.clone()).unwrap_or_default();
            Backends { default: default.filter(|_| last.is_some()), namespaces }
        }
    }
}

/// A row for each namespace; `None` if they cannot be read.
fn namespaces(text: &str, report: &mut Report<'_>) -> Option<BTreeMap<String, Choice>> {
    let field = format!("data.{NAMESPACES}");
    let value = match yaml::documents(text).into_iter().next() {
        Some(Ok(parsed)) => parsed.value,
        Some(Err(broken)) => {
            report.error(&field, format!("is no YAML: line {} of the text {}", broken.line, broken.message));
            return None;
        }
        // Nothing but comments.
        None => return Some(BTreeMap::new()),
    };
    let Some(rows) = value.as_object() else {
        if value.is_null() {
            return Some(BTreeMap::new());
        }
        report.error(&field, "is no list of namespaces: write a line such as billing: rabbitmq for each");
        return None;
    };
    let row = |(namespace, written): (&String, &serde_json::Value)| {
        let text = written.as_str().map_or_else(|| written.to_string(), str::to_owned);
        (namespace.clone(), choice(&text, &format!("{field}.{namespace}"), report))
    };
    Some(rows.iter().map(row).collect())
}

/// What a channel's annotation asks for; `None` without one.
pub(super) fn annotated(document: &Document, report: &mut Report<'_>) -> Option<Choice> {
    let text = document.text(&["metadata", "annotations", BACKEND])?;
    let chosen = read(text);
    if chosen.is_none() {
        let message = format!("{text:?} {VALUES}; until then the channel stays where it is");
        report.warning(&format!("metadata.annotations.{BACKEND}"), message);
    }
    Some(chosen)
}

fn choice(text: &str, field: &str, report: &mut Report<'_>) -> Choice {
    let chosen = read(text);
    if chosen.is_none() {
        report.error(field, format!("{text:?} {VALUES}; until then channels stay where they are"));
    }
    chosen
}

fn read(text: &str) -> Choice {
    match text.trim() {
        "memory" => Some(Storage::Memory),
        "rabbitmq" => Some(Storage::Rabbitmq),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
