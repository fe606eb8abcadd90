//! Reads the records of a segment one after the other, with bounded memory.

use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::record::{FrameHead, LogRecord, kind};
use super::{ALIGNMENT, RECORD_HEAD, SegmentSalt, record_bytes};
use crate::channel::disk::log::LogError;
use crate::channel::disk::log::files::{LogFile, read_fully};

/// A record as it was read, with its checksum verified.
#[derive(Clone, Debug)]
pub(crate) struct ScannedRecord {
    pub(crate) offset: u64,
    /// Offset at which the next record begins.
    pub(crate) end: u64,
    pub(crate) kind: u8,
    pub(crate) payload: Bytes,
}

/// Reason for which no record could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScanFault {
    /// The file cannot be read.
    Unreadable(LogError),
    /// There is no valid record at the offset.
    Invalid { offset: u64, what: &'static str },
}

impl ScanFault {
    /// The fault as damage, since a record should have been there.
    pub(crate) fn into_damage(self, path: &Path) -> LogError {
        match self {
            Self::Unreadable(error) => error,
            Self::Invalid { offset, what } => LogError::damaged(path, offset, what),
        }
    }
}

/// A frame that is whole.
#[derive(Clone, Debug)]
pub(crate) struct ScannedFrame {
    pub(crate) offset: u64,
    pub(crate) end: u64,
    pub(crate) number: u64,
    pub(crate) records: Vec<(u64, LogRecord)>,
}

/// Reader of the records between two offsets of a segment. It holds one chunk of the file, or one
/// record if that is larger.
#[derive(Debug)]
pub(crate) struct RecordScanner {
    path: Arc<Path>,
    file: Arc<dyn LogFile>,
    salt: SegmentSalt,
    offset: u64,
    end: u64,
    chunk: Bytes,
    chunk_at: u64,
    chunk_bytes: usize,
}

impl RecordScanner {
    pub(crate) fn new(
        path: Arc<Path>,
        file: Arc<dyn LogFile>,
        salt: SegmentSalt,
        offset: u64,
        end: u64,
    ) -> Self {
        Self {
            path,
            file,
            salt,
            offset,
            end,
            chunk: Bytes::new(),
            chunk_at: 0,
            chunk_bytes: 256 << 10,
        }
    }

    /// Sets how many bytes are read at once.
    pub(crate) fn with_chunk(mut self, bytes: usize) -> Self {
        self.chunk_bytes = bytes.max(64);
        self
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next record of any kind; `None` at the end.
    pub(crate) fn next_record(&mut self) -> Result<Option<ScannedRecord>, ScanFault> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let offset = self.offset;
        let invalid = |what| ScanFault::Invalid { offset, what };
        let mut head = self.window(RECORD_HEAD)?;
        let (checksum, length) = (head.get_u32_le(), head.get_u32_le());
        let record_kind = head.get_u8();
        if record_kind == 0 {
            return Err(invalid("there is no record"));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length as u64 > self.end - offset {
            return Err(invalid("a record is longer than its segment"));
        }
        let whole = self.window(RECORD_HEAD + length)?;
        if self
            .salt
            .checksum(offset, whole.get(4..).unwrap_or_default())
            != checksum
        {
            return Err(invalid("the checksum of a record is wrong"));
        }
        self.offset = offset + record_bytes(length) as u64;
        Ok(Some(ScannedRecord {
            offset,
            end: self.offset,
            kind: record_kind,
            payload: whole.slice(RECORD_HEAD..),
        }))
    }

    /// Reads the next record that is no frame's head.
    pub(crate) fn next_content(&mut self) -> Result<Option<(u64, LogRecord)>, ScanFault> {
        while let Some(record) = self.next_record()? {
            if record.kind != kind::FRAME {
                return decode(record).map(Some);
            }
        }
        Ok(None)
    }

    /// Reads the next frame with all its records.
    pub(crate) fn next_frame(&mut self) -> Result<Option<ScannedFrame>, ScanFault> {
        let Some(head_record) = self.next_record()? else {
            return Ok(None);
        };
        let offset = head_record.offset;
        let invalid = |what| ScanFault::Invalid { offset, what };
        if head_record.kind != kind::FRAME {
            return Err(invalid("a record stands outside of a frame"));
        }
        let head = FrameHead::decode(head_record.payload).map_err(|error| invalid(error.0))?;
        let end = head_record.end.checked_add(head.bytes);
        let end = end.filter(|end| *end <= self.end);
        let end = end.ok_or_else(|| invalid("a frame is longer than its segment"))?;
        let mut records = Vec::new();
        while self.offset < end {
            match self.next_record()? {
                Some(record) => records.push(decode(record)?),
                None => return Err(invalid("a frame ends early")),
            }
        }
        if self.offset != end || records.len() as u64 != u64::from(head.count) {
            return Err(invalid("a frame does not hold what its head says"));
        }
        Ok(Some(ScannedFrame {
            offset,
            end,
            number: head.number,
            records,
        }))
    }

    /// True if the bytes at an offset may have been the head of a frame.
    pub(crate) fn looks_like_frame(&mut self, offset: u64) -> bool {
        self.offset = offset;
        let bytes = self.window(FrameHead::record_bytes());
        bytes.is_ok_and(|bytes| is_frame_head(&bytes))
    }

    /// Finds the first valid head of a frame with a larger number than `number` at or after an
    /// offset, whatever is before it.
    pub(crate) fn find_frame(
        &mut self,
        from: u64,
        number: u64,
    ) -> Result<Option<(u64, FrameHead)>, ScanFault> {
        let mut at = from.next_multiple_of(ALIGNMENT as u64);
        let least = FrameHead::record_bytes();
        while at + least as u64 <= self.end {
            self.offset = at;
            let chunk = self.window_or_rest(self.chunk_bytes, least)?;
            let Some(place) = find_frame_head(&chunk) else {
                // A head may begin in the last bytes of the chunk, and end in the next one.
                at += (chunk.len() - least + 1).next_multiple_of(ALIGNMENT) as u64;
                continue;
            };
            self.offset = at + place as u64;
            if let Ok(Some(record)) = self.next_record()
                && let Ok(head) = FrameHead::decode(record.payload)
                && head.number > number
            {
                return Ok(Some((record.offset, head)));
            }
            at += (place + ALIGNMENT) as u64;
        }
        Ok(None)
    }

    /// The next `wish` bytes, or what there is of them, but `least` in any case.
    fn window_or_rest(&mut self, wish: usize, least: usize) -> Result<Bytes, ScanFault> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        match self.window(wish.max(least).min(left)) {
            // The file is shorter than it was said to be.
            Err(ScanFault::Invalid { .. }) => self.window(self.chunk.len().max(least)),
            found => found,
        }
    }

