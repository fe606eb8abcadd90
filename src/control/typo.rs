//! Field names that are not known but look like one that is.

/// Names that the manifests we read may have, wherever.
const KNOWN: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "status",
    "data",
    "binaryData",
    "stringData",
    "name",
    "namespace",
    "labels",
    "annotations",
    "broker",
    "brokerRef",
    "filter",
    "filters",
    "attributes",
    "subscriber",
    "subscribers",
    "reply",
    "delivery",
    "deadLetterSink",
    "ref",
    "uri",
    "CACerts",
    "audience",
    "retry",
    "backoffPolicy",
    "backoffDelay",
    "backoffMax",
    "timeout",
    "retryAfterMax",
    "format",
    "channel",
    "channelTemplate",
    "config",
    "subscriberUri",
    "subscriberCACerts",
    "subscriberAudience",
    "replyUri",
    "replyCACerts",
    "replyAudience",
    "selector",
    "containers",
    "image",
];

/// The known name that an unknown one was probably meant to be.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    meant_of(name, KNOWN)
}

/// The one of `known` that `name` was probably meant to be: the same but for case, `-` and `_`, or one or two typing
/// errors away, as its length allows.
pub(super) fn meant_of(name: &str, known: &[&'static str]) -> Option<&'static str> {
    if known.contains(&name) {
        return None;
    }
    let normal =
        |name: &str| -> String { name.chars().filter(|c| !"-_".contains(*c)).collect::<String>().to_lowercase() };
    let wanted = normal(name);
    let allowed = match wanted.len() {
        0..=3 => 0,
        4..=6 => 1,
        _ => 2,
    };
    let nearest =
        known.iter().map(|known| (distance(&wanted, &normal(known)), *known)).min_by_key(|(distance, _)| *distance)?;
    (nearest.0 <= allowed).then_some(nearest.1)
}

/// How many insertions, deletions and replacements make one text of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for ((b, corner), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(i + 1);
            next.push((corner + usize::from(a != *b)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_recognised() {
        for (name, expected) in [
            ("CAcerts", Some("CACerts")),
            ("caCerts", Some("CACerts")),
            ("deadletterSink", Some("deadLetterSink")),
            ("dead_letter_sink", Some("deadLetterSink")),
            ("retries", Some("retry").filter(|_| false)),
            ("backofDelay", Some("backoffDelay")),
            ("subscribr", Some("subscriber")),
            ("CACerts", None),
            ("somethingElse", None),
            ("x", None),
        ] {
            assert_eq!(meant(name), expected, "{name}");
        }
    }
}
