//! What is wrong with a manifest: where it is, what it is, and what to do.

use std::fmt;
use std::sync::Arc;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The object, or the file, is not applied.
    Error,
    /// It is applied, but probably not as meant.
    Warning,
    /// Something is left alone.
    Note,
}

/// Names an object in a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// `kind`.
    pub kind: String,
    /// `metadata.namespace`, or the default.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for ObjectName {
    /// `kind namespace/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// One problem. Displayed as `file:line: kind namespace/name: field: message` (interface.md §1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as it was named on the command line, or found below what was.
    pub file: Option<Arc<str>>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// How bad it is.
    pub severity: Severity,
    /// The object that it is about.
    pub object: Option<ObjectName>,
    /// The path of the field, such as `spec.subscriber.CACerts`; may be empty.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// A problem with a whole file or path.
    pub(super) fn of_file(file: &Arc<str>, line: Option<usize>, severity: Severity, message: String) -> Self {
        Self { file: Some(Arc::clone(file)), line, severity, object: None, field: String::new(), message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:{}: ", self.line.unwrap_or(1))?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        match self.severity {
            Severity::Error => {}
            Severity::Warning => f.write_str("warning: ")?,
            Severity::Note => f.write_str("note: ")?,
        }
        f.write_str(&self.message)
    }
}
