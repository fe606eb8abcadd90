//! The body of an answer, as it comes: by its length, in chunks (RFC 9112, 7.1), or until the connection ends.

use bytes::{Buf, Bytes, BytesMut};

use super::framing::Length;
use super::head::{MAX_HEAD, Malformed};

/// Takes what is framing out of what was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoder {
    /// So many bytes are still to come.
    Bytes(u64),
    /// In chunks.
    Chunks(Chunks),
    /// Until the connection ends.
    UntilClose,
}

impl From<Length> for Decoder {
    fn from(length: Length) -> Self {
        match length {
            Length::Bytes(count) => Self::Bytes(count),
            Length::Chunked => Self::Chunks(Chunks { at: At::Size { digits: 0 }, size: 0, ignored: 0 }),
            Length::UntilClose => Self::UntilClose,
        }
    }
}

impl Decoder {
    /// The next piece of the body that is there, which is taken out of what was received.
    pub(super) fn piece(&mut self, received: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
        let length = match self {
            Self::Bytes(count) => take(count, received.len()),
            Self::Chunks(chunks) => chunks.next(received)?,
            Self::UntilClose => received.len(),
        };
        Ok((length > 0).then(|| received.split_to(length).freeze()))
    }

    /// Whether nothing more belongs to the body.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Bytes(count) => *count == 0,
            Self::Chunks(chunks) => chunks.at == At::End,
            Self::UntilClose => false,
        }
    }

    /// Whether the body is whole if the connection ends now.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.is_done() || *self == Self::UntilClose
    }
}

/// As much of `wanted` as there is, which is less to come then.
fn take(wanted: &mut u64, there: usize) -> usize {
    let length = usize::try_from(*wanted).unwrap_or(usize::MAX).min(there);
    *wanted = wanted.saturating_sub(length as u64);
    length
}

/// A body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunks {
    at: At,
    /// Of the chunk that is being read, as much as is still to come.
    size: u64,
    /// Bytes that mean nothing to us: extensions, padding, trailers.
    ignored: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The size of a chunk, of which so many digits have come.
    Size { digits: usize },
    /// What may follow it: blanks, then extensions.
    AfterSize,
    /// Extensions, up to the end of the line.
    Extension,
    /// The second half of the end of a line with a size.
    SizeEnd,
    /// Bytes of the body.
    Data,
    /// The end of a line after them.
    DataEnd,
    /// Its second half.
    DataEndHalf,
    /// A trailer, or the end of the body. A line that begins with a blank goes on with the trailer before it, if any.
    Trailer { is_first: bool },
    /// The name of a trailer.
    TrailerName,
    /// What may stand between it and the colon.
    TrailerBlank,
    /// The value of a trailer.
    TrailerValue,
    /// The second half of the end of its line.
    TrailerEnd,
    /// The second half of the last line.
    LastHalf,
    /// Nothing.
    End,
}

impl Chunks {
    /// How many bytes of the body stand at the start of what was received, when what is before them is taken out.
    fn next(&mut self, received: &mut BytesMut) -> Result<usize, Malformed> {
        let mut used = 0;
        for byte in received.iter() {
            if matches!(self.at, At::Data | At::End) {
                break;
            }
            self.at = self.after(*byte)?;
            used += 1;
        }
        received.advance(used);
        if self.at != At::Data {
            return Ok(0);
        }
        let length = take(&mut self.size, received.len());
        if self.size == 0 {
            self.at = At::DataEnd;
        }
        Ok(length)
    }

    fn after(&mut self, byte: u8) -> Result<At, Malformed> {
        match (self.at, byte) {
            (At::Size { digits }, _) if byte.is_ascii_hexdigit() => self.digit(digits, byte),
            (At::Size { digits: 1.. } | At::AfterSize | At::Extension, b'\r') => Ok(At::SizeEnd),
            (At::Size { digits: 1.. } | At::AfterSize, b' ' | b'\t') => self.ignore(At::AfterSize),
            (At::Size { digits: 1.. } | At::AfterSize, b';') => self.ignore(At::Extension),
            (At::Size { .. } | At::AfterSize, _) => Err(Malformed("invalid size of a chunk")),
            (At::Extension, b'\n') => Err(Malformed("a line of a chunk does not end with CR LF")),
            (At::Extension, _) => self.ignore(At::Extension),
            (At::SizeEnd, b'\n') if self.size == 0 => Ok(At::Trailer { is_first: true }),
            (At::SizeEnd, b'\n') => Ok(At::Data),
            (At::DataEnd, b'\r') => Ok(At::DataEndHalf),
            (At::DataEndHalf, b'\n') => Ok(At::Size { digits: 0 }),
            (At::SizeEnd | At::DataEnd | At::DataEndHalf, _) => {
                Err(Malformed("a line of a chunk does not end with CR LF"))
            }
            (at, _) => self.in_trailers(at, byte),
        }
    }

    fn digit(&mut self, digits: usize, byte: u8) -> Result<At, Malformed> {
        let value = char::from(byte).to_digit(16).unwrap_or_default();
        let size = self.size.checked_mul(16).and_then(|size| size.checked_add(value.into()));
        self.size = size.ok_or(Malformed("a chunk is too large"))?;
        self.ignore(At::Size { digits: digits.saturating_add(1) })
    }

