//! The objects that an EventPolicy applies to: `spec.to`, by name or by labels.

use crate::control::read::document::ManifestDocument;
use crate::control::read::kind::{RecognizedKind, ResourceKind};
use crate::control::read::manifest::duck::KReference;
use crate::control::read::manifest::eventing::{MatchExpression, PolicySelector, PolicyTo};
use crate::control::read::report::ObjectReport;
use crate::control::read::spelling::suggest_word;
use crate::control::resolve::collect::{CollectedItems, CollectedObjects};
use crate::model::NamespacedName;

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
            ))
            .chain(of(&collected.disk_channels, ResourceKind::DiskChannel));
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

/// The namespaces that a policy was perhaps meant for, if its own one holds nothing that takes
/// events, which is reported: those with nearly the same name, and, if the policy names none, those
/// with objects that it selects. Nobody may send there.
pub(super) fn probable_namespaces(
    to: &[PolicyTo],
    targets: &[PolicyTarget<'_>],
    report: &mut ObjectReport<'_>,
) -> Vec<String> {
    let own = report.object().namespace.clone();
    if targets.iter().any(|target| target.name.namespace == own) {
        return Vec::new();
    }
    let is_missing = report.document().text(&["metadata", "namespace"]).is_none();
    let is_meant = |target: &&PolicyTarget<'_>| {
        let PolicyTarget {
            kind,
            name,
            document,
        } = target;
        suggest_word(&own, [name.namespace.as_str()]).is_some()
            || (is_missing
                && to
                    .iter()
                    .any(|to| selects_object(to, *kind, &name.name, document)))
    };
    let mut namespaces: Vec<String> = targets
        .iter()
        .filter(is_meant)
        .map(|target| target.name.namespace.clone())
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
pub(super) fn check_targets(
    to: &[PolicyTo],
    targets: &[PolicyTarget<'_>],
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
                let is_known = check_reference(reference, &format!("{field}.ref"), report);
                if is_known && !is_for_any(to, targets, report) {
                    report_missing_target(reference, &format!("{field}.ref"), report);
                }
            }
            (None, Some(selector)) => {
                let field = format!("{field}.selector");
                let are_right = check_expressions(selector, &field, report);
                let [api_version, kind] =
                    [&selector.api_version, &selector.kind].map(Option::as_deref);
                if is_served_kind(api_version, kind, &field, report)
                    && are_right
                    && !is_for_any(to, targets, report)
                {
                    let rule = "so that nobody may send to what is in this namespace: correct kind \
                         and labels";
                    report.unresolved_reference(&field, format!("selects nothing, {rule}"));
                }
            }
        }
    }
}

/// True if a `ref` names an object of a kind that is served.
fn check_reference(reference: &KReference, field: &str, report: &mut ObjectReport<'_>) -> bool {
    let is_nameless = reference.name.as_deref().unwrap_or_default().is_empty();
    if is_nameless {
        report.error(&format!("{field}.name"), "is missing: name the object");
    }
    let [api_version, kind] = [&reference.api_version, &reference.kind].map(Option::as_deref);
    is_served_kind(api_version, kind, field, report) && !is_nameless
}

fn report_missing_target(reference: &KReference, field: &str, report: &mut ObjectReport<'_>) {
    let namespace = report.object().namespace.clone();
    let kind = reference.kind.as_deref().unwrap_or_default();
    let name = reference.name.as_deref().unwrap_or_default();
    let rule = "so that nobody may send to what is in this namespace";
    report.unresolved_reference(
        field,
        format!("there is no {kind} {namespace}/{name}, {rule}: correct it"),
    );
}

/// True if all expressions of a selector are right; reports those that are not.
fn check_expressions(
    selector: &PolicySelector,
    field: &str,
    report: &mut ObjectReport<'_>,
) -> bool {
    let expressions = selector.match_expressions.iter().flatten().enumerate();
    expressions.fold(true, |are_right, (index, expression)| {
        let field = format!("{field}.matchExpressions[{index}]");
        check_expression(expression, &field, report) && are_right
    })
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
    api_version: Option<&str>,
    kind: Option<&str>,
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
            | ResourceKind::DiskChannel
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

/// True if a target selects an object of the policy's own namespace.
fn is_for_any(to: &PolicyTo, targets: &[PolicyTarget<'_>], report: &ObjectReport<'_>) -> bool {
    let namespace = &report.object().namespace;
    targets
        .iter()
        .filter(|target| target.name.namespace == *namespace)
        .any(|target| selects_object(to, target.kind, &target.name.name, target.document))
}

/// True if a target of a policy selects this object of the policy's namespace.
pub(super) fn selects_object(
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
    let mut expressions = selector.match_expressions.iter().flatten();
    labels.all(|(label, wanted)| value_of(label) == Some(wanted.as_deref().unwrap_or_default()))
        && expressions.all(|expression| {
            expression_holds(expression, expression.key.as_deref().and_then(value_of))
        })
}

/// True if the value of a label fulfils an expression; `None` if the object has no such label.
fn expression_holds(expression: &MatchExpression, value: Option<&str>) -> bool {
    let is_listed = || {
        let mut listed = expression.values.iter().flatten();
        listed.any(|listed| Some(listed.as_str()) == value)
    };
    match expression.operator.as_deref() {
        Some("In") => is_listed(),
        Some("NotIn") => !is_listed(),
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        _ => false,
    }
}
