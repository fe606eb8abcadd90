//! Manifests as written: documents with their origin, and serde mirrors of the kinds that are read.
//! Nothing here is checked beyond its shape, and no reference is followed.

pub(crate) mod core;
pub(crate) mod defaults;
pub(crate) mod duck;
pub(crate) mod eventing;
pub(crate) mod flows;
pub(crate) mod messaging;
pub(crate) mod sources;

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kind::ResourceKind;
use super::problem::Problem;
use super::report::ObjectReport;
use super::schema::{self, ObjectSchema, UnknownFieldStrictness};
use super::yaml::ValueLines;
use crate::control::read::schema::config_maps::CONFIG_FEATURES;
use crate::control::read::schema::examine::{
    PathStep, SchemaFinding, SchemaViolation, examine, format_path, without_places,
};
use crate::control::settings::{ControlSettings, UnknownFields};

/// One object as it was written, and its place in a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ManifestDocument {
    /// The object as JSON; shared, so that an object that has not changed can be recognized by its
    /// address in memory.
    pub(crate) value: Arc<Value>,
    /// The place in a file; `None` if the object is from a cluster.
    pub(crate) origin: Option<DocumentOrigin>,
}

/// The file in which an object stands, and the lines of its fields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DocumentOrigin {
    /// The path of the file, as it was named or found.
    pub(crate) file: Arc<str>,
    /// The lines of the object's fields within the file.
    pub(crate) lines: ValueLines,
}

impl ManifestDocument {
    /// The text at a path of keys; `None` if there is no text, or an empty one.
    pub(crate) fn text(&self, path: &[&str]) -> Option<&str> {
        let value = path
            .iter()
            .try_fold(self.value.as_ref(), |value, key| value.get(key))?;
        value.as_str().filter(|text| !text.is_empty())
    }

    /// The kind, namespace and name of the object, as far as they are text.
    pub(crate) fn identity(&self) -> [Option<&str>; 3] {
        [
            &["kind"][..],
            &["metadata", "namespace"],
            &["metadata", "name"],
        ]
        .map(|path| self.text(path))
    }

    /// The name of the file that the object is from; `None` if it is from a cluster.
    pub(crate) fn file(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| origin.file.as_ref())
    }

    /// The line of a field, or of the deepest part of its path that is there; lines count from 1.
    pub(crate) fn line(&self, field: &str) -> Option<usize> {
        self.origin.as_ref()?.lines.line_of_path(&self.value, field)
    }

    /// The text ` at file:line`, for messages about this object as another one; empty if it is from
    /// no file.
    pub(crate) fn location_suffix(&self) -> String {
        self.location()
            .map_or_else(String::new, |place| format!(" at {place}"))
    }

    /// The text `file:line`, for messages about this object as another one; `None` if it is from no
    /// file.
    pub(crate) fn location(&self) -> Option<String> {
        let file = self.file()?;
        Some(
            self.line("")
                .map_or_else(|| file.to_owned(), |line| format!("{file}:{line}")),
        )
    }
}

/// The content of one file of manifests.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    /// The path of the file, as it was named or found.
    pub(crate) name: Arc<str>,
    /// The SHA-256 of its content; `None` if it could not be read.
    pub(crate) digest: Option<[u8; 32]>,
    /// The objects of the file, or those of its last good content.
    pub(crate) documents: Arc<Vec<ManifestDocument>>,
    /// The reasons why its content, or a part of it, is not applied.
    pub(crate) problems: Vec<Problem>,
    /// The text of the file, if it cannot be parsed and there is no last good content.
    pub(crate) unparsed_text: Option<Box<str>>,
}

/// Everything that was read: the objects of every file, and the reasons why some could not be read.
#[derive(Clone, Debug, Default)]
pub struct ManifestSet {
    pub(crate) files: Vec<Arc<ManifestFile>>,
    /// The problems of the paths themselves, such as a directory that does not exist.
    pub(crate) problems: Vec<Problem>,
}

