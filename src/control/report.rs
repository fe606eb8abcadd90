//! What is found out about one object while it is resolved.

use super::manifest::ManifestDocument;
use super::problem::{short, told};
use super::{ObjectName, Problem, Severity};

/// Reason of a condition: a field has a wrong value.
pub(crate) const INVALID: &str = "InvalidConfiguration";
/// Reason of a condition: a reference leads nowhere.
pub(crate) const UNRESOLVED: &str = "ReferenceNotResolved";

/// Collects the problems of one object.
#[derive(Clone, Debug)]
pub(crate) struct ObjectReport<'d> {
    document: &'d ManifestDocument,
    object: ObjectName,
    problems: Vec<Problem>,
    reason: Option<&'static str>,
    /// The places of errors with which the object is applied all the same, each with its reason.
    tolerated: Vec<(usize, &'static str)>,
    /// Fields about which enough is said: their values could not be read.
    unreadable: Vec<String>,
    /// The place of the first warning about something that is left alone here, and that the object needs.
    not_served: Option<usize>,
}

/// What was found out about an object, without the object.
#[derive(Clone, Debug)]
pub(crate) struct ReportFindings {
    problems: Vec<Problem>,
    reason: Option<&'static str>,
    unreadable: Vec<String>,
}

impl<'d> ObjectReport<'d> {
    pub(crate) fn new(document: &'d ManifestDocument, object: ObjectName) -> Self {
        Self {
            document,
            object,
            problems: Vec::new(),
            reason: None,
            tolerated: Vec::new(),
            unreadable: Vec::new(),
            not_served: None,
        }
    }

