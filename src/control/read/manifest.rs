//! Knative's kinds as they are written: serde mirrors of what is read of each, and the decoding of
//! documents into them, which reports what the schema does not have. No reference is followed.

pub(crate) mod core;
pub(crate) mod defaults;
pub(crate) mod duck;
pub(crate) mod eventing;
pub(crate) mod flows;
pub(crate) mod messaging;
pub(crate) mod sources;

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kind::ResourceKind;
use super::report::ObjectReport;
use super::schema::{self, ObjectSchema, UnknownFieldStrictness};
use crate::control::read::schema::config_maps::CONFIG_FEATURES;
use crate::control::read::schema::examine::examine;
use crate::control::read::schema::finding::{
    PathStep, SchemaFinding, SchemaViolation, format_path, without_places,
};
use crate::control::settings::{ControlSettings, UnknownFields};

/// The number of mistakes of one object that are reported one by one: nobody reads more, and the
/// line of each has to be found.
const MAX_REPORTED: usize = 100;

/// The treatment of fields that are in no schema, by the source of their objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnknownFieldPolicy {
    /// The object is from a file: the user decides by a flag.
    Written(UnknownFields),
    /// The object is from a cluster: such fields are of a newer release, and ignored, since an API
    /// server has let them pass.
    Admitted,
}

impl UnknownFieldPolicy {
    /// The policy for objects of the source that these settings name.
    pub(crate) fn from_settings(settings: &ControlSettings) -> Self {
        if settings.task.reads_written_objects() {
            Self::Written(settings.unknown_fields)
        } else {
            Self::Admitted
        }
    }
}

/// Reads an object of this kind as `T`, and reports every field that its schema does not have.
/// Fields of the wrong type are left out; `None` if nothing of the object can be read.
pub(crate) fn decode<T: DeserializeOwned>(
    report: &mut ObjectReport<'_>,
    kind: ResourceKind,
    reading: UnknownFieldPolicy,
) -> Option<T> {
    let written = &report.document().value;
    let value = validate_fields(report, schema::schema_of(kind), "", reading, written);
    let field = |error: &serde_path_to_error::Error<serde_json::Error>| error.path().to_string();
    match serde_path_to_error::deserialize(value.as_ref()) {
        Ok(object) => Some(object),
        Err(error) => {
            // The value may be a secret, so that it is not repeated in the message.
            report.error(
                &field(&error),
                "cannot be read: see the reference of the Knative API for its type",
            );
            None
        }
    }
}

/// Reports every field of a value, which stands at `prefix`, that this schema does not have. Gives
/// the value without the fields of a wrong type.
pub(crate) fn validate_fields<'v>(
    report: &mut ObjectReport<'_>,
    fields: &'static ObjectSchema,
    prefix: &str,
    reading: UnknownFieldPolicy,
    value: &'v Value,
) -> Cow<'v, Value> {
    // All findings are collected first, since the number of those that are not reported stands
    // before them.
    let found = examine(value, fields);
    let beyond = found.len().saturating_sub(MAX_REPORTED);
    if beyond > 0 {
        report.error(
            prefix,
            format!(
                "has {beyond} more mistakes than the {MAX_REPORTED} that are told: mend those first"
            ),
        );
    }
    let mut reporter = FindingReporter {
        prefix,
        reading,
        value,
        report,
    };
    for finding in found.iter().take(MAX_REPORTED) {
        reporter.report_finding(finding);
    }
    // What has a wrong type is left out, so that serde reads the rest of the object.
    let misread =
        |finding: &&SchemaFinding| matches!(finding.violation, SchemaViolation::WrongType { .. });
    let mut misread = found
        .iter()
        .filter(misread)
        .map(|finding| finding.path.as_slice())
        .peekable();
    if misread.peek().is_none() {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(without_places(value, misread))
    }
}

/// Reports each finding at its own field.
struct FindingReporter<'f, 'd> {
    /// The field of the value that was examined.
    prefix: &'f str,
    reading: UnknownFieldPolicy,
    value: &'f Value,
    report: &'f mut ObjectReport<'d>,
}

impl FindingReporter<'_, '_> {
    fn report_finding(&mut self, finding: &SchemaFinding) {
        let field = self.field_at(&finding.path);
        match &finding.violation {
            SchemaViolation::WrongType { message } => {
                self.report.unreadable(&field, message.as_str())
            }
            SchemaViolation::Null { .. } if self.reading == UnknownFieldPolicy::Admitted => {}
            SchemaViolation::Null {
                message,
                is_harmless: true,
            } => self.report.warning(&field, *message),
            SchemaViolation::Null {
                message,
                is_harmless: false,
            } => self.report.unreadable(&field, *message),
            SchemaViolation::UnknownField {
                message,
                meant,
                strictness,
            } => {
                let strictness = self.effective_strictness(*strictness);
                if report_unknown_field(self.report, &field, message, strictness, self.reading) {
                    self.suppress_missing_field(&finding.path, *meant);
                }
            }
        }
    }

    /// Without a policy or a flag, more passes: no part of such an object is ignored.
    fn effective_strictness(&self, strictness: UnknownFieldStrictness) -> UnknownFieldStrictness {
        let object = self.report.object();
        let is_narrowing =
            object.kind == ResourceKind::EventPolicy.as_str() || object.name == CONFIG_FEATURES;
        if is_narrowing {
            UnknownFieldStrictness::NeverIgnored
        } else {
            strictness
        }
    }

    /// After an unknown field that is a misspelling, a complaint that the right field is missing
    /// would be a second report of one mistake.
    fn suppress_missing_field(&mut self, path: &[PathStep], meant: Option<&'static str>) {
        let inside = path.split_last().map_or(&[][..], |(_, inside)| inside);
        if let Some(meant) = meant.filter(|meant| !has_field(self.value, inside, meant)) {
            let path = [inside, &[PathStep::Key(meant.to_owned())]].concat();
            let other = self.field_at(&path);
            self.report.suppress_further_errors(&other);
        }
    }

    fn field_at(&self, steps: &[PathStep]) -> String {
        match (self.prefix, format_path(steps)) {
            ("", path) => path,
            (prefix, path) if path.is_empty() || path.starts_with('[') => format!("{prefix}{path}"),
            (prefix, path) => format!("{prefix}.{path}"),
        }
    }
}

/// Reports a field that is in no schema, as the policy says; true if it is an error.
pub(crate) fn report_unknown_field(
    report: &mut ObjectReport<'_>,
    field: &str,
    message: &str,
    strictness: UnknownFieldStrictness,
    reading: UnknownFieldPolicy,
) -> bool {
    match reading {
        UnknownFieldPolicy::Written(UnknownFields::Warn)
            if strictness == UnknownFieldStrictness::MayBeIgnored =>
        {
            report.warning(field, format!("{message} (ignored)"));
            false
        }
        UnknownFieldPolicy::Written(UnknownFields::Error | UnknownFields::Warn) => {
            report.unreadable(field, message);
            true
        }
        UnknownFieldPolicy::Admitted => {
            report.note_ignored_field(field);
            false
        }
    }
}

/// True if the object at these steps has a field of this name.
fn has_field(value: &Value, steps: &[PathStep], name: &str) -> bool {
    let inner = steps.iter().try_fold(value, |value, step| match step {
        PathStep::Key(key) => value.get(key),
        PathStep::Index(index) => value.get(index),
    });
    inner.is_some_and(|inner| inner.get(name).is_some())
}
