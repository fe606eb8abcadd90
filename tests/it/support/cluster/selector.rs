//! Which objects a list or a watch is about: namespace, labels, fields.

use serde_json::Value;

use super::refusal::Refusal;
use super::resource::Target;

/// A selection.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    target: Target,
    labels: Vec<Term>,
    fields: Vec<Term>,
}

#[derive(Clone, Debug)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

impl Selector {
    /// Reads the parameters `labelSelector` and `fieldSelector`. Sets (`in`, `notin`) are not
    /// served.
    pub(crate) fn parse(target: &Target, labels: &str, fields: &str) -> Result<Self, Refusal> {
        let terms = |text: &str| {
            text.split(',')
                .filter(|term| !term.is_empty())
                .map(term)
                .collect()
        };
        let fields: Vec<Term> = terms(fields);
        let known = |path: &str| ["metadata.name", "metadata.namespace"].contains(&path);
        for field in &fields {
            match field {
                Term::Is(path, _) | Term::IsNot(path, _) if known(path) => {}
                _ => return Err(Refusal::bad_request("field label not supported")),
            }
        }
        Ok(Self {
            target: target.clone(),
            labels: terms(labels),
            fields,
        })
    }

    /// The name, if it selects one object by it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.iter().find_map(|term| match term {
            Term::Is(path, name) if path == "metadata.name" => Some(name.as_str()),
            _ => None,
        })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether it selects this object, which is of its kind.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let namespace = &self.target.namespace;
        (namespace.is_empty() || metadata["namespace"] == namespace.as_str())
            && self
                .labels
                .iter()
                .all(|term| holds(term, |key| metadata["labels"][key].as_str()))
            && self.fields.iter().all(|term| {
                holds(term, |path| {
                    metadata[path.trim_start_matches("metadata.")].as_str()
                })
            })
    }
}

fn term(text: &str) -> Term {
    let pair = |key: &str, value: &str| (key.trim().to_owned(), value.trim().to_owned());
    if let Some((key, value)) = text.split_once("!=") {
        let (key, value) = pair(key, value);
        return Term::IsNot(key, value);
    }
    if let Some((key, value)) = text.split_once('=') {
        let (key, value) = pair(key, value.trim_start_matches('='));
        return Term::Is(key, value);
    }
    match text.strip_prefix('!') {
        Some(key) => Term::HasNot(key.to_owned()),
        None => Term::Has(text.trim().to_owned()),
    }
}

fn holds<'a>(term: &Term, value: impl Fn(&str) -> Option<&'a str>) -> bool {
    match term {
        Term::Is(key, wanted) => value(key) == Some(wanted),
        Term::IsNot(key, unwanted) => value(key) != Some(unwanted),
        Term::Has(key) => value(key).is_some(),
        Term::HasNot(key) => value(key).is_none(),
    }
}
