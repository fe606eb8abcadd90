//! The checkpoint: all that a log knows without its events. It is the first record of every
//! segment, so that no record of an older segment has to be read when the log is opened.

use bytes::BufMut;

use super::fields::{FieldError, FieldReader, put_bytes, put_ranges, put_varint};
use super::span::SequenceSpan;
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::{QueueId, Sequence};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogCheckpoint {
    /// Sequence of the next record that has one.
    pub(crate) next_sequence: Sequence,
    /// Id of the next queue that is declared.
    pub(crate) next_queue: u32,
    /// The older segments, in order.
    pub(crate) segments: Vec<SegmentEntry>,
    pub(crate) queues: Vec<QueueEntry>,
}

/// A segment that was sealed before the checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    pub(crate) id: u64,
    pub(crate) generation: u32,
    pub(crate) first: Sequence,
    /// Offset at which its last record ends.
    pub(crate) end: u64,
    /// Number of its events.
    pub(crate) events: u64,
    /// Earliest and latest time at which its events were received.
    pub(crate) oldest: EpochMillis,
    pub(crate) newest: EpochMillis,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueEntry {
    pub(crate) id: QueueId,
    pub(crate) name: String,
    /// False if it was retired, and what waits is kept.
    pub(crate) is_active: bool,
    /// Everything below is finished, unless it is in `unfinished`.
    pub(crate) taken: Sequence,
    /// Unfinished events, without those that are parked; and the bytes of these events.
    pub(crate) depth: u64,
    pub(crate) bytes: u64,
    /// Sequences of which the queue gets every event; empty without any.
    pub(crate) range: SequenceSpan,
    /// What is finished of that which is not below `taken`.
    pub(crate) finished: Vec<(Sequence, Sequence)>,
    pub(crate) unfinished: Vec<UnfinishedEntry>,
}

/// An event that is in flight, deferred or parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnfinishedEntry {
    pub(crate) event: Sequence,
    pub(crate) received_at: EpochMillis,
    pub(crate) bytes: u32,
    pub(crate) progress: EventProgress,
}

/// What is recorded of the progress of an event in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EventProgress {
    /// Nothing.
    #[default]
    Fresh,
    /// It was deferred by the record of this sequence.
    Deferred {
        record: Sequence,
        recorded_at: EpochMillis,
        due: EpochMillis,
    },
    /// It was parked by the record of this sequence.
    Parked { record: Sequence },
}

impl EventProgress {
    /// Sequence of the record that tells of it.
    pub(crate) fn record(self) -> Option<Sequence> {
        match self {
            Self::Fresh => None,
            Self::Deferred { record, .. } | Self::Parked { record } => Some(record),
        }
    }
}

impl LogCheckpoint {
    pub(crate) fn max_bytes(&self) -> usize {
        let queues = self.queues.iter().map(|queue| {
            120 + queue.name.len() + 20 * queue.finished.len() + 60 * queue.unfinished.len()
        });
        100 + 68 * self.segments.len() + queues.sum::<usize>()
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.next_sequence);
        out.put_u32_le(self.next_queue);
        put_varint(out, self.segments.len() as u64);
        for segment in &self.segments {
            out.put_u64_le(segment.id);
            out.put_u32_le(segment.generation);
            out.put_u64_le(segment.first);
            out.put_u64_le(segment.end);
            out.put_u64_le(segment.events);
            out.put_u64_le(segment.oldest);
            out.put_u64_le(segment.newest);
        }
        put_varint(out, self.queues.len() as u64);
        for queue in &self.queues {
            queue.put(out);
        }
    }

    pub(crate) fn decode(fields: &mut FieldReader) -> Result<Self, FieldError> {
        let (next_sequence, next_queue) = (fields.u64()?, fields.u32()?);
        let count = fields.count()?;
        let mut segments = Vec::new();
        for _ in 0..count {
            segments.push(SegmentEntry {
                id: fields.u64()?,
                generation: fields.u32()?,
                first: fields.u64()?,
                end: fields.u64()?,
                events: fields.u64()?,
                oldest: fields.u64()?,
                newest: fields.u64()?,
            });
        }
        let count = fields.count()?;
        let mut queues = Vec::new();
        for _ in 0..count {
            queues.push(QueueEntry::decode(fields)?);
        }
        Ok(Self {
            next_sequence,
            next_queue,
            segments,
            queues,
        })
    }
}

impl QueueEntry {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.id.0);
        put_bytes(out, self.name.as_bytes());
        out.put_u8(u8::from(self.is_active));
        out.put_u64_le(self.taken);
        out.put_u64_le(self.depth);
        out.put_u64_le(self.bytes);
        self.range.put(out);
        put_ranges(out, &self.finished);
        put_varint(out, self.unfinished.len() as u64);
        for entry in &self.unfinished {
            entry.put(out);
        }
    }

    fn decode(fields: &mut FieldReader) -> Result<Self, FieldError> {
        let mut queue = Self {
            id: QueueId(fields.u32()?),
            name: fields.text()?,
            is_active: fields.u8()? != 0,
            taken: fields.u64()?,
            depth: fields.u64()?,
            bytes: fields.u64()?,
            range: SequenceSpan::decode(fields)?,
            finished: fields.ranges()?,
            unfinished: Vec::new(),
        };
        for _ in 0..fields.count()? {
            queue.unfinished.push(UnfinishedEntry::decode(fields)?);
        }
        Ok(queue)
    }
}

impl UnfinishedEntry {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64_le(self.event);
        out.put_u64_le(self.received_at);
        out.put_u32_le(self.bytes);
        match self.progress {
            EventProgress::Fresh => out.put_u8(0),
            EventProgress::Deferred {
                record,
                recorded_at,
                due,
            } => {
                out.put_u8(1);
                out.put_u64_le(record);
                out.put_u64_le(recorded_at);
                out.put_u64_le(due);
            }
            EventProgress::Parked { record } => {
                out.put_u8(2);
                out.put_u64_le(record);
            }
        }
    }

    fn decode(fields: &mut FieldReader) -> Result<Self, FieldError> {
        Ok(Self {
            event: fields.u64()?,
            received_at: fields.u64()?,
            bytes: fields.u32()?,
            progress: match fields.u8()? {
                0 => EventProgress::Fresh,
                1 => EventProgress::Deferred {
                    record: fields.u64()?,
                    recorded_at: fields.u64()?,
                    due: fields.u64()?,
                },
                2 => EventProgress::Parked {
                    record: fields.u64()?,
                },
                _ => return Err(FieldError("the progress of an event is unknown")),
            },
        })
    }
}
