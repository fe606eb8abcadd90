//! Finds the known word that a misspelled one means.

/// The word of `known` that `word` is probably meant to be: equal but for case, `-` and `_`, or at
/// most two edits away (one for words of less than five letters). `None` if `word` is one of them,
/// or like none.
pub(crate) fn suggest_word<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let plain = normalize_word(word);
    let mut best = None;
    for candidate in known {
        if candidate == word {
            return None;
        }
        // Known words are ASCII, so that this is the length of the normalized word; most are too
        // long or too short for a closer look.
        let length = candidate
            .bytes()
            .filter(|byte| !matches!(byte, b'-' | b'_'))
            .count();
        let allowed = if plain.len().min(length) < 5 { 1 } else { 2 };
        if plain.len().abs_diff(length) > allowed {
            continue;
        }
        let other = normalize_word(candidate);
        let edits = edit_distance(&plain, &other);
        if edits <= allowed && best.is_none_or(|(least, _)| edits < least) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// A word without the parts that people get wrong: case, `-` and `_`.
pub(crate) fn normalize_word(word: &str) -> Vec<char> {
    word.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// The number of edits that make one word of the other: a letter that is missing, added or wrong,
/// or two neighbours that have changed places (optimal string alignment).
pub(crate) fn edit_distance(a: &[char], b: &[char]) -> usize {
    // Only two rows of the table are kept: that of the last letter, and the one before it, for
    // swapped neighbours.
    let (mut before, mut row): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    let mut last = None;
    for (i, from) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        let (mut diagonal, mut left, mut beside) = (i, i + 1, None);
        for (j, (to, above)) in b.iter().zip(row.iter().skip(1)).enumerate() {
            left = (diagonal + usize::from(from != to))
                .min(above + 1)
                .min(left + 1);
            let swapped = (last == Some(to) && beside == Some(from))
                .then(|| before.get(j.wrapping_sub(1)))
                .flatten();
            left = swapped.map_or(left, |swapped| left.min(swapped + 1));
            (diagonal, beside) = (*above, Some(to));
            next.push(left);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(from);
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
            ("rtery", Some("retry")),
            ("rerty", Some("retry")),
            ("nmae", Some("name")),
            ("deadLteterSnik", Some("deadLetterSink")),
            ("CACerts", None),
            ("ports", None),
            ("", None),
        ] {
            assert_eq!(suggest_word(word, known), expected, "{word}");
        }
    }

    #[test]
    fn letters_that_have_changed_places_are_one_edit() {
        for (a, b, edits) in [
            ("type", "tpye", 1),
            ("ab", "ba", 1),
            ("retry", "ertyr", 2),
            ("kitten", "sitting", 3),
            ("", "ab", 2),
        ] {
            let [from, to] = [a, b].map(|text| text.chars().collect::<Vec<_>>());
            assert_eq!(edit_distance(&from, &to), edits, "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn distance_counts_edits(a in "[abc]{0,6}", b in "[abc]{0,6}", at in 0..6_usize) {
            let [a, b] = [a, b].map(|text| text.chars().collect::<Vec<_>>());
            prop_assert_eq!(edit_distance(&a, &b) == 0, a == b);
            prop_assert_eq!(edit_distance(&a, &b), edit_distance(&b, &a));
            prop_assert!(edit_distance(&a, &b) >= a.len().abs_diff(b.len()));
            prop_assert!(edit_distance(&a, &b) <= a.len().max(b.len()));
            if at + 1 < a.len() {
                let mut swapped = a.clone();
                swapped.swap(at, at + 1);
                prop_assert_eq!(edit_distance(&a, &swapped), usize::from(a != swapped));
            }
        }
    }
}
