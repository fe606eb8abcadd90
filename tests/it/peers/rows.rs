//! Which peers there are, and what their answers come to.

use std::borrow::Cow;

use super::Verdict;

/// A peer.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) answer: Answer,
    pub(crate) pace: Pace,
    pub(crate) end: End,
    pub(crate) verdict: Verdict,
    /// Whether the connection is used for the next request.
    pub(crate) kept: bool,
}

/// What it says.
pub(crate) enum Answer {
    Text(&'static str),
    Bytes(&'static [u8]),
    /// A text, another one so often, and the last one.
    Long(&'static str, &'static str, usize, &'static str),
}

impl Answer {
    pub(crate) fn bytes(&self) -> Cow<'static, [u8]> {
        match self {
            Self::Text(text) => Cow::Borrowed(text.as_bytes()),
            Self::Bytes(bytes) => Cow::Borrowed(bytes),
            Self::Long(start, middle, count, end) => Cow::Owned(
                [start, middle.repeat(*count).as_str(), end]
                    .concat()
                    .into_bytes(),
            ),
        }
    }
}

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    AtOnce,
    ByteByByte,
}

/// What it does then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It waits for another request.
    Stay,
    /// It closes the connection in order.
    Close,
    /// It closes the connection; over TLS without saying so.
    CutOff,
    /// It resets the connection.
    Reset,
}

pub(crate) const fn row(name: &'static str, answer: Answer, end: End, verdict: Verdict) -> Row {
    Row {
        name,
        answer,
        pace: Pace::AtOnce,
        end,
        verdict,
        kept: false,
    }
}

pub(crate) const fn text(
    name: &'static str,
    answer: &'static str,
    end: End,
    verdict: Verdict,
) -> Row {
    row(name, Answer::Text(answer), end, verdict)
}

const fn kept(row: Row) -> Row {
    Row { kept: true, ..row }
}

const fn slow(row: Row) -> Row {
    Row {
        pace: Pace::ByteByByte,
        ..row
    }
}

use End::{Close, CutOff, Reset, Stay};
use Verdict::{Event, None, Status, Unread};

