//! Objects of kinds that are not served. Only what references need is read: the endpoint in an
//! annotation, and the Pods that a template makes, since the built-in display stands in for
//! Knative's `event_display`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::Value;

use super::replacement::replacement_remedy;
use super::service_location::endpoint;
use super::service_location::{
    DisplayPods, ReferencedObject, SERVING, ServiceLocation, is_event_display_image,
};
use crate::control::read::document::ManifestDocument;
use crate::control::read::header::{check_names, report_duplicate_name};
use crate::control::read::kind::group_of;
use crate::control::read::manifest::duck::TextMap;
use crate::control::read::manifest::{self, UnknownFieldPolicy};
use crate::control::read::problem::ObjectName;
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::UnknownFieldStrictness;
use crate::control::read::schema::annotations::{ENDPOINT, examine_annotations};
use crate::control::read::schema::core::{OBJECT_META, POD_TEMPLATE, REVISION_TEMPLATE};
use crate::control::read::spelling::suggest_word;
use crate::control::resolve::collect::injection::is_injected_namespace;

/// The objects of kinds that are not served, by name.
pub(crate) type OtherObjects<'d> = BTreeMap<ReferencedObject, ObjectReport<'d>>;

/// The kinds whose template says which Pods there are, each with its group.
const WITH_TEMPLATE: [(&str, &str); 7] = [
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("batch", "Job"),
    (SERVING, "Service"),
    (SERVING, "Configuration"),
];

/// Adds an object of another kind; gives its report back if there is one of its name already.
pub(crate) fn insert_other<'d>(
    others: &mut OtherObjects<'d>,
    mut report: ObjectReport<'d>,
    reading: UnknownFieldPolicy,
) -> Option<ObjectReport<'d>> {
    let (document, referent) = (report.document(), referent(&report));
    // Names are only required of objects that references can mean.
    let is_referred_to = referent.is_service() || annotated_endpoint(document).is_some();
    let has_names = !is_referred_to || check_names(&mut report);
    if let Some(metadata) = document.value.get("metadata") {
        manifest::validate_fields(&mut report, &OBJECT_META, "metadata", reading, metadata);
    }
    if !has_names {
        return Some(report);
    }
    for (field, message) in examine_annotations(&document.value) {
        manifest::report_unknown_field(
            &mut report,
            &field,
            &message,
            UnknownFieldStrictness::MayBeIgnored,
            reading,
        );
    }
    // Objects that no reference can mean are noted, since their author may expect an effect.
    if has_template(&referent) {
        check_template(&referent, &mut report, reading);
    } else if !is_referred_to && !is_injected_namespace(document) {
        note_unused(&referent, &mut report);
    }
    match others.entry(referent) {
        Entry::Vacant(entry) => {
            entry.insert(report);
            None
        }
        Entry::Occupied(first) => {
            if is_referred_to || annotated_endpoint(first.get().document()).is_some() {
                report_duplicate_name(&mut report, first.get().document());
            }
            Some(report)
        }
    }
}

/// The location of an object of another kind: `None` if nothing says it, `Some(None)` if a mistake
/// in it is reported.
pub(crate) fn locate_other(
    referent: &ReferencedObject,
    report: &mut ObjectReport<'_>,
) -> Option<Option<ServiceLocation>> {
    if let Some(text) = annotated_endpoint(report.document()) {
        return Some(endpoint(text, report).filter(|_| !report.has_errors()));
    }
    let by_host = || {
        if display_pods(report).is_some() {
            ServiceLocation::EventDisplay
        } else {
            ServiceLocation::ClusterHost
        }
    };
    referent
        .is_service()
        .then(|| Some(by_host()).filter(|_| !report.has_errors()))
}

/// The Pods that an object makes, if their image is Knative's `event_display`.
pub(crate) fn display_pods(report: &ObjectReport<'_>) -> Option<DisplayPods> {
    let referent = referent(report);
    let template = report
        .document()
        .value
        .get("spec")?
        .get("template")
        .filter(|_| has_template(&referent))?;
    let containers = template.get("spec")?.get("containers")?.as_array()?;
    let mut images = containers
        .iter()
        .filter_map(|container| container.get("image")?.as_str());
    images.any(is_event_display_image).then(|| DisplayPods {
        namespace: referent.namespace,
        labels: template_labels(template),
    })
}

fn template_labels(template: &Value) -> TextMap {
    let labels = template.get("metadata")?.get("labels")?.as_object()?;
    Some(
        labels
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().map(str::to_owned)))
            .collect(),
    )
}

fn annotated_endpoint(document: &ManifestDocument) -> Option<&str> {
    document.text(&["metadata", "annotations", ENDPOINT])
}

fn has_template(referent: &ReferencedObject) -> bool {
    WITH_TEMPLATE.contains(&(&referent.group, &referent.kind))
}

/// Reports fields of a template that no Pod has. kubectl refuses them, and Pods might be selected
/// by them. Fields beside the template are not read.
fn check_template(
    referent: &ReferencedObject,
    report: &mut ObjectReport<'_>,
    reading: UnknownFieldPolicy,
) {
    let fields = if referent.group == SERVING {
        &REVISION_TEMPLATE
    } else {
        &POD_TEMPLATE
    };
    let Some(spec) = report
        .document()
        .value
        .get("spec")
        .and_then(Value::as_object)
    else {
        return;
    };
    match spec.get("template") {
        Some(template) => drop(manifest::validate_fields(
            report,
            fields,
            "spec.template",
            reading,
            template,
        )),
        None => {
            let near = spec
                .keys()
                .find(|key| suggest_word(key, ["template"]).is_some());
            if let Some(near) = near {
                let message = "is not a field that is known here; did you mean template?";
                manifest::report_unknown_field(
                    report,
                    &format!("spec.{near}"),
                    message,
                    UnknownFieldStrictness::MayBeIgnored,
                    reading,
                );
            }
        }
    }
}

fn referent(report: &ObjectReport<'_>) -> ReferencedObject {
    let group = group_of(report.document().text(&["apiVersion"]).unwrap_or_default()).to_owned();
    let ObjectName {
        kind,
        namespace,
        name,
    } = report.object().clone();
    ReferencedObject {
        group,
        kind,
        namespace,
        name,
    }
}

/// True if a kind does not exist in a group whose kinds are all known.
fn is_nobodys(ReferencedObject { group, kind, .. }: &ReferencedObject) -> bool {
    match group.as_str() {
        "eventing.knative.dev" => !["EventType", "RabbitmqBrokerConfig"].contains(&kind.as_str()),
        "messaging.knative.dev" | "flows.knative.dev" => true,
        _ => false,
    }
}

fn note_unused(referent: &ReferencedObject, report: &mut ObjectReport<'_>) {
    let api_version = report.document().text(&["apiVersion"]).unwrap_or_default();
    let kind = &referent.kind;
    let message = match replacement_remedy(&referent.group, kind) {
        Some(remedy) => {
            format!("{kind} of {api_version} is not served here, and left alone: {remedy}")
        }
        None if is_nobodys(referent) => {
            let rule = "is no kind that Knative is known to have, and ignored: correct it";
            return report.warning("kind", format!("{kind} of {api_version} {rule}"));
        }
        None => format!("{kind} of {api_version} is not read here: ignored"),
    };
    report.note("kind", message);
}
