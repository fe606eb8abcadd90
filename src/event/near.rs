//! Names of extensions that are similar to those of CloudEvents' own attributes: such a name is
//! allowed, but hardly ever meant.

use super::attribute::CONTEXT_ATTRIBUTES;

/// Context attribute that an extension of this name is probably meant to be: with one letter
/// missing, added or wrong, two that have changed places, or `ce` before it, as its header has.
/// `None` for the attribute itself.
#[must_use]
pub(crate) fn nearly(name: &str) -> Option<&'static str> {
    let near = |known: &&&str| match name.strip_prefix("ce") {
        Some(rest) if rest == **known => true,
        _ if name == **known => false,
        _ if known.len() < 3 => is_doubled_or_swapped(name, known),
        // A letter added or changed at the start makes another word of a short one: `mime`,
        // `ctime`, `hype`.
        _ if known.len() < 5 => {
            let begins_alike = name.as_bytes().first() == known.as_bytes().first();
            differs_little(name, known)
                && (begins_alike || name.len() < known.len() || has_letters_of(name, known))
        }
        _ => differs_little(name, known),
    };
    CONTEXT_ATTRIBUTES
        .iter()
        .find(near)
        .filter(|_| !CONTEXT_ATTRIBUTES.contains(&name))
        .copied()
}

/// True for `di`, `idd` and `iid` for `id`; any other name that is near to so short a one is a name
/// of its own (`uid`, `ids`).
fn is_doubled_or_swapped(name: &str, known: &str) -> bool {
    differs_little(name, known)
        && name.len() >= known.len()
        && name.chars().all(|letter| known.contains(letter))
}

/// True if both words have the same letters, in whatever order.
fn has_letters_of(name: &str, known: &str) -> bool {
    let sorted = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    sorted(name) == sorted(known)
}

/// True if one word becomes the other by one letter that is missing, added or wrong, or two that
/// have changed places.
#[must_use]
pub(crate) fn differs_little(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (
        a.get(same..).unwrap_or_default(),
        b.get(same..).unwrap_or_default(),
    );
    match (a, b) {
        ([x, y, a @ ..], [v, w, b @ ..]) if x == w && y == v && a == b => true,
        ([_, rest_a @ ..], [_, rest_b @ ..]) if rest_a == rest_b => true,
        ([_, rest @ ..], b) if rest == b => true,
        (a, [_, rest @ ..]) => a == rest,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_told_from_other_words() {
        for (name, meant) in [
            ("tpye", "type"),
            ("typ", "type"),
            ("ype", "type"),
            ("ytpe", "type"),
            ("types", "type"),
            ("tiem", "time"),
            ("times", "time"),
            ("cetype", "type"),
            ("ceid", "id"),
            ("soruce", "source"),
            ("suorce", "source"),
            ("sources", "source"),
            ("ource", "source"),
            ("subjet", "subject"),
            ("subejct", "subject"),
            ("di", "id"),
            ("idd", "id"),
            ("datacontentype", "datacontenttype"),
            ("datashcema", "dataschema"),
            ("specverion", "specversion"),
        ] {
            assert_eq!(nearly(name), Some(meant), "{name}");
        }
        let own = [
            "uid", "ids", "i", "d", "mime", "ctime", "tenant", "resource", "object", "subset",
            "score", "data", "ce",
        ];
        for name in own.into_iter().chain(CONTEXT_ATTRIBUTES).chain([
            "partitionkey",
            "traceparent",
            "dataref",
            "sequence",
            "severity",
        ]) {
            assert_eq!(nearly(name), None, "{name}");
        }
    }
}
