//! Resolves EventPolicies: the subjects that they allow, and the events (contract 7.6). A policy
//! that is not understood allows nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::control::read::kind::{RecognizedKind, ResourceKind};
use crate::control::read::manifest::ManifestDocument;
use crate::control::read::manifest::eventing::{
    EventPolicyManifest, MatchExpression, PolicyFrom, PolicySelector, PolicyTo,
};
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::config_maps::CONFIG_FEATURES;
use crate::control::read::spelling::suggest_word;
use crate::control::resolve::collect::{CollectedItems, CollectedObjects};
use crate::control::resolve::filter;
use crate::control::settings::{ApiServerAvailability, ControlSettings};
use crate::correlation::KeyRing;
use crate::model::NamespacedName;
use crate::model::{EventPolicy, SubjectPattern};

/// A policy, and the objects that it applies to if no controller has decided that; an empty list
/// means all of its namespace.
#[derive(Debug)]
pub(crate) struct ResolvedPolicy {
    pub(crate) policy: Arc<EventPolicy>,
    /// The targets of `spec.to`; empty means all of the policy's namespace.
    to: Vec<PolicyTo>,
}

/// An object that a policy can apply to.
pub(crate) struct PolicyTarget<'d> {
    kind: ResourceKind,
    name: NamespacedName,
    document: &'d ManifestDocument,
}

impl<'d> PolicyTarget<'d> {
    /// Every channel, Broker, RequestReply, Sequence and Parallel.
    pub(crate) fn all_targets(collected: &CollectedObjects<'d>) -> Vec<Self> {
        fn of<'d, T>(
            items: &CollectedItems<'d, T>,
            kind: ResourceKind,
        ) -> impl Iterator<Item = PolicyTarget<'d>> {
            items.iter().map(move |(name, item)| PolicyTarget {
                kind,
                name: name.clone(),
                document: item.report.document(),
            })
        }
        let channels = of(&collected.channels, ResourceKind::Channel)
            .chain(of(
                &collected.in_memory_channels,
                ResourceKind::InMemoryChannel,
            ))
            .chain(of(
                &collected.rabbitmq_channels,
                ResourceKind::RabbitmqChannel,
            ));
        let flows = of(&collected.sequences, ResourceKind::Sequence)
            .chain(of(&collected.parallels, ResourceKind::Parallel));
        let brokers = of(&collected.brokers, ResourceKind::Broker);
        channels
            .chain(brokers)
            .chain(of(&collected.request_replies, ResourceKind::RequestReply))
            .chain(flows)
            .collect()
    }
}

