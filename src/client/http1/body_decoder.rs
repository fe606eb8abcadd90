//! Decodes the body of a response as it is received: by its length, in chunks (RFC 9112, 7.1), or
//! until the connection ends.

use bytes::{Buf, Bytes, BytesMut};

use super::framing::BodyLength;
use super::head::MAX_HEAD;
use super::malformed_response::MalformedResponse;

const WRONG_LINE_END: MalformedResponse =
    MalformedResponse("a line of a chunk does not end with CR LF");

/// Separates the bytes of the body from those of its framing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyDecoder {
    /// The number of bytes that are still to come.
    ContentLength(u64),
    /// The body comes in chunks, of which the last one is empty.
    Chunked(ChunkedDecoder),
    /// The body ends with the connection.
    UntilClose,
}

impl From<BodyLength> for BodyDecoder {
    fn from(length: BodyLength) -> Self {
        match length {
            BodyLength::ContentLength(count) => Self::ContentLength(count),
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder {
                position: ChunkPosition::Size { digits: 0 },
                remaining_chunk_bytes: 0,
                ignored_bytes: 0,
            }),
            BodyLength::UntilClose => Self::UntilClose,
        }
    }
}

impl BodyDecoder {
    /// Takes the next piece of the body out of what was received; `None` if none of it is there.
    pub(super) fn decode(
        &mut self,
        received: &mut BytesMut,
    ) -> Result<Option<Bytes>, MalformedResponse> {
        let length = match self {
            Self::ContentLength(count) => take_available(count, received.len()),
            Self::Chunked(chunks) => chunks.next_data_length(received)?,
            Self::UntilClose => received.len(),
        };
        Ok((length > 0).then(|| received.split_to(length).freeze()))
    }

    /// Returns true if nothing more belongs to the body.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::ContentLength(count) => *count == 0,
            Self::Chunked(chunks) => chunks.position == ChunkPosition::End,
            Self::UntilClose => false,
        }
    }

    /// Returns true if the body is whole when the connection ends now.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.is_done() || *self == Self::UntilClose
    }
}

/// Returns how many of the `wanted` bytes are there, and lowers `wanted` by as many.
fn take_available(wanted: &mut u64, there: usize) -> usize {
    let length = usize::try_from(*wanted).unwrap_or(usize::MAX).min(there);
    *wanted = wanted.saturating_sub(length as u64);
    length
}

/// The state of a body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChunkedDecoder {
    position: ChunkPosition,
    /// Bytes of the current chunk that are still to come.
    remaining_chunk_bytes: u64,
    /// Bytes that mean nothing to us: extensions, padding, trailers. They are limited together.
    ignored_bytes: usize,
}

/// The part of the chunked coding that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkPosition {
    /// The size of a chunk, of which so many digits were read.
    Size { digits: usize },
    /// Blanks after the size, which may be followed by extensions.
    AfterSize,
    /// Extensions of the chunk, up to the end of the line.
    Extension,
    /// The line feed after a size.
    SizeEnd,
    /// Bytes of the body.
    Data,
    /// The carriage return after the bytes of a chunk.
    DataEnd,
    /// The line feed after the bytes of a chunk.
    DataEndHalf,
    /// A trailer, or the end of the body. A line that begins with a blank continues the trailer
    /// before it, if there is one.
    Trailer { is_first: bool },
    /// The name of a trailer.
    TrailerName,
    /// Blanks between the name of a trailer and its colon.
    TrailerBlank,
    /// The value of a trailer.
    TrailerValue,
    /// The line feed after the value of a trailer.
    TrailerEnd,
    /// The line feed of the empty line that ends the body.
    LastHalf,
    /// No more bytes belong to the body.
    End,
}

impl ChunkedDecoder {
    /// Removes framing from the start of what was received, and returns how many bytes of the body
    /// stand there then.
    fn next_data_length(&mut self, received: &mut BytesMut) -> Result<usize, MalformedResponse> {
        let mut used = 0;
        for byte in received.iter() {
            if matches!(self.position, ChunkPosition::Data | ChunkPosition::End) {
                break;
            }
            self.position = self.next_position(*byte)?;
            used += 1;
        }
        received.advance(used);
        if self.position != ChunkPosition::Data {
            return Ok(0);
        }
        let length = take_available(&mut self.remaining_chunk_bytes, received.len());
        if self.remaining_chunk_bytes == 0 {
            self.position = ChunkPosition::DataEnd;
        }
        Ok(length)
    }

    fn next_position(&mut self, byte: u8) -> Result<ChunkPosition, MalformedResponse> {
        match (self.position, byte) {
            (
                at @ (ChunkPosition::Size { .. }
                | ChunkPosition::AfterSize
                | ChunkPosition::Extension),
                byte,
            ) => self.next_size_position(at, byte),
            (ChunkPosition::SizeEnd, b'\n') if self.remaining_chunk_bytes == 0 => {
                Ok(ChunkPosition::Trailer { is_first: true })
            }
            (ChunkPosition::SizeEnd, b'\n') => Ok(ChunkPosition::Data),
            (ChunkPosition::DataEnd, b'\r') => Ok(ChunkPosition::DataEndHalf),
            (ChunkPosition::DataEndHalf, b'\n') => Ok(ChunkPosition::Size { digits: 0 }),
            (ChunkPosition::SizeEnd | ChunkPosition::DataEnd | ChunkPosition::DataEndHalf, _) => {
                Err(WRONG_LINE_END)
            }
            (at, byte) => self.next_trailer_position(at, byte),
        }
    }

