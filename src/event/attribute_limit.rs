//! Limit of the attributes of one event together, however it comes: in headers, in JSON, in a
//! batch, over AMQP, as a subscriber's reply. The memory of events beyond a request is estimated by
//! it.

use super::attribute::ContextAttribute;
use super::{DecodeError, Event};
use crate::wire_text::WireText;

/// Largest number of attributes of one event. A table of headers, in which they leave, takes
/// 24,576, and each is searched among the others: nobody has a use for more than a few dozen.
const MAX_COUNT: usize = 1024;

/// Bytes that are added to an event on its way: by a broker two attributes of some dozen bytes, for
/// a dead letter sink a URL (2,048 at most), a status and 1,024 of base64.
const ADDED_BYTES: usize = 8 * 1024;
/// Number of attributes that are added: those five.
const ADDED_COUNT: usize = 5;
/// Largest number of attributes of any event that is read, wherever it comes from.
pub(super) const MOST_EVER: usize = MAX_COUNT + ADDED_COUNT;

/// Limit in bytes of the names and values of all attributes of one event. The size of a value is
/// that of its meaning, after decoding, so that an event has the same size in each mode. Set by
/// `--max-header-bytes`; 64 KiB by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeLimit {
    bytes: usize,
    count: usize,
}

impl Default for AttributeLimit {
    fn default() -> Self {
        Self::new(64 * 1024)
    }
}

