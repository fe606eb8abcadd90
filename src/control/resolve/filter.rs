//! Compiles the filter of a Trigger: `filters` in every dialect, else `filter.attributes` (contract
//! TF-1 to TF-9).
//!
//! A filter that is not understood is an error of the Trigger, which then gets no events: filters
//! fail closed (contract G-48).

mod value_warnings;

use std::sync::Arc;

use serde_json::Value;

use super::collect::{CollectedItem, CollectedObjects};
use crate::control::read::document::ManifestSet;
use crate::control::read::manifest::eventing::{TriggerFilterManifest, TriggerSpec};
use crate::control::read::problem::{ObjectName, Problem};
use crate::control::read::report::ObjectReport;
use crate::control::resolve::config::key_ring;
use crate::control::settings::ControlSettings;
use crate::correlation::KeyRing;
use crate::event::{REQUIRED_ATTRIBUTES, is_attribute_name, nearly};
use crate::filter::cesql::{CesqlExpression, ExpressionFinding, FindingSeverity};
use crate::filter::{AttributePairs, Filter};
use value_warnings::warn_of_value;

/// The dialects of an entry of `filters`, which must have exactly one of them.
const DIALECTS: &str = "exact, prefix, suffix, all, any, not or cesql";
/// The deepest nesting of `all`, `any` and `not`.
const MAX_DEPTH: usize = 32;
/// The largest number of bytes of text in all the filters of one object: names, values and
/// expressions. As expressions they take up to sixty times as much memory.
const MAX_TEXT: usize = 128 * 1024;

/// The filter of each Trigger, by name, whether its Broker and its subscriber exist or not; `None`
/// for a filter that is not understood. The problems are those of files, of Triggers, and of
/// filters.
#[must_use]
pub(crate) fn trigger_filters(
    manifests: &ManifestSet,
    settings: &ControlSettings,
) -> (Vec<(ObjectName, Option<Filter>)>, Vec<Problem>) {
    let mut collected = CollectedObjects::from_documents(manifests.documents(), settings);
    let keys = Arc::new(key_ring::resolve_key_ring(&mut collected, settings));
    let mut problems: Vec<Problem> = manifests.problems().cloned().collect();
    let mut filters = Vec::with_capacity(collected.triggers.len());
    for CollectedItem {
        object, mut report, ..
    } in collected.triggers.into_values()
    {
        let spec = object.and_then(|trigger| trigger.spec);
        let filter = spec
            .map(|spec| compile_trigger_filter(&spec, &keys, &mut report))
            .filter(|_| !report.has_errors());
        filters.push((report.object().clone(), filter));
        problems.extend(report.into_problems());
    }
    (filters, problems)
}

/// Compiles the filter of a Trigger. `filters` alone decides if it has an entry (contract TF-1).
pub(super) fn compile_trigger_filter(
    spec: &TriggerSpec,
    keys: &Arc<KeyRing>,
    report: &mut ObjectReport<'_>,
) -> Filter {
    match &spec.filters {
        Some(filters) if !filters.is_empty() => {
            // `filter` has no effect then, but its mistakes are reported.
            compile_attributes(spec.filter.as_ref(), report);
            if is_too_long(filters, report) {
                return Filter::MatchAll;
            }
            let mut compiler = FilterCompiler { keys, report };
            let mut compiled = compiler.compile_list(filters, "spec.filters", MAX_DEPTH);
            if compiled.len() == 1 {
                compiled.swap_remove(0)
            } else {
                Filter::All(compiled)
            }
        }
        _ => compile_attributes(spec.filter.as_ref(), report),
    }
}

/// Compiles filters that must all pass, at `spec.filters`; an empty list lets every event pass.
pub(super) fn compile_filters(
    filters: &[Value],
    keys: &Arc<KeyRing>,
    report: &mut ObjectReport<'_>,
) -> Filter {
    if filters.is_empty() || is_too_long(filters, report) {
        return Filter::MatchAll;
    }
    let mut compiler = FilterCompiler { keys, report };
    Filter::All(compiler.compile_list(filters, "spec.filters", MAX_DEPTH))
}