    fn next_size_position(
        &mut self,
        at: ChunkPosition,
        byte: u8,
    ) -> Result<ChunkPosition, MalformedResponse> {
        match (at, byte) {
            (ChunkPosition::Size { digits }, _) if byte.is_ascii_hexdigit() => {
                self.after_size_digit(digits, byte)
            }
            (
                ChunkPosition::Size { digits: 1.. }
                | ChunkPosition::AfterSize
                | ChunkPosition::Extension,
                b'\r',
            ) => Ok(ChunkPosition::SizeEnd),
            (ChunkPosition::Size { digits: 1.. } | ChunkPosition::AfterSize, b' ' | b'\t') => {
                self.ignore_byte(ChunkPosition::AfterSize)
            }
            (ChunkPosition::Size { digits: 1.. } | ChunkPosition::AfterSize, b';') => {
                self.ignore_byte(ChunkPosition::Extension)
            }
            (ChunkPosition::Extension, b'\n') => Err(WRONG_LINE_END),
            (ChunkPosition::Extension, _) => self.ignore_byte(ChunkPosition::Extension),
            _ => Err(MalformedResponse("invalid size of a chunk")),
        }
    }

    fn after_size_digit(
        &mut self,
        digits: usize,
        byte: u8,
    ) -> Result<ChunkPosition, MalformedResponse> {
        let value = char::from(byte).to_digit(16).unwrap_or_default();
        let size = self
            .remaining_chunk_bytes
            .checked_mul(16)
            .and_then(|size| size.checked_add(value.into()));
        self.remaining_chunk_bytes = size.ok_or(MalformedResponse("a chunk is too large"))?;
        self.ignore_byte(ChunkPosition::Size {
            digits: digits.saturating_add(1),
        })
    }

    fn next_trailer_position(
        &mut self,
        at: ChunkPosition,
        byte: u8,
    ) -> Result<ChunkPosition, MalformedResponse> {
        let next = match (at, byte) {
            (ChunkPosition::Trailer { .. }, b'\r') => ChunkPosition::LastHalf,
            // A line feed alone ends a line of a trailer, as it ends one of a head (RFC 9112, 2.2).
            (ChunkPosition::Trailer { .. }, b'\n') => return Ok(ChunkPosition::End),
            (ChunkPosition::TrailerValue, b'\n') => ChunkPosition::Trailer { is_first: false },
            (ChunkPosition::Trailer { is_first: false }, b' ' | b'\t') => {
                ChunkPosition::TrailerValue
            }
            (ChunkPosition::Trailer { .. } | ChunkPosition::TrailerName, _)
                if is_token_char(byte) =>
            {
                ChunkPosition::TrailerName
            }
            (ChunkPosition::TrailerName | ChunkPosition::TrailerBlank, b':') => {
                ChunkPosition::TrailerValue
            }
            (ChunkPosition::TrailerName | ChunkPosition::TrailerBlank, b' ' | b'\t') => {
                ChunkPosition::TrailerBlank
            }
            (ChunkPosition::TrailerValue, b'\r') => ChunkPosition::TrailerEnd,
            (ChunkPosition::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {
                ChunkPosition::TrailerValue
            }
            (ChunkPosition::TrailerEnd, b'\n') => ChunkPosition::Trailer { is_first: false },
            (ChunkPosition::LastHalf, b'\n') => return Ok(ChunkPosition::End),
            _ => return Err(MalformedResponse("invalid trailer")),
        };
        self.ignore_byte(next)
    }

    /// Goes on after a byte without meaning, of which there may be as many as a head may have.
    fn ignore_byte(&mut self, next: ChunkPosition) -> Result<ChunkPosition, MalformedResponse> {
        // Up to sixteen digits of a size have a meaning.
        if matches!(next, ChunkPosition::Size { digits: ..=16 }) {
            return Ok(next);
        }
        self.ignored_bytes += 1;
        if self.ignored_bytes > MAX_HEAD {
            Err(MalformedResponse("more than 65536 bytes beside the body"))
        } else {
            Ok(next)
        }
    }
}

/// Returns true if a field name may hold this byte (RFC 9110, 5.6.2).
fn is_token_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, whether it is whole, and what is left; in pieces of so many bytes.
    fn decode(encoded: &[u8], piece: usize) -> Result<(Vec<u8>, bool, usize), MalformedResponse> {
        let mut decoder = BodyDecoder::from(BodyLength::Chunked);
        let (mut received, mut body) = (BytesMut::new(), Vec::new());
        for part in encoded.chunks(piece) {
            received.extend_from_slice(part);
            while let Some(piece) = decoder.decode(&mut received)? {
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
            (
                "00000000000000000000000005\r\nhello\r\n000\r\n\r\n",
                "hello",
            ),
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
            let refused = matches!(decode(encoded.as_bytes(), 1), Err(MalformedResponse(_)));
            let waits = ["0\r\nX", "5\r\nhelloX"].contains(&encoded);
            assert!(refused || (waits && encoded == "0\r\nX"), "{encoded:?}");
        }
    }

    #[test]
    fn a_length_is_a_length() {
        let mut received = BytesMut::from(&b"hello"[..]);
        let mut decoder = BodyDecoder::from(BodyLength::ContentLength(3));
        assert!(!decoder.ends_with_connection());
        assert_eq!(
            decoder.decode(&mut received),
            Ok(Some(Bytes::from_static(b"hel")))
        );
        assert!(decoder.is_done());
        assert_eq!(decoder.decode(&mut received), Ok(None));
        let mut decoder = BodyDecoder::from(BodyLength::UntilClose);
        assert_eq!(
            decoder.decode(&mut received),
            Ok(Some(Bytes::from_static(b"lo")))
        );
        assert!(!decoder.is_done() && decoder.ends_with_connection());
    }
}
