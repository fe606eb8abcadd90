//! Records: what has happened to a log, each with its length, kind and checksum.

use bytes::{BufMut, Bytes};

use super::checkpoint::LogCheckpoint;
use super::fields::{FieldError, FieldReader, put_bytes, put_ranges, put_varint};
use super::queue_set::QueueSet;
use super::span::RangeRecord;
use super::{RECORD_HEAD, SegmentSalt, record_bytes};
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::{QueueId, Sequence};

/// Kinds of records, as they are numbered on the disk.
pub(crate) mod kind {
    pub(crate) const FRAME: u8 = 1;
    pub(crate) const CHECKPOINT: u8 = 2;
    pub(crate) const EVENT: u8 = 3;
    pub(crate) const SETTLED: u8 = 4;
    pub(crate) const DEFERRED: u8 = 5;
    pub(crate) const PARKED: u8 = 6;
    pub(crate) const REPLAYED: u8 = 7;
    pub(crate) const DISCARDED: u8 = 8;
    pub(crate) const DECLARED: u8 = 9;
    pub(crate) const RETIRED: u8 = 10;
    pub(crate) const FREED: u8 = 11;
    pub(crate) const RANGED: u8 = 12;
    pub(crate) const CUT: u8 = 13;
}

/// What becomes of the events of a queue that is retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLeftover {
    /// They wait until the queue is declared again.
    Kept,
    /// They are given up, and the queue is forgotten.
    GivenUp,
}

/// How an event ended in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettledOutcome {
    /// The subscriber has it.
    Delivered,
    /// The dead letter sink has it.
    DeadLettered,
    /// Nobody has it, and it is not kept.
    Lost,
}

/// An event, once for all queues that want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventRecord {
    pub(crate) sequence: Sequence,
    pub(crate) received_at: EpochMillis,
    pub(crate) queues: QueueSet,
    pub(crate) body: Bytes,
}

/// The event of a queue that another record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceEvent {
    pub(crate) queue: QueueId,
    pub(crate) event: Sequence,
    pub(crate) received_at: EpochMillis,
    pub(crate) bytes: u32,
}

/// An event waits for its next attempt. Has a sequence of its own, by which it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeferredRecord {
    pub(crate) sequence: Sequence,
    pub(crate) source: SourceEvent,
    pub(crate) stage: u8,
    pub(crate) attempts: u32,
    pub(crate) recorded_at: EpochMillis,
    pub(crate) due: EpochMillis,
    pub(crate) body: Option<Bytes>,
}

/// An event that nobody took is kept. Has a sequence of its own, by which it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParkedRecord {
    pub(crate) sequence: Sequence,
    pub(crate) source: SourceEvent,
    pub(crate) parked_at: EpochMillis,
    pub(crate) attempts: u32,
    pub(crate) code: i32,
    pub(crate) reason: String,
    pub(crate) destination: String,
}

/// Events that ended in a queue. The ranges may cover sequences that the queue did not want or had
/// finished before; `count` and `bytes` are of the events that ended now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettledRecord {
    pub(crate) queue: QueueId,
    pub(crate) outcome: SettledOutcome,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) ranges: Vec<(Sequence, Sequence)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogRecord {
    Checkpoint(Box<LogCheckpoint>),
    Event(EventRecord),
    Settled(SettledRecord),
    Deferred(DeferredRecord),
    Parked(ParkedRecord),
    Replayed(QueueId, Vec<(Sequence, Sequence)>),
    Discarded(QueueId, Vec<(Sequence, Sequence)>),
    Declared(QueueId, String),
    Retired {
        queue: QueueId,
        leftover: QueueLeftover,
    },
    Freed(Vec<(u64, u64)>),
    /// The range of a queue that was declared just before.
    Ranged(RangeRecord),
    /// The end of the range is here now.
    Cut(RangeRecord),
}

impl LogRecord {
    /// Sequence of an event, deferral or parked event; other records have none.
    pub(crate) fn sequence(&self) -> Option<Sequence> {
        match self {
            Self::Event(event) => Some(event.sequence),
            Self::Deferred(deferred) => Some(deferred.sequence),
            Self::Parked(parked) => Some(parked.sequence),
            _ => None,
        }
    }