/// Reports filters that have more than [`MAX_TEXT`] bytes of text; true if they do.
fn is_too_long(filters: &[Value], report: &mut ObjectReport<'_>) -> bool {
    let length = filters.iter().map(text_length).sum::<usize>();
    report_text_length(length, "spec.filters", report);
    length > MAX_TEXT
}

fn report_text_length(length: usize, field: &str, report: &mut ObjectReport<'_>) {
    if length > MAX_TEXT {
        let problem = format!(
            "has {length} bytes of text, more than {MAX_TEXT}: divide it among several objects"
        );
        report.error(field, problem);
    }
}

/// The number of bytes of text in a value, at any depth.
fn text_length(written: &Value) -> usize {
    match written {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_length).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| name.len() + text_length(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn compile_attributes(
    written: Option<&TriggerFilterManifest>,
    report: &mut ObjectReport<'_>,
) -> Filter {
    let Some(TriggerFilterManifest {
        attributes: Some(attributes),
    }) = written
    else {
        return Filter::MatchAll;
    };
    for (name, value) in attributes {
        let field = format!("spec.filter.attributes.{name}");
        check_attribute_name(name, &field, report);
        let value = value.as_deref().unwrap_or_default();
        if value.is_empty() && REQUIRED_ATTRIBUTES.contains(&name.as_str()) {
            let rule = "is empty, which any value passes, and every event has one: write what it \
                 has to be, or remove it";
            report.warning(&field, rule);
        }
        warn_of_value(value, "exact", name, &field, report);
    }
    let length: usize = attributes
        .iter()
        .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len))
        .sum();
    report_text_length(length, "spec.filter.attributes", report);
    if attributes.is_empty() {
        return Filter::MatchAll;
    }
    let pair = |(name, value): (&String, &Option<String>)| {
        (name.clone(), value.clone().unwrap_or_default())
    };
    Filter::Attributes(attributes.iter().map(pair).collect())
}

/// Compiles the filters of one object.
struct FilterCompiler<'c, 'd> {
    keys: &'c Arc<KeyRing>,
    report: &'c mut ObjectReport<'d>,
}

impl FilterCompiler<'_, '_> {
    /// Compiles the filters of a list; `depth` is how deep they may be nested.
    fn compile_list(&mut self, filters: &[Value], field: &str, depth: usize) -> Vec<Filter> {
        let entry =
            |(index, filter)| self.compile_entry(filter, &format!("{field}[{index}]"), depth);
        filters.iter().enumerate().map(entry).collect()
    }

    /// Compiles one entry. If an error is reported, the result does not matter.
    fn compile_entry(&mut self, written: &Value, field: &str, depth: usize) -> Filter {
        let Some((dialect, value)) = single_member(written) else {
            self.report.error(
                field,
                format!("must have exactly one of {DIALECTS}: put several into all"),
            );
            return Filter::MatchAll;
        };
        let inside = format!("{field}.{dialect}");
        if depth == 0 {
            self.report
                .error(&inside, format!("is nested more than {MAX_DEPTH} deep"));
            return Filter::MatchAll;
        }
        match (dialect, value) {
            ("exact", value) => Filter::Exact(self.read_pairs(value, dialect, &inside)),
            ("prefix", value) => Filter::Prefix(self.read_pairs(value, dialect, &inside)),
            ("suffix", value) => Filter::Suffix(self.read_pairs(value, dialect, &inside)),
            ("all" | "any", Value::Array(filters)) if !filters.is_empty() => {
                let filters = self.compile_list(filters, &inside, depth - 1);
                if dialect == "all" {
                    Filter::All(filters)
                } else {
                    Filter::Any(filters)
                }
            }
            ("all" | "any", _) => {
                self.report
                    .error(&inside, "must be a list of filters, at least one");
                Filter::MatchAll
            }
            ("not", filter) => {
                Filter::Not(Box::new(self.compile_entry(filter, &inside, depth - 1)))
            }
            ("cesql", Value::String(text)) => self.compile_cesql(text, &inside),
            ("cesql", _) => {
                self.report
                    .error(&inside, "must be text: write the expression in quotes");
                Filter::MatchAll
            }
            _ => {
                self.report
                    .error(&inside, format!("is not a dialect: use {DIALECTS}"));
                Filter::MatchAll
            }
        }
    }

