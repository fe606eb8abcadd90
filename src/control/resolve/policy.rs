//! EventPolicies: whom they allow, and what (control-plane.md 7.6). One that is not understood allows nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::collect::{Items, Name};
use super::filter;
use crate::control::ApiServer;
use crate::control::kind::Kind;
use crate::control::manifest::Document;
use crate::control::manifest::eventing::{EventPolicy, PolicyFrom, PolicySelector, PolicyTo};
use crate::control::report::Report;
use crate::model::{Policy, Subject};

/// A policy, and what it is for where nobody else has decided that; an empty list means its namespace.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) policy: Arc<Policy>,
    to: Vec<PolicyTo>,
}

/// Every policy.
pub(super) fn resolve(items: &mut Items<'_, EventPolicy>, api_server: ApiServer) -> BTreeMap<Name, Known> {
    let mut policies = BTreeMap::new();
    for (name, item) in items {
        let report = &mut item.report;
        let spec = item.object.as_ref().and_then(|policy| policy.spec.clone()).unwrap_or_default();
        let filter = filter::all(spec.filters.as_deref().unwrap_or_default(), report);
        let subjects = match listed(report.document()) {
            Some(subjects) => subjects,
            None if api_server == ApiServer::Missing => written(spec.from.as_deref().unwrap_or_default(), report),
            None => Vec::new(),
        };
        let mut to = spec.to.unwrap_or_default();
        if api_server == ApiServer::Missing {
            check(&to, report);
        }
        let mut policy = Policy { subjects, filter };
        if report.is_bad() || item.object.is_none() {
            policy.subjects.clear();
            to.clear();
        }
        policies.insert(name.clone(), Known { policy: Arc::new(policy), to });
    }
    policies
}

/// `status.from`, which controllers have made of `spec.from`.
fn listed(document: &Document) -> Option<Vec<Subject>> {
    let from = document.value.get("status")?.get("from")?.as_array()?;
    Some(from.iter().filter_map(|subject| subject.as_str()).map(Subject::parse).collect())
}

/// `spec.from`, as far as it needs no controller.
fn written(from: &[PolicyFrom], report: &mut Report<'_>) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for (index, from) in from.iter().enumerate() {
        match from.sub.as_deref().filter(|sub| !sub.is_empty()) {
            Some(sub) => subjects.push(Subject::parse(sub)),
            None => {
                let rule = "cannot be followed without a cluster: write the subject as sub";
                report.error(&format!("spec.from[{index}].ref"), rule);
            }
        }
    }
    subjects
}

/// Reports what cannot be told without a cluster.
fn check(to: &[PolicyTo], report: &mut Report<'_>) {
    for (index, to) in to.iter().enumerate() {
        let field = format!("spec.to[{index}]");
        if to.selector.as_ref().is_some_and(|selector| selector.match_expressions.is_some()) {
            let rule = "is not read without a cluster: write matchLabels";
            report.error(&format!("{field}.selector.matchExpressions"), rule);
        }
        if to.reference.is_none() && to.selector.is_none() {
            report.error(&field, "names nothing: give a ref or a selector");
        }
    }
}

/// The names of the policies that are for an object, as controllers would list them.
pub(super) fn applying(
    policies: &BTreeMap<Name, Known>,
    kind: Kind,
    (namespace, name): (&str, &str),
    document: &Document,
) -> Vec<String> {
    let of_namespace = policies.iter().filter(|((of, _), _)| of == namespace);
    let applying = of_namespace
        .filter(|(_, known)| known.to.is_empty() || known.to.iter().any(|to| means(to, kind, name, document)));
    applying.map(|((_, name), _)| name.clone()).collect()
}

fn means(to: &PolicyTo, kind: Kind, name: &str, document: &Document) -> bool {
    let is_kind = |api_version: Option<&str>, of: Option<&str>| {
        let group = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
        of == Some(kind.as_str()) && api_version.is_some_and(|text| group(text) == group(kind.api_version()))
    };
    let by_name = to.reference.as_ref().is_some_and(|reference| {
        is_kind(reference.api_version.as_deref(), reference.kind.as_deref()) && reference.name.as_deref() == Some(name)
    });
    let by_labels = to.selector.as_ref().is_some_and(|selector| {
        is_kind(selector.api_version.as_deref(), selector.kind.as_deref()) && has_labels(selector, document)
    });
    by_name || by_labels
}

fn has_labels(selector: &PolicySelector, document: &Document) -> bool {
    selector.match_labels.iter().flatten().all(|(label, wanted)| {
        let value = document.value.get("metadata").and_then(|metadata| metadata.get("labels")?.get(label)?.as_str());
        value == Some(wanted.as_deref().unwrap_or_default())
    })
}