    /// The bytes from the current offset on.
    fn window(&mut self, count: usize) -> Result<Bytes, ScanFault> {
        if let Some(held) = self.held(count) {
            return Ok(held);
        }
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let mut buffer = vec![0; count.max(self.chunk_bytes).min(left.max(count))];
        let filled = read_fully(&*self.file, &mut buffer, self.offset)
            .map_err(|error| ScanFault::Unreadable(LogError::unreadable(&self.path, &error)))?;
        buffer.truncate(filled);
        self.chunk = buffer.into();
        self.chunk_at = self.offset;
        self.held(count).ok_or(ScanFault::Invalid {
            offset: self.offset,
            what: "the file ends within a record",
        })
    }

    fn held(&self, count: usize) -> Option<Bytes> {
        let begin = self.offset.checked_sub(self.chunk_at)?;
        let begin = usize::try_from(begin).ok()?;
        let end = begin.checked_add(count)?;
        (end <= self.chunk.len()).then(|| self.chunk.slice(begin..end))
    }
}

fn is_frame_head(chunk: &[u8]) -> bool {
    let length = u32::try_from(FrameHead::PAYLOAD).unwrap_or_default();
    chunk.get(4..8) == Some(length.to_le_bytes().as_slice())
        && chunk.get(8..9) == Some([kind::FRAME].as_slice())
}

/// Place of the first bytes, at a multiple of the alignment, that may be the head of a frame.
fn find_frame_head(chunk: &[u8]) -> Option<usize> {
    let length = u32::try_from(FrameHead::PAYLOAD).unwrap_or_default();
    let length = length.to_le_bytes();
    let mut words = chunk.chunks_exact(ALIGNMENT).enumerate();
    let looks_right = |(place, word): (usize, &[u8])| {
        let is_length = word.get(4..) == Some(length.as_slice());
        let at = place * ALIGNMENT;
        (is_length && chunk.get(at..).is_some_and(is_frame_head)).then_some(at)
    };
    words.find_map(looks_right)
}

fn decode(record: ScannedRecord) -> Result<(u64, LogRecord), ScanFault> {
    let offset = record.offset;
    let record = LogRecord::decode(record.kind, record.payload);
    let record = record.map_err(|error| ScanFault::Invalid {
        offset,
        what: error.0,
    })?;
    Ok((offset, record))
}