    /// Appends the record to `out`, whose first byte stands at the offset `base` of the segment.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, salt: SegmentSalt, base: u64) {
        encode_with(out, salt, base, self.kind(), |out| self.put_payload(out));
    }

    /// Bytes that the record takes at most: what is written may be a little less.
    pub(crate) fn max_bytes(&self) -> usize {
        let payload = match self {
            Self::Event(event) => 40 + event.queues.encoded().len() + event.body.len(),
            Self::Settled(settled) => 50 + 20 * settled.ranges.len(),
            Self::Deferred(deferred) => 100 + deferred.body.as_ref().map_or(0, Bytes::len),
            Self::Parked(parked) => 110 + parked.reason.len() + parked.destination.len(),
            Self::Replayed(_, ranges) | Self::Discarded(_, ranges) | Self::Freed(ranges) => {
                30 + 20 * ranges.len()
            }
            Self::Declared(_, name) => 30 + name.len(),
            Self::Retired { .. } => 20,
            Self::Ranged(_) | Self::Cut(_) => 40,
            Self::Checkpoint(checkpoint) => checkpoint.max_bytes(),
        };
        record_bytes(payload)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Checkpoint(_) => kind::CHECKPOINT,
            Self::Event(_) => kind::EVENT,
            Self::Settled(_) => kind::SETTLED,
            Self::Deferred(_) => kind::DEFERRED,
            Self::Parked(_) => kind::PARKED,
            Self::Replayed(..) => kind::REPLAYED,
            Self::Discarded(..) => kind::DISCARDED,
            Self::Declared(..) => kind::DECLARED,
            Self::Retired { .. } => kind::RETIRED,
            Self::Freed(_) => kind::FREED,
            Self::Ranged(_) => kind::RANGED,
            Self::Cut(_) => kind::CUT,
        }
    }

    fn put_payload(&self, out: &mut Vec<u8>) {
        match self {
            Self::Checkpoint(checkpoint) => checkpoint.put(out),
            Self::Event(event) => {
                out.put_u64_le(event.sequence);
                out.put_u64_le(event.received_at);
                put_bytes(out, event.queues.encoded());
                out.put_slice(&event.body);
            }
            Self::Settled(settled) => {
                out.put_u32_le(settled.queue.0);
                out.put_u8(match settled.outcome {
                    SettledOutcome::Delivered => 0,
                    SettledOutcome::DeadLettered => 1,
                    SettledOutcome::Lost => 2,
                });
                put_varint(out, settled.count);
                put_varint(out, settled.bytes);
                put_ranges(out, &settled.ranges);
            }
            Self::Deferred(deferred) => put_deferred(out, deferred),
            Self::Parked(parked) => put_parked(out, parked),
            Self::Replayed(queue, ranges) | Self::Discarded(queue, ranges) => {
                out.put_u32_le(queue.0);
                put_ranges(out, ranges);
            }
            Self::Declared(queue, name) => {
                out.put_u32_le(queue.0);
                put_bytes(out, name.as_bytes());
            }
            Self::Retired { queue, leftover } => {
                out.put_u32_le(queue.0);
                out.put_u8(u8::from(*leftover == QueueLeftover::GivenUp));
            }
            Self::Freed(segments) => put_ranges(out, segments),
            Self::Ranged(ranged) | Self::Cut(ranged) => {
                ranged.put(out);
            }
        }
    }

    /// Decodes the payload of a record of any kind but a frame.
    pub(crate) fn decode(record_kind: u8, payload: Bytes) -> Result<Self, FieldError> {
        let mut fields = FieldReader::new(payload);
        if record_kind == kind::EVENT {
            return Ok(Self::Event(EventRecord {
                sequence: fields.u64()?,
                received_at: fields.u64()?,
                queues: QueueSet::decode(fields.bytes()?)?,
                body: fields.rest(),
            }));
        }
        let record = Self::decode_small(record_kind, &mut fields)?;
        fields.end()?;
        Ok(record)
    }

    fn decode_small(record_kind: u8, fields: &mut FieldReader) -> Result<Self, FieldError> {
        Ok(match record_kind {
            kind::CHECKPOINT => Self::Checkpoint(Box::new(LogCheckpoint::decode(fields)?)),
            kind::SETTLED => Self::Settled(SettledRecord {
                queue: QueueId(fields.u32()?),
                outcome: match fields.u8()? {
                    0 => SettledOutcome::Delivered,
                    1 => SettledOutcome::DeadLettered,
                    2 => SettledOutcome::Lost,
                    _ => return Err(FieldError("an outcome is unknown")),
                },
                count: fields.varint()?,
                bytes: fields.varint()?,
                ranges: fields.ranges()?,
            }),
            kind::DEFERRED => Self::Deferred(decode_deferred(fields)?),
            kind::PARKED => Self::Parked(decode_parked(fields)?),
            kind::REPLAYED => Self::Replayed(QueueId(fields.u32()?), fields.ranges()?),
            kind::DISCARDED => Self::Discarded(QueueId(fields.u32()?), fields.ranges()?),
            kind::DECLARED => Self::Declared(QueueId(fields.u32()?), fields.text()?),
            kind::RETIRED => Self::Retired {
                queue: QueueId(fields.u32()?),
                leftover: match fields.u8()? {
                    0 => QueueLeftover::Kept,
                    _ => QueueLeftover::GivenUp,
                },
            },
            kind::FREED => Self::Freed(fields.ranges()?),
            kind::RANGED => Self::Ranged(RangeRecord::decode(fields)?),
            kind::CUT => Self::Cut(RangeRecord::decode(fields)?),
            _ => return Err(FieldError("the kind of a record is unknown")),
        })
    }
}

