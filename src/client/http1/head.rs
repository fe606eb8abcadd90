//! Reads the head of a response (RFC 9112, 2.1, 4 and 5), as Go and curl read it where the meaning
//! is clear.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use httparse::{Header, ParserConfig, Status};

use super::framing::{HeadSyntax, ResponseFraming};
use super::malformed_response::MalformedResponse;

/// Bytes of a response's head, together with the informational responses before it, at most.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// Number of fields that are parsed without an allocation.
const FEW: usize = 32;
/// Number of fields that a head may have: as many as curl takes.
const MAX_FIELDS: usize = 5000;
/// Bytes that are parsed again and again while a head comes in pieces. Beyond that, the head is
/// parsed when its end is there or when it has doubled, so that it costs no more than its length
/// however small the pieces are.
const REPARSE_LIMIT: usize = 4 * MAX_HEAD;

/// The head of a final response, with the framing of its body.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) response: Response<()>,
    pub(super) framing: ResponseFraming,
}

/// Reads heads until one is not informational (1xx).
#[derive(Debug, Default)]
pub(super) struct ResponseHeadReader {
    /// Bytes of informational heads so far.
    informational_bytes: usize,
    /// Number of bytes that were there when they were parsed last.
    last_received_length: usize,
    /// Bytes in which the end of the head was looked for.
    scanned: usize,
    /// Bytes that were parsed, counted again each time.
    parsed_bytes: usize,
}

impl ResponseHeadReader {
    /// Takes the final head out of what was received, if it is there. Informational heads before it
    /// are dropped.
    pub(super) fn read(
        &mut self,
        received: &mut BytesMut,
    ) -> Result<Option<ResponseHead>, MalformedResponse> {
        while self.should_parse(received) {
            self.last_received_length = received.len();
            self.parsed_bytes = self.parsed_bytes.saturating_add(received.len());
            let Some(ParsedHead {
                length,
                response,
                syntax,
            }) = parse_head(received)?
            else {
                break;
            };
            if is_final(response.status()) {
                let framing = ResponseFraming::of_head(&response, syntax)?;
                received.advance(length);
                return Ok(Some(ResponseHead { response, framing }));
            }
            self.drop_informational_head(length, received);
        }
        self.check_length(received).map(|()| None)
    }

    fn check_length(&self, received: &[u8]) -> Result<(), MalformedResponse> {
        if self.informational_bytes.saturating_add(received.len()) > MAX_HEAD {
            return Err(MalformedResponse("a head of more than 65536 bytes"));
        }
        Ok(())
    }

    fn drop_informational_head(&mut self, length: usize, received: &mut BytesMut) {
        received.advance(length);
        (self.last_received_length, self.scanned) = (0, 0);
        self.informational_bytes = self.informational_bytes.saturating_add(length);
    }

    fn should_parse(&mut self, received: &[u8]) -> bool {
        let has_end = self.has_end(received);
        let is_new = received.len() > self.last_received_length;
        is_new
            && (self.parsed_bytes < REPARSE_LIMIT
                || received.len() / 2 >= self.last_received_length
                || has_end)
    }

    /// Returns true if an empty line is among the bytes that were not looked through yet, or is
    /// ended by them.
    fn has_end(&mut self, received: &[u8]) -> bool {
        let mut rest = received
            .get(self.scanned.saturating_sub(2)..)
            .unwrap_or_default();
        (self.scanned, self.parsed_bytes) =
            (received.len(), self.parsed_bytes.saturating_add(rest.len()));
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            rest = rest.get(end + 1..).unwrap_or_default();
            if rest.starts_with(b"\n") || rest.starts_with(b"\r\n") {
                return true;
            }
        }
        false
    }
}

/// Returns true if no other response comes after one with this status: 1xx only inform, except that
/// 101 ends HTTP on the connection (RFC 9110, 15.2).
fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}

struct ParsedHead {
    length: usize,
    response: Response<()>,
    syntax: HeadSyntax,
}