impl AttributeLimit {
    /// Makes a limit of this number of bytes.
    #[must_use]
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            bytes,
            count: MAX_COUNT,
        }
    }

    /// Limit for events that were accepted before, with room for what has been added to them since.
    #[must_use]
    pub(crate) fn for_stored_events(self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(ADDED_BYTES),
            count: MOST_EVER,
        }
    }

    /// Checks an event that has been read.
    ///
    /// # Errors
    /// If its attributes are too many or too long, with the name of the longest.
    pub(super) fn check(self, event: &Event) -> Result<(), DecodeError> {
        let attributes = event.attributes();
        self.check_count(attributes.len())?;
        let beside = [
            ("specversion", 3),
            (
                "datacontenttype",
                event.content_type().map_or(0, |value| value.len()),
            ),
        ];
        let written = attributes
            .iter()
            .map(|attribute| attribute.name().len() + attribute.value().len());
        // The meaning of a value is no longer than its written form, so the quick check needs no
        // decoding.
        let beside_them = beside.iter().map(|(name, value)| name.len() + value);
        if written.chain(beside_them).sum::<usize>() <= self.bytes {
            return Ok(());
        }
        let meant = |attribute: &ContextAttribute| attribute.text().len();
        let named = attributes
            .iter()
            .map(|attribute| (attribute.name(), meant(attribute)));
        self.check_all(named.chain(beside.into_iter().filter(|(_, value)| *value > 0)))
    }

    /// Checks the number of attributes that an event has, or is going to have, besides
    /// `specversion` and `datacontenttype`.
    ///
    /// # Errors
    /// If they are too many.
    pub(super) fn check_count(self, attributes: usize) -> Result<(), DecodeError> {
        if attributes > self.count {
            Err(DecodeError::TooMany { limit: self.count })
        } else {
            Ok(())
        }
    }

    /// Checks the attributes that an event is going to have: their names, and the lengths of their
    /// values.
    ///
    /// # Errors
    /// If they are too long, with the name of the longest.
    pub(super) fn check_all<'n>(
        self,
        attributes: impl Iterator<Item = (&'n str, usize)>,
    ) -> Result<(), DecodeError> {
        let (mut together, mut longest) = (0_usize, ("", 0));
        for (name, value) in attributes {
            let bytes = name.len().saturating_add(value);
            together = together.saturating_add(bytes);
            if bytes > longest.1 {
                longest = (name, bytes);
            }
        }
        if together <= self.bytes {
            return Ok(());
        }
        let (name, bytes) = longest;
        Err(DecodeError::TooLong {
            name: WireText::new(name),
            bytes,
            together,
            limit: self.bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::CONTENT_TYPE;
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;
    use crate::event::http::{
        BATCHED, STRUCTURED, binary_headers, decode, decode_reply, encode_structured,
    };

    const LIMIT: AttributeLimit = AttributeLimit {
        bytes: 1000,
        count: MAX_COUNT,
    };

    fn media_type(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(text).expect("a value"))])
    }

    /// An event whose attributes have so many bytes together, by what they mean.
    fn of_bytes(bytes: usize, fill: &str) -> Event {
        let mut event = Event::new("1", "/s", "t");
        let others = ["specversion1.0", "id1", "source/s", "typet", "x"]
            .concat()
            .len();
        let mut text = fill.repeat((bytes - others) / fill.len());
        text.push_str(&"y".repeat((bytes - others) % fill.len()));
        event.set("x", &text);
        event
    }

    /// What becomes of an event in each of the ways that it may come.
    fn in_each_mode(event: &Event) -> [(&'static str, Result<(), DecodeError>); 5] {
        let binary = || (binary_headers(event), event.data().clone());
        let (headers, body) = encode_structured(event);
        let batch = Bytes::from([b"[", &body[..], b"]"].concat());
        let in_batch = |error| match error {
            DecodeError::InBatch { index: 0, source } => *source,
            other => other,
        };
        [
            ("binary", decode(binary().0, binary().1, LIMIT).map(drop)),
            (
                "structured",
                decode(headers.clone(), body.clone(), LIMIT).map(drop),
            ),
            (
                "batched",
                decode(media_type(BATCHED), batch, LIMIT)
                    .map(drop)
                    .map_err(in_batch),
            ),
            (
                "binary reply",
                decode_reply(binary().0, &binary().1, LIMIT).map(drop),
            ),
            (
                "structured reply",
                decode_reply(headers, &body, LIMIT).map(drop),
            ),
        ]
    }

    /// To the byte the same in each mode, whether what is encoded is longer than what is meant or
    /// not.
    #[test]
    fn the_limit_is_the_same_in_each_mode() {
        for fill in ["x", "é", "%", "\"", "\u{1f600}", " "] {
            for (mode, read) in in_each_mode(&of_bytes(1000, fill)) {
                assert_eq!(read, Ok(()), "{mode} {fill:?}");
            }
            for (mode, read) in in_each_mode(&of_bytes(1001, fill)) {
                let expected = DecodeError::TooLong {
                    name: WireText::new("x"),
                    bytes: 971,
                    together: 1001,
                    limit: 1000,
                };
                assert_eq!(read, Err(expected), "{mode} {fill:?}");
            }
        }
    }

    /// The longest is named where none alone is too long, too; names count as values do.
    #[test]
    fn the_longest_is_named() {
        let mut event = Event::new(&"i".repeat(300), &"s".repeat(400), &"t".repeat(350));
        for (mode, read) in in_each_mode(&event) {
            let error = read.expect_err(mode).to_string();
            assert!(
                error.starts_with("attribute source is too long: it has 406 bytes, all"),
                "{mode}: {error}"
            );
            assert!(error.contains("--max-header-bytes"), "{error}");
        }
        event = Event::new("1", "/s", "t");
        event.set(&"n".repeat(2000), "");
        let (_, read) = in_each_mode(&event).into_iter().nth(1).expect("structured");
        let error = read.expect_err("too long").to_string();
        assert!(
            error.contains("attribute nnn") && error.contains("bytes more)") && error.len() < 600,
            "{error}"
        );
        let schema = media_type(STRUCTURED);
        let long = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"a/{}"}}"#,
            "b".repeat(2000)
        );
        let error = decode(schema, Bytes::from(long), LIMIT)
            .expect_err("too long")
            .to_string();
        assert!(
            error.starts_with("attribute datacontenttype is too long"),
            "{error}"
        );
    }

    /// Data are no attributes, and what is not set takes nothing.
    #[test]
    fn data_is_not_counted() {
        let mut event = of_bytes(1000, "x");
        event = event.with_data(
            HeaderValue::from_static("a/b"),
            Bytes::from(vec![b'd'; 100_000]),
        );
        event.remove("x");
        assert!(in_each_mode(&event).iter().all(|(_, read)| read.is_ok()));
        let null = format!(
            r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","{}":null}}"#,
            "n".repeat(2000)
        );
        assert!(decode(media_type(STRUCTURED), Bytes::from(null), LIMIT).is_ok());
    }

    /// An event with as many attributes as may be goes through a table of headers; one more is
    /// refused before each is looked for among all others.
    #[test]
    fn attributes_are_counted() {
        let limit = AttributeLimit::new(usize::MAX);
        let members = |count: usize| {
            (0..count)
                .map(|number| format!(r#","x{number}":1"#))
                .collect::<String>()
        };
        let json = |count| {
            format!(
                r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{}}}"#,
                members(count - 3)
            )
        };
        let read = |count| {
            decode(media_type(STRUCTURED), Bytes::from(json(count)), limit)
                .map(|mut events| events.remove(0))
        };
        let event = read(MAX_COUNT).expect("an event");
        assert_eq!(
            decode(binary_headers(&event), Bytes::new(), limit)
                .expect("an event")
                .len(),
            1
        );
        assert_eq!(
            read(MAX_COUNT + 1),
            Err(DecodeError::TooMany { limit: MAX_COUNT })
        );
        assert!(matches!(read(1_000_000), Err(DecodeError::Json(_))));
        let mut headers = binary_headers(&event);
        headers.insert(
            HeaderName::from_static("ce-onemore"),
            HeaderValue::from_static("1"),
        );
        assert_eq!(
            decode(headers, Bytes::new(), limit),
            Err(DecodeError::TooMany { limit: MAX_COUNT })
        );
    }

    /// What has been let in and was added to on its way is still read.
    #[test]
    fn what_is_stored_has_room_for_ours() {
        let mut event = of_bytes(1000, "x");
        for (name, bytes) in [
            ("knativebrokerttl", 3),
            ("knativearrivaltime", 30),
            ("knativeerrordest", 2048),
            ("knativeerrordata", 1024),
        ] {
            event.set(name, &"v".repeat(bytes));
        }
        event.set_integer("knativeerrorcode", -1);
        let (headers, body) = encode_structured(&event);
        assert!(matches!(
            decode(headers.clone(), body.clone(), LIMIT),
            Err(DecodeError::TooLong { .. })
        ));
        assert!(decode(headers, body, LIMIT.for_stored_events()).is_ok());
    }

    /// What an error repeats of a sender's text is bounded, and nothing in it is hidden.
    #[test]
    fn errors_repeat_little() {
        let huge = "\u{1b}[31m\u{202e}".repeat(100_000);
        let quoted = serde_json::to_string(&huge).expect("JSON");
        let limit = AttributeLimit::default();
        let event = |members: String| {
            format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t",{members}}}"#)
        };
        for body in [
            quoted.clone(),
            format!("{{{quoted}:1,{quoted}:2}}"),
            format!("{{\"specversion\":{quoted}}}"),
            event(format!("{quoted}:1")),
            event(format!("\"time\":{quoted}")),
            event(format!("\"datacontenttype\":{quoted}")),
        ] {
            let start = body.chars().take(60).collect::<String>();
            for media in [STRUCTURED, BATCHED] {
                let error = decode(media_type(media), Bytes::from(body.clone()), limit)
                    .expect_err(&start)
                    .to_string();
                assert!(
                    error.len() < 600 && !error.chars().any(crate::wire_text::is_hidden),
                    "{start}: {error}"
                );
            }
        }
    }
}