    fn compile_cesql(&mut self, text: &str, field: &str) -> Filter {
        match CesqlExpression::parse(text) {
            Ok(expression) => {
                // A cluster has admitted the Trigger, and a filter that is never true lets nothing
                // pass as it is.
                let is_written = self.report.document().origin.is_some();
                for ExpressionFinding {
                    severity: doubt,
                    error,
                } in expression.check(text)
                {
                    match doubt {
                        FindingSeverity::NeverTrue | FindingSeverity::UnknownFunction
                            if is_written =>
                        {
                            self.report.error(field, error.to_string())
                        }
                        FindingSeverity::NeverTrue
                        | FindingSeverity::UnknownFunction
                        | FindingSeverity::PartNeverTrue
                        | FindingSeverity::Name => {
                            self.report.warning(field, error.to_string());
                        }
                    }
                }
                key_ring::check_verification_calls(&expression, self.keys, field, self.report);
                let keys = Some(Arc::clone(self.keys))
                    .filter(|_| !expression.correlation_calls().is_empty());
                Filter::Cesql(expression, keys)
            }
            Err(error) => {
                self.report.error(
                    field,
                    CesqlExpression::explain_error(text, error).to_string(),
                );
                Filter::MatchAll
            }
        }
    }

    /// Reads the attributes of a dialect that compares texts, and the text that is wanted of each.
    fn read_pairs(&mut self, written: &Value, dialect: &str, field: &str) -> AttributePairs {
        let Some(map) = written.as_object().filter(|map| !map.is_empty()) else {
            self.report.error(
                field,
                "must name at least one attribute and the text that is wanted of it",
            );
            return AttributePairs::new();
        };
        let mut pairs = AttributePairs::with_capacity(map.len());
        for (name, wanted) in map {
            let field = format!("{field}.{name}");
            check_attribute_name(name, &field, self.report);
            match wanted.as_str() {
                Some("") => self.report.error(
                    &field,
                    "must not be empty: for an attribute that exists, use cesql: EXISTS",
                ),
                Some(wanted) => {
                    warn_of_value(wanted, dialect, name, &field, self.report);
                    pairs.push((name.clone(), wanted.to_owned()));
                }
                None => self
                    .report
                    .error(&field, "must be text: write it in quotes"),
            }
        }
        pairs
    }
}

/// The only member of an object; `None` if it has none or several.
fn single_member(written: &Value) -> Option<(&str, &Value)> {
    let mut members = written.as_object()?.iter();
    let (dialect, value) = members.next()?;
    members
        .next()
        .is_none()
        .then_some((dialect.as_str(), value))
}

/// Checks that a name is `^[a-z][a-z0-9]*$` (contract TF-9). A name that is nearly one of
/// CloudEvents' own attributes is allowed, with a warning: no event has it, and a `not` around it
/// would let every event pass.
fn check_attribute_name(name: &str, field: &str, report: &mut ObjectReport<'_>) {
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !is_attribute_name(name) {
        let rule = "is not the name of an attribute: use a-z and 0-9, beginning with a letter";
        report.error(field, format!("{name:?} {rule}"));
    } else if let Some(meant) = nearly(name) {
        report.warning(field, format!("is an extension; did you mean {meant}?"));
    }
}