impl ManifestFile {
    /// A file of one object that is from no file, but from a cluster.
    pub(crate) fn from_object(value: Value) -> Self {
        let documents = vec![ManifestDocument {
            value: Arc::new(value),
            origin: None,
        }];
        Self {
            name: "".into(),
            digest: None,
            documents: Arc::new(documents),
            problems: Vec::new(),
            unparsed_text: None,
        }
    }
}

impl ManifestSet {
    /// A set of objects that are from no file, as the API server of a cluster gives them.
    #[must_use]
    pub fn from_objects(values: impl IntoIterator<Item = Value>) -> Self {
        let files = values
            .into_iter()
            .map(|value| Arc::new(ManifestFile::from_object(value)))
            .collect();
        Self {
            files,
            problems: Vec::new(),
        }
    }

    /// The same objects, with another value for the one at `index`; if there is none at `index`,
    /// with one more.
    #[must_use]
    pub fn with_object(&self, index: usize, value: Value) -> Self {
        let (mut changed, file) = (self.clone(), Arc::new(ManifestFile::from_object(value)));
        match changed.files.get_mut(index) {
            Some(place) => *place = file,
            None => changed.files.push(file),
        }
        changed
    }

    /// True if nothing was read anew since the other set.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<ManifestFile>, &Arc<ManifestFile>)| Arc::ptr_eq(a, b);
        self.problems == other.problems
            && self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(same)
    }

    /// Every object, in the order of files and of their place in them.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &ManifestDocument> {
        self.files.iter().flat_map(|file| file.documents.iter())
    }

    /// The texts of the files that cannot be parsed and have no last good content.
    pub(crate) fn unparsed_texts(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .filter_map(|file| file.unparsed_text.as_deref())
    }

    /// Every problem that was found while reading.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems
            .iter()
            .chain(self.files.iter().flat_map(|file| &file.problems))
    }
}

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
    let at = |steps: &[PathStep]| match (prefix, format_path(steps)) {
        ("", path) => path,
        (prefix, path) if path.is_empty() || path.starts_with('[') => format!("{prefix}{path}"),
        (prefix, path) => format!("{prefix}.{path}"),
    };
    let beyond = found.len().saturating_sub(MAX_REPORTED);
    if beyond > 0 {
        report.error(
            prefix,
            format!(
                "has {beyond} more mistakes than the {MAX_REPORTED} that are told: mend those first"
            ),
        );
    }
    // Without a policy or a flag, more passes: no part of such an object is ignored.
    let is_narrowing = report.object().kind == ResourceKind::EventPolicy.as_str()
        || report.object().name == CONFIG_FEATURES;
    // Each finding is reported at its own field. After an unknown field that is a misspelling, a
    // complaint that the right field is missing would be a second report of one mistake.
    for finding in found.iter().take(MAX_REPORTED) {
        let field = at(&finding.path);
        match &finding.violation {
            SchemaViolation::WrongType { message } => report.unreadable(&field, message.as_str()),
            SchemaViolation::Null { .. } if reading == UnknownFieldPolicy::Admitted => {}
            SchemaViolation::Null {
                message,
                is_harmless: true,
            } => report.warning(&field, *message),
            SchemaViolation::Null {
                message,
                is_harmless: false,
            } => report.unreadable(&field, *message),
            SchemaViolation::UnknownField {
                message,
                meant,
                strictness,
            } => {
                let strictness = if is_narrowing {
                    UnknownFieldStrictness::NeverIgnored
                } else {
                    *strictness
                };
                if report_unknown_field(report, &field, message, strictness, reading) {
                    let inside = finding
                        .path
                        .split_last()
                        .map_or(&[][..], |(_, inside)| inside);
                    let meant = meant.filter(|meant| !has_field(value, inside, meant));
                    let other = meant
                        .map(|meant| at(&[inside, &[PathStep::Key(meant.to_owned())]].concat()));
                    other
                        .iter()
                        .for_each(|other| report.suppress_further_errors(other));
                }
            }
        }
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