/// Resolves every policy. Without a cluster, a policy that applies to none of `targets` is an
/// error, and closes its namespace: the object that it was meant for is not known.
pub(crate) fn resolve(
    items: &mut CollectedItems<'_, EventPolicyManifest>,
    (targets, keys): (&[PolicyTarget<'_>], &Arc<KeyRing>),
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
        // `status.from` counts if it is there: controllers have made it, or the object was exported
        // from a cluster.
        let subjects = match status_subjects(report.document()) {
            Some(subjects) => {
                if api_server == ApiServerAvailability::Missing {
                    warn_of_stale_status(
                        &subjects,
                        spec.from.as_deref().unwrap_or_default(),
                        report,
                    );
                }
                subjects
            }
            None if api_server == ApiServerAvailability::Missing => {
                spec_subjects(spec.from.as_deref().unwrap_or_default(), report)
            }
            None => Vec::new(),
        };
        let mut to = spec.to.unwrap_or_default();
        // Without a cluster, nobody else tells the author that a policy applies to nothing.
        if api_server == ApiServerAvailability::Missing {
            check_targets(&to, (&name.0, targets), report);
            for namespace in probable_namespaces(&to, targets, report) {
                let policy = EventPolicy {
                    subjects: Vec::new(),
                    filter: filter.clone(),
                };
                let closed = ResolvedPolicy {
                    policy: Arc::new(policy),
                    to: Vec::new(),
                };
                policies.insert((namespace, format!("{}/{}", name.0, name.1)), closed);
            }
        }
        // A policy with an error allows nobody, and applies to its whole namespace.
        let mut policy = EventPolicy { subjects, filter };
        if report.has_errors() || item.object.is_none() {
            policy.subjects.clear();
            to.clear();
        }
        policies.insert(
            name.clone(),
            ResolvedPolicy {
                policy: Arc::new(policy),
                to,
            },
        );
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

/// The namespaces that a policy was perhaps meant for, if its own one holds nothing that takes
/// events, which is reported: those with nearly the same name, and, if the policy names none, those
/// with objects that it selects. Nobody may send there.
fn probable_namespaces(
    to: &[PolicyTo],
    targets: &[PolicyTarget<'_>],
    report: &mut ObjectReport<'_>,
) -> Vec<String> {
    let own = report.object().namespace.clone();
    if targets.iter().any(|target| target.name.0 == own) {
        return Vec::new();
    }
    let is_missing = report.document().text(&["metadata", "namespace"]).is_none();
    let is_meant = |target: &&PolicyTarget<'_>| {
        let PolicyTarget {
            kind,
            name: (namespace, name),
            document,
        } = target;
        suggest_word(&own, [namespace.as_str()]).is_some()
            || (is_missing
                && to
                    .iter()
                    .any(|to| selects_object(to, *kind, name, document)))
    };
    let mut namespaces: Vec<String> = targets
        .iter()
        .filter(is_meant)
        .map(|target| target.name.0.clone())
        .collect();
    namespaces.sort();
    namespaces.dedup();
    if !namespaces.is_empty() {
        let near = namespaces.join(" or ");
        let rule = "Until that is said, nobody may send to what is there";
        report.error(
            "metadata.namespace",
            format!("nothing in {own} takes events; did you mean {near}? {rule}"),
        );
    }
    namespaces
}

/// Reports targets that are not understood without a cluster, and targets that select nothing.
fn check_targets(
    to: &[PolicyTo],
    (namespace, targets): (&str, &[PolicyTarget<'_>]),
    report: &mut ObjectReport<'_>,
) {
    for (index, to) in to.iter().enumerate() {
        let field = format!("spec.to[{index}]");
        match (&to.reference, &to.selector) {
            (None, None) => report.error(&field, "names nothing: give a ref or a selector"),
            (Some(_), Some(_)) => {
                report.error(&field, "has both a ref and a selector: give one of the two")
            }
            (Some(reference), None) => {
                let (field, name) = (
                    format!("{field}.ref"),
                    reference.name.as_deref().unwrap_or_default(),
                );
                if name.is_empty() {
                    report.error(&format!("{field}.name"), "is missing: name the object");
                }
                let written = (reference.api_version.as_deref(), reference.kind.as_deref());
                if is_served_kind(written, &field, report)
                    && !name.is_empty()
                    && !is_for_any(to, namespace, targets)
                {
                    let (_, kind) = written;
                    let kind = kind.unwrap_or_default();
                    let rule = "so that nobody may send to what is in this namespace";
                    report.unresolved_reference(
                        &field,
                        format!("there is no {kind} {namespace}/{name}, {rule}: correct it"),
                    );
                }
            }
            (None, Some(selector)) => {
                let field = format!("{field}.selector");
                let expressions = selector.match_expressions.iter().flatten().enumerate();
                let are_right = expressions.fold(true, |right, (index, expression)| {
                    check_expression(
                        expression,
                        &format!("{field}.matchExpressions[{index}]"),
                        report,
                    ) && right
                });
                let written = (selector.api_version.as_deref(), selector.kind.as_deref());
                if is_served_kind(written, &field, report)
                    && are_right
                    && !is_for_any(to, namespace, targets)
                {
                    let rule = "so that nobody may send to what is in this namespace: correct kind \
                         and labels";
                    report.unresolved_reference(&field, format!("selects nothing, {rule}"));
                }
            }
        }
    }
}

/// Reports an expression that an API server would not accept; true if it is right.
fn check_expression(
    expression: &MatchExpression,
    field: &str,
    report: &mut ObjectReport<'_>,
) -> bool {
    let MatchExpression {
        key,
        operator,
        values,
    } = expression;
    let (errors, has_values) = (
        report.error_count(),
        values.as_ref().is_some_and(|values| !values.is_empty()),
    );
    if key.as_deref().unwrap_or_default().is_empty() {
        report.error(&format!("{field}.key"), "is missing: name the label");
    }
    match (operator.as_deref().unwrap_or_default(), has_values) {
        ("In" | "NotIn", true) | ("Exists" | "DoesNotExist", false) => {}
        ("In" | "NotIn", false) => report.error(
            &format!("{field}.values"),
            "is missing: list values of the label",
        ),
        (operator @ ("Exists" | "DoesNotExist"), true) => {
            report.error(
                &format!("{field}.values"),
                format!("is not for {operator}: leave it out, or write In or NotIn"),
            );
        }
        (other, _) => {
            let remedy = "is no operator: write In, NotIn, Exists or DoesNotExist";
            report.error(&format!("{field}.operator"), format!("{other:?} {remedy}"));
        }
    }
    report.error_count() == errors && !report.is_unreadable_inside(field)
}

/// True if this is a kind that is served here. Another kind is reported, and the policy applies to
/// nothing of it.
fn is_served_kind(
    (api_version, kind): (Option<&str>, Option<&str>),
    field: &str,
    report: &mut ObjectReport<'_>,
) -> bool {
    let Some(kind) = kind.filter(|kind| !kind.is_empty()) else {
        report.error(
            &format!("{field}.kind"),
            "is missing: write for example Broker",
        );
        return false;
    };
    match ResourceKind::recognize(api_version.unwrap_or_default(), kind) {
        RecognizedKind::Known(
            ResourceKind::Broker
            | ResourceKind::RequestReply
            | ResourceKind::Channel
            | ResourceKind::InMemoryChannel
            | ResourceKind::RabbitmqChannel
            | ResourceKind::Sequence
            | ResourceKind::Parallel,
        ) => true,
        RecognizedKind::Known(_) => {
            report.error(
                &format!("{field}.kind"),
                format!("{kind} takes no events: write a channel's kind, Broker or RequestReply"),
            );
            false
        }
        RecognizedKind::Mistaken {
            field: wrong,
            message,
        } => {
            report.error(&format!("{field}.{wrong}"), message);
            false
        }
        RecognizedKind::Foreign => {
            report.warning(
                &format!("{field}.kind"),
                format!("{kind} is not served here: this part of the policy has no effect"),
            );
            false
        }
    }
}

fn is_for_any(to: &PolicyTo, namespace: &str, targets: &[PolicyTarget<'_>]) -> bool {
    let own = targets.iter().filter(|target| target.name.0 == namespace);
    own.into_iter()
        .any(|target| selects_object(to, target.kind, &target.name.1, target.document))
}

/// The names of the policies that apply to an object, as controllers would list them.
pub(crate) fn applying_policies(
    policies: &BTreeMap<NamespacedName, ResolvedPolicy>,
    kind: ResourceKind,
    (namespace, name): (&str, &str),
    document: &ManifestDocument,
) -> Vec<String> {
    let of_namespace = policies.iter().filter(|((of, _), _)| of == namespace);
    let applying = of_namespace.filter(|(_, known)| {
        known.to.is_empty()
            || known
                .to
                .iter()
                .any(|to| selects_object(to, kind, name, document))
    });
    applying.map(|((_, name), _)| name.clone()).collect()
}

fn selects_object(
    to: &PolicyTo,
    kind: ResourceKind,
    name: &str,
    document: &ManifestDocument,
) -> bool {
    let is_kind = |api_version: Option<&str>, of: Option<&str>| {
        let group = |text: &str| text.split('/').next().unwrap_or_default().to_owned();
        of == Some(kind.as_str())
            && api_version.is_some_and(|text| group(text) == group(kind.api_version()))
    };
    let by_name = to.reference.as_ref().is_some_and(|reference| {
        is_kind(reference.api_version.as_deref(), reference.kind.as_deref())
            && reference.name.as_deref() == Some(name)
    });
    let by_labels = to.selector.as_ref().is_some_and(|selector| {
        is_kind(selector.api_version.as_deref(), selector.kind.as_deref())
            && has_labels(selector, document)
    });
    by_name || by_labels
}

fn has_labels(selector: &PolicySelector, document: &ManifestDocument) -> bool {
    let value_of = |label: &str| {
        document
            .value
            .get("metadata")
            .and_then(|metadata| metadata.get("labels")?.get(label)?.as_str())
    };
    let mut labels = selector.match_labels.iter().flatten();
    labels.all(|(label, wanted)| value_of(label) == Some(wanted.as_deref().unwrap_or_default()))
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|expression| {
                let value = expression.key.as_deref().and_then(value_of);
                let is_listed = || {
                    expression
                        .values
                        .iter()
                        .flatten()
                        .any(|listed| Some(listed.as_str()) == value)
                };
                match expression.operator.as_deref() {
                    Some("In") => is_listed(),
                    Some("NotIn") => !is_listed(),
                    Some("Exists") => value.is_some(),
                    Some("DoesNotExist") => value.is_none(),
                    _ => false,
                }
            })
}
