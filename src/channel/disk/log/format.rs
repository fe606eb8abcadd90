//! The format on the disk, which DISK.md describes: heads of segments, records, and frames of
//! records that are committed at once.

pub(crate) mod checkpoint;
pub(crate) mod fields;
pub(crate) mod head;
pub(crate) mod queue_set;
pub(crate) mod record;
pub(crate) mod scanner;
pub(crate) mod span;

/// Version of the format that this program writes, and the only one that it reads.
pub const VERSION: u32 = 1;

/// Bytes of the head of a segment, after which its records begin.
pub(crate) const HEAD_BYTES: u64 = 128;

/// Bytes before the payload of a record.
pub(crate) const RECORD_HEAD: usize = 12;

/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

/// Bytes that a payload takes as a record, with its head and the zeros after it.
pub(crate) fn record_bytes(payload: usize) -> usize {
    (RECORD_HEAD + payload).next_multiple_of(ALIGNMENT)
}

/// What the checksums of a segment's records begin with. Records of another segment, which a
/// recycled file still holds, are not valid in this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSalt(u32);

impl SegmentSalt {
    /// The nonce is of the log, so that no sender can make an event that looks like records.
    pub(crate) fn new(nonce: u64, segment: u64) -> Self {
        let crc = crc32fast::hash(&nonce.to_le_bytes());
        Self(append_checksum(crc, &segment.to_le_bytes()))
    }

    /// Checksum of a record at an offset, from its length on. The offset is in it, so that a
    /// record that was written to a wrong place is not valid there.
    pub(crate) fn checksum(self, offset: u64, bytes: &[u8]) -> u32 {
        let crc = append_checksum(self.0, &offset.to_le_bytes());
        append_checksum(crc, bytes)
    }
}

/// CRC-32 (that of zlib) of what `before` is the checksum of, followed by `bytes`.
pub(crate) fn append_checksum(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}
