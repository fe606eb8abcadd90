//! Documents of manifests, with the files and lines that they are from. Nothing here knows what is
//! in an object beyond its kind and name.

use std::sync::Arc;

use serde_json::Value;

use super::problem::Problem;
use super::yaml::value_lines::ValueLines;

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
        self.written_text(path).filter(|text| !text.is_empty())
    }

    /// The text at a path of keys, also if it is empty; `None` if there is no text.
    pub(crate) fn written_text(&self, path: &[&str]) -> Option<&str> {
        let value = path
            .iter()
            .try_fold(self.value.as_ref(), |value, key| value.get(key))?;
        value.as_str()
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
    /// Who wrote the object last into the cluster that it is from, if that is known.
    pub(crate) manager: Option<Box<str>>,
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
            manager: None,
            unparsed_text: None,
        }
    }

    /// Sets who wrote the object last into its cluster.
    #[must_use]
    pub(crate) fn with_manager(self, manager: Option<String>) -> Self {
        let manager = manager.map(String::into_boxed_str);
        Self { manager, ..self }
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
