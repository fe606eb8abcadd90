//! Decides where a response ends (RFC 9112, 6.3), and whether its connection can be used again
//! after that (RFC 9112, 9.3).

use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode, Version};

use super::malformed_response::MalformedResponse;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// The keep-alive timeout that a peer announces is shortened by this much, or by half if that is
/// less: a request that is on its way when the peer closes the connection is lost.
const MARGIN: Duration = Duration::from_secs(1);

/// How well the syntax of a head keeps to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadSyntax {
    /// Every recipient reads the head in the same way.
    Strict,
    /// Some recipients read the head differently, or refuse it.
    Repaired,
}

impl HeadSyntax {
    /// Returns the syntax of two parts together: strict only if both are.
    pub(super) fn and(self, other: Self) -> Self {
        if self == Self::Strict { other } else { self }
    }
}

/// The rule by which the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// The body has so many bytes.
    ContentLength(u64),
    /// The body comes in chunks, of which the last one is empty.
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}

/// What the head of a response says about the bytes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResponseFraming {
    pub(super) length: BodyLength,
    /// Time for which the connection can wait for another request; `None` if it ends with this
    /// response.
    pub(super) keep_alive_timeout: Option<Duration>,
    /// True if it is clear what the bytes of the body mean: no coding is unknown, no two fields
    /// contradict each other.
    pub(super) is_unambiguous: bool,
}

impl ResponseFraming {
    /// Returns the framing of the response to a POST or GET that has this head. A head whose syntax
    /// was repaired gets no keep-alive.
    pub(super) fn of_head(
        head: &Response<()>,
        syntax: HeadSyntax,
    ) -> Result<Self, MalformedResponse> {
        let is_strict = syntax == HeadSyntax::Strict;
        let patience = keep_alive_timeout(head).filter(|_| is_strict);
        let is_coded = head.headers().contains_key(TRANSFER_ENCODING);
        if has_no_body(head.status()) {
            let patience =
                patience.filter(|_| !is_coded && head.status() != StatusCode::SWITCHING_PROTOCOLS);
            return Ok(Self {
                length: BodyLength::ContentLength(0),
                keep_alive_timeout: patience,
                is_unambiguous: true,
            });
        }
        if is_coded {
            return Ok(Self::of_transfer_coding(head, patience));
        }
        let length = content_length(head.headers())?;
        Ok(Self {
            length: length.map_or(BodyLength::UntilClose, BodyLength::ContentLength),
            keep_alive_timeout: patience.filter(|_| length.is_some()),
            is_unambiguous: true,
        })
    }

    /// Returns the framing of a response with `Transfer-Encoding`. Recipients agree only on
    /// `chunked` alone, in HTTP/1.1, and without a length beside it.
    fn of_transfer_coding(head: &Response<()>, patience: Option<Duration>) -> Self {
        let mut last = "";
        let mut count = 0;
        for coding in list_elements(head.headers(), &TRANSFER_ENCODING) {
            (last, count) = (coding, count + 1);
        }
        let is_chunked = last.eq_ignore_ascii_case("chunked") && head.version() == Version::HTTP_11;
        let is_unambiguous = is_chunked && count == 1;
        let is_alone = is_unambiguous && !head.headers().contains_key(CONTENT_LENGTH);
        Self {
            length: if is_chunked {
                BodyLength::Chunked
            } else {
                BodyLength::UntilClose
            },
            keep_alive_timeout: patience.filter(|_| is_alone),
            is_unambiguous,
        }
    }
}

/// Returns true for statuses whose responses end with their head, whatever it says.
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Returns the elements of a list that may stand in several fields. A value that is no text becomes
/// `?`, which no element is called.
fn list_elements<'h>(fields: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = fields
        .get_all(name)
        .into_iter()
        .map(|value| value.to_str().unwrap_or("?"));
    values
        .flat_map(|value| value.split(','))
        .map(|token| token.trim_matches([' ', '\t']))
        .filter(|token| !token.is_empty())
}

