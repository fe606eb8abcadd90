//! The report of one object: its problems, as they are found while the object is resolved.

use super::document::ManifestDocument;
use super::problem::{ObjectName, Problem, Severity, short, told};

/// The reason of a condition if a field has a wrong value.
pub(crate) const INVALID: &str = "InvalidConfiguration";
/// The reason of a condition if a reference leads nowhere.
pub(crate) const UNRESOLVED: &str = "ReferenceNotResolved";

/// Collects the problems of one object while it is resolved.
#[derive(Clone, Debug)]
pub(crate) struct ObjectReport<'d> {
    document: &'d ManifestDocument,
    object: ObjectName,
    problems: Vec<Problem>,
    /// The reason of the object's condition; `None` while no error keeps it from being applied.
    reason: Option<&'static str>,
    /// The indices in `problems` of errors with which the object is applied all the same, each
    /// with the reason of its condition.
    tolerated: Vec<(usize, &'static str)>,
    /// The fields whose values could not be read, so that enough is said about them.
    unreadable: Vec<String>,
    /// The index in `problems` of the first warning about something that the object needs and that
    /// is not served here.
    not_served: Option<usize>,
}

/// An error of an object as a condition says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReportedError {
    /// A word for programs.
    pub(crate) reason: &'static str,
    /// The field with a sentence.
    pub(crate) message: String,
}

