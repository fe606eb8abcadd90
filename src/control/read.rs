//! Files and directories become raw objects, each of which knows where it stands.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::document::{self, Document, Lines};
use super::{ObjectName, Problem, Settings, Severity};

/// What is read of one file at most.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Every object of the manifests, and what was wrong with reading them.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    pub(super) objects: Vec<Arc<Raw>>,
    pub(super) problems: Vec<Problem>,
}

/// An object as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Raw {
    pub(super) name: ObjectName,
    pub(super) api_version: String,
    pub(super) value: Value,
    file: Option<Arc<str>>,
    lines: Lines,
}

impl Raw {
    /// Reads what every object has. `None`, with a problem, if it is no object with a kind and a name.
    fn new(document: Document, file: &Arc<str>, namespace: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        let Document { value, lines } = document;
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let given = Some(text("/metadata/namespace")).filter(|namespace| !namespace.is_empty());
        let name = ObjectName {
            kind: text("/kind"),
            namespace: given.unwrap_or_else(|| namespace.to_owned()),
            name: text("/metadata/name"),
        };
        let missing =
            [("kind", &name.kind), ("metadata.name", &name.name)].into_iter().find(|(_, text)| text.is_empty());
        if let Some((field, _)) = missing {
            let mut problem = Problem::of_file(
                file,
                lines.of(field),
                Severity::Error,
                "is missing: every object needs one, and it must be text".to_owned(),
            );
            field.clone_into(&mut problem.field);
            problems.push(problem);
            return None;
        }
        let api_version = text("/apiVersion");
        Some(Self { name, api_version, value, file: Some(Arc::clone(file)), lines })
    }

    /// A problem with a field of this object.
    pub(super) fn problem(&self, severity: Severity, field: &str, message: impl Into<String>) -> Problem {
        Problem {
            file: self.file.clone(),
            line: self.lines.of(field),
            severity,
            object: Some(self.name.clone()),
            field: field.to_owned(),
            message: message.into(),
        }
    }

    /// Where it stands, for the message of another object.
    pub(super) fn place(&self) -> String {
        match &self.file {
            Some(file) => format!("{file}:{}", self.lines.of("").unwrap_or(1)),
            None => "elsewhere".to_owned(),
        }
    }

    /// The value of an annotation, text or not.
    pub(super) fn annotation(&self, name: &str) -> Option<String> {
        self.metadata("annotations", name)
    }

    /// The value of a label, text or not.
    pub(super) fn label(&self, name: &str) -> Option<String> {
        self.metadata("labels", name)
    }

    fn metadata(&self, map: &str, name: &str) -> Option<String> {
        match self.value.get("metadata")?.get(map)?.get(name)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }
}

/// Reads the manifests at these paths: files, directories (their `.yaml`, `.yml` and `.json`, by name), `-` for
/// standard input. What cannot be read is a problem, not a failure.
#[must_use]
pub fn read(paths: &[PathBuf], settings: &Settings) -> Manifests {
    Reader::new(paths, &settings.default_namespace).read()
}

/// Reads the same paths again and again. Of a file that is not YAML at the moment, the last good objects stay.
pub(super) struct Reader {
    paths: Vec<PathBuf>,
    namespace: String,
    last_good: HashMap<PathBuf, Vec<Arc<Raw>>>,
    stdin: Option<String>,
}

impl Reader {
    pub(super) fn new(paths: &[PathBuf], namespace: &str) -> Self {
        Self { paths: paths.to_vec(), namespace: namespace.to_owned(), last_good: HashMap::new(), stdin: None }
    }

    /// Reads everything now.
    pub(super) fn read(&mut self) -> Manifests {
        let mut manifests = Manifests::default();
        let mut seen = HashMap::new();
        for path in self.paths.clone() {
            let found = files(&path).unwrap_or_else(|problem| {
                let unreadable = problem.severity == Severity::Error;
                manifests.problems.push(*problem);
                if unreadable { self.known_below(&path) } else { Vec::new() }
            });
            for file in found {
                let objects = self.read_file(&file, &mut manifests.problems);
                manifests.objects.extend(objects.iter().cloned());
                seen.insert(file, objects);
            }
        }
        self.last_good = seen;
        manifests
    }

    /// The files that a path had when it could be read.
    fn known_below(&self, path: &Path) -> Vec<PathBuf> {
        let mut known: Vec<PathBuf> = self.last_good.keys().filter(|file| file.starts_with(path)).cloned().collect();
        known.sort();
        known
    }

    fn read_file(&mut self, file: &Path, problems: &mut Vec<Problem>) -> Vec<Arc<Raw>> {
        let name: Arc<str> = Arc::from(file.to_string_lossy());
        let mut failed = |line: Option<usize>, message: String| {
            problems.push(Problem::of_file(&name, line, Severity::Error, message));
            self.last_good.get(file).cloned().unwrap_or_default()
        };
        let text = match text(file, &mut self.stdin) {
            Ok(text) => text,
            Err(error) => return failed(None, format!("could not be read: {error}")),
        };
        match document::parse(&text) {
            Ok(documents) => self.objects(documents, &name, problems),
            Err(error) => failed(error.line, error.message),
        }
    }

    fn objects(&self, documents: Vec<Document>, file: &Arc<str>, problems: &mut Vec<Problem>) -> Vec<Arc<Raw>> {
        if documents.is_empty() {
            problems.push(Problem::of_file(file, None, Severity::Note, "holds no object".to_owned()));
        }
        let documents = documents.into_iter().flat_map(items);
        documents.filter_map(|document| Raw::new(document, file, &self.namespace, problems)).map(Arc::new).collect()
    }
}

/// The objects of a `List`, or the document itself.
fn items(document: Document) -> Vec<Document> {
    let is_list = document.value.get("kind").and_then(Value::as_str) == Some("List");
    let Some(items) = document.value.get("items").and_then(Value::as_array).filter(|_| is_list) else {
        return vec![document];
    };
    let item = |(index, value): (usize, &Value)| Document {
        value: value.clone(),
        lines: document.lines.below(&format!("items.{index}")),
    };
    items.iter().enumerate().map(item).collect()
}

/// The text of a file; of standard input, which can be read once, what it was.
fn text(file: &Path, stdin: &mut Option<String>) -> io::Result<String> {
    if file != Path::new("-") {
        let mut text = String::new();
        fs::File::open(file)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
        return Ok(text);
    }
    if let Some(text) = stdin {
        return Ok(text.clone());
    }
    let mut text = String::new();
    io::stdin().take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(stdin.insert(text).clone())
}

/// The manifest files at a path. Hidden entries are skipped: a mounted ConfigMap keeps its machinery there.
///
/// # Errors
/// An error if the path cannot be read, a warning if there is none.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, Box<Problem>> {
    let name: Arc<str> = Arc::from(path.to_string_lossy());
    if path == Path::new("-") || path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path)
        .map_err(|error| Problem::of_file(&name, None, Severity::Error, format!("could not be read: {error}")))
        .map_err(Box::new)?;
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|file| is_manifest(file)).collect();
    files.sort();
    if files.is_empty() {
        let message = "holds no .yaml, .yml or .json file".to_owned();
        return Err(Box::new(Problem::of_file(&name, None, Severity::Warning, message)));
    }
    Ok(files)
}

fn is_manifest(file: &Path) -> bool {
    let hidden = file.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let yaml =
        file.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
    !hidden && yaml && file.is_file()
}
