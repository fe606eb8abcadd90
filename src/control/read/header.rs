//! The head of an object: `apiVersion`, `kind`, `metadata.name` and `metadata.namespace`, which say
//! which object it is.

use std::path::Path;

use serde_json::Value;

use super::document::ManifestDocument;
use super::kind::{RecognizedKind, ResourceKind};
use super::manifest::{self, UnknownFieldPolicy};
use super::problem::ObjectName;
use super::report::ObjectReport;
use super::schema;
use crate::control::read::policy_body::report_policy_body;
use crate::control::settings::ControlSettings;

pub(crate) fn object_name(document: &ManifestDocument, default_namespace: &str) -> ObjectName {
    let text = |path: &[&str]| document.text(path).unwrap_or_default().to_owned();
    let namespace = document
        .text(&["metadata", "namespace"])
        .unwrap_or(default_namespace)
        .to_owned();
    ObjectName {
        kind: text(&["kind"]),
        namespace,
        name: text(&["metadata", "name"]),
    }
}

/// The result of reading an object's `apiVersion`, `kind` and `metadata`.
pub(crate) enum ObjectHeader {
    /// They are in order, and of this kind.
    Known(ResourceKind),
    /// They are of a kind that is not read.
    OtherKind,
    /// They have a mistake, which is reported.
    Invalid,
}

/// Reads the kind of an object whose `apiVersion`, `kind` and `metadata` are in order; else reports
/// their mistakes, and those in the rest of the object.
pub(crate) fn check_header(
    document: &ManifestDocument,
    report: &mut ObjectReport<'_>,
    reading: UnknownFieldPolicy,
) -> ObjectHeader {
    if !document.value.is_object() {
        report.error("", of_no_object(&document.value));
        return ObjectHeader::Invalid;
    }
    let Some(kind) = document.text(&["kind"]) else {
        if let Some(remedy) = of_a_tool(document) {
            report.note("", remedy);
            return ObjectHeader::Invalid;
        }
        report.error("kind", missing_field_message(document, "kind", "Broker"));
        return ObjectHeader::Invalid;
    };
    let Some(api_version) = document.text(&["apiVersion"]) else {
        report.error(
            "apiVersion",
            missing_field_message(document, "apiVersion", "eventing.knative.dev/v1"),
        );
        return ObjectHeader::Invalid;
    };
    match ResourceKind::recognize(api_version, kind) {
        RecognizedKind::Known(kind) if check_names(report) => ObjectHeader::Known(kind),
        RecognizedKind::Known(kind) => {
            manifest::validate_fields(
                report,
                schema::schema_of(kind),
                "",
                reading,
                &document.value,
            );
            ObjectHeader::Invalid
        }
        RecognizedKind::Foreign if report_policy_body(report) => ObjectHeader::Invalid,
        RecognizedKind::Foreign => ObjectHeader::OtherKind,
        RecognizedKind::Mistaken { field, message } => {
            report.error(field, message);
            ObjectHeader::Invalid
        }
    }
}

/// True if a document says which object it is, as far as its kind needs that.
pub(crate) fn is_identified(document: &ManifestDocument) -> bool {
    let namespace = ControlSettings::default().default_namespace;
    let mut report = ObjectReport::new(document, object_name(document, &namespace));
    !matches!(
        check_header(document, &mut report, UnknownFieldPolicy::Admitted),
        ObjectHeader::Invalid
    )
}

fn missing_field_message(document: &ManifestDocument, field: &str, example: &str) -> String {
    match document.value.get(field) {
        Some(value) if !value.is_null() && value != "" => {
            format!("is no text: write for example {example}")
        }
        _ => format!("is missing: write for example {example}"),
    }
}

/// True if the object has a name and a namespace. A value that is no text is reported by its
/// schema.
pub(crate) fn check_names(report: &mut ObjectReport<'_>) -> bool {
    let object = report.object().clone();
    let metadata = report.document().value.get("metadata");
    let is_misread = |field: &str| {
        let written = metadata.and_then(|metadata| metadata.get(field));
        metadata.is_some_and(|metadata| !metadata.is_object() && !metadata.is_null())
            || written.is_some_and(|written| !written.is_string() && !written.is_null())
    };
    let (name, namespace) = (is_misread("name"), is_misread("namespace"));
    if !name && object.name.is_empty() {
        report.error("metadata.name", "is missing: give the object a name");
    } else if !name && !is_dns_name(&object.name, 253) {
        let rule = "is not a name of Kubernetes: use a-z, 0-9, '-' and '.', beginning and ending \
             with a letter or digit";
        report.error("metadata.name", format!("{:?} {rule}", object.name));
    }
    if !namespace && (!is_dns_name(&object.namespace, 63) || object.namespace.contains('.')) {
        let rule = "is not a namespace of Kubernetes: use at most 63 of a-z, 0-9 and '-'";
        report.error(
            "metadata.namespace",
            format!("{:?} {rule}", object.namespace),
        );
    }
    !(name || namespace || report.has_errors())
}

/// True if a text is a DNS name in lower case (RFC 1123), so that it fits into host names and
/// paths.
pub(crate) fn is_dns_name(text: &str, longest: usize) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= longest && text.split('.').all(label)
}

/// Reports that an object has the name of another one, which stays.
pub(crate) fn report_duplicate_name(report: &mut ObjectReport<'_>, by: &ManifestDocument) {
    let message = match by.location() {
        Some(place) => format!("is taken at {place}, which stays: rename or remove one of the two"),
        None => "is that of several, none of which is what was served, which stays: rename or \
             remove all but one"
            .into(),
    };
    report.error("metadata.name", message);
}

/// What to do with a document that is no object.
fn of_no_object(value: &Value) -> &'static str {
    if value
        .as_array()
        .is_some_and(|items| items.iter().any(|item| item.get("kind").is_some()))
    {
        return "is a list of objects: write a document for each, or apiVersion: v1 and kind: List with them as items; of \
                JSON, jq makes that by '{apiVersion: \"v1\", kind: \"List\", items: .}'";
    }
    "is not an object: write apiVersion, kind, metadata and spec"
}

/// What to do instead with a file that is no object, but is read by a tool that makes objects. What
/// looks like an object is taken for one.
pub(crate) fn of_a_tool(document: &ManifestDocument) -> Option<&'static str> {
    let is_object = ["kind", "metadata", "spec"]
        .iter()
        .any(|field| document.value.get(field).is_some());
    match Path::new(document.file()?).file_name()?.to_str()? {
        _ if is_object => None,
        "kustomization.yaml" | "kustomization.yml" => Some(
            "is kustomize's own, and left alone: run with what `kustomize build` prints, as \
             by -f -",
        ),
        "Chart.yaml" | "values.yaml" => {
            Some("is of a chart, and left alone: run with what `helm template` prints, as by -f -")
        }
        _ => None,
    }
}
