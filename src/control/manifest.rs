//! Manifests as written: documents with their origin, and serde mirrors of the kinds that are read. Nothing here is
//! checked beyond its shape, and no reference is followed.

pub(crate) mod config;
pub(crate) mod defaults;
pub(crate) mod duck;
pub(crate) mod eventing;
pub(crate) mod flows;
pub(crate) mod messaging;
pub(crate) mod sources;
pub(crate) mod spelling;

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::kind::Kind;
use super::report::Report;
use super::schema::{self, Fields, Finding, Step, Strictness, What};
use super::settings::Objects;
use super::yaml::Lines;
use super::{Problem, Settings, UnknownFields};

/// One object as written, and where.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    /// Shared, so that an object that has not changed can be told by its place in memory.
    pub(crate) value: Arc<Value>,
    pub(crate) origin: Option<Origin>,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Origin {
    pub(crate) file: Arc<str>,
    pub(crate) lines: Lines,
}

impl Document {
    /// The text at a path of keys, if it is text and not empty.
    pub(crate) fn text(&self, path: &[&str]) -> Option<&str> {
        let value = path.iter().try_fold(self.value.as_ref(), |value, key| value.get(key))?;
        value.as_str().filter(|text| !text.is_empty())
    }

    /// What it is called: kind, namespace and name.
    pub(crate) fn identity(&self) -> [Option<&str>; 3] {
        [&["kind"][..], &["metadata", "namespace"], &["metadata", "name"]].map(|path| self.text(path))
    }

    /// The file that it is from.
    pub(crate) fn file(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| origin.file.as_ref())
    }

    /// The line of a field, or of the deepest part of its path that is there.
    pub(crate) fn line(&self, field: &str) -> Option<usize> {
        self.origin.as_ref()?.lines.of(&self.value, field)
    }

    /// ` at file:line`, for messages about this object as another one; nothing if it is from no file.
    pub(crate) fn at(&self) -> String {
        self.place().map_or_else(String::new, |place| format!(" at {place}"))
    }

    /// `file:line`, for messages about another object.
    pub(crate) fn place(&self) -> Option<String> {
        let file = self.file()?;
        Some(self.line("").map_or_else(|| file.to_owned(), |line| format!("{file}:{line}")))
    }
}

/// What was read from one file.
#[derive(Debug)]
pub(crate) struct File {
    /// As it was named or found.
    pub(crate) name: Arc<str>,
    /// SHA-256 of its content; `None` if it could not be read.
    pub(crate) digest: Option<[u8; 32]>,
    /// Its objects, or those of its last good content.
    pub(crate) documents: Arc<Vec<Document>>,
    /// Why its content is not (or not all of it) applied.
    pub(crate) problems: Vec<Problem>,
    /// Its text, if nothing of that or of an earlier one can be read.
    pub(crate) unread: Option<Box<str>>,
}

/// Everything that was read: the objects of every file, and why some could not be read.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    pub(crate) files: Vec<Arc<File>>,
    /// Problems of the paths themselves.
    pub(crate) problems: Vec<Problem>,
}

impl File {
    /// One object that is from no file.
    pub(crate) fn of_object(value: Value) -> Self {
        let documents = vec![Document { value: Arc::new(value), origin: None }];
        Self { name: "".into(), digest: None, documents: Arc::new(documents), problems: Vec::new(), unread: None }
    }
}

impl Manifests {
    /// Objects that are from no file, as the API of a cluster gives them.
    #[must_use]
    pub fn of_objects(values: impl IntoIterator<Item = Value>) -> Self {
        let files = values.into_iter().map(|value| Arc::new(File::of_object(value))).collect();
        Self { files, problems: Vec::new() }
    }

    /// The same objects, but for the one at `index`, or with one more.
    #[must_use]
    pub fn with_object(&self, index: usize, value: Value) -> Self {
        let (mut changed, file) = (self.clone(), Arc::new(File::of_object(value)));
        match changed.files.get_mut(index) {
            Some(place) => *place = file,
            None => changed.files.push(file),
        }
        changed
    }

    /// Whether nothing was read anew since the other ones.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<File>, &Arc<File>)| Arc::ptr_eq(a, b);
        self.problems == other.problems
            && self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(same)
    }

    /// Every object, in the order of files and of their place in them.
    pub(crate) fn documents(&self) -> impl Iterator<Item = &Document> {
        self.files.iter().flat_map(|file| file.documents.iter())
    }

    /// The texts of which nothing can be read.
    pub(crate) fn unread(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter_map(|file| file.unread.as_deref())
    }

    /// Every problem found while reading.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(self.files.iter().flat_map(|file| &file.problems))
    }
}

