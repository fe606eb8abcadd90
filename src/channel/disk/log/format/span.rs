//! A span of sequences, and the record by which a queue gets what is in one.

use bytes::BufMut;

use super::fields::{FieldError, FieldReader};
use crate::channel::disk::log::{QueueId, Sequence};

/// The sequences from one on, and below another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceSpan {
    /// The first sequence.
    pub from: Sequence,
    /// The sequence behind the last one.
    pub until: Sequence,
}

impl SequenceSpan {
    /// True if the sequence is one of the span.
    #[must_use]
    pub fn contains(&self, sequence: Sequence) -> bool {
        (self.from..self.until).contains(&sequence)
    }

    /// Number of sequences.
    pub(crate) fn length(&self) -> u64 {
        self.until.saturating_sub(self.from)
    }

    pub(crate) fn put(self, out: &mut Vec<u8>) {
        out.put_u64_le(self.from);
        out.put_u64_le(self.until);
    }

    pub(crate) fn decode(fields: &mut FieldReader) -> Result<Self, FieldError> {
        Ok(Self {
            from: fields.u64()?,
            until: fields.u64()?,
        })
    }
}

/// A queue gets every event of a range of sequences, or of a part of it, whatever queues these name.
/// `events` is at least the number of those that the queue has not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeRecord {
    pub(crate) queue: QueueId,
    pub(crate) range: SequenceSpan,
    pub(crate) events: u64,
}

impl RangeRecord {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.queue.0);
        self.range.put(out);
        out.put_u64_le(self.events);
    }

    pub(crate) fn decode(fields: &mut FieldReader) -> Result<Self, FieldError> {
        Ok(Self {
            queue: QueueId(fields.u32()?),
            range: SequenceSpan::decode(fields)?,
            events: fields.u64()?,
        })
    }
}
