//! Resolves EventPolicies: the subjects that they allow, and the events (contract 7.6). A policy
//! that is not understood allows nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::policy_target::{PolicyTarget, check_targets, probable_namespaces, selects_object};
use crate::control::read::document::ManifestDocument;
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::eventing::{EventPolicyManifest, PolicyFrom, PolicyTo};
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::config_maps::CONFIG_FEATURES;
use crate::control::resolve::collect::CollectedItems;
use crate::control::resolve::filter;
use crate::control::settings::{ApiServerAvailability, ControlSettings};
use crate::correlation::KeyRing;
use crate::filter::Filter;
use crate::model::{EventPolicy, NamespacedName, SubjectPattern};

/// A policy, and the objects that it applies to if no controller has decided that; an empty list
/// means all of its namespace.
#[derive(Debug)]
pub(crate) struct ResolvedPolicy {
    pub(crate) policy: Arc<EventPolicy>,
    /// The targets of `spec.to`; empty means all of the policy's namespace.
    to: Vec<PolicyTo>,
}

impl ResolvedPolicy {
    fn new(subjects: Vec<SubjectPattern>, filter: Filter, to: Vec<PolicyTo>) -> Self {
        Self {
            policy: Arc::new(EventPolicy { subjects, filter }),
            to,
        }
    }
}

/// Resolves every policy. Without a cluster, a policy that applies to none of `targets` is an
/// error, and closes its namespace: the object that it was meant for is not known.
pub(crate) fn resolve(
    items: &mut CollectedItems<'_, EventPolicyManifest>,
    targets: &[PolicyTarget<'_>],
    keys: &Arc<KeyRing>,
    api_server: ApiServerAvailability,
) -> BTreeMap<NamespacedName, ResolvedPolicy> {
    let mut policies = BTreeMap::new();
    for (name, item) in items {
        let report = &mut item.report;
        let spec = item
            .object
            .as_ref()
            .and_then(|policy| policy.spec.clone())
            .unwrap_or_default();
        let filter =
            filter::compile_filters(spec.filters.as_deref().unwrap_or_default(), keys, report);
        let from = spec.from.as_deref().unwrap_or_default();
        let subjects = resolve_subjects(from, api_server, report);
        let to = spec.to.unwrap_or_default();
        // Without a cluster, nobody else tells the author that a policy applies to nothing.
        if api_server == ApiServerAvailability::Missing {
            check_targets(&to, targets, report);
            for namespace in probable_namespaces(&to, targets, report) {
                let closed = ResolvedPolicy::new(Vec::new(), filter.clone(), Vec::new());
                // No policy that is written has a name with a slash.
                let closing = NamespacedName::new(namespace, name.to_string());
                policies.insert(closing, closed);
            }
        }
        // A policy with an error allows nobody, and applies to its whole namespace.
        let is_wrong = report.has_errors() || item.object.is_none();
        let policy = if is_wrong {
            ResolvedPolicy::new(Vec::new(), filter, Vec::new())
        } else {
            ResolvedPolicy::new(subjects, filter, to)
        };
        policies.insert(name.clone(), policy);
    }
    policies
}

/// Warns of policies that nobody is held to, since no sender is asked who it is. In a cluster their
/// status says so.
pub(crate) fn warn_without_tokens(
    items: &mut CollectedItems<'_, EventPolicyManifest>,
    settings: &ControlSettings,
) {
    let is_alone = settings.api_server == ApiServerAvailability::Missing;
    for item in items
        .values_mut()
        .filter(|_| is_alone && settings.task.serves_manifests())
    {
        let system = &settings.system_namespace;
        let rule = "has no effect, and everybody may send: it counts with";
        item.report.warning(
            "",
            format!("{rule} authentication-oidc: enabled in {CONFIG_FEATURES} of {system}"),
        );
    }
}

/// The subjects that a policy allows. `status.from` counts if it is there: controllers have made
/// it, or the object was exported from a cluster.
fn resolve_subjects(
    from: &[PolicyFrom],
    api_server: ApiServerAvailability,
    report: &mut ObjectReport<'_>,
) -> Vec<SubjectPattern> {
    let listed = status_subjects(report.document());
    match (listed, api_server) {
        (Some(subjects), ApiServerAvailability::Given) => subjects,
        (Some(subjects), ApiServerAvailability::Missing) => {
            warn_of_stale_status(&subjects, from, report);
            subjects
        }
        (None, ApiServerAvailability::Given) => Vec::new(),
        (None, ApiServerAvailability::Missing) => spec_subjects(from, report),
    }
}

/// The subjects of `status.from`, which controllers have made of `spec.from`; `None` if there is
/// none.
fn status_subjects(document: &ManifestDocument) -> Option<Vec<SubjectPattern>> {
    let from = document.value.get("status")?.get("from")?.as_array()?;
    Some(
        from.iter()
            .filter_map(|subject| subject.as_str())
            .map(SubjectPattern::parse)
            .collect(),
    )
}

/// Warns of a `status.from` that was not made of `spec.from` as it is: that of an export which
/// somebody has edited.
fn warn_of_stale_status(
    listed: &[SubjectPattern],
    from: &[PolicyFrom],
    report: &mut ObjectReport<'_>,
) {
    let mut subs = from
        .iter()
        .filter_map(|from| from.sub.as_deref())
        .map(SubjectPattern::parse);
    if listed.len() != from.len() || !subs.all(|sub| listed.contains(&sub)) {
        let rule = "and is what counts: remove status, so that spec.from does";
        report.warning(
            "status.from",
            format!("names others than spec.from, {rule}"),
        );
    }
}

/// The subjects of `spec.from`, as far as they need no controller.
fn spec_subjects(from: &[PolicyFrom], report: &mut ObjectReport<'_>) -> Vec<SubjectPattern> {
    let mut subjects = Vec::new();
    for (index, PolicyFrom { reference, sub }) in from.iter().enumerate() {
        let field = format!("spec.from[{index}]");
        match (reference, sub.as_deref().filter(|sub| !sub.is_empty())) {
            (Some(_), Some(_)) => {
                report.error(&field, "has both a ref and a sub: give one of the two")
            }
            (Some(_), None) => {
                let rule = "cannot be followed without a cluster: write the subject as sub";
                report.error(&format!("{field}.ref"), rule);
            }
            (None, None) => report.error(&field, "names nobody: give a ref or a sub"),
            (None, Some(sub)) if sub.trim_end_matches('*').contains('*') || sub.ends_with("**") => {
                let rule =
                    "stands for any end of a subject, and nothing else: write it last, and once";
                report.error(
                    &format!("{field}.sub"),
                    format!("has a * inside, which {rule}"),
                );
            }
            (None, Some(sub)) => subjects.push(SubjectPattern::parse(sub)),
        }
    }
    subjects
}

/// The names of the policies that apply to an object, as controllers would list them.
pub(crate) fn applying_policies(
    policies: &BTreeMap<NamespacedName, ResolvedPolicy>,
    kind: ResourceKind,
    target: &NamespacedName,
    document: &ManifestDocument,
) -> Vec<String> {
    let of_namespace = policies
        .iter()
        .filter(|(policy, _)| policy.namespace == target.namespace);
    let applying = of_namespace.filter(|(_, known)| {
        known.to.is_empty()
            || known
                .to
                .iter()
                .any(|to| selects_object(to, kind, &target.name, document))
    });
    applying.map(|(policy, _)| policy.name.clone()).collect()
}