/// Mistakes of one object that are told one by one: nobody reads more, and the line of each has to be found.
const MOST_TOLD: usize = 100;

/// What becomes of fields that are in no schema, of objects from somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// As their author decides.
    Written(UnknownFields),
    /// They are of a newer release, and ignored: an API server has let them pass.
    Admitted,
}

impl Reading {
    /// Of objects that are from where these settings say.
    pub(crate) fn of(settings: &Settings) -> Self {
        match settings.objects {
            Objects::Written => Self::Written(settings.unknown_fields),
            Objects::Reconciled(_) => Self::Admitted,
        }
    }
}

/// Reads an object of this kind as `T`, and reports everything in it that its schema does not have. What has the wrong
/// type is left out; `None` if nothing of it can be read.
pub(crate) fn decode<T: DeserializeOwned>(report: &mut Report<'_>, kind: Kind, reading: Reading) -> Option<T> {
    let written = &report.document().value;
    let value = understood(report, schema::of(kind), "", reading, written);
    let field = |error: &serde_path_to_error::Error<serde_json::Error>| error.path().to_string();
    match serde_path_to_error::deserialize(value.as_ref()) {
        Ok(object) => Some(object),
        Err(error) => {
            // What is written may be a secret, so that it is not repeated.
            report.error(&field(&error), "cannot be read: see the reference of the Knative API for its type");
            None
        }
    }
}

/// Reports everything in a value that stands at `prefix` and that these fields do not have. Gives the value without what
/// has the wrong type.
pub(crate) fn understood<'v>(
    report: &mut Report<'_>,
    fields: &'static Fields,
    prefix: &str,
    reading: Reading,
    value: &'v Value,
) -> Cow<'v, Value> {
    let found = schema::examine(value, fields);
    let at = |steps: &[Step]| match (prefix, schema::path(steps)) {
        ("", path) => path,
        (prefix, path) if path.is_empty() || path.starts_with('[') => format!("{prefix}{path}"),
        (prefix, path) => format!("{prefix}.{path}"),
    };
    let beyond = found.len().saturating_sub(MOST_TOLD);
    if beyond > 0 {
        report
            .error(prefix, format!("has {beyond} more mistakes than the {MOST_TOLD} that are told: mend those first"));
    }
    for finding in found.iter().take(MOST_TOLD) {
        let field = at(&finding.at);
        match &finding.what {
            What::Misread { message } => report.misread(&field, message.as_str()),
            What::Nothing { .. } if reading == Reading::Admitted => {}
            What::Nothing { message, is_harmless: true } => report.warning(&field, *message),
            What::Nothing { message, is_harmless: false } => report.misread(&field, *message),
            What::Unknown { message, meant, strictness } => {
                if unknown(report, &field, message, *strictness, reading) {
                    let inside = finding.at.split_last().map_or(&[][..], |(_, inside)| inside);
                    let meant = meant.filter(|meant| !has(value, inside, meant));
                    let other = meant.map(|meant| at(&[inside, &[Step::Key(meant.to_owned())]].concat()));
                    other.iter().for_each(|other| report.said_enough(other));
                }
            }
        }
    }
    let misread = |finding: &&Finding| matches!(finding.what, What::Misread { .. });
    let mut misread = found.iter().filter(misread).map(|finding| finding.at.as_slice()).peekable();
    if misread.peek().is_none() { Cow::Borrowed(value) } else { Cow::Owned(schema::without(value, misread)) }
}

/// Reports a field that is not known; gives whether it is an error.
pub(crate) fn unknown(
    report: &mut Report<'_>,
    field: &str,
    message: &str,
    strictness: Strictness,
    reading: Reading,
) -> bool {
    match reading {
        Reading::Written(UnknownFields::Warn) if strictness == Strictness::Usual => {
            report.warning(field, format!("{message} (ignored)"));
            false
        }
        Reading::Written(UnknownFields::Error | UnknownFields::Warn) => {
            report.misread(field, message);
            true
        }
        Reading::Admitted => {
            report.ignored(field);
            false
        }
    }
}

/// Whether the object at these steps has a field of this name.
fn has(value: &Value, steps: &[Step], name: &str) -> bool {
    let inner = steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    });
    inner.is_some_and(|inner| inner.get(name).is_some())
}
