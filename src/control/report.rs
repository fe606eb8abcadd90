//! What is found out about one object while it is resolved.

use super::manifest::Document;
use super::{ObjectName, Problem, Severity};
use crate::scrub;

/// Reason of a condition: a field has a wrong value.
pub(crate) const INVALID: &str = "InvalidConfiguration";
/// Reason of a condition: a reference leads nowhere.
pub(crate) const UNRESOLVED: &str = "ReferenceNotResolved";

/// Collects the problems of one object.
#[derive(Clone, Debug)]
pub(crate) struct Report<'d> {
    document: &'d Document,
    object: ObjectName,
    problems: Vec<Problem>,
    reason: Option<&'static str>,
    /// The places of errors with which the object is applied all the same, and the reason of the first one.
    excused: Vec<usize>,
    excuse: Option<&'static str>,
}

/// What was found out about an object, without the object.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    problems: Vec<Problem>,
    reason: Option<&'static str>,
}

impl<'d> Report<'d> {
    pub(crate) fn new(document: &'d Document, object: ObjectName) -> Self {
        Self { document, object, problems: Vec::new(), reason: None, excused: Vec::new(), excuse: None }
    }

    /// The object as written.
    pub(crate) fn document(&self) -> &'d Document {
        self.document
    }

    /// The object's name.
    pub(crate) fn object(&self) -> &ObjectName {
        &self.object
    }

    /// The object cannot be applied: `field` has a wrong value.
    pub(crate) fn error(&mut self, field: &str, message: impl Into<String>) {
        self.reason.get_or_insert(INVALID);
        self.add(Severity::Error, field, message.into());
    }

    /// The object cannot be applied: `field` refers to something that is not there.
    pub(crate) fn unresolved(&mut self, field: &str, message: impl Into<String>) {
        self.reason.get_or_insert(UNRESOLVED);
        self.add(Severity::Error, field, message.into());
    }

    /// `field` is probably not what was meant.
    pub(crate) fn warning(&mut self, field: &str, message: impl Into<String>) {
        self.add(Severity::Warning, field, message.into());
    }

    /// Worth knowing about `field`.
    pub(crate) fn note(&mut self, field: &str, message: impl Into<String>) {
        self.add(Severity::Note, field, message.into());
    }

    /// Whether there is an error.
    pub(crate) fn is_bad(&self) -> bool {
        self.reason.is_some()
    }

    /// How many errors there are that keep the object from being applied.
    pub(crate) fn errors(&self) -> usize {
        let errors = self.problems.iter().filter(|problem| problem.is_error()).count();
        errors.saturating_sub(self.excused.len())
    }

    /// Finds out something that concerns one destination only: with errors in it the object is applied all the same.
    /// Gives what was found, and the first of such errors.
    pub(crate) fn excusing<T>(&mut self, find: impl FnOnce(&mut Self) -> T) -> (T, Option<String>) {
        let (problems, reason) = (self.problems.len(), self.reason);
        let found = find(self);
        let errors = self.problems.iter().enumerate().skip(problems).filter(|(_, problem)| problem.is_error());
        let places: Vec<usize> = errors.map(|(place, _)| place).collect();
        let Some(first) = places.first().and_then(|place| self.problems.get(*place)) else { return (found, None) };
        let message = first.message.clone();
        self.excused.extend(places);
        self.excuse = self.excuse.or(self.reason.or(Some(INVALID)));
        self.reason = reason;
        (found, Some(message))
    }

    /// The errors with which the object is applied all the same: field and message.
    pub(crate) fn excused(&self) -> impl Iterator<Item = (&str, &str)> {
        let excused = self.excused.iter().filter_map(|place| self.problems.get(*place));
        excused.map(|problem| (problem.field.as_str(), problem.message.as_str()))
    }

    /// Reason and message of the first error, for a condition.
    pub(crate) fn first_error(&self) -> Option<(&'static str, String)> {
        let problem = self.problems.iter().find(|problem| problem.is_error())?;
        let message = match problem.field.as_str() {
            "" => problem.message.clone(),
            field => format!("{field}: {}", problem.message),
        };
        Some((self.reason.or(self.excuse)?, message))
    }

    /// What was found out so far.
    pub(crate) fn findings(&self) -> Findings {
        Findings { problems: self.problems.clone(), reason: self.reason }
    }

    /// The same as was found out about this object before.
    pub(crate) fn repeat(&mut self, known: &Findings) {
        self.problems.extend(known.problems.iter().cloned());
        self.reason = self.reason.or(known.reason);
    }

    /// The problems found.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn add(&mut self, severity: Severity, field: &str, message: String) {
        self.problems.push(Problem {
            severity,
            file: self.document.file().map(str::to_owned),
            line: self.document.line(field),
            object: Some(self.object.clone()).filter(|object| !object.kind.is_empty() || !object.name.is_empty()),
            field: field.to_owned(),
            message: scrub::owned(message),
        });
    }
}
