//! Sets of queues, as they are in the record of an event.

use bytes::Bytes;

use super::fields::{FieldError, FieldReader, put_varint};
use crate::channel::disk::log::QueueId;

/// A set of queues. It is kept as on the disk, in runs of ids that follow each other: a set of all
/// queues is a few bytes, however many they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSet {
    /// For each run the gap after the one before, and the number of ids less one.
    runs: Bytes,
}

impl QueueSet {
    /// Decodes a set, and looks at each of its runs.
    pub(crate) fn decode(runs: Bytes) -> Result<Self, FieldError> {
        let mut fields = FieldReader::new(runs.clone());
        let mut next = 0_u32;
        while fields.end().is_err() {
            let run = next_run(&mut fields, next)?;
            next = run.1.checked_add(1).ok_or(LARGE)?;
        }
        Ok(Self { runs })
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.runs
    }

    /// True if no queue is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// True if the queue is in the set.
    #[must_use]
    pub fn contains(&self, queue: QueueId) -> bool {
        self.runs()
            .any(|(first, last)| (first..=last).contains(&queue.0))
    }

    /// The queues of the set.
    pub fn iter(&self) -> impl Iterator<Item = QueueId> + '_ {
        self.runs()
            .flat_map(|(first, last)| (first..=last).map(QueueId))
    }

    /// Runs of ids, each with its first and last.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut rest = self.runs.as_ref();
        let mut next = 0_u32;
        std::iter::from_fn(move || {
            let first = next.wrapping_add(short_varint(&mut rest)?);
            let last = first.wrapping_add(short_varint(&mut rest)?);
            next = last.wrapping_add(1);
            Some((first, last))
        })
    }
}

/// Reads an integer of a set that has been looked at.
fn short_varint(rest: &mut &[u8]) -> Option<u32> {
    let (mut value, mut shift) = (0_u32, 0);
    loop {
        let (byte, more) = rest.split_first()?;
        *rest = more;
        value |= u32::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

const LARGE: FieldError = FieldError("the id of a queue is too large");

fn next_run(fields: &mut FieldReader, next: u32) -> Result<(u32, u32), FieldError> {
    let first = next.checked_add(fields.varint_u32()?).ok_or(LARGE)?;
    let last = first.checked_add(fields.varint_u32()?).ok_or(LARGE)?;
    Ok((first, last))
}

impl FromIterator<QueueId> for QueueSet {
    fn from_iter<I: IntoIterator<Item = QueueId>>(queues: I) -> Self {
        let mut ids: Vec<u32> = queues.into_iter().map(|queue| queue.0).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for id in ids {
            match runs.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(id) => *last = id,
                _ => runs.push((id, id)),
            }
        }
        let (mut encoded, mut next) = (Vec::new(), 0);
        for (first, last) in runs {
            put_varint(&mut encoded, u64::from(first.wrapping_sub(next)));
            put_varint(&mut encoded, u64::from(last - first));
            next = last.wrapping_add(1);
        }
        Self {
            runs: encoded.into(),
        }
    }
}
