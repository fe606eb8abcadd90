//! The data of an event as they are shown to those who may see them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Event;

/// Bytes of an event's data that are shown.
pub(crate) const MOST_SHOWN: usize = 4096;

/// The data of an event, as text if they are, else in base64; the start of them if they are long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownData {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "data_base64")]
    pub(crate) data_base64: Option<String>,
    /// The length of all of the data.
    pub(crate) data_bytes: usize,
}

impl ShownData {
    /// Shows the start of data that are so long.
    pub(crate) fn new(start: &[u8], length: usize) -> Self {
        // What is cut may be cut within a character.
        let is_cut = start.len() < length;
        let text = match std::str::from_utf8(start) {
            Ok(text) => Some(text),
            Err(error) if is_cut && error.error_len().is_none() => start
                .get(..error.valid_up_to())
                .and_then(|valid| std::str::from_utf8(valid).ok()),
            Err(_) => None,
        };
        Self {
            data: text.map(str::to_owned),
            data_base64: text.is_none().then(|| STANDARD.encode(start)),
            data_bytes: length,
        }
    }

    /// Shows the data of an event.
    pub(crate) fn of_event(event: &Event) -> Self {
        let data = event.data();
        Self::new(data.get(..MOST_SHOWN).unwrap_or(data), data.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_text_or_base64_and_bounded() {
        let text = ShownData::new("ä".as_bytes(), 2);
        assert_eq!((text.data.as_deref(), text.data_bytes), (Some("ä"), 2));
        let binary = ShownData::new(b"\xff\xfe", 2);
        assert_eq!(binary.data, None);
        assert_eq!(binary.data_base64.as_deref(), Some("//4="));
        let cut = ShownData::new(&"aä".as_bytes()[..2], 3);
        assert_eq!(cut.data.as_deref(), Some("a"), "within a character");
        let mut event = Event::new("1", "/s", "t");
        event = event.with_data(
            http::HeaderValue::from_static("text/plain"),
            bytes::Bytes::from(vec![b'x'; MOST_SHOWN + 1]),
        );
        let long = ShownData::of_event(&event);
        assert_eq!(long.data.map(|data| data.len()), Some(MOST_SHOWN));
        assert_eq!(long.data_bytes, MOST_SHOWN + 1);
    }
}
