//! What the controllers of a cluster have made of objects that are written as well, as the export
//! of a namespace holds it: it is left out, since the same is made of these objects here.

use serde_json::Value;

use super::{CollectedItem, CollectedItems, CollectedObjects};
use crate::control::read::manifest::eventing::{EventPolicyManifest, PolicyTo};
use crate::control::read::problem::{ObjectName, Problem};
use crate::control::read::report::ObjectReport;
use crate::control::settings::ControlSettings;
use crate::model::NamespacedName;

/// Takes out channels that were made of a Channel or a Broker, Subscriptions that were made of a
/// Trigger, and EventPolicies that were made for such channels alone. In a cluster they are what
/// counts.
pub(crate) fn leave_out(collected: &mut CollectedObjects<'_>, settings: &ControlSettings) {
    if !settings.task.serves_manifests() {
        return;
    }
    let CollectedObjects {
        channels,
        in_memory_channels,
        rabbitmq_channels,
        disk_channels,
        subscriptions,
        problems,
        ..
    } = collected;
    let mut gone = Vec::new();
    for made in [in_memory_channels, rabbitmq_channels, disk_channels] {
        gone.extend(take_out(
            made,
            |name, report| owner(name, report, "Channel", channels),
            problems,
        ));
        gone.extend(take_out(
            made,
            |name, report| owner(name, report, "Broker", &collected.brokers),
            problems,
        ));
    }
    take_out(
        subscriptions,
        |name, report| owner(name, report, "Trigger", &collected.triggers),
        problems,
    );
    take_out_policies(&gone, collected);
}

/// Takes out the EventPolicies that were made for channels which are gone.
fn take_out_policies(gone: &[ObjectName], collected: &mut CollectedObjects<'_>) {
    let policies = &collected.event_policies;
    let is_for_gone =
        |(name, item): &(&NamespacedName, &CollectedItem<'_, EventPolicyManifest>)| {
            is_for(gone, name, item)
        };
    let made: Vec<_> = policies
        .iter()
        .filter(is_for_gone)
        .map(|(name, _)| name.clone())
        .collect();
    let owner_of = |name: &NamespacedName, report: &ObjectReport<'_>| {
        let of_policy = || owner(name, report, "EventPolicy", policies);
        let of_channel = || owner(name, report, "Channel", &collected.channels).or_else(of_policy);
        owner(name, report, "Broker", &collected.brokers)
            .or_else(of_channel)
            .filter(|_| made.contains(name))
    };
    let owned: Vec<_> = policies
        .iter()
        .filter_map(|(name, item)| Some((name.clone(), owner_of(name, &item.report)?)))
        .collect();
    remove(
        &mut collected.event_policies,
        owned,
        &mut collected.problems,
    );
}

/// Takes out what belongs to another object, which `owner` names; gives what that was.
fn take_out<T>(
    made: &mut CollectedItems<'_, T>,
    owner: impl Fn(&NamespacedName, &ObjectReport<'_>) -> Option<String>,
    problems: &mut Vec<Problem>,
) -> Vec<ObjectName> {
    let owned = made
        .iter()
        .filter_map(|(name, item)| Some((name.clone(), owner(name, &item.report)?)));
    let owned: Vec<_> = owned.collect();
    remove(made, owned, problems)
}

fn remove<T>(
    made: &mut CollectedItems<'_, T>,
    owned: Vec<(NamespacedName, String)>,
    problems: &mut Vec<Problem>,
) -> Vec<ObjectName> {
    let mut gone = Vec::with_capacity(owned.len());
    for (name, owner) in owned {
        let Some(CollectedItem { mut report, .. }) = made.remove(&name) else {
            continue;
        };
        gone.push(report.object().clone());
        report.note(
            "metadata.ownerReferences",
            format!("the {owner} makes this one itself: it is left out"),
        );
        problems.extend(report.into_problems());
    }
    gone
}

/// The object of this kind to which one belongs, and where it stands.
fn owner<O>(
    owned: &NamespacedName,
    report: &ObjectReport<'_>,
    kind: &str,
    owners: &CollectedItems<'_, O>,
) -> Option<String> {
    let references = report
        .document()
        .value
        .pointer("/metadata/ownerReferences")?
        .as_array()?;
    let mut named = references
        .iter()
        .filter(|owner| owner.get("kind").is_some_and(|of| of == kind));
    named.find_map(|owner| {
        let owner = owner.get("name").and_then(Value::as_str)?;
        let owner = owners.get(&NamespacedName::new(&owned.namespace, owner))?;
        Some(format!(
            "{kind}{}",
            owner.report.document().location_suffix()
        ))
    })
}

/// Whether a policy is for nothing but these channels.
fn is_for(
    gone: &[ObjectName],
    name: &NamespacedName,
    policy: &CollectedItem<'_, EventPolicyManifest>,
) -> bool {
    let spec = policy
        .object
        .as_ref()
        .and_then(|policy| policy.spec.as_ref());
    let to = spec.and_then(|spec| spec.to.as_deref()).unwrap_or_default();
    let is_gone = |to: &PolicyTo| {
        let reference = to.reference.as_ref().filter(|_| to.selector.is_none());
        let is_it = |gone: &ObjectName| {
            reference.is_some_and(|reference| {
                reference.kind.as_deref() == Some(&gone.kind)
                    && reference.name.as_deref() == Some(&gone.name)
            })
        };
        gone.iter()
            .any(|gone| gone.namespace == name.namespace && is_it(gone))
    };
    !to.is_empty() && to.iter().all(is_gone)
}
