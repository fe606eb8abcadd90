//! What is wrong with the configuration: one line a problem, naming place, object, field and remedy.

use std::fmt;

use crate::scrub;
use crate::wire_text;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The object (or the file) is not applied; its last good form stays.
    Error,
    /// It is applied, but probably not what was meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// Names the object that a problem is about. Parts that could not be read are empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// `kind`.
    pub kind: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for ObjectName {
    /// `Kind namespace/name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind.is_empty() { "object" } else { &self.kind };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

/// One problem of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named or found; `None` if the object came from elsewhere.
    pub file: Option<String>,
    /// The line in that file, from 1.
    pub line: Option<usize>,
    /// The object, if there is one.
    pub object: Option<ObjectName>,
    /// Path of the field, such as `spec.subscriber.CACerts`; empty for the whole object.
    pub field: String,
    /// What is wrong and what to do, without secrets.
    pub message: String,
}

impl Problem {
    /// A problem of a file as a whole, or of one of its lines.
    pub(super) fn of_file(severity: Severity, file: &str, line: Option<usize>, message: impl Into<String>) -> Self {
        Self {
            severity,
            file: Some(file.to_owned()),
            line,
            object: None,
            field: String::new(),
            message: scrub::owned(message.into()),
        }
    }

    /// A problem of what a command was told besides manifests.
    #[must_use]
    pub fn of_flags(message: impl Into<String>) -> Self {
        Self::of_all(Severity::Error, message)
    }

    /// A problem of more objects than one.
    pub(super) fn of_all(severity: Severity, message: impl Into<String>) -> Self {
        let message = scrub::owned(message.into());
        Self { severity, file: None, line: None, object: None, field: String::new(), message }
    }

    /// Whether it is an [`Severity::Error`].
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    /// `file:line: kind namespace/name: field.path: message`; parts that are not known are left out. The message of a
    /// warning begins with `warning: `, that of a note with `note: `. What would control a terminal, or hide, is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        if let Some(file) = &self.file {
            line.push_str(file);
            line.extend(self.line.map(|line| format!(":{line}")));
            line.push_str(": ");
        }
        line.extend(self.object.as_ref().map(|object| format!("{object}: ")));
        if !self.field.is_empty() {
            line.push_str(&self.field);
            line.push_str(": ");
        }
        line.push_str(match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
            Severity::Note => "note: ",
        });
        line.push_str(&self.message);
        let mut shown = String::with_capacity(line.len());
        wire_text::escape(&mut shown, &line);
        f.write_str(&shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_line_without_the_parts_that_are_not_known() {
        let mut problem = Problem {
            severity: Severity::Warning,
            file: Some("a.yaml".to_owned()),
            line: Some(7),
            object: Some(ObjectName { kind: "Trigger".into(), namespace: "ns".into(), name: "t".into() }),
            field: "spec.broker".to_owned(),
            message: "is odd".to_owned(),
        };
        assert_eq!(problem.to_string(), "a.yaml:7: Trigger ns/t: spec.broker: warning: is odd");
        problem.severity = Severity::Error;
        (problem.file, problem.field) = (None, String::new());
        assert_eq!(problem.to_string(), "Trigger ns/t: is odd");
        assert_eq!(Problem::of_file(Severity::Note, "d", None, "is empty").to_string(), "d: note: is empty");
        problem.field = "data.a\u{94}b\u{202e}".to_owned();
        assert_eq!(problem.to_string(), "Trigger ns/t: data.a\\u{94}b\\u{202e}: is odd");
    }
}
