//! Filters: the events that a Trigger wants. They are pure: no I/O, no state, total on every event,
//! and limited in work. An event on which a filter cannot decide does not pass.

mod attribute;
pub mod cesql;
pub(crate) mod explain;
pub mod index;

use std::sync::Arc;

use crate::correlation::KeyRing;
use crate::event::Event;
use attribute::EventAttributes;
use cesql::{
    CesqlExpression, CesqlValue, EvaluationError, EvaluationResult, MeterExceeded, WorkMeter,
};

/// Steps of work that visiting a filter counts as.
const VISIT: usize = 4;

/// Names of attributes, each with the text that is wanted.
pub(crate) type AttributePairs = Vec<(String, String)>;

/// A filter, compiled once when the configuration is resolved (contract TF-1 to TF-20).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Lets every event pass, as a Trigger without a filter does.
    #[default]
    MatchAll,
    /// Every pair of `filter.attributes` must match (contract TF-3).
    Attributes(AttributePairs),
    /// Every attribute must have exactly this text (contract TF-4).
    Exact(AttributePairs),
    /// Every attribute must start with this text.
    Prefix(AttributePairs),
    /// Every attribute must end with this text.
    Suffix(AttributePairs),
    /// Every one of these filters must pass (contract TF-5).
    All(Vec<Filter>),
    /// At least one of these filters must pass.
    Any(Vec<Filter>),
    /// This filter must not pass.
    Not(Box<Filter>),
    /// The expression must be true, without an error (contract TF-12, TF-13). It has the keys by
    /// which it verifies correlation ids, if it does that.
    Cesql(CesqlExpression, Option<Arc<KeyRing>>),
}

impl From<CesqlExpression> for Filter {
    /// Makes a filter of an expression to which no correlation id is genuine.
    fn from(expression: CesqlExpression) -> Self {
        Self::Cesql(expression, None)
    }
}

/// Reason for which a filter is undecided on an event. The event does not pass then, and nothing
/// around the filter can make it pass, not even a `not`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndecidedReason {
    /// An expression ended in an error, or in a value that is no boolean (contract TF-12, TF-13).
    Expression,
    /// The filter would take more work than the filters of one Trigger may take for one event.
    Limit,
}

impl From<MeterExceeded> for UndecidedReason {
    fn from(_exceeded: MeterExceeded) -> Self {
        Self::Limit
    }
}

/// Decision of a filter on one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterDecision {
    /// True if the event passes; an error if the filter is undecided.
    pub passes: Result<bool, UndecidedReason>,
    /// Steps of work that the decision took ([`WorkMeter`]).
    pub steps: u32,
}

impl Filter {
    /// True if the event passes.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.decide(event).passes == Ok(true)
    }

    /// Decides on an event, with a full meter.
    #[must_use]
    pub fn decide(&self, event: &Event) -> FilterDecision {
        let mut meter = WorkMeter::default();
        let passes = self.decide_within(event, &mut meter);
        FilterDecision {
            passes,
            steps: meter.steps(),
        }
    }

    /// Decides on an event with the steps that the meter has left.
    ///
    /// # Errors
    /// If the decision depends on an expression that is undecided, or too few steps are left. In
    /// the latter case the meter lets nothing be decided any more: not even a part of the filter
    /// that would let the event pass alone.
    pub(crate) fn decide_within(
        &self,
        event: &Event,
        meter: &mut WorkMeter,
    ) -> Result<bool, UndecidedReason> {
        meter.step(VISIT)?;
        let mut texts = |pairs: &AttributePairs, test: fn(&str, &str) -> bool| {
            every(pairs, |name, wanted| {
                text_matches(event, name, wanted, test, meter)
            })
        };
        match self {
            Self::MatchAll => Ok(true),
            Self::Exact(pairs) => texts(pairs, |text, wanted| text == wanted),
            Self::Prefix(pairs) => texts(pairs, |text, wanted| text.starts_with(wanted)),
            Self::Suffix(pairs) => texts(pairs, |text, wanted| text.ends_with(wanted)),
            Self::Attributes(pairs) => every(pairs, |name, wanted| {
                attribute::matches(event, name, wanted, meter).map_err(UndecidedReason::from)
            }),
            Self::All(filters) => any(filters, |filter| {
                filter.decide_within(event, meter).map(|passes| !passes)
            })
            .map(|fails| !fails),
            Self::Any(filters) => any(filters, |filter| filter.decide_within(event, meter)),
            Self::Not(filter) => filter.decide_within(event, meter).map(|passes| !passes),
            Self::Cesql(expression, keys) => {
                let keys = keys.as_deref();
                evaluate_cesql(expression, &EventAttributes { event, keys }, meter)
            }
        }
    }
}

fn every(
    pairs: &AttributePairs,
    mut test: impl FnMut(&str, &str) -> Result<bool, UndecidedReason>,
) -> Result<bool, UndecidedReason> {
    for (name, wanted) in pairs {
        if !test(name, wanted)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// True if one of the filters is true; else undecided if one of them is; so the order does not
/// matter, as long as there are enough steps to ask all.
fn any(
    filters: &[Filter],
    mut decide: impl FnMut(&Filter) -> Result<bool, UndecidedReason>,
) -> Result<bool, UndecidedReason> {
    let mut result = Ok(false);
    for filter in filters {
        match decide(filter) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(UndecidedReason::Expression) => result = Err(UndecidedReason::Expression),
            Err(UndecidedReason::Limit) => return Err(UndecidedReason::Limit),
        }
    }
    result
}

/// True if an attribute is set, and its text passes the test.
fn text_matches(
    event: &Event,
    name: &str,
    wanted: &str,
    test: fn(&str, &str) -> bool,
    meter: &mut WorkMeter,
) -> Result<bool, UndecidedReason> {
    let text = attribute::attribute_text(event, name, meter)?;
    Ok(text.is_some_and(|text| test(&text, wanted)))
}

/// Evaluates an expression.
///
/// # Errors
/// If the expression ends in an error, or in a value that is no boolean.
fn evaluate_cesql(
    expression: &CesqlExpression,
    attributes: &EventAttributes<'_>,
    meter: &mut WorkMeter,
) -> Result<bool, UndecidedReason> {
    match expression.evaluate(attributes, meter) {
        EvaluationResult {
            value: CesqlValue::Boolean(truth),
            error: None,
        } => Ok(truth),
        EvaluationResult {
            error: Some(EvaluationError::Limit),
            ..
        } => Err(UndecidedReason::Limit),
        EvaluationResult { .. } => Err(UndecidedReason::Expression),
    }
}

#[cfg(test)]
mod tests;
