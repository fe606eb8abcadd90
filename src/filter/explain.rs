//! Explanations of why an event does not pass a filter, for the author of the filter.

use std::borrow::Cow;

use super::attribute::{self, EventAttributes, attribute_text};
use super::cesql::{
    AttributeSource, CesqlExpression, CesqlValue, EvaluationResult, ExpressionNode, MeterExceeded,
    WorkMeter,
};
use super::{AttributePairs, Filter, UndecidedReason};
use crate::event::Event;

/// Explains why the event does not pass: the part of the filter that failed, and the values it saw.
/// `None` if it passes.
#[must_use]
pub(crate) fn explain(filter: &Filter, event: &Event) -> Option<String> {
    match filter.decide(event).passes {
        Ok(true) => return None,
        Err(UndecidedReason::Limit) => return Some(format!("ends in a {MeterExceeded}")),
        Ok(false) | Err(UndecidedReason::Expression) => {}
    }
    Some(explain_failure(filter, event))
}

fn explain_failure(filter: &Filter, event: &Event) -> String {
    match filter {
        Filter::MatchAll => "it passes".to_owned(),
        Filter::Attributes(pairs) => {
            explain_first_failure("attributes", pairs, event, |name, wanted| {
                attribute::matches(event, name, wanted, &mut WorkMeter::default()) == Ok(true)
            })
        }
        Filter::Exact(pairs) => {
            explain_comparison("exact", pairs, event, |text, part| text == part)
        }
        Filter::Prefix(pairs) => {
            explain_comparison("prefix", pairs, event, |text, part| text.starts_with(part))
        }
        Filter::Suffix(pairs) => {
            explain_comparison("suffix", pairs, event, |text, part| text.ends_with(part))
        }
        Filter::All(filters) => {
            let mut failures = explain_nested("all", filters, event);
            failures.next().unwrap_or_default()
        }
        Filter::Any(filters) => {
            let failures: Vec<_> = explain_nested("any", filters, event).collect();
            failures.join("; ")
        }
        Filter::Not(inner) => explain_not(inner, event),
        Filter::Cesql(expression, keys) => {
            let keys = keys.as_deref();
            explain_cesql(expression, &EventAttributes { event, keys })
        }
    }
}

fn explain_not(inner: &Filter, event: &Event) -> String {
    match inner.decide(event).passes {
        Ok(_) => "not: the filter in it passes".to_owned(),
        Err(_) => format!("not.{}", explain(inner, event).unwrap_or_default()),
    }
}

fn explain_cesql(expression: &CesqlExpression, attributes: &EventAttributes<'_>) -> String {
    let outcome = match expression.evaluate(attributes, &mut WorkMeter::default()) {
        EvaluationResult {
            error: Some(error), ..
        } => format!("ends in a {error}"),
        EvaluationResult {
            value: CesqlValue::Boolean(truth),
            ..
        } => format!("is {truth}"),
        EvaluationResult { value, .. } => {
            format!("is {}, which is no boolean", format_value(&value))
        }
    };
    let seen = describe_attributes(expression.root(), attributes.event);
    format!("cesql: {outcome}{seen}")
}

fn explain_nested(
    dialect: &str,
    filters: &[Filter],
    event: &Event,
) -> impl Iterator<Item = String> {
    let places = filters.iter().enumerate();
    places.filter_map(move |(place, filter)| {
        Some(format!("{dialect}[{place}].{}", explain(filter, event)?))
    })
}

fn explain_comparison(
    dialect: &str,
    pairs: &AttributePairs,
    event: &Event,
    test: fn(&str, &str) -> bool,
) -> String {
    explain_first_failure(dialect, pairs, event, |name, wanted| {
        attribute_text_seen(event, name).is_some_and(|text| test(&text, wanted))
    })
}

fn explain_first_failure(
    dialect: &str,
    pairs: &AttributePairs,
    event: &Event,
    test: impl Fn(&str, &str) -> bool,
) -> String {
    let failed = pairs.iter().find(|(name, wanted)| !test(name, wanted));
    failed.map_or_else(String::new, |(name, wanted)| {
        let found = attribute_text_seen(event, name)
            .map_or_else(|| "not set".to_owned(), |text| format!("{text:?}"));
        format!("{dialect}.{name}: is {found}, wanted {wanted:?}")
    })
}