/// Parses the head at the start of what was received; `None` if more bytes have to come.
fn parse_head(received: &[u8]) -> Result<Option<ParsedHead>, MalformedResponse> {
    let mut few = [const { MaybeUninit::uninit() }; FEW];
    match parse_head_into(received, &mut few) {
        Err(MalformedResponse(reason))
            if MalformedResponse(reason) == httparse::Error::TooManyHeaders.into() =>
        {
            let lines = received.iter().filter(|byte| **byte == b'\n').count();
            parse_head_into(
                received,
                &mut vec![MaybeUninit::uninit(); lines.min(MAX_FIELDS)],
            )
        }
        // A server that expected TLS answers with a TLS record: an alert (0x15) of version 3.
        Err(_no_http) if received.starts_with(&[0x15, 3]) => Err(MalformedResponse(
            "what it answers is TLS: is this its port for https?",
        )),
        read => read,
    }
}

/// The same leniency as Go and curl, where the meaning is clear; each repair is seen by
/// `append_field`, and costs the connection its keep-alive.
fn parser_config() -> ParserConfig {
    let mut config = ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    config
}

fn parse_head_into<'b>(
    received: &'b [u8],
    fields: &mut [MaybeUninit<Header<'b>>],
) -> Result<Option<ParsedHead>, MalformedResponse> {
    let mut head = httparse::Response::new(&mut []);
    let parsed = parser_config().parse_response_with_uninit_headers(&mut head, received, fields)?;
    let Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let mut response = response_of_status_line(head.code, head.version)?;
    let mut syntax = HeadSyntax::Strict;
    for field in head.headers.iter() {
        syntax = syntax.and(append_field(response.headers_mut(), field, received)?);
    }
    Ok(Some(ParsedHead {
        length,
        response,
        syntax,
    }))
}

fn response_of_status_line(
    code: Option<u16>,
    minor_version: Option<u8>,
) -> Result<Response<()>, MalformedResponse> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(code.unwrap_or_default())
        .map_err(|_range| MalformedResponse("invalid status line"))?;
    *response.version_mut() = if minor_version == Some(0) {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };
    Ok(response)
}

/// Adds a field to the head. A value in several lines is read as one, with a blank for each end of
/// a line (RFC 9112, 5.2).
fn append_field(
    fields: &mut HeaderMap,
    field: &Header<'_>,
    received: &[u8],
) -> Result<HeadSyntax, MalformedResponse> {
    let name = HeaderName::from_bytes(field.name.as_bytes())
        .map_err(|_error| MalformedResponse("invalid name of a field"))?;
    let value = match field.value.contains(&b'\n') {
        true => HeaderValue::from_bytes(&unfold_value(field.value)),
        false => HeaderValue::from_bytes(field.value),
    };
    let value = value.map_err(|_error| MalformedResponse("invalid value of a field"))?;
    fields
        .try_append(name, value)
        .map_err(|_error| MalformedResponse("too many fields"))?;
    Ok(if is_strict_field(field, received) {
        HeadSyntax::Strict
    } else {
        HeadSyntax::Repaired
    })
}

/// Returns true if the colon follows the name of the field at once, and its value stands in the
/// same line.
fn is_strict_field(field: &Header<'_>, received: &[u8]) -> bool {
    let place = |part: &[u8]| (part.as_ptr() as usize).wrapping_sub(received.as_ptr() as usize);
    let colon = place(field.name.as_bytes()).saturating_add(field.name.len());
    let end = place(field.value).saturating_add(field.value.len());
    let rest = received.get(colon..end.max(colon)).unwrap_or_default();
    rest.first() == Some(&b':') && !rest.contains(&b'\n')
}

