//! The head of a segment.

use std::path::Path;

use bytes::{BufMut, Bytes};

use super::fields::{FieldError, FieldReader};
use super::{HEAD_BYTES, VERSION};
use crate::channel::disk::log::clock::EpochMillis;
use crate::channel::disk::log::{LogError, Sequence};

const MAGIC: &[u8; 8] = b"SEALPOST";

/// Offset of the checksum, which is of all bytes of the head but its own.
const CHECKSUM_AT: usize = 12;

/// What stands at the beginning of a segment. Magic and version are where every version of the
/// format has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    /// Chance number of the log, the same in each of its segments.
    pub(crate) nonce: u64,
    /// Number of the segment, which is in its name as well.
    pub(crate) id: u64,
    /// How many times stragglers have been gathered in it.
    pub(crate) generation: u32,
    /// Sequence that its first record with a sequence has or would have.
    pub(crate) first: Sequence,
    /// Time at which it was begun.
    pub(crate) created_at: EpochMillis,
    /// End of its records if it is sealed and was rewritten; 0 otherwise.
    pub(crate) end: u64,
    /// Number of its events, with `end`; 0 otherwise.
    pub(crate) events: u64,
}

impl SegmentHead {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_slice(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(0);
        out.put_u64_le(self.nonce);
        out.put_u64_le(self.id);
        out.put_u32_le(self.generation);
        out.put_u32_le(0);
        out.put_u64_le(self.first);
        out.put_u64_le(self.created_at);
        out.put_u64_le(self.end);
        out.put_u64_le(self.events);
        out.resize(usize::try_from(HEAD_BYTES).unwrap_or_default(), 0);
        let checksum = checksum(&out).to_le_bytes();
        if let Some(place) = out.get_mut(CHECKSUM_AT..CHECKSUM_AT + 4) {
            place.copy_from_slice(&checksum);
        }
        out
    }

    /// Decodes the first bytes of a file. What it is not is told apart: nothing at all, another
    /// kind of file, another version, or a head that is not whole.
    pub(crate) fn decode(path: &Path, bytes: &Bytes) -> Result<Self, LogError> {
        let incomplete = |what| LogError::IncompleteHead {
            path: path.to_owned(),
            what,
        };
        if bytes.is_empty() {
            return Err(LogError::EmptySegment(path.to_owned()));
        }
        if (bytes.len() as u64) < HEAD_BYTES {
            return Err(incomplete("it ends early"));
        }
        if !bytes.starts_with(MAGIC) {
            let is_blank = bytes.iter().all(|byte| *byte == 0);
            return Err(if is_blank {
                incomplete("it is zeros")
            } else {
                LogError::Foreign(path.to_owned())
            });
        }
        let mut fields = FieldReader::new(bytes.slice(MAGIC.len()..));
        let short = |FieldError(what)| incomplete(what);
        let version = fields.u32().map_err(short)?;
        if version != VERSION {
            return Err(LogError::UnknownVersion {
                path: path.to_owned(),
                version,
            });
        }
        if fields.u32().map_err(short)? != checksum(bytes) {
            return Err(incomplete("its checksum is wrong"));
        }
        Self::decode_fields(&mut fields).map_err(short)
    }

    fn decode_fields(fields: &mut FieldReader) -> Result<Self, FieldError> {
        let (nonce, id, generation) = (fields.u64()?, fields.u64()?, fields.u32()?);
        fields.u32()?;
        Ok(Self {
            nonce,
            id,
            generation,
            first: fields.u64()?,
            created_at: fields.u64()?,
            end: fields.u64()?,
            events: fields.u64()?,
        })
    }
}

fn checksum(head: &[u8]) -> u32 {
    let before = head.get(..CHECKSUM_AT).unwrap_or_default();
    let after = head.get(CHECKSUM_AT + 4..).unwrap_or_default();
    super::append_checksum(crc32fast::hash(before), after)
}
