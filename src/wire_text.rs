//! Text that came from others, in a form that may be shown: in logs, in error bodies, on terminals.
//!
//! Senders, subscribers, their certificates, RabbitMQ and the API server choose such text. Shown as
//! it came, it could forge lines of a log, move a terminal's cursor, or be displayed in another
//! order than machines read it.

use std::fmt::{self, Write};

/// Largest size in bytes of a shown text, with the note that says how much was cut. An id, a type
/// or a reason fits; a line of the log with several of them stays a line that people read.
pub(crate) const LONGEST: usize = 256;

/// Largest size in bytes of the note: `… (18446744073709551615 bytes more)`.
const NOTE: usize = 40;

/// Text of others that is safe to show, in at most [`LONGEST`] bytes of its own.
///
/// Characters that control or hide something are escaped (`\n`, `\u{1b}`, `\u{202e}`); longer text
/// ends in `… (N bytes more)`, where N counts bytes of the text as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct WireText(Box<str>);

impl WireText {
    /// Takes the start of a displayed value, escaped. Nothing else of it is kept.
    #[must_use]
    pub(crate) fn new(text: impl fmt::Display) -> Self {
        Self(escaped_excerpt(text, LONGEST).into())
    }
}

impl fmt::Display for WireText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for WireText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl From<WireText> for String {
    fn from(text: WireText) -> Self {
        text.0.into()
    }
}

/// True if a character controls a terminal, ends a line, changes the order of what is read, or
/// cannot be seen.
#[must_use]
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Separators of lines and paragraphs.
            '\u{2028}' | '\u{2029}'
            // Marks, embeddings, overrides and isolates of the bidirectional algorithm (UAX #9, 2).
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Characters without width, and other format characters that show nothing.
            | '\u{ad}' | '\u{34f}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            // Fillers that are letters by name and blank by looks.
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
            // Tags and supplementary variation selectors, in which whole texts have been hidden.
            | '\u{e0000}'..='\u{e01ef}')
}

/// Appends a text to another one, with hidden characters escaped.
pub(crate) fn escape(to: &mut String, text: &str) {
    let mut plain = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| is_hidden(*c)) {
        to.push_str(text.get(plain..at).unwrap_or_default());
        to.extend(c.escape_default());
        plain = at + c.len_utf8();
    }
    to.push_str(text.get(plain..).unwrap_or_default());
}

