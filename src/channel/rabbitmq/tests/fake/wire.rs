//! Frames of AMQP: decoded from bytes and encoded to bytes.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame, parse_frame};
use amq_protocol::protocol::{AMQPClass, BasicProperties};
use bytes::{Buf, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// Bytes of a frame that are no payload.
const FRAME_OVERHEAD: usize = 8;
const BASIC_CLASS: u16 = 60;

/// The frames that a client sends.
pub(super) struct FrameReader {
    stream: OwnedReadHalf,
    buffer: BytesMut,
}

impl FrameReader {
    pub(super) fn new(stream: OwnedReadHalf) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The next frame; `None` when the client has gone, or sends something else.
    pub(super) async fn next(&mut self) -> Option<AMQPFrame> {
        loop {
            match parse_frame(&self.buffer[..]) {
                Ok((rest, frame)) => {
                    let used = self.buffer.len() - rest.len();
                    self.buffer.advance(used);
                    return Some(frame);
                }
                Err(error) if error.is_incomplete() => {}
                Err(_malformed) => return None,
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }
}

/// Appends a frame.
pub(super) fn write_frame(out: &mut Vec<u8>, frame: &AMQPFrame) {
    let context = WriteContext::from(std::mem::take(out));
    let (bytes, _length) = gen_frame(frame)(context)
        .expect("a frame that can be written")
        .into_inner();
    *out = bytes;
}

/// Appends a method that carries a message, and the message.
pub(super) fn write_content(
    out: &mut Vec<u8>,
    (channel, frame_max): (u16, usize),
    method: AMQPClass,
    properties: BasicProperties,
    body: &[u8],
) {
    write_frame(out, &AMQPFrame::Method(channel, method));
    let header = AMQPContentHeader {
        class_id: BASIC_CLASS,
        body_size: body.len() as u64,
        properties,
    };
    write_frame(out, &AMQPFrame::Header(channel, header));
    for part in body.chunks(frame_max - FRAME_OVERHEAD) {
        write_frame(out, &AMQPFrame::Body(channel, part.to_vec()));
    }
}