/// The findings about an object, without the object, so that they can be kept.
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

    /// The object as it was written.
    pub(crate) fn document(&self) -> &'d ManifestDocument {
        self.document
    }

    /// The name of the object, as problems show it.
    pub(crate) fn object(&self) -> &ObjectName {
        &self.object
    }

    /// Reports that the object cannot be applied, since the value of `field` cannot be read. Errors
    /// that follow from that are not reported.
    pub(crate) fn unreadable(&mut self, field: &str, message: impl Into<String>) {
        self.error(field, message);
        self.suppress_further_errors(field);
    }

    /// Suppresses further errors of this field and of the object that contains it.
    pub(crate) fn suppress_further_errors(&mut self, field: &str) {
        self.unreadable.push(field.to_owned());
    }

    /// True if a field, or something that contains it, could not be read.
    pub(crate) fn is_unreadable(&self, field: &str) -> bool {
        self.unreadable
            .iter()
            .any(|misread| is_inside(misread, field))
    }

    /// True if a field, or something inside it, could not be read.
    pub(crate) fn is_unreadable_inside(&self, field: &str) -> bool {
        self.unreadable
            .iter()
            .any(|misread| is_inside(field, misread))
    }

    /// Reports that the object cannot be applied, since `field` has a wrong value.
    pub(crate) fn error(&mut self, field: &str, message: impl Into<String>) {
        if self
            .unreadable
            .iter()
            .any(|misread| follows_from(field, misread))
        {
            return;
        }
        self.reason.get_or_insert(INVALID);
        self.add_problem(Severity::Error, field, message.into());
    }

    /// Reports that the object cannot be applied, since `field` refers to something that does not
    /// exist.
    pub(crate) fn unresolved_reference(&mut self, field: &str, message: impl Into<String>) {
        self.reason.get_or_insert(UNRESOLVED);
        self.add_problem(Severity::Error, field, message.into());
    }

    /// Reports that `field` is probably not what its author meant.
    pub(crate) fn warning(&mut self, field: &str, message: impl Into<String>) {
        self.add_problem(Severity::Warning, field, message.into());
    }

    /// Reports that `field` leads to something that is not served here on purpose. That is no
    /// error, but what needs it does not work.
    pub(crate) fn warn_not_served(&mut self, field: &str, message: impl Into<String>) {
        self.not_served.get_or_insert(self.problems.len());
        self.warning(field, message);
    }

    /// The message of the first [`Self::warn_not_served`]; `None` if there was none.
    pub(crate) fn not_served_reason(&self) -> Option<&str> {
        Some(&self.problems.get(self.not_served?)?.message)
    }

    /// Reports something about `field` that is worth knowing.
    pub(crate) fn note(&mut self, field: &str, message: impl Into<String>) {
        self.add_problem(Severity::Note, field, message.into());
    }

    /// Reports a field that is in no schema, and that an API server has let pass: it is said once
    /// for all objects of its kind.
    pub(crate) fn note_ignored_field(&mut self, field: &str) {
        let kind = &self.object.kind;
        let field: String = field
            .split('[')
            .enumerate()
            .map(|(at, part)| without_index(at, part))
            .collect();
        let message = format!(
            "is a field of {kind} that is not known here, and ignored: it is of a newer Knative"
        );
        self.problems.push(Problem {
            field,
            ..Problem::of_all(Severity::Note, message)
        });
    }

    /// True if there is an error that keeps the object from being applied.
    pub(crate) fn has_errors(&self) -> bool {
        self.reason.is_some()
    }

    /// The number of errors that keep the object from being applied.
    pub(crate) fn error_count(&self) -> usize {
        let errors = self
            .problems
            .iter()
            .filter(|problem| problem.is_error())
            .count();
        errors.saturating_sub(self.tolerated.len())
    }

    /// Runs `find`, which concerns one destination only: its errors are tolerated, so that the
    /// object is applied all the same. Gives the result and the message of the first such error.
    pub(crate) fn with_tolerated_errors<T>(
        &mut self,
        find: impl FnOnce(&mut Self) -> T,
    ) -> (T, Option<String>) {
        let (problems, reason) = (self.problems.len(), self.reason);
        let found = find(self);
        let errors = self
            .problems
            .iter()
            .enumerate()
            .skip(problems)
            .filter(|(_, problem)| problem.is_error());
        let places: Vec<usize> = errors.map(|(place, _)| place).collect();
        let Some(first) = places.first().and_then(|place| self.problems.get(*place)) else {
            return (found, None);
        };
        let message = first.message.clone();
        let why = self.reason.unwrap_or(INVALID);
        self.tolerated
            .extend(places.into_iter().map(|place| (place, why)));
        self.reason = reason;
        (found, Some(message))
    }

    /// Tolerates those of the errors so far that are in a part of the object, as the predicate
    /// decides by field: the rest of the object is applied all the same.
    pub(crate) fn tolerate_errors(&mut self, is_of_a_part: impl Fn(&str) -> bool) {
        let of_a_part =
            |(_, problem): &(usize, &Problem)| problem.is_error() && is_of_a_part(&problem.field);
        let places = self
            .problems
            .iter()
            .enumerate()
            .filter(of_a_part)
            .map(|(place, _)| place);
        let is_new = |place: &usize| self.tolerated.iter().all(|(known, _)| known != place);
        let (more, reason): (Vec<usize>, _) = (
            places.filter(is_new).collect(),
            self.reason.unwrap_or(INVALID),
        );
        self.tolerated
            .extend(more.into_iter().map(|place| (place, reason)));
        if self.error_count() == 0 {
            self.reason = None;
        }
    }

    /// The errors with which the object is applied all the same: field and message of each.
    pub(crate) fn tolerated_errors(&self) -> impl Iterator<Item = (&str, &str)> {
        let excused = self
            .tolerated
            .iter()
            .filter_map(|(place, _)| self.problems.get(*place));
        excused.map(|problem| (problem.field.as_str(), problem.message.as_str()))
    }

    /// The tolerated error number `count`, from 0.
    pub(crate) fn tolerated_error_after(&self, count: usize) -> Option<ReportedError> {
        let (place, reason) = self.tolerated.get(count)?;
        Some(ReportedError {
            reason,
            message: describe_problem(self.problems.get(*place)?),
        })
    }

    /// The first error.
    pub(crate) fn first_error(&self) -> Option<ReportedError> {
        let problem = self.problems.iter().find(|problem| problem.is_error())?;
        let excuse = self.tolerated.first().map(|(_, reason)| *reason);
        Some(ReportedError {
            reason: self.reason.or(excuse)?,
            message: describe_problem(problem),
        })
    }

    /// The findings so far, to be kept for the next resolution.
    pub(crate) fn findings(&self) -> ReportFindings {
        ReportFindings {
            problems: self.problems.clone(),
            reason: self.reason,
            unreadable: self.unreadable.clone(),
        }
    }

    /// Adds findings that were made about this object before.
    pub(crate) fn restore_findings(&mut self, known: &ReportFindings) {
        self.problems.extend(known.problems.iter().cloned());
        self.reason = self.reason.or(known.reason);
        self.unreadable.extend(known.unreadable.iter().cloned());
    }

    /// The problems, in the order in which they were found.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn add_problem(&mut self, severity: Severity, field: &str, message: String) {
        self.problems.push(Problem {
            severity,
            file: self.document.file().map(str::to_owned),
            line: self.document.line(field),
            object: Some(self.object.clone())
                .filter(|object| !object.kind.is_empty() || !object.name.is_empty()),
            field: field.to_owned(),
            message: told(message),
        });
    }
}

/// The field and message of a problem, without its object.
fn describe_problem(problem: &Problem) -> String {
    match problem.field.as_str() {
        "" => problem.message.clone(),
        field => format!("{}: {}", short(field), problem.message),
    }
}

/// True if an error of `field` may follow from that of `misread`: it is of the same field, of
/// something in it, or of the object that contains it.
fn follows_from(field: &str, misread: &str) -> bool {
    let parent = misread.rfind(['.', '[']).and_then(|end| misread.get(..end));
    is_inside(misread, field) || parent.is_some_and(|parent| parent == field)
}

/// True if `inner` is the field `outer`, or something in it.
fn is_inside(outer: &str, inner: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A part of a path that was cut at each `[`, without the index of an element in its list.
fn without_index(at: usize, part: &str) -> String {
    match part.split_once(']') {
        Some((_index, rest)) if at > 0 => format!("[]{rest}"),
        _ => part.to_owned(),
    }
}