    /// The object as written.
    pub(crate) fn document(&self) -> &'d ManifestDocument {
        self.document
    }

    /// The object's name.
    pub(crate) fn object(&self) -> &ObjectName {
        &self.object
    }

    /// The object cannot be applied: `field` has a value that cannot be read. Whatever follows from that is not reported.
    pub(crate) fn unreadable(&mut self, field: &str, message: impl Into<String>) {
        self.error(field, message);
        self.suppress_further_errors(field);
    }

    /// No further errors of this field, nor of the object that misses it, are reported.
    pub(crate) fn suppress_further_errors(&mut self, field: &str) {
        self.unreadable.push(field.to_owned());
    }

    /// Whether a field, or something that it is in, could not be read.
    pub(crate) fn is_unreadable(&self, field: &str) -> bool {
        self.unreadable.iter().any(|misread| is_inside(misread, field))
    }

    /// Whether something in a field could not be read.
    pub(crate) fn is_unreadable_inside(&self, field: &str) -> bool {
        self.unreadable.iter().any(|misread| is_inside(field, misread))
    }

    /// The object cannot be applied: `field` has a wrong value.
    pub(crate) fn error(&mut self, field: &str, message: impl Into<String>) {
        if self.unreadable.iter().any(|misread| follows_from(field, misread)) {
            return;
        }
        self.reason.get_or_insert(INVALID);
        self.add_problem(Severity::Error, field, message.into());
    }

    /// The object cannot be applied: `field` refers to something that is not there.
    pub(crate) fn unresolved_reference(&mut self, field: &str, message: impl Into<String>) {
        self.reason.get_or_insert(UNRESOLVED);
        self.add_problem(Severity::Error, field, message.into());
    }

    /// `field` is probably not what was meant.
    pub(crate) fn warning(&mut self, field: &str, message: impl Into<String>) {
        self.add_problem(Severity::Warning, field, message.into());
    }

    /// `field` leads to something that is left alone here on purpose, and so is no error; but what needs it does not work.
    pub(crate) fn warn_not_served(&mut self, field: &str, message: impl Into<String>) {
        self.not_served.get_or_insert(self.problems.len());
        self.warning(field, message);
    }

    /// Why something that the object needs is left alone, if that is so.
    pub(crate) fn not_served_reason(&self) -> Option<&str> {
        Some(&self.problems.get(self.not_served?)?.message)
    }

    /// Worth knowing about `field`.
    pub(crate) fn note(&mut self, field: &str, message: impl Into<String>) {
        self.add_problem(Severity::Note, field, message.into());
    }

    /// A field that is not known, and that an API server has let pass: it is said once for all objects of its kind.
    pub(crate) fn note_ignored_field(&mut self, field: &str) {
        let kind = &self.object.kind;
        let field: String = field.split('[').enumerate().map(|(at, part)| without_index(at, part)).collect();
        let message = format!("is a field of {kind} that is not known here, and ignored: it is of a newer Knative");
        self.problems.push(Problem { field, ..Problem::of_all(Severity::Note, message) });
    }

    /// Whether there is an error.
    pub(crate) fn has_errors(&self) -> bool {
        self.reason.is_some()
    }

    /// How many errors there are that keep the object from being applied.
    pub(crate) fn error_count(&self) -> usize {
        let errors = self.problems.iter().filter(|problem| problem.is_error()).count();
        errors.saturating_sub(self.tolerated.len())
    }

    /// Finds out something that concerns one destination only: with errors in it the object is applied all the same.
    /// Gives what was found, and the first of such errors.
    pub(crate) fn with_tolerated_errors<T>(&mut self, find: impl FnOnce(&mut Self) -> T) -> (T, Option<String>) {
        let (problems, reason) = (self.problems.len(), self.reason);
        let found = find(self);
        let errors = self.problems.iter().enumerate().skip(problems).filter(|(_, problem)| problem.is_error());
        let places: Vec<usize> = errors.map(|(place, _)| place).collect();
        let Some(first) = places.first().and_then(|place| self.problems.get(*place)) else { return (found, None) };
        let message = first.message.clone();
        let why = self.reason.unwrap_or(INVALID);
        self.tolerated.extend(places.into_iter().map(|place| (place, why)));
        self.reason = reason;
        (found, Some(message))
    }

    /// Of the errors so far, those in fields of a part concern that alone: the rest of the object is applied all the same.
    pub(crate) fn tolerate_errors(&mut self, is_of_a_part: impl Fn(&str) -> bool) {
        let of_a_part = |(_, problem): &(usize, &Problem)| problem.is_error() && is_of_a_part(&problem.field);
        let places = self.problems.iter().enumerate().filter(of_a_part).map(|(place, _)| place);
        let is_new = |place: &usize| self.tolerated.iter().all(|(known, _)| known != place);
        let (more, reason): (Vec<usize>, _) = (places.filter(is_new).collect(), self.reason.unwrap_or(INVALID));
        self.tolerated.extend(more.into_iter().map(|place| (place, reason)));
        if self.error_count() == 0 {
            self.reason = None;
        }
    }

    /// The errors with which the object is applied all the same: field and message.
    pub(crate) fn tolerated_errors(&self) -> impl Iterator<Item = (&str, &str)> {
        let excused = self.tolerated.iter().filter_map(|(place, _)| self.problems.get(*place));
        excused.map(|problem| (problem.field.as_str(), problem.message.as_str()))
    }

    /// The first of these errors after so many of them, as a condition says it: reason and message.
    pub(crate) fn tolerated_error_after(&self, count: usize) -> Option<(&'static str, String)> {
        let (place, reason) = self.tolerated.get(count)?;
        Some((reason, describe_problem(self.problems.get(*place)?)))
    }

    /// Reason and message of the first error, for a condition.
    pub(crate) fn first_error(&self) -> Option<(&'static str, String)> {
        let problem = self.problems.iter().find(|problem| problem.is_error())?;
        let excuse = self.tolerated.first().map(|(_, reason)| *reason);
        Some((self.reason.or(excuse)?, describe_problem(problem)))
    }

    /// What was found out so far.
    pub(crate) fn findings(&self) -> ReportFindings {
        ReportFindings { problems: self.problems.clone(), reason: self.reason, unreadable: self.unreadable.clone() }
    }

    /// The same as was found out about this object before.
    pub(crate) fn restore_findings(&mut self, known: &ReportFindings) {
        self.problems.extend(known.problems.iter().cloned());
        self.reason = self.reason.or(known.reason);
        self.unreadable.extend(known.unreadable.iter().cloned());
    }

    /// The problems found.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn add_problem(&mut self, severity: Severity, field: &str, message: String) {
        self.problems.push(Problem {
            severity,
            file: self.document.file().map(str::to_owned),
            line: self.document.line(field),
            object: Some(self.object.clone()).filter(|object| !object.kind.is_empty() || !object.name.is_empty()),
            field: field.to_owned(),
            message: told(message),
        });
    }
}

/// A problem of an object, without the object.
fn describe_problem(problem: &Problem) -> String {
    match problem.field.as_str() {
        "" => problem.message.clone(),
        field => format!("{}: {}", short(field), problem.message),
    }
}

/// Whether an error of `field` may follow from that of `misread`: it is of the same field, of something in it, or of the
/// object that it is in.
fn follows_from(field: &str, misread: &str) -> bool {
    let parent = misread.rfind(['.', '[']).and_then(|end| misread.get(..end));
    is_inside(misread, field) || parent.is_some_and(|parent| parent == field)
}

/// Whether a field is another one, or something in it.
fn is_inside(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A part of a path that was cut at each `[`, without the place of an element in its list.
fn without_index(at: usize, part: &str) -> String {
    match part.split_once(']') {
        Some((_index, rest)) if at > 0 => format!("[]{rest}"),
        _ => part.to_owned(),
    }
}
