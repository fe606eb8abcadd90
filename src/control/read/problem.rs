//! The problems of the configuration: one line for each problem, with place, object, field and
//! remedy.

use std::borrow::Cow;
use std::fmt;

use crate::scrub;
use crate::wire_text;

/// The weight of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The object (or the file) is not applied; its last good form stays in use.
    Error,
    /// The object is applied, but it is probably not what its author meant.
    Warning,
    /// The object is applied, and the message is worth knowing.
    Note,
}

/// The name of the object that a problem is about. Parts that could not be read are empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The `kind` of the object.
    pub kind: String,
    /// The `metadata.namespace` of the object.
    pub namespace: String,
    /// The `metadata.name` of the object.
    pub name: String,
}

impl fmt::Display for ObjectName {
    /// Writes `Kind namespace/name`; an unreadable kind becomes `object`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind.is_empty() {
            "object"
        } else {
            &self.kind
        };
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

/// One problem of the configuration, as it is shown to its author.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The weight of the problem.
    pub severity: Severity,
    /// The path of the file, as it was named or found; `None` if the object came from a cluster.
    pub file: Option<String>,
    /// The line in that file, from 1; `None` if it is not known.
    pub line: Option<usize>,
    /// The name of the object; `None` if the problem is of a file or of several objects.
    pub object: Option<ObjectName>,
    /// The path of the field, such as `spec.subscriber.CACerts`; empty for the whole object.
    pub field: String,
    /// The mistake and its remedy, without secrets.
    pub message: String,
}

impl Problem {
    /// A problem of a file as a whole, or of one of its lines.
    pub(crate) fn of_file(
        severity: Severity,
        file: &str,
        line: Option<usize>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            file: Some(file.to_owned()),
            line,
            object: None,
            field: String::new(),
            message: told(message.into()),
        }
    }

    /// An error of a command's flags, and of no manifest.
    #[must_use]
    pub(crate) fn of_flags(message: impl Into<String>) -> Self {
        Self::of_all(Severity::Error, message)
    }

    /// A problem of more objects than one, which names no file and no object.
    pub(crate) fn of_all(severity: Severity, message: impl Into<String>) -> Self {
        let message = told(message.into());
        Self {
            severity,
            file: None,
            line: None,
            object: None,
            field: String::new(),
            message,
        }
    }

    /// True if the problem is an [`Severity::Error`].
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    /// Writes `file:line: kind namespace/name: field.path: message`; parts that are not known are
    /// left out. The message of a warning begins with `warning: `, that of a note with `note: `.
    /// Characters that would control a terminal, or hide, are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        if let Some(file) = &self.file {
            line.push_str(file);
            line.extend(self.line.map(|line| format!(":{line}")));
            line.push_str(": ");
        }
        line.extend(
            self.object
                .as_ref()
                .map(|object| format!("{}: ", short(&object.to_string()))),
        );
        if !self.field.is_empty() {
            line.push_str(&short(&self.field));
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

/// The longest name or path that is shown whole, in bytes: twice what Kubernetes lets names have.
const LONGEST_NAME: usize = 512;
/// The longest message that is shown whole, in bytes.
const LONGEST_MESSAGE: usize = 4096;

/// Shortens a name or a path for a message: of a huge one the start is shown, and how much more
/// there is.
#[must_use]
pub(crate) fn short(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST_NAME {
        text.into()
    } else {
        wire_text::escaped_excerpt(text, LONGEST_NAME).into()
    }
}

/// Makes a message fit to be shown: secrets are removed, and of a huge word that others wrote only
/// the start is kept, so that the remedy behind it is seen.
pub(crate) fn told(message: String) -> String {
    let message = scrub::string(message);
    if message.len() <= LONGEST_NAME {
        return message;
    }
    let mut shown = String::new();
    let mut rest = message.as_str();
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(word_end(rest));
        let (quote, inside) = match word
            .strip_prefix('"')
            .and_then(|word| word.strip_suffix('"'))
        {
            Some(inside) => ("\"", inside),
            None => ("", word),
        };
        if inside.len() > wire_text::LONGEST {
            shown.extend([
                quote,
                &wire_text::escaped_excerpt(inside, wire_text::LONGEST),
                quote,
            ]);
        } else {
            shown.push_str(word);
        }
        rest = behind;
    }
    if shown.len() <= LONGEST_MESSAGE {
        shown
    } else {
        wire_text::escaped_excerpt(shown, LONGEST_MESSAGE)
    }
}

/// The end of the first token of a text, in bytes: a word, a text in quotes, or the blanks between
/// two of them.
fn word_end(text: &str) -> usize {
    let mut is_escaped = false;
    let quoted = text.strip_prefix('"').and_then(|inside| {
        inside.find(|c: char| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        })
    });
    let word = || text.find(char::is_whitespace).filter(|end| *end > 0);
    let blank = || {
        text.find(|c: char| !c.is_whitespace())
            .filter(|end| *end > 0)
    };
    quoted
        .map(|end| end + 2)
        .or_else(|| {
            if text.starts_with(char::is_whitespace) {
                blank()
            } else {
                word()
            }
        })
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_huge_is_cut_and_its_length_told() {
        let huge = "x y\"".repeat(10_000);
        let message = told(format!("{huge:?} is no mode: write strict"));
        assert!(message.starts_with("\"x y\\\"x y"), "{message}");
        assert!(
            message.ends_with(" bytes more)\" is no mode: write strict") && message.len() < 400,
            "{message}"
        );
        let name = "k".repeat(100_000);
        let message = told(format!("is no key that {name} has; did you mean x?"));
        assert!(
            message.ends_with(" bytes more) has; did you mean x?") && message.len() < 400,
            "{message}"
        );
        assert!(told(format!("is {}", "no ".repeat(10_000))).len() <= LONGEST_MESSAGE);
        let usual = format!("there are {}", "a, b, c, ".repeat(100));
        assert_eq!(told(usual.clone()), usual);
        let object = ObjectName {
            kind: "Trigger".into(),
            namespace: "ns".into(),
            name: name.clone(),
        };
        let problem = Problem {
            object: Some(object),
            field: format!("spec.{name}"),
            ..Problem::of_flags("is odd")
        };
        let line = problem.to_string();
        assert!(
            line.starts_with("Trigger ns/kk")
                && line.ends_with(" bytes more): is odd")
                && line.len() < 1100,
            "{line}"
        );
    }

    #[test]
    fn is_one_line_without_the_parts_that_are_not_known() {
        let mut problem = Problem {
            severity: Severity::Warning,
            file: Some("a.yaml".to_owned()),
            line: Some(7),
            object: Some(ObjectName {
                kind: "Trigger".into(),
                namespace: "ns".into(),
                name: "t".into(),
            }),
            field: "spec.broker".to_owned(),
            message: "is odd".to_owned(),
        };
        assert_eq!(
            problem.to_string(),
            "a.yaml:7: Trigger ns/t: spec.broker: warning: is odd"
        );
        problem.severity = Severity::Error;
        (problem.file, problem.field) = (None, String::new());
        assert_eq!(problem.to_string(), "Trigger ns/t: is odd");
        assert_eq!(
            Problem::of_file(Severity::Note, "d", None, "is empty").to_string(),
            "d: note: is empty"
        );
        problem.field = "data.a\u{94}b\u{202e}".to_owned();
        assert_eq!(
            problem.to_string(),
            "Trigger ns/t: data.a\\u{94}b\\u{202e}: is odd"
        );
    }
}