/// Text of an attribute, if it is not too long for filters.
fn attribute_text_seen<'e>(event: &'e Event, name: &str) -> Option<Cow<'e, str>> {
    attribute_text(event, name, &mut WorkMeter::default()).unwrap_or_default()
}

fn format_value(value: &CesqlValue<'_>) -> String {
    match value {
        CesqlValue::String(text) => format!("{text:?}"),
        CesqlValue::Integer(number) => number.to_string(),
        CesqlValue::Boolean(truth) => truth.to_string(),
    }
}

/// Lists the attributes that an expression names, with their values.
fn describe_attributes(root: &ExpressionNode, event: &Event) -> String {
    let mut names = Vec::new();
    collect_attribute_names(root, &mut names);
    names.sort_unstable();
    names.dedup();
    let pair = |name: &&str| {
        let value = EventAttributes { event, keys: None }
            .get(name, &mut WorkMeter::default())
            .unwrap_or_default();
        let value = value.map_or_else(|| "not set".to_owned(), |value| format_value(&value));
        format!("{name} is {value}")
    };
    let pairs: Vec<String> = names.iter().map(pair).collect();
    if pairs.is_empty() {
        String::new()
    } else {
        format!(", where {}", pairs.join(", "))
    }
}

fn collect_attribute_names<'x>(expression: &'x ExpressionNode, names: &mut Vec<&'x str>) {
    match expression {
        ExpressionNode::String(_) | ExpressionNode::Integer(_) | ExpressionNode::Boolean(_) => {}
        ExpressionNode::Attribute(name) | ExpressionNode::Exists(name) => names.push(name),
        ExpressionNode::Not(x) | ExpressionNode::Negate(x) | ExpressionNode::Like(x, _) => {
            collect_attribute_names(x, names)
        }
        ExpressionNode::Binary(_, x, y) => [x, y]
            .into_iter()
            .for_each(|x| collect_attribute_names(x, names)),
        ExpressionNode::In(x, set) => {
            collect_attribute_names(x, names);
            set.iter().for_each(|x| collect_attribute_names(x, names));
        }
        ExpressionNode::Call(_, arguments) => arguments
            .iter()
            .for_each(|x| collect_attribute_names(x, names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_failed_is_named_with_its_values() {
        let pair = |name: &str, wanted: &str| vec![(name.to_owned(), wanted.to_owned())];
        let cesql = |text: &str| Filter::from(CesqlExpression::parse(text).expect("an expression"));
        let exact = |name: &str, wanted: &str| Filter::Exact(pair(name, wanted));
        let not = |filter| Filter::Not(Box::new(filter));
        let mut event = Event::new("1", "/s", "t");
        event.set_integer("n", 5);
        for (filter, expected) in [
            (exact("type", "t"), None),
            (
                exact("type", "x"),
                Some("exact.type: is \"t\", wanted \"x\""),
            ),
            (
                Filter::Prefix(pair("ext", "x")),
                Some("prefix.ext: is not set, wanted \"x\""),
            ),
            (
                Filter::Attributes(pair("source", "/x")),
                Some("attributes.source: is \"/s\", wanted \"/x\""),
            ),
            (
                Filter::All(vec![exact("type", "t"), not(exact("type", "t"))]),
                Some("all[1].not: the filter in it passes"),
            ),
            (
                Filter::Any(vec![exact("type", "x"), exact("id", "2")]),
                Some(
                    "any[0].exact.type: is \"t\", wanted \"x\"; any[1].exact.id: is \"1\", \
                     wanted \"2\"",
                ),
            ),
            (
                cesql("n > 5 AND type = 't'"),
                Some("cesql: is false, where n is 5, type is \"t\""),
            ),
            (
                cesql("ext = 'x'"),
                Some("cesql: ends in a missing attribute, where ext is not set"),
            ),
            (
                not(cesql("ext = 'x'")),
                Some("not.cesql: ends in a missing attribute, where ext is not set"),
            ),
            (
                cesql("n"),
                Some("cesql: is 5, which is no boolean, where n is 5"),
            ),
        ] {
            assert_eq!(explain(&filter, &event).as_deref(), expected, "{filter:?}");
        }
    }
}
