//! Which known word a mistyped one means.

/// The word of `known` that `word` is probably meant to be: equal but for case, `-` and `_`, or at most two edits away
/// (one for words of less than five letters). `None` if it is one of them, or like none.
pub(crate) fn meant<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = simplified(word);
    let mut best = None;
    for candidate in known {
        if candidate == word {
            return None;
        }
        let other = simplified(candidate);
        let allowed = if plain.len().min(other.len()) < 5 { 1 } else { 2 };
        let edits = distance(&plain, &other);
        if edits <= allowed && best.is_none_or(|(least, _)| edits < least) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// A word without what people get wrong in it: case, `-` and `_`.
pub(crate) fn simplified(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// Levenshtein's distance.
pub(crate) fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, above) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(from != to)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["CACerts", "deadLetterSink", "ref", "uri", "retry", "name"];
        for (word, expected) in [
            ("CAcerts", Some("CACerts")),
            ("caCert", Some("CACerts")),
            ("ca-certs", Some("CACerts")),
            ("deadletterSink", Some("deadLetterSink")),
            ("dead_letter_sinks", Some("deadLetterSink")),
            ("url", Some("uri")),
            ("retries", None),
            ("retrys", Some("retry")),
            ("CACerts", None),
            ("ports", None),
            ("", None),
        ] {
            assert_eq!(meant(word, known), expected, "{word}");
        }
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(a in "[ab]{0,6}", b in "[ab]{0,6}", c in "[ab]{0,6}") {
            let [a, b, c] = [a, b, c].map(|text| text.chars().collect::<Vec<_>>());
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert!(distance(&a, &c) <= distance(&a, &b) + distance(&b, &c));
            prop_assert!(distance(&a, &b) >= a.len().abs_diff(b.len()));
        }
    }
}
