//! Patterns of `LIKE` (cesql §3.4.3), matched by characters in linear space and without recursion.

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// `%`
    Any,
    /// `_`
    One,
    /// A character itself.
    Exactly(char),
}

/// A pattern with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

impl Pattern {
    /// Reads a pattern: `\` makes the `%` or `_` after it stand for itself.
    pub(super) fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            parts.push(match c {
                '%' => Part::Any,
                '_' => Part::One,
                '\\' => Part::Exactly(characters.next_if(|next| matches!(next, '%' | '_')).unwrap_or('\\')),
                c => Part::Exactly(c),
            });
        }
        parts.dedup_by(|a, b| *a == Part::Any && *b == Part::Any);
        Self { text: text.to_owned(), parts }
    }

    /// The pattern as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole text matches. Takes at most |text| × |pattern| steps.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (mut rest, mut at) = (text.chars(), 0);
        // Where the last `%` stands, and the text that it has not swallowed yet.
        let mut last: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            match self.parts.get(at) {
                Some(Part::Any) => {
                    last = Some((at, rest.clone()));
                    at += 1;
                    continue;
                }
                Some(part) if fits(*part, &mut rest) => {
                    at += 1;
                    continue;
                }
                None if rest.as_str().is_empty() => return true,
                Some(_) | None => {}
            }
            let Some((any, mut unswallowed)) = last.take() else { return false };
            if unswallowed.next().is_none() {
                return false;
            }
            (rest, at) = (unswallowed.clone(), any + 1);
            last = Some((any, unswallowed));
        }
    }
}

/// Takes the next character if it fits.
fn fits(part: Part, rest: &mut std::str::Chars<'_>) -> bool {
    let mut ahead = rest.clone();
    let fits = match (part, ahead.next()) {
        (Part::One, Some(_)) => true,
        (Part::Exactly(wanted), Some(c)) => wanted == c,
        _ => false,
    };
    if fits {
        *rest = ahead;
    }
    fits
}