/// Returns the length on which all `Content-Length` fields agree, if there is one; fields that
/// disagree are an error.
fn content_length(fields: &HeaderMap) -> Result<Option<u64>, MalformedResponse> {
    let mut length = None;
    for value in fields.get_all(CONTENT_LENGTH) {
        for text in value.to_str().unwrap_or("?").split(',') {
            let text = text.trim_matches([' ', '\t']);
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<u64>().ok().filter(|_| is_number);
            if number.is_none() || length.is_some_and(|before| Some(before) != number) {
                return Err(MalformedResponse("invalid Content-Length"));
            }
            length = number;
        }
    }
    Ok(length)
}

/// Returns for how long the peer keeps the connection: the timeout that it announces less a margin,
/// or for ever without one; `None` if it closes the connection.
fn keep_alive_timeout(head: &Response<()>) -> Option<Duration> {
    let says = |word: &str| {
        list_elements(head.headers(), &CONNECTION).any(|token| token.eq_ignore_ascii_case(word))
    };
    if says("close") || (head.version() == Version::HTTP_10 && !says("keep-alive")) {
        return None;
    }
    let mut keep_alive_timeout = Duration::MAX;
    for token in list_elements(head.headers(), &KEEP_ALIVE) {
        let (name, value) = token.split_once('=').unwrap_or((token, ""));
        let number = value.trim_matches([' ', '\t', '"']).parse::<u64>().ok();
        match (name.trim_ascii().to_ascii_lowercase().as_str(), number) {
            ("timeout", Some(seconds)) => {
                let told = Duration::from_secs(seconds);
                keep_alive_timeout =
                    keep_alive_timeout.min(told.saturating_sub(MARGIN.min(told / 2)));
            }
            ("max", Some(0)) => keep_alive_timeout = Duration::ZERO,
            _ => {}
        }
    }
    Some(keep_alive_timeout).filter(|keep_alive_timeout| !keep_alive_timeout.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        status: u16,
        version: Version,
        fields: &[(&str, &str)],
    ) -> Result<ResponseFraming, MalformedResponse> {
        let mut head = Response::builder().status(status).version(version);
        for (name, value) in fields {
            head = head.header(*name, *value);
        }
        ResponseFraming::of_head(&head.body(()).expect("a head"), HeadSyntax::Strict)
    }

    /// Status, version and fields of a response; then the length of its body, whether the connection
    /// is kept, and whether it is clear what the body means.
    type FramingCase<'c> = (
        u16,
        Version,
        &'c [(&'c str, &'c str)],
        BodyLength,
        bool,
        bool,
    );

    fn assert_framings(cases: &[FramingCase<'_>]) {
        for (status, version, fields, length, is_kept, is_clear) in cases {
            let framing = of(*status, *version, fields).expect("a framing");
            let found = (
                framing.length,
                framing.keep_alive_timeout.is_some(),
                framing.is_unambiguous,
            );
            assert_eq!(found, (*length, *is_kept, *is_clear), "{status} {fields:?}");
        }
    }

    /// By its length, by its status, or with the connection.
    #[test]
    fn where_an_answer_ends() {
        let new = Version::HTTP_11;
        assert_framings(&[
            (
                202,
                new,
                &[("content-length", "0")][..],
                BodyLength::ContentLength(0),
                true,
                true,
            ),
            (
                202,
                new,
                &[("content-length", "3, 3"), ("content-length", "3")],
                BodyLength::ContentLength(3),
                true,
                true,
            ),
            (202, new, &[], BodyLength::UntilClose, false, true),
            (204, new, &[], BodyLength::ContentLength(0), true, true),
            (
                204,
                new,
                &[("content-length", "x")],
                BodyLength::ContentLength(0),
                true,
                true,
            ),
            (
                304,
                new,
                &[("content-length", "9")],
                BodyLength::ContentLength(0),
                true,
                true,
            ),
            (
                204,
                new,
                &[("transfer-encoding", "chunked")],
                BodyLength::ContentLength(0),
                false,
                true,
            ),
            (101, new, &[], BodyLength::ContentLength(0), false, true),
        ]);
    }

    /// By chunks, if nothing contradicts them.
    #[test]
    fn where_a_coded_answer_ends() {
        let (new, old) = (Version::HTTP_11, Version::HTTP_10);
        assert_framings(&[
            (
                200,
                new,
                &[("transfer-encoding", "Chunked")],
                BodyLength::Chunked,
                true,
                true,
            ),
            (
                200,
                new,
                &[("transfer-encoding", "chunked"), ("content-length", "1")],
                BodyLength::Chunked,
                false,
                true,
            ),
            (
                200,
                new,
                &[("transfer-encoding", "gzip, chunked")],
                BodyLength::Chunked,
                false,
                false,
            ),
            (
                200,
                new,
                &[
                    ("transfer-encoding", "gzip"),
                    ("transfer-encoding", "chunked"),
                ],
                BodyLength::Chunked,
                false,
                false,
            ),
            (
                200,
                new,
                &[("transfer-encoding", "chunked, chunked")],
                BodyLength::Chunked,
                false,
                false,
            ),
            (
                200,
                new,
                &[("transfer-encoding", "gzip"), ("content-length", "1")],
                BodyLength::UntilClose,
                false,
                false,
            ),
            (
                200,
                new,
                &[("transfer-encoding", "identity")],
                BodyLength::UntilClose,
                false,
                false,
            ),
            (
                200,
                old,
                &[("transfer-encoding", "chunked")],
                BodyLength::UntilClose,
                false,
                false,
            ),
        ]);
    }

    /// By its version, and what the peer says of it.
    #[test]
    fn which_connection_is_kept() {
        let (new, old) = (Version::HTTP_11, Version::HTTP_10);
        assert_framings(&[
            (
                200,
                old,
                &[("content-length", "1")],
                BodyLength::ContentLength(1),
                false,
                true,
            ),
            (
                200,
                old,
                &[("content-length", "1"), ("connection", "Keep-Alive")],
                BodyLength::ContentLength(1),
                true,
                true,
            ),
            (
                200,
                new,
                &[("content-length", "1"), ("connection", "x, Close")],
                BodyLength::ContentLength(1),
                false,
                true,
            ),
        ]);
    }

    #[test]
    fn lengths_that_contradict_are_errors() {
        let new = Version::HTTP_11;
        for lengths in [
            &["1", "2"][..],
            &["1, 2"],
            &["+1"],
            &["-1"],
            &[""],
            &["0x1"],
            &["1 1"],
            &["99999999999999999999"],
        ] {
            let fields: Vec<_> = lengths
                .iter()
                .map(|length| ("content-length", *length))
                .collect();
            assert!(of(200, new, &fields).is_err(), "{lengths:?}");
        }
    }

    #[test]
    fn for_how_long_a_peer_waits() {
        for (hint, keep_alive_timeout) in [
            ("timeout=5", Some(Duration::from_secs(4))),
            ("timeout=5, max=100", Some(Duration::from_secs(4))),
            ("max=7, Timeout = \"60\"", Some(Duration::from_secs(59))),
            ("timeout=1", Some(Duration::from_millis(500))),
            ("timeout=0", None),
            ("timeout=5, max=0", None),
            ("timeout=soon", Some(Duration::MAX)),
            ("timeout=-1", Some(Duration::MAX)),
            ("", Some(Duration::MAX)),
        ] {
            let framing = of(
                202,
                Version::HTTP_11,
                &[("content-length", "0"), ("keep-alive", hint)],
            );
            assert_eq!(
                framing.expect("a framing").keep_alive_timeout,
                keep_alive_timeout,
                "{hint}"
            );
        }
    }
}