/// Escapes hidden characters of JSON text, whose meaning stays the same. Outside of its strings
/// there is only ASCII, without control characters except line ends.
#[must_use]
pub(crate) fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hidden(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Start of a displayed value, escaped, in at most `most` bytes, with a note if that is not all of
/// it. `most` is at least the length of that note.
#[must_use]
pub fn escaped_excerpt(text: impl fmt::Display, most: usize) -> String {
    let mut excerpt = TextExcerpt {
        most,
        ..TextExcerpt::default()
    };
    let displayed = write!(excerpt, "{text}");
    debug_assert!(
        displayed.is_ok(),
        "what is displayed here cannot fail, and an excerpt takes everything"
    );
    excerpt.finish()
}

/// Start of a text: at most `most` bytes of it, up to the end of a character.
#[must_use]
pub(crate) fn truncate(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

/// Text that is being cut: bytes beyond the limit are counted, not kept.
#[derive(Default)]
struct TextExcerpt {
    most: usize,
    text: String,
    /// Number of bytes that came until now.
    total_bytes: usize,
    /// Length of the text if a note is to follow, and the number of bytes that had come by then.
    end_before_note: (usize, usize),
    is_full: bool,
}

impl TextExcerpt {
    fn push(&mut self, c: char, came: usize) {
        let before = self.text.len();
        if is_hidden(c) {
            self.text.extend(c.escape_default());
        } else {
            self.text.push(c);
        }
        if self.text.len() > self.most {
            self.text.truncate(before);
            self.is_full = true;
        } else if self.text.len() + NOTE <= self.most {
            self.end_before_note = (self.text.len(), came);
        }
    }

    fn finish(mut self) -> String {
        if self.is_full {
            let (end, shown) = self.end_before_note;
            self.text.truncate(end);
            let hidden = self.total_bytes.saturating_sub(shown);
            self.text.push_str(&format!("… ({hidden} bytes more)"));
        }
        self.text.shrink_to_fit();
        self.text
    }
}

impl Write for TextExcerpt {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        for (at, c) in piece.char_indices() {
            if self.is_full {
                break;
            }
            self.push(c, self.total_bytes + at + c.len_utf8());
        }
        self.total_bytes += piece.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_controls_or_hides_is_escaped() {
        for (text, shown) in [
            ("plain é 中 🎉", "plain é 中 🎉"),
            (
                "x\n2026-01-01 ERROR sealpost: FORGED",
                "x\\n2026-01-01 ERROR sealpost: FORGED",
            ),
            (
                "\r\t\0\u{7}\u{8}\u{1b}[31m\u{7f}",
                "\\r\\t\\u{0}\\u{7}\\u{8}\\u{1b}[31m\\u{7f}",
            ),
            ("\u{80}\u{85}\u{9b}31m", "\\u{80}\\u{85}\\u{9b}31m"),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            (
                "\u{202e}txt.exe\u{2066}\u{200f}",
                "\\u{202e}txt.exe\\u{2066}\\u{200f}",
            ),
            (
                "in\u{200b}vis\u{feff}ible\u{2060}",
                "in\\u{200b}vis\\u{feff}ible\\u{2060}",
            ),
            ("tag\u{e0041}", "tag\\u{e0041}"),
        ] {
            assert_eq!(WireText::new(text).to_string(), shown);
            let mut whole = String::new();
            escape(&mut whole, text);
            assert_eq!(whole, shown);
        }
    }

    #[test]
    fn what_is_long_says_how_long() {
        assert_eq!(
            WireText::new("x".repeat(LONGEST)).to_string(),
            "x".repeat(LONGEST)
        );
        let long = WireText::new("x".repeat(9_000_000));
        assert_eq!(
            long.to_string(),
            format!("{}… (8999784 bytes more)", "x".repeat(LONGEST - NOTE))
        );
        assert!(
            WireText::new("é".repeat(300)).to_string().starts_with("éé"),
            "cut at a character"
        );
        assert!(
            WireText::new("\u{1b}".repeat(300))
                .to_string()
                .ends_with("\\u{1b}… (264 bytes more)"),
            "and not in an escape"
        );
    }

    proptest! {
        /// Whatever comes, in pieces or whole: bounded, nothing hidden, and no more memory than it
        /// shows.
        #[test]
        fn it_is_bounded_and_shows_everything(pieces in prop::collection::vec("\\PC{0,200}|[\\x00-\\x1f\u{80}-\u{9f}\u{202a}-\u{202e}]{0,80}", 0..6), most in 40usize..600) {
            struct Pieces(Vec<String>);
            impl fmt::Display for Pieces {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.iter().try_for_each(|piece| f.write_str(piece))
                }
            }
            let whole = pieces.concat();
            let shown = escaped_excerpt(Pieces(pieces), most);
            prop_assert_eq!(&shown, &escaped_excerpt(&whole, most));
            prop_assert!(shown.len() <= most && shown.capacity() <= most.next_power_of_two());
            prop_assert!(!shown.chars().any(is_hidden));
            let mut escaped = String::new();
            escape(&mut escaped, &whole);
            match shown.split_once("… (") {
                _ if escaped.len() <= most => prop_assert_eq!(shown, escaped),
                Some((start, _)) => prop_assert!(escaped.starts_with(start)),
                None => prop_assert!(false, "it does not say that it was cut: {}", shown),
            }
        }
    }
}