    fn in_trailers(&mut self, at: At, byte: u8) -> Result<At, Malformed> {
        let next = match (at, byte) {
            (At::Trailer { .. }, b'\r') => At::LastHalf,
            // A line feed alone ends a line of a trailer, as it ends one of a head (RFC 9112, 2.2).
            (At::Trailer { .. }, b'\n') => return Ok(At::End),
            (At::TrailerValue, b'\n') => At::Trailer { is_first: false },
            (At::Trailer { is_first: false }, b' ' | b'\t') => At::TrailerValue,
            (At::Trailer { .. } | At::TrailerName, _) if is_token(byte) => At::TrailerName,
            (At::TrailerName | At::TrailerBlank, b':') => At::TrailerValue,
            (At::TrailerName | At::TrailerBlank, b' ' | b'\t') => At::TrailerBlank,
            (At::TrailerValue, b'\r') => At::TrailerEnd,
            (At::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => At::TrailerValue,
            (At::TrailerEnd, b'\n') => At::Trailer { is_first: false },
            (At::LastHalf, b'\n') => return Ok(At::End),
            _ => return Err(Malformed("invalid trailer")),
        };
        self.ignore(next)
    }

    /// Goes on after a byte without meaning, of which there may be as many as a head may have.
    fn ignore(&mut self, next: At) -> Result<At, Malformed> {
        // Up to sixteen digits of a size have a meaning.
        if matches!(next, At::Size { digits: ..=16 }) {
            return Ok(next);
        }
        self.ignored += 1;
        if self.ignored > MAX_HEAD { Err(Malformed("more than 65536 bytes beside the body")) } else { Ok(next) }
    }
}

/// Whether a name may hold this byte (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, whether it is whole, and what is left; in pieces of so many bytes.
    fn decode(encoded: &[u8], piece: usize) -> Result<(Vec<u8>, bool, usize), Malformed> {
        let mut decoder = Decoder::from(Length::Chunked);
        let (mut received, mut body) = (BytesMut::new(), Vec::new());
        for part in encoded.chunks(piece) {
            received.extend_from_slice(part);
            while let Some(piece) = decoder.piece(&mut received)? {
                body.extend_from_slice(&piece);
            }
        }
        Ok((body, decoder.is_done(), received.len()))
    }

    fn everywhere(encoded: &str, expected: &Result<(Vec<u8>, bool, usize), ()>) {
        for piece in [1, 2, 3, 7, encoded.len().max(1)] {
            let decoded = decode(encoded.as_bytes(), piece).map_err(drop);
            assert_eq!(decoded, *expected, "{encoded:?} in pieces of {piece}");
        }
    }

    #[test]
    fn chunks_are_a_body() {
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a=b;".repeat(1000));
        for (encoded, body) in [
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"),
            ("00000000000000000000000005\r\nhello\r\n000\r\n\r\n", "hello"),
            ("5 \t \r\nhello\r\n0  \r\n\r\n", "hello"),
            ("5 ; a=\"b\"\r\nhello\r\n0;c\r\n\r\n", "hello"),
            ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
            ("5\r\nhello\r\n0\r\na: b\r\nc:\r\n d\r\n\r\n", "hello"),
            ("0\r\n\r\n", ""),
            (long.as_str(), "hello"),
        ] {
            everywhere(encoded, &Ok((body.into(), true, 0)));
        }
        everywhere("5\r\nhel", &Ok((b"hel".to_vec(), false, 0)));
        everywhere("0\r\na: b\r\n", &Ok((Vec::new(), false, 0)));
    }

    #[test]
    fn what_follows_the_last_chunk_is_left() {
        let decoded = decode(b"1\r\na\r\n0\r\n\r\nHTTP/1.1", 100).expect("a body");
        assert_eq!(decoded, (b"a".to_vec(), true, 8));
    }

    #[test]
    fn what_is_no_chunk_is_refused_at_once() {
        let endless = format!("5;{}", "a".repeat(100_000));
        let padded = format!("{}5\r\nhello\r\n", "0".repeat(100_000));
        for encoded in [
            "+5\r\nhello\r\n",
            "-5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "\u{a0}5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "5 5\r\nhello\r\n",
            "5h\r\nhello\r\n",
            "\r\n5\r\nhello\r\n",
            ";a\r\n",
            "5\nhello\n",
            "5;a\nb\r\nhello\r\n",
            "5\rhello",
            "5;a\rb\r\n",
            "5\r\r\nhello",
            "10000000000000000\r\n",
            "5\r\nhelloX",
            "5\r\nhello\n",
            "5\r\nhello\rX",
            "0\r\nX",
            "0\r\na: b\rc\r\n",
            "0\r\na: b\nc\r\n",
            "0\r\n a: b\r\n",
            "0\r\nno colon\r\n",
            "0\r\n: a\r\n",
            "0\r\na: \0\r\n",
            "0\r\n\rX",
            endless.as_str(),
            padded.as_str(),
        ] {
            let refused = matches!(decode(encoded.as_bytes(), 1), Err(Malformed(_)));
            let waits = ["0\r\nX", "5\r\nhelloX"].contains(&encoded);
            assert!(refused || (waits && encoded == "0\r\nX"), "{encoded:?}");
        }
    }

    #[test]
    fn a_length_is_a_length() {
        let mut received = BytesMut::from(&b"hello"[..]);
        let mut decoder = Decoder::from(Length::Bytes(3));
        assert!(!decoder.ends_with_connection());
        assert_eq!(decoder.piece(&mut received), Ok(Some(Bytes::from_static(b"hel"))));
        assert!(decoder.is_done());
        assert_eq!(decoder.piece(&mut received), Ok(None));
        let mut decoder = Decoder::from(Length::UntilClose);
        assert_eq!(decoder.piece(&mut received), Ok(Some(Bytes::from_static(b"lo"))));
        assert!(!decoder.is_done() && decoder.ends_with_connection());
    }
}
