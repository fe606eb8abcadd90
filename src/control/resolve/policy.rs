//! EventPolicies: whom they allow, and what (contract 7.6). One that is not understood allows nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::collect::{Collected, Items, Name};
use super::filter;
use crate::control::ApiServer;
use crate::control::kind::{Kind, Recognized};
use crate::control::manifest::Document;
use crate::control::manifest::eventing::{EventPolicy, PolicyFrom, PolicySelector, PolicyTo};
use crate::control::report::Report;
use crate::correlation::KeyRing;
use crate::model::{Policy, Subject};

/// A policy, and what it is for where nobody else has decided that; an empty list means its namespace.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) policy: Arc<Policy>,
    to: Vec<PolicyTo>,
}

/// Something that a policy can be for.
pub(super) struct Target<'d> {
    kind: Kind,
    name: Name,
    document: &'d Document,
}

impl<'d> Target<'d> {
    /// Every channel, Broker, RequestReply, Sequence and Parallel.
    pub(super) fn all(collected: &Collected<'d>) -> Vec<Self> {
        fn of<'d, T>(items: &Items<'d, T>, kind: Kind) -> impl Iterator<Item = Target<'d>> {
            items.iter().map(move |(name, item)| Target { kind, name: name.clone(), document: item.report.document() })
        }
        let channels = of(&collected.channels, Kind::Channel)
            .chain(of(&collected.in_memory_channels, Kind::InMemoryChannel))
            .chain(of(&collected.rabbitmq_channels, Kind::RabbitmqChannel));
        let flows = of(&collected.sequences, Kind::Sequence).chain(of(&collected.parallels, Kind::Parallel));
        let brokers = of(&collected.brokers, Kind::Broker);
        channels.chain(brokers).chain(of(&collected.request_replies, Kind::RequestReply)).chain(flows).collect()
    }
}

/// Every policy. Where there is no cluster, one that is for nothing of `targets` is an error, and closes its namespace:
/// what it was meant for is not known.
pub(super) fn resolve(
    items: &mut Items<'_, EventPolicy>,
    (targets, keys): (&[Target<'_>], &Arc<KeyRing>),
    api_server: ApiServer,
) -> BTreeMap<Name, Known> {
    let mut policies = BTreeMap::new();
    for (name, item) in items {
        let report = &mut item.report;
        let spec = item.object.as_ref().and_then(|policy| policy.spec.clone()).unwrap_or_default();
        let filter = filter::all(spec.filters.as_deref().unwrap_or_default(), keys, report);
        let subjects = match listed(report.document()) {
            Some(subjects) => subjects,
            None if api_server == ApiServer::Missing => written(spec.from.as_deref().unwrap_or_default(), report),
            None => Vec::new(),
        };
        let mut to = spec.to.unwrap_or_default();
        if api_server == ApiServer::Missing {
            check(&to, (&name.0, targets), report);
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
    for (index, PolicyFrom { reference, sub }) in from.iter().enumerate() {
        let field = format!("spec.from[{index}]");
        match (reference, sub.as_deref().filter(|sub| !sub.is_empty())) {
            (Some(_), Some(_)) => report.error(&field, "has both a ref and a sub: give one of the two"),
            (Some(_), None) => {
                let rule = "cannot be followed without a cluster: write the subject as sub";
                report.error(&format!("{field}.ref"), rule);
            }
            (None, None) => report.error(&field, "names nobody: give a ref or a sub"),
            (None, Some(sub)) if sub.trim_end_matches('*').contains('*') || sub.ends_with("**") => {
                let rule = "stands for any end of a subject, and nothing else: write it last, and once";
                report.error(&format!("{field}.sub"), format!("has a * inside, which {rule}"));
            }
            (None, Some(sub)) => subjects.push(Subject::parse(sub)),
        }
    }
    subjects
}

/// Reports what is not understood without a cluster, and what is for nothing.
fn check(to: &[PolicyTo], (namespace, targets): (&str, &[Target<'_>]), report: &mut Report<'_>) {
    for (index, to) in to.iter().enumerate() {
        let field = format!("spec.to[{index}]");
        match (&to.reference, &to.selector) {
            (None, None) => report.error(&field, "names nothing: give a ref or a selector"),
            (Some(_), Some(_)) => report.error(&field, "has both a ref and a selector: give one of the two"),
            (Some(reference), None) => {
                let (field, name) = (format!("{field}.ref"), reference.name.as_deref().unwrap_or_default());
                if name.is_empty() {
                    report.error(&format!("{field}.name"), "is missing: name the object");
                }
                let written = (reference.api_version.as_deref(), reference.kind.as_deref());
                if is_ours(written, &field, report) && !name.is_empty() && !is_for_any(to, namespace, targets) {
                    let (_, kind) = written;
                    let kind = kind.unwrap_or_default();
                    let rule = "so that nobody may send to what is in this namespace";
                    report.unresolved(&field, format!("there is no {kind} {namespace}/{name}, {rule}: correct it"));
                }
            }
            (None, Some(selector)) => {
                let field = format!("{field}.selector");
                if selector.match_expressions.is_some() {
                    let rule = "is not read without a cluster: write matchLabels";
                    report.error(&format!("{field}.matchExpressions"), rule);
                    continue;
                }
                let written = (selector.api_version.as_deref(), selector.kind.as_deref());
                if is_ours(written, &field, report) && !is_for_any(to, namespace, targets) {
                    let rule = "so that nobody may send to what is in this namespace: correct kind and labels";
                    report.unresolved(&field, format!("selects nothing, {rule}"));
                }
            }
        }
    }
}

/// Whether this is a kind that is served here. Somebody else's is told, and is for nothing here.
fn is_ours((api_version, kind): (Option<&str>, Option<&str>), field: &str, report: &mut Report<'_>) -> bool {
    let Some(kind) = kind.filter(|kind| !kind.is_empty()) else {
        report.error(&format!("{field}.kind"), "is missing: write for example Broker");
        return false;
    };
    match Kind::recognize(api_version.unwrap_or_default(), kind) {
        Recognized::Known(
            Kind::Broker
            | Kind::RequestReply
            | Kind::Channel
            | Kind::InMemoryChannel
            | Kind::RabbitmqChannel
            | Kind::Sequence
            | Kind::Parallel,
        ) => true,
        Recognized::Known(_) => {
            report.error(
                &format!("{field}.kind"),
                format!("{kind} takes no events: write a channel's kind, Broker or RequestReply"),
            );
            false
        }
        Recognized::Mistaken { field: wrong, message } => {
            report.error(&format!("{field}.{wrong}"), message);
            false
        }
        Recognized::Foreign => {
            report.warning(
                &format!("{field}.kind"),
                format!("{kind} is not served here: this part of the policy has no effect"),
            );
            false
        }
    }
}

fn is_for_any(to: &PolicyTo, namespace: &str, targets: &[Target<'_>]) -> bool {
    let own = targets.iter().filter(|target| target.name.0 == namespace);
    own.into_iter().any(|target| means(to, target.kind, &target.name.1, target.document))
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