fn put_source(out: &mut Vec<u8>, source: &SourceEvent) {
    out.put_u32_le(source.queue.0);
    out.put_u64_le(source.event);
    out.put_u64_le(source.received_at);
    out.put_u32_le(source.bytes);
}

fn decode_source(fields: &mut FieldReader) -> Result<SourceEvent, FieldError> {
    Ok(SourceEvent {
        queue: QueueId(fields.u32()?),
        event: fields.u64()?,
        received_at: fields.u64()?,
        bytes: fields.u32()?,
    })
}

fn put_deferred(out: &mut Vec<u8>, deferred: &DeferredRecord) {
    out.put_u64_le(deferred.sequence);
    put_source(out, &deferred.source);
    out.put_u8(deferred.stage);
    out.put_u32_le(deferred.attempts);
    out.put_u64_le(deferred.recorded_at);
    out.put_u64_le(deferred.due);
    out.put_u8(u8::from(deferred.body.is_some()));
    if let Some(body) = &deferred.body {
        put_bytes(out, body);
    }
}

fn decode_deferred(fields: &mut FieldReader) -> Result<DeferredRecord, FieldError> {
    Ok(DeferredRecord {
        sequence: fields.u64()?,
        source: decode_source(fields)?,
        stage: fields.u8()?,
        attempts: fields.u32()?,
        recorded_at: fields.u64()?,
        due: fields.u64()?,
        body: match fields.u8()? {
            0 => None,
            _ => Some(fields.bytes()?),
        },
    })
}

fn put_parked(out: &mut Vec<u8>, parked: &ParkedRecord) {
    out.put_u64_le(parked.sequence);
    put_source(out, &parked.source);
    out.put_u64_le(parked.parked_at);
    out.put_u32_le(parked.attempts);
    out.put_i32_le(parked.code);
    put_bytes(out, parked.reason.as_bytes());
    put_bytes(out, parked.destination.as_bytes());
}

fn decode_parked(fields: &mut FieldReader) -> Result<ParkedRecord, FieldError> {
    Ok(ParkedRecord {
        sequence: fields.u64()?,
        source: decode_source(fields)?,
        parked_at: fields.u64()?,
        attempts: fields.u32()?,
        code: fields.i32()?,
        reason: fields.text()?,
        destination: fields.text()?,
    })
}

/// What stands before the records that were committed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    /// Number of the frame in its log; each is one more than the one before.
    pub(crate) number: u64,
    /// Bytes of its records.
    pub(crate) bytes: u64,
    /// Number of its records.
    pub(crate) count: u32,
}

impl FrameHead {
    /// Bytes of the fields of a frame's head.
    pub(crate) const PAYLOAD: usize = 20;

    /// Bytes of a frame's head as a record.
    pub(crate) fn record_bytes() -> usize {
        record_bytes(Self::PAYLOAD)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>, salt: SegmentSalt, base: u64) {
        encode_with(out, salt, base, kind::FRAME, |out| {
            out.put_u64_le(self.number);
            out.put_u64_le(self.bytes);
            out.put_u32_le(self.count);
        });
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Self, FieldError> {
        let mut fields = FieldReader::new(payload);
        let head = Self {
            number: fields.u64()?,
            bytes: fields.u64()?,
            count: fields.u32()?,
        };
        fields.end()?;
        Ok(head)
    }
}

fn encode_with(
    out: &mut Vec<u8>,
    salt: SegmentSalt,
    base: u64,
    record_kind: u8,
    put_payload: impl FnOnce(&mut Vec<u8>),
) {
    let begin = out.len();
    out.put_slice(&[0; RECORD_HEAD]);
    put_payload(out);
    let payload = out.len() - begin - RECORD_HEAD;
    let length = u32::try_from(payload).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(head) = out.get_mut(begin + 4..begin + 9) {
        let (place, kind_place) = head.split_at_mut(4);
        place.copy_from_slice(&length);
        kind_place.fill(record_kind);
    }
    let checked = out.get(begin + 4..).unwrap_or_default();
    let checksum = salt.checksum(base + begin as u64, checked).to_le_bytes();
    if let Some(place) = out.get_mut(begin..begin + 4) {
        place.copy_from_slice(&checksum);
    }
    out.resize(begin + record_bytes(payload), 0);
}