pub(crate) const ROWS: &[Row] = &[
    // In order.
    kept(text("202 without a body", "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", Stay, Status(202))),
    kept(text(
        "an event by its length",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ncontent-length: 5\r\n\r\nhello",
        Stay,
        Event(200, "hello"),
    )),
    kept(text(
        "an event in chunks",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        Stay,
        Event(200, "hello"),
    )),
    text("an event until the end", "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\n\r\nhello", Close, Event(200, "hello")),
    text("HTTP/1.0", "HTTP/1.0 202 Accepted\r\n\r\n", Close, Status(202)),
    // The end of the connection.
    text("202 without a length, cut off", "HTTP/1.1 202 Accepted\r\nserver: x\r\n\r\n", CutOff, Status(202)),
    text("400 without a length, cut off", "HTTP/1.0 400 Bad\r\n\r\nno", CutOff, Status(400)),
    text("202 without a length, reset", "HTTP/1.1 202 Accepted\r\nserver: x\r\n\r\n", Reset, Status(202)),
    text("202 with a length, cut off", "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", CutOff, Status(202)),
    text("half a head", "HTTP/1.1 202 Acc", Close, None),
    text("nothing", "", Close, None),
    // A status is known, and its body breaks off.
    text("400 with a short body", "HTTP/1.1 400 Bad\r\ncontent-length: 9\r\n\r\nhalf", Close, Status(400)),
    text("400 with a short body, reset", "HTTP/1.1 400 Bad\r\ncontent-length: 9\r\n\r\nhalf", Reset, Status(400)),
    text("400 whose body stalls", "HTTP/1.1 400 Bad\r\ncontent-length: 9\r\n\r\nhalf", Stay, Status(400)),
    text(
        "503 with half a chunk",
        "HTTP/1.1 503 No\r\nretry-after: 2\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
        Close,
        Status(503),
    ),
    text("400 with a wrong chunk", "HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", Stay, Status(400)),
    text("202 with half a body", "HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nhalf", Close, Status(202)),
    text("202 whose body stalls", "HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\nhalf", Stay, Status(202)),
    text(
        "202 whose chunks stall",
        "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n",
        Stay,
        Status(202),
    ),
    text("202 until an end that does not come", "HTTP/1.1 202 Accepted\r\n\r\n", Stay, Status(202)),
    row(
        "200 with more than anybody wants",
        Answer::Long("HTTP/1.1 200 OK\r\n\r\n", "0123456789abcdef", 10_000, ""),
        Close,
        Status(200),
    ),
    text(
        "half an event",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ncontent-length: 9\r\n\r\nhalf",
        Close,
        Unread(200),
    ),
    text(
        "an event with a wrong chunk",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n+1\r\na\r\n0\r\n\r\n",
        Stay,
        Unread(200),
    ),
    // Fields in several lines.
    text("a folded field", "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n", Stay, Status(200)),
    text("a folded field, 400", "HTTP/1.1 400 Bad\r\nx: a\r\n\tb\r\ncontent-length: 0\r\n\r\n", Stay, Status(400)),
    text("a folded field, 503", "HTTP/1.1 503 No\r\nx:\r\n a\r\ncontent-length: 0\r\n\r\n", Stay, Status(503)),
    // Lines of chunks.
    kept(row(
        "a chunk with a long extension",
        Answer::Long(
            "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n5;a=",
            "b",
            2000,
            "\r\nhello\r\n0\r\n\r\n",
        ),
        Stay,
        Event(200, "hello"),
    )),
    kept(text(
        "a chunk with a padded size",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n000000000000000000000000005\r\nhello\r\n0\r\n\r\n",
        Stay,
        Event(200, "hello"),
    )),
    kept(text(
        "a chunk with blanks after its size",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n5                      \r\nhello\r\n0\r\n\r\n",
        Stay,
        Event(200, "hello"),
    )),
    row(
        "extensions without end",
        Answer::Long(
            "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n5;a=",
            "b",
            100_000,
            "",
        ),
        Stay,
        Unread(200),
    ),
    text(
        "a chunk of +5",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        Stay,
        Unread(200),
    ),
    text(
        "a chunk with a blank before its size",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n",
        Stay,
        Unread(200),
    ),
    row(
        "a chunk with a non-breaking blank",
        Answer::Bytes(
            b"HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n\xa05\r\nhello\r\n0\r\n\r\n",
        ),
        Stay,
        Unread(200),
    ),
    text(
        "a line feed in an extension",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
        Stay,
        Unread(200),
    ),
    text(
        "a carriage return in a chunk's line",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n",
        Stay,
        Unread(200),
    ),
    text(
        "a carriage return in a trailer",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\na: b\rc\r\n\r\n",
        Stay,
        Unread(200),
    ),
    kept(text(
        "line feeds alone in trailers",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\na: b\nc: d\n\n",
        Stay,
        Event(200, "hello"),
    )),
    text(
        "202 with a chunk of +5",
        "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        Stay,
        Status(202),
    ),
    // Codings.
    kept(text(
        "a compressed event",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        Stay,
        Unread(200),
    )),
    kept(text(
        "an event that is compressed twice",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ncontent-encoding: gzip, br\r\ncontent-length: 5\r\n\r\nhello",
        Stay,
        Unread(200),
    )),
    text(
        "an event in a compressed transfer",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Stay,
        Unread(200),
    ),
    kept(text(
        "an event that says that it is not compressed",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ncontent-encoding: identity\r\ncontent-length: 5\r\n\r\nhello",
        Stay,
        Event(200, "hello"),
    )),
    kept(text(
        "a compressed text",
        "HTTP/1.1 202 Accepted\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello",
        Stay,
        Status(202),
    )),
    // Heads.
    text("a blank before a colon", "HTTP/1.1 202 Accepted\r\ncontent-length : 0\r\n\r\n", Stay, Status(202)),
    kept(text(
        "two blanks in the status line",
        "HTTP/1.1  202  Accepted\r\ncontent-length: 0\r\n\r\n",
        Stay,
        Status(202),
    )),
    kept(text("no reason", "HTTP/1.1 202\r\ncontent-length: 0\r\n\r\n", Stay, Status(202))),
    kept(row(
        "1,000 fields",
        Answer::Long("HTTP/1.1 202 Accepted\r\n", "x-field: value\r\n", 1000, "content-length: 0\r\n\r\n"),
        Stay,
        Status(202),
    )),
    kept(slow(row(
        "a head of 60 KiB, byte by byte",
        Answer::Long("HTTP/1.1 202 Accepted\r\nx: ", "0123456789abcdef", 3800, "\r\ncontent-length: 0\r\n\r\n"),
        Stay,
        Status(202),
    ))),
    row("a head without end", Answer::Long("HTTP/1.1 202 Accepted\r\nx: ", "0123456789abcdef", 6000, ""), Stay, None),
    text("another protocol", "SSH-2.0-OpenSSH_9.2\r\n", Stay, None),
    text("a field without a colon", "HTTP/1.1 202 Accepted\r\nnonsense\r\n\r\n", Stay, None),
    text("a blank before the first field", "HTTP/1.1 202 Accepted\r\n x: a\r\n\r\n", Stay, None),
    kept(text(
        "information first",
        "HTTP/1.1 100 Continue\r\nserver: x\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n",
        Stay,
        Status(202),
    )),
    text("a switch that nobody asked for", "HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", Stay, Status(101)),
    // Lengths.
    text("two lengths", "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\ncontent-length: 1\r\n\r\na", Close, None),
    text("a length that is no number", "HTTP/1.1 202 Accepted\r\ncontent-length: +1\r\n\r\na", Close, None),
    kept(text(
        "the same length twice",
        "HTTP/1.1 202 Accepted\r\ncontent-length: 1, 1\r\ncontent-length: 1\r\n\r\na",
        Stay,
        Status(202),
    )),
    kept(text("204 with a length", "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", Stay, Status(204))),
    text(
        "a length beside chunks",
        "HTTP/1.1 200 OK\r\nce-specversion: 1.0\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Stay,
        Event(200, "hello"),
    ),
    text(
        "chunks in HTTP/1.0",
        "HTTP/1.0 202 Accepted\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Close,
        Status(202),
    ),
    text(
        "more than was said",
        "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\nHTTP/1.1 500 No\r\n\r\n",
        Stay,
        Status(202),
    ),
];
