//! Patterns of `LIKE` (cesql §3.4.3). The part between two `%` is searched from the left, once: the
//! first place where it fits leaves the most to what comes after it. So a text is read once,
//! whatever the pattern; only where a `_` stands between texts may places be tried in vain, and
//! those steps are counted like all others.

use super::meter::{MeterExceeded, WorkMeter};

/// Part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PatternPart {
    /// Any text, also none: `%`
    Any,
    /// This number of characters, each written as `_`.
    Skip(usize),
    /// These bytes of the pattern's literal text.
    Text { start: usize, end: usize },
}

/// A parsed pattern, with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LikePattern {
    text: String,
    /// Literal parts of the pattern, without escapes, one after the other.
    literal: String,
    parts: Vec<PatternPart>,
}

impl LikePattern {
    /// Parses a pattern: `\` makes the `%` or `_` after it stand for itself.
    pub(super) fn new(text: &str) -> Self {
        let mut pattern = Self {
            text: text.to_owned(),
            literal: String::with_capacity(text.len()),
            parts: Vec::new(),
        };
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '%' => pattern.push_any(),
                '_' => pattern.push_skip(),
                '\\' => pattern.push_literal(
                    characters
                        .next_if(|next| matches!(next, '%' | '_'))
                        .unwrap_or('\\'),
                ),
                c => pattern.push_literal(c),
            }
        }
        pattern.literal.shrink_to_fit();
        pattern.parts.shrink_to_fit();
        pattern
    }

    fn push_any(&mut self) {
        if self.parts.last() != Some(&PatternPart::Any) {
            self.parts.push(PatternPart::Any);
        }
    }

    fn push_skip(&mut self) {
        match self.parts.last_mut() {
            Some(PatternPart::Skip(count)) => *count += 1,
            _ => self.parts.push(PatternPart::Skip(1)),
        }
    }

    fn push_literal(&mut self, c: char) {
        let start = self.literal.len();
        self.literal.push(c);
        match self.parts.last_mut() {
            Some(PatternPart::Text { end, .. }) => *end = self.literal.len(),
            _ => self.parts.push(PatternPart::Text {
                start,
                end: self.literal.len(),
            }),
        }
    }

    /// Text of the pattern as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// True if the whole text matches the pattern.
    ///
    /// # Errors
    /// If that takes more steps than are left.
    pub(super) fn matches(&self, text: &str, meter: &mut WorkMeter) -> Result<bool, MeterExceeded> {
        let mut segments = self.parts.split(|part| *part == PatternPart::Any);
        let Some(mut rest) = self.strip_start(segments.next().unwrap_or_default(), text, meter)?
        else {
            return Ok(false);
        };
        let Some(last) = segments.next_back() else {
            return Ok(rest.is_empty());
        };
        for segment in segments {
            let Some(after) = self.strip_first_match(segment, rest, meter)? else {
                return Ok(false);
            };
            rest = after;
        }
        self.strip_end(last, rest, meter)
    }

    /// Rest of the text after a segment that it begins with; `None` if it does not.
    fn strip_start<'t>(
        &self,
        segment: &[PatternPart],
        text: &'t str,
        meter: &mut WorkMeter,
    ) -> StrippedText<'t> {
        let mut rest = text;
        for part in segment {
            let stripped = match part {
                PatternPart::Text { .. } => rest.strip_prefix(self.literal(*part, meter)?),
                PatternPart::Skip(count) => strip_characters(rest, *count, meter)?,
                PatternPart::Any => None,
            };
            let Some(stripped) = stripped else {
                return Ok(None);
            };
            rest = stripped;
        }
        Ok(Some(rest))
    }

    /// True if the text ends with a segment.
    fn strip_end(
        &self,
        segment: &[PatternPart],
        text: &str,
        meter: &mut WorkMeter,
    ) -> Result<bool, MeterExceeded> {
        let mut rest = text;
        for part in segment.iter().rev() {
            let stripped = match part {
                PatternPart::Text { .. } => rest.strip_suffix(self.literal(*part, meter)?),
                PatternPart::Skip(count) => strip_last_characters(rest, *count, meter)?,
                PatternPart::Any => None,
            };
            let Some(stripped) = stripped else {
                return Ok(false);
            };
            rest = stripped;
        }
        Ok(true)
    }

    /// Rest of the text after the first place where a segment fits; `None` if there is none.
    fn strip_first_match<'t>(
        &self,
        segment: &[PatternPart],
        text: &'t str,
        meter: &mut WorkMeter,
    ) -> StrippedText<'t> {
        match segment {
            // Wherever the rest of the segment fits, any characters may come before it.
            [PatternPart::Skip(count), segment @ ..] => {
                match strip_characters(text, *count, meter)? {
                    Some(rest) => self.strip_first_match(segment, rest, meter),
                    None => Ok(None),
                }
            }
            [first @ PatternPart::Text { .. }, others @ ..] => {
                self.strip_first_text(*first, others, text, meter)
            }
            [] | [PatternPart::Any, ..] => Ok(Some(text)),
        }
    }

    /// Rest of the text after the first place where a literal and the `others` after it fit.
    fn strip_first_text<'t>(
        &self,
        first: PatternPart,
        others: &[PatternPart],
        text: &'t str,
        meter: &mut WorkMeter,
    ) -> StrippedText<'t> {
        let mut rest = text;
        loop {
            let wanted = self.literal(first, meter)?;
            let Some(at) = find_text(rest, wanted) else {
                meter.step(rest.len())?;
                return Ok(None);
            };
            meter.step(at)?;
            let behind = rest.get(at + wanted.len()..).unwrap_or_default();
            if let Some(after) = self.strip_start(others, behind, meter)? {
                return Ok(Some(after));
            }
            let next = at + wanted.chars().next().map_or(1, char::len_utf8);
            rest = rest.get(next..).unwrap_or_default();
        }
    }

    /// Literal text of a part; a step is taken for each of its bytes, since it will be compared.
    fn literal(&self, part: PatternPart, meter: &mut WorkMeter) -> Result<&str, MeterExceeded> {
        let text = match part {
            PatternPart::Text { start, end } => self.literal.get(start..end).unwrap_or_default(),
            PatternPart::Any | PatternPart::Skip(_) => "",
        };
        meter.step(text.len() + 1)?;
        Ok(text)
    }
}

/// Length in bytes up to which texts are compared at once, so that comparing them at every place is
/// faster than preparing a search.
const SHORT: usize = 16;

/// Byte at which one text begins in another one for the first time; in time linear in both.
fn find_text(text: &str, wanted: &str) -> Option<usize> {
    if wanted.len() > SHORT {
        return text.find(wanted);
    }
    let wanted = wanted.as_bytes();
    text.as_bytes()
        .windows(wanted.len().max(1))
        .position(|window| window == wanted)
}

/// Rest of a text, if its start fits.
type StrippedText<'t> = Result<Option<&'t str>, MeterExceeded>;

/// Text without its first `count` characters, if it has so many.
fn strip_characters<'t>(text: &'t str, count: usize, meter: &mut WorkMeter) -> StrippedText<'t> {
    meter.step(count)?;
    let mut characters = text.chars();
    Ok(characters
        .nth(count.saturating_sub(1))
        .map(|_| characters.as_str()))
}

/// Text without its last `count` characters, if it has so many.
fn strip_last_characters<'t>(
    text: &'t str,
    count: usize,
    meter: &mut WorkMeter,
) -> StrippedText<'t> {
    meter.step(count)?;
    let mut characters = text.chars();
    Ok(characters
        .nth_back(count.saturating_sub(1))
        .map(|_| characters.as_str()))
}
