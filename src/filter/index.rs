//! Index that finds, among many filters, those that an event may pass, without asking each: by the
//! exact `type` and `source` that they require.

use std::collections::HashMap;
use std::hash::Hash;

use super::{AttributePairs, Filter};
use crate::event::Event;

/// Attributes by which filters are found, first the one that tells more filters apart.
const KEYS: [&str; 2] = ["type", "source"];

/// Positions of filters, by the texts that they require.
#[derive(Clone, Debug, Default)]
pub struct FilterIndex {
    /// Filters that require a text of [`KEYS`], by position of the key and by text.
    required: [HashMap<String, Vec<usize>>; 2],
    /// Filters that require neither key.
    others: Vec<usize>,
}

impl FilterIndex {
    /// Makes an index of these filters, whose positions count from 0.
    pub fn new<'f>(filters: impl IntoIterator<Item = &'f Filter>) -> Self {
        let mut index = Self::default();
        for (place, filter) in filters.into_iter().enumerate() {
            let key = KEYS
                .iter()
                .zip(&mut index.required)
                .find_map(|(key, map)| Some((required_text(filter, key)?, map)));
            match key {
                Some((text, map)) => push_position(map, text.to_owned(), place),
                None => index.others.push(place),
            }
        }
        index
    }

    /// Positions of the filters that the event may pass, each once, in no order. All other filters
    /// do not let it pass.
    pub fn candidates<'i>(&'i self, event: &Event) -> impl Iterator<Item = usize> + use<'i> {
        let [by_type, by_source] = &self.required;
        let found = [(by_type, "type"), (by_source, "source")].map(|(map, key)| {
            let text = if map.is_empty() { None } else { event.get(key) };
            text.and_then(|text| map.get(text.as_ref()))
                .map(Vec::as_slice)
                .unwrap_or_default()
        });
        found
            .into_iter()
            .chain([self.others.as_slice()])
            .flatten()
            .copied()
    }
}

fn push_position<K: Hash + Eq>(map: &mut HashMap<K, Vec<usize>>, key: K, place: usize) {
    map.entry(key).or_default().push(place);
}

/// Text that an attribute must have exactly, for the filter to let an event pass.
fn required_text<'f>(filter: &'f Filter, key: &str) -> Option<&'f str> {
    match filter {
        Filter::Attributes(pairs) | Filter::Exact(pairs) => required_by_pairs(pairs, key),
        Filter::All(filters) => filters.iter().find_map(|filter| required_text(filter, key)),
        Filter::Cesql(expression, _) => expression.required_text(key),
        _ => None,
    }
}

/// Text that pairs require of an attribute. An empty text in `filter.attributes` wants the
/// attribute to be set, not to be empty.
fn required_by_pairs<'f>(pairs: &'f AttributePairs, key: &str) -> Option<&'f str> {
    pairs
        .iter()
        .find(|(name, wanted)| name == key && !wanted.is_empty())
        .map(|(_, wanted)| wanted.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::cesql::CesqlExpression;
    use proptest::prelude::*;

    /// Some that require a text, and some that only look so.
    fn expression() -> impl Strategy<Value = Filter> {
        let texts = [
            "type = 'a'",
            "'b' = type",
            "source = 'a' AND type = 'b'",
            "(ext = 'a' AND TRUE) AND source = 'c'",
            "type = 'a' OR missing = 1",
            "NOT (type = 'a')",
            "type = 'a' XOR TRUE",
            "type != 'a'",
            "missing = 1 AND type = 'a'",
            "(type = 'a') = TRUE",
            "type = ''",
        ];
        prop::sample::select(texts.to_vec())
            .prop_map(|text| Filter::from(CesqlExpression::parse(text).expect(text)))
    }

    fn any_filter() -> impl Strategy<Value = Filter> {
        let text = prop::sample::select(vec!["", "a", "b", "c"]);
        let name = prop::sample::select(vec!["type", "source", "ext"]);
        let pairs = prop::collection::vec(
            (name, text).prop_map(|(n, t)| (n.to_owned(), t.to_owned())),
            0..3,
        );
        let leaf = prop_oneof![
            Just(Filter::MatchAll),
            pairs.clone().prop_map(Filter::Attributes),
            pairs.clone().prop_map(Filter::Exact),
            pairs.prop_map(Filter::Prefix),
            expression(),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..3).prop_map(Filter::All),
                prop::collection::vec(inner.clone(), 1..3).prop_map(Filter::Any),
                inner.prop_map(|filter| Filter::Not(Box::new(filter))),
            ]
        })
    }

    proptest! {
        /// The index is equivalent to asking each filter.
        #[test]
        fn the_index_changes_nothing(
            filters in prop::collection::vec(any_filter(), 0..12),
            ty in "[abcd]",
            source in "[abcd]",
            ext in proptest::option::of("[abcd]"),
        ) {
            let mut event = Event::new("1", &source, &ty);
            ext.into_iter().for_each(|ext| event.set("ext", &ext));
            let each: Vec<usize> = (0..filters.len()).filter(|place| filters[*place].matches(&event)).collect();
            let index = FilterIndex::new(&filters);
            let mut found: Vec<usize> =
                index.candidates(&event).filter(|place| filters[*place].matches(&event)).collect();
            found.sort_unstable();
            prop_assert_eq!(found, each);
        }
    }
}
