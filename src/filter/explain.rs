//! Why an event does not pass a filter, for whoever wrote the filter.

use std::borrow::Cow;

use super::attribute::{self, Of, text};
use super::cesql::{Attributes, Evaluated, Exceeded, Expr, Meter, Value};
use super::{Filter, Pairs, Undecided};
use crate::event::Event;

/// Why the event does not pass: the part of the filter that failed, and the values it saw. `None` if it passes.
#[must_use]
pub fn explain(filter: &Filter, event: &Event) -> Option<String> {
    match filter.decide(event).passes {
        Ok(true) => return None,
        Err(Undecided::Limit) => return Some(format!("ends in a {Exceeded}")),
        Ok(false) | Err(Undecided::Expression) => {}
    }
    Some(match filter {
        Filter::Pass => "it passes".to_owned(),
        Filter::Attributes(pairs) => failing("attributes", pairs, event, |name, wanted| {
            attribute::matches(event, name, wanted, &mut Meter::default()) == Ok(true)
        }),
        Filter::Exact(pairs) => compared("exact", pairs, event, |text, wanted| text == wanted),
        Filter::Prefix(pairs) => compared("prefix", pairs, event, |text, wanted| text.starts_with(wanted)),
        Filter::Suffix(pairs) => compared("suffix", pairs, event, |text, wanted| text.ends_with(wanted)),
        Filter::All(filters) => nested("all", filters, event).next().unwrap_or_default(),
        Filter::Any(filters) => nested("any", filters, event).collect::<Vec<_>>().join("; "),
        Filter::Not(inner) => match inner.decide(event).passes {
            Ok(_) => "not: the filter in it passes".to_owned(),
            Err(_) => format!("not.{}", explain(inner, event).unwrap_or_default()),
        },
        Filter::Cesql(expression, keys) => {
            let of = Of { event, keys: keys.as_deref() };
            let outcome = match expression.evaluate(&of, &mut Meter::default()) {
                Evaluated { error: Some(error), .. } => format!("ends in a {error}"),
                Evaluated { value: Value::Boolean(truth), .. } => format!("is {truth}"),
                Evaluated { value, .. } => format!("is {}, which is no boolean", shown(&value)),
            };
            format!("cesql: {outcome}{}", seen(expression.root(), event))
        }
    })
}

fn nested(dialect: &str, filters: &[Filter], event: &Event) -> impl Iterator<Item = String> {
    let places = filters.iter().enumerate();
    places.filter_map(move |(place, filter)| Some(format!("{dialect}[{place}].{}", explain(filter, event)?)))
}

fn compared(dialect: &str, pairs: &Pairs, event: &Event, test: fn(&str, &str) -> bool) -> String {
    failing(dialect, pairs, event, |name, wanted| seen_text(event, name).is_some_and(|text| test(&text, wanted)))
}

fn failing(dialect: &str, pairs: &Pairs, event: &Event, test: impl Fn(&str, &str) -> bool) -> String {
    let failed = pairs.iter().find(|(name, wanted)| !test(name, wanted));
    failed.map_or_else(String::new, |(name, wanted)| {
        let found = seen_text(event, name).map_or_else(|| "not set".to_owned(), |text| format!("{text:?}"));
        format!("{dialect}.{name}: is {found}, wanted {wanted:?}")
    })
}

/// The text of an attribute, if it is not too long for filters.
fn seen_text<'e>(event: &'e Event, name: &str) -> Option<Cow<'e, str>> {
    text(event, name, &mut Meter::default()).unwrap_or_default()
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
    }
}

/// The attributes that an expression names, with their values.
fn seen(root: &Expr, event: &Event) -> String {
    let mut names = Vec::new();
    collect(root, &mut names);
    names.sort_unstable();
    names.dedup();
    let pair = |name: &&str| {
        let value = Of { event, keys: None }.get(name, &mut Meter::default()).unwrap_or_default();
        let value = value.map_or_else(|| "not set".to_owned(), |value| shown(&value));
        format!("{name} is {value}")
    };
    let pairs: Vec<String> = names.iter().map(pair).collect();
    if pairs.is_empty() { String::new() } else { format!(", where {}", pairs.join(", ")) }
}

fn collect<'x>(expression: &'x Expr, names: &mut Vec<&'x str>) {
    match expression {
        Expr::String(_) | Expr::Integer(_) | Expr::Boolean(_) => {}
        Expr::Attribute(name) | Expr::Exists(name) => names.push(name),
        Expr::Not(x) | Expr::Negate(x) | Expr::Like(x, _) => collect(x, names),
        Expr::Binary(_, x, y) => [x, y].into_iter().for_each(|x| collect(x, names)),
        Expr::In(x, set) => {
            collect(x, names);
            set.iter().for_each(|x| collect(x, names));
        }
        Expr::Call(_, arguments) => arguments.iter().for_each(|x| collect(x, names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::cesql::Expression;

    #[test]
    fn the_part_that_failed_is_named_with_its_values() {
        let pair = |name: &str, wanted: &str| vec![(name.to_owned(), wanted.to_owned())];
        let cesql = |text: &str| Filter::from(Expression::parse(text).expect("an expression"));
        let exact = |name: &str, wanted: &str| Filter::Exact(pair(name, wanted));
        let not = |filter| Filter::Not(Box::new(filter));
        let mut event = Event::new("1", "/s", "t");
        event.set_integer("n", 5);
        for (filter, expected) in [
            (exact("type", "t"), None),
            (exact("type", "x"), Some("exact.type: is \"t\", wanted \"x\"")),
            (Filter::Prefix(pair("ext", "x")), Some("prefix.ext: is not set, wanted \"x\"")),
            (Filter::Attributes(pair("source", "/x")), Some("attributes.source: is \"/s\", wanted \"/x\"")),
            (
                Filter::All(vec![exact("type", "t"), not(exact("type", "t"))]),
                Some("all[1].not: the filter in it passes"),
            ),
            (
                Filter::Any(vec![exact("type", "x"), exact("id", "2")]),
                Some("any[0].exact.type: is \"t\", wanted \"x\"; any[1].exact.id: is \"1\", wanted \"2\""),
            ),
            (cesql("n > 5 AND type = 't'"), Some("cesql: is false, where n is 5, type is \"t\"")),
            (cesql("ext = 'x'"), Some("cesql: ends in a missing attribute, where ext is not set")),
            (not(cesql("ext = 'x'")), Some("not.cesql: ends in a missing attribute, where ext is not set")),
            (cesql("n"), Some("cesql: is 5, which is no boolean, where n is 5")),
        ] {
            assert_eq!(explain(&filter, &event).as_deref(), expected, "{filter:?}");
        }
    }
}
