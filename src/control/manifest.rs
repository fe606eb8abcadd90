//! Manifests as written: documents with their origin, and serde mirrors of the kinds that are read. Nothing here is
//! checked beyond its shape, and no reference is followed.

pub(crate) mod config;
pub(crate) mod defaults;
pub(crate) mod duck;
pub(crate) mod eventing;
mod fields;
pub(crate) mod messaging;
pub(crate) mod sources;
pub(crate) mod spelling;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Problem;
use super::report::Report;
use super::yaml::Lines;

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

    /// The file that it is from.
    pub(crate) fn file(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| origin.file.as_ref())
    }

    /// The line of a field, or of the deepest part of its path that is there.
    pub(crate) fn line(&self, field: &str) -> Option<usize> {
        self.origin.as_ref()?.lines.of(&self.value, field)
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
        Self { name: "".into(), digest: None, documents: Arc::new(documents), problems: Vec::new() }
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

    /// Every problem found while reading.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().chain(self.files.iter().flat_map(|file| &file.problems))
    }
}

/// Reads an object as `T`, and reports what has the wrong type and what looks like a typing error. `None` if it has
/// the wrong type somewhere.
pub(crate) fn decode<T: DeserializeOwned>(report: &mut Report<'_>) -> Option<T> {
    let document = report.document();
    let mut unknown = Vec::new();
    let mut remember = |path: serde_ignored::Path<'_>| unknown.push(fields::keys(&path));
    let watched = serde_ignored::Deserializer::new(document.value.as_ref(), &mut remember);
    let decoded = serde_path_to_error::deserialize(watched);
    let kind = document.text(&["kind"]).unwrap_or_default();
    for keys in &unknown {
        if let Some(meant) = fields::meant(kind, keys) {
            report.warning(&fields::path(keys), format!("is not a field that is known here; did you mean {meant}?"));
        }
    }
    match decoded {
        Ok(object) => Some(object),
        Err(error) => {
            let message = if kind == "Secret" {
                "has the wrong type: write text, as base64 in data or as it is in stringData".to_owned()
            } else {
                wrong_type(&error.inner().to_string())
            };
            report.error(&error.path().to_string(), message);
            None
        }
    }
}

/// What serde says, with a remedy. A text that stands in the wrong place may be a secret, and is not repeated.
fn wrong_type(reason: &str) -> String {
    let shown = ["invalid type: ", "invalid value: "].into_iter().find_map(|what| {
        let text = reason.strip_prefix(what)?.strip_prefix("string \"")?;
        Some(format!("{what}string{}", text.get(text.rfind("\", expected ")? + 1..)?))
    });
    let reason = shown.as_deref().unwrap_or(reason);
    let scalar = ["boolean", "integer", "floating point", "number"]
        .iter()
        .any(|found| reason.strip_prefix("invalid type: ").is_some_and(|rest| rest.starts_with(found)));
    let remedy = match reason {
        _ if scalar && reason.ends_with("expected a string") => "; write it in quotes",
        _ if reason.starts_with("invalid type: string") && reason.ends_with("expected i64") => {
            "; write a whole number without quotes"
        }
        _ => "; see the reference of the Knative API for its type",
    };
    format!("{reason}{remedy}")
}