fn unfold_value(value: &[u8]) -> Vec<u8> {
    let lines = value
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<ResponseHead>, MalformedResponse> {
        ResponseHeadReader::default().read(&mut BytesMut::from(bytes))
    }

    #[test]
    fn heads_are_read_as_others_read_them() {
        for (head, status, field) in [
            ("HTTP/1.1 202 Accepted\r\na: b\r\n\r\n", 202, Some("b")),
            ("HTTP/1.1 202\r\na: b\r\n\r\n", 202, Some("b")),
            ("HTTP/1.1  202  Accepted\r\na: b\r\n\r\n", 202, Some("b")),
            ("HTTP/1.0 503 No\na: b\n\n", 503, Some("b")),
            ("\r\nHTTP/1.1 202 Accepted\r\n\r\n", 202, None),
            (
                "HTTP/1.1 202 Accepted\r\na: b\r\n  c\r\n\td\r\n\r\n",
                202,
                Some("b c d"),
            ),
            ("HTTP/1.1 202 Accepted\r\na:\r\n b\r\n\r\n", 202, Some("b")),
            ("HTTP/1.1 202 Accepted\r\na: b\r\n \r\n\r\n", 202, Some("b")),
            ("HTTP/1.1 202 Accepted\r\na : b\r\n\r\n", 202, Some("b")),
            ("HTTP/1.1 202 Accepted\r\nA\t : b\r\n\r\n", 202, Some("b")),
            (
                "HTTP/1.1 100 Continue\r\nserver: x\r\n\r\nHTTP/1.1 202 Accepted\r\na: b\r\n\r\n",
                202,
                Some("b"),
            ),
        ] {
            let head = read(head.as_bytes()).expect(head).expect(head).response;
            let found = head
                .headers()
                .get("a")
                .map(|value| value.to_str().expect("text"));
            assert_eq!((head.status().as_u16(), found), (status, field));
        }
    }

    #[test]
    fn what_is_no_head_is_refused_as_soon_as_that_is_known() {
        for head in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/2.0 200 OK\r\n",
            "ICY 200 OK\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 099 No\r\n\r\n",
            "HTTP/1.1 200 OK\r\n a: b\r\n",
            "HTTP/1.1 200 OK\r\na b: c\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n",
            "HTTP/1.1 200 OK\r\na: b\rc\r\n",
            "HTTP/1.1 200 OK\r\na: \0\r\n",
            "HTTP/1.1 200 OK\r\n: b\r\n",
        ] {
            assert!(read(head.as_bytes()).is_err(), "{head:?}");
        }
        for part in [
            "",
            "HTTP/1.1 202 Acc",
            "HTTP/1.1 202 Accepted\r\na: b\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            assert!(read(part.as_bytes()).expect(part).is_none(), "{part:?}");
        }
    }

    /// However it comes, a head costs about as much as its length, and what is wrong with it is
    /// found.
    #[test]
    fn a_head_in_pieces_costs_no_more_than_its_length() {
        let mut head = b"HTTP/1.1 202 Accepted\r\n".to_vec();
        (0..2000).for_each(|number| {
            head.extend_from_slice(format!("x-{number}: {number:016}\r\n").as_bytes())
        });
        head.extend_from_slice(b"\r\n");
        let (mut heads, mut received) = (ResponseHeadReader::default(), BytesMut::new());
        let mut read = None;
        for byte in &head {
            assert!(read.is_none());
            received.extend_from_slice(&[*byte]);
            read = heads.read(&mut received).expect("a head");
        }
        assert_eq!(read.expect("a head").response.headers().len(), 2000);
        assert!(
            heads.parsed_bytes < REPARSE_LIMIT + 8 * head.len(),
            "{} bytes for {}",
            heads.parsed_bytes,
            head.len()
        );
    }

    #[test]
    fn what_only_informs_ends_too() {
        let mut received = BytesMut::from(&b"HTTP/1.1 100 Continue\r\n\r\n".repeat(3000)[..]);
        assert_eq!(
            ResponseHeadReader::default()
                .read(&mut received)
                .expect_err("endless")
                .0,
            "a head of more than 65536 bytes"
        );
    }
}
