//! Objects of JSON on one line each, written field by field. With a tap of everything there are
//! three of them for each event; to derive them cost some four times as much
//! (`cargo bench --bench hot_path -- observe_tapped`).

use serde::Serialize;

/// Bytes of most lines, for which room is made at once.
const USUAL: usize = 512;

/// An object on one line that is being written. Names of fields stand as they are given: they hold
/// letters, digits and underscores.
pub(super) struct JsonLine<'t> {
    to: &'t mut Vec<u8>,
    /// What comes before the next field.
    separator: u8,
}

impl<'t> JsonLine<'t> {
    /// Begins an object at the end of what is written.
    pub(super) fn begin(to: &'t mut Vec<u8>) -> Self {
        to.reserve(USUAL);
        Self {
            to,
            separator: b'{',
        }
    }

    /// Adds a text.
    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.name(name);
        write_text(self.to, text);
    }

    /// Adds a text, unless it is empty.
    pub(super) fn text_if_any(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    /// Adds a value, if there is one.
    pub(super) fn value_if_any(&mut self, name: &'static str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.name(name);
            write_value(self.to, &value);
        }
    }

    /// Adds an object of texts, whose names may be any.
    pub(super) fn texts<'f, T: AsRef<str>>(
        &mut self,
        name: &'static str,
        texts: impl Iterator<Item = (&'f str, T)>,
    ) {
        self.name(name);
        let mut inner = JsonLine::begin(self.to);
        for (name, text) in texts {
            let separator = inner.next_separator();
            inner.to.push(separator);
            write_text(inner.to, name);
            inner.to.push(b':');
            write_text(inner.to, text.as_ref());
        }
        inner.close();
    }

    /// Ends the object, and the line.
    pub(super) fn end(mut self) {
        self.close();
        self.to.push(b'\n');
    }

    fn close(&mut self) {
        if self.separator == b'{' {
            self.to.push(b'{');
        }
        self.to.push(b'}');
    }

    fn name(&mut self, name: &'static str) {
        let separator = self.next_separator();
        self.to.extend_from_slice(&[separator, b'"']);
        self.to.extend_from_slice(name.as_bytes());
        self.to.extend_from_slice(b"\":");
    }

    fn next_separator(&mut self) -> u8 {
        std::mem::replace(&mut self.separator, b',')
    }
}

/// Writes a text: as it stands if nothing of it is to be escaped, which most are.
fn write_text(to: &mut Vec<u8>, text: &str) {
    // Not `any`, which looks at one byte after the other.
    let escaped = text.bytes().fold(false, |found, byte| {
        found | (byte < b' ') | (byte == b'"') | (byte == b'\\')
    });
    if escaped {
        write_value(to, &text);
        return;
    }
    to.reserve(text.len() + 2);
    to.push(b'"');
    to.extend_from_slice(text.as_bytes());
    to.push(b'"');
}

fn write_value(to: &mut Vec<u8>, value: &impl Serialize) {
    let before = to.len();
    if serde_json::to_writer(&mut *to, value).is_err() {
        to.truncate(before);
        to.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(write: impl FnOnce(&mut JsonLine<'_>)) -> String {
        let mut written = Vec::new();
        let mut line = JsonLine::begin(&mut written);
        write(&mut line);
        line.end();
        String::from_utf8(written).expect("text")
    }

    #[test]
    fn lines_are_json() {
        assert_eq!(written(|_| ()), "{}\n");
        let line = written(|line| {
            line.text("a", "plain ä");
            line.text_if_any("b", "");
            line.value_if_any("c", Some(1.5));
            line.value_if_any("d", None::<u8>);
            line.value_if_any("e", Some(f64::NAN));
            line.texts("f", [("x", "1"), ("y", "2")].into_iter());
            line.texts("g", std::iter::empty::<(&str, &str)>());
        });
        let wanted = r#"{"a":"plain ä","c":1.5,"e":null,"f":{"x":"1","y":"2"},"g":{}}"#;
        assert_eq!(line, format!("{wanted}\n"));
    }

    proptest::proptest! {
        #[test]
        fn every_text_is_read_as_it_was(name in ".*", text in ".*") {
            let line = written(|line| line.texts("of", [(name.as_str(), &text)].into_iter()));
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            let read: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(read, json!({ "of": { name: text } }));
        }
    }
}
