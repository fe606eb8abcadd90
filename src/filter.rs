//! Which events a Trigger wants. Pure: no I/O, no state, total on every event, and bounded in work. What cannot be decided
//! does not pass.

mod attribute;
pub mod cesql;
pub mod explain;
pub mod index;

use std::sync::Arc;

use crate::correlation::KeyRing;
use crate::event::Event;
use cesql::{CesqlExpression, CesqlValue, EvaluationError, EvaluationResult, MeterExceeded, WorkMeter};

/// What it takes to visit a filter.
const VISIT: usize = 4;

/// Names of attributes with what is wanted of them.
pub type AttributePairs = Vec<(String, String)>;

/// A filter, compiled once when the configuration is resolved (contract TF-1 to TF-20).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Lets every event pass.
    #[default]
    MatchAll,
    /// `filter.attributes`: every pair must match (contract TF-3).
    Attributes(AttributePairs),
    /// Every attribute has exactly this text (contract TF-4).
    Exact(AttributePairs),
    /// Every attribute starts with this text.
    Prefix(AttributePairs),
    /// Every attribute ends with this text.
    Suffix(AttributePairs),
    /// Every one of these passes (contract TF-5).
    All(Vec<Filter>),
    /// One of these passes.
    Any(Vec<Filter>),
    /// This one does not pass.
    Not(Box<Filter>),
    /// The expression is true, and no error arose (contract TF-12, TF-13). With the keys by which it verifies
    /// correlation ids, if it does that.
    Cesql(CesqlExpression, Option<Arc<KeyRing>>),
}

impl From<CesqlExpression> for Filter {
    /// An expression for which no correlation id is genuine.
    fn from(expression: CesqlExpression) -> Self {
        Self::Cesql(expression, None)
    }
}

/// Why it is not decided whether an event passes. Then it does not, and nothing around the filter can make it pass, not
/// even a `not`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UndecidedReason {
    /// An expression ends in an error, or in a value that is no boolean (contract TF-12, TF-13).
    Expression,
    /// It takes more work than the filters of one Trigger may take for one event.
    Limit,
}

impl From<MeterExceeded> for UndecidedReason {
    fn from(_exceeded: MeterExceeded) -> Self {
        Self::Limit
    }
}

/// What a filter says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterDecision {
    /// Whether it passes.
    pub passes: Result<bool, UndecidedReason>,
    /// How much work that was ([`WorkMeter`]).
    pub steps: u32,
}

impl Filter {
    /// Whether the event passes.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.decide(event).passes == Ok(true)
    }

    /// Whether the event passes, and how much work it was to know.
    #[must_use]
    pub fn decide(&self, event: &Event) -> FilterDecision {
        let mut meter = WorkMeter::default();
        let passes = self.decide_within(event, &mut meter);
        FilterDecision { passes, steps: meter.steps() }
    }

    /// Whether the event passes, if what the meter has left is enough to know.
    ///
    /// # Errors
    /// If it depends on an expression that cannot be decided, or if too little is left. After that, the meter lets nothing
    /// be decided any more: not even a part of the filter that would let the event pass alone.
    pub fn decide_within(&self, event: &Event, meter: &mut WorkMeter) -> Result<bool, UndecidedReason> {
        meter.step(VISIT)?;
        let mut texts = |pairs: &AttributePairs, test: fn(&str, &str) -> bool| {
            every(pairs, |name, wanted| text_matches(event, (name, wanted), test, meter))
        };
        match self {
            Self::MatchAll => Ok(true),
            Self::Exact(pairs) => texts(pairs, |text, wanted| text == wanted),
            Self::Prefix(pairs) => texts(pairs, |text, wanted| text.starts_with(wanted)),
            Self::Suffix(pairs) => texts(pairs, |text, wanted| text.ends_with(wanted)),
            Self::Attributes(pairs) => every(pairs, |name, wanted| {
                attribute::matches(event, name, wanted, meter).map_err(UndecidedReason::from)
            }),
            Self::All(filters) => {
                any(filters, |filter| filter.decide_within(event, meter).map(|passes| !passes)).map(|fails| !fails)
            }
            Self::Any(filters) => any(filters, |filter| filter.decide_within(event, meter)),
            Self::Not(filter) => filter.decide_within(event, meter).map(|passes| !passes),
            Self::Cesql(expression, keys) => evaluate_cesql((expression, keys.as_deref()), event, meter),
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

/// True if one of them is; else, undecided if one of them is; so the order does not matter, as long as there is enough left
/// to ask all.
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

/// Whether an attribute is set, and its text is as wanted.
fn text_matches(
    event: &Event,
    (name, wanted): (&str, &str),
    test: fn(&str, &str) -> bool,
    meter: &mut WorkMeter,
) -> Result<bool, UndecidedReason> {
    let text = attribute::attribute_text(event, name, meter)?;
    Ok(text.is_some_and(|text| test(&text, wanted)))
}

/// Undecided on an error or a value that is no boolean.
fn evaluate_cesql(
    (expression, keys): (&CesqlExpression, Option<&KeyRing>),
    event: &Event,
    meter: &mut WorkMeter,
) -> Result<bool, UndecidedReason> {
    match expression.evaluate(&attribute::EventAttributes { event, keys }, meter) {
        EvaluationResult { value: CesqlValue::Boolean(truth), error: None } => Ok(truth),
        EvaluationResult { error: Some(EvaluationError::Limit), .. } => Err(UndecidedReason::Limit),
        EvaluationResult { .. } => Err(UndecidedReason::Expression),
    }
}

#[cfg(test)]
mod tests;
