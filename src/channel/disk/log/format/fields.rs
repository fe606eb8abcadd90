//! Fields of records: integers of fixed size with the lowest byte first, integers of seven bits a
//! byte, bytes with their length before them.

use bytes::{Buf, BufMut, Bytes};

/// Reason for which bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FieldError(pub(crate) &'static str);

const SHORT: FieldError = FieldError("a record ends before its last field");

/// Reads fields from the front of bytes; keeps no copy of them.
#[derive(Clone, Debug)]
pub(crate) struct FieldReader {
    rest: Bytes,
}

impl FieldReader {
    pub(crate) fn new(rest: Bytes) -> Self {
        Self { rest }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FieldError> {
        self.rest.try_get_u8().map_err(|_short| SHORT)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FieldError> {
        self.rest.try_get_u32_le().map_err(|_short| SHORT)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, FieldError> {
        self.rest.try_get_i32_le().map_err(|_short| SHORT)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FieldError> {
        self.rest.try_get_u64_le().map_err(|_short| SHORT)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, FieldError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FieldError("an integer has too many bytes"))
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32, FieldError> {
        u32::try_from(self.varint()?).map_err(|_large| FieldError("an integer is too large"))
    }

    /// Number of items that follow, each of which takes a byte at least: a larger number than there
    /// are bytes would make room for nothing.
    pub(crate) fn count(&mut self) -> Result<usize, FieldError> {
        let count = usize::try_from(self.varint()?).map_err(|_large| SHORT)?;
        (count <= self.rest.len()).then_some(count).ok_or(SHORT)
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, FieldError> {
        let count = self.count()?;
        Ok(self.rest.split_to(count))
    }

    pub(crate) fn text(&mut self) -> Result<String, FieldError> {
        String::from_utf8(self.bytes()?.to_vec())
            .map_err(|_bytes| FieldError("a text is not UTF-8"))
    }

    /// Ranges of ascending integers, each as the gap after the one before and its length.
    pub(crate) fn ranges(&mut self) -> Result<Vec<(u64, u64)>, FieldError> {
        const LARGE: FieldError = FieldError("a range ends beyond the largest sequence");
        let count = self.count()?;
        let (mut ranges, mut next) = (Vec::with_capacity(count), 0_u64);
        for _ in 0..count {
            let first = next.checked_add(self.varint()?).ok_or(LARGE)?;
            let last = first.checked_add(self.varint()?).ok_or(LARGE)?;
            ranges.push((first, last));
            next = last.checked_add(1).ok_or(LARGE)?;
        }
        Ok(ranges)
    }

    /// Everything that is left.
    pub(crate) fn rest(self) -> Bytes {
        self.rest
    }

    /// Says that there are no more fields.
    pub(crate) fn end(&self) -> Result<(), FieldError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(FieldError("a record goes on after its last field"))
        }
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or_default());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Writes ranges that ascend and do not touch.
pub(crate) fn put_ranges(out: &mut Vec<u8>, ranges: &[(u64, u64)]) {
    put_varint(out, ranges.len() as u64);
    let mut next = 0_u64;
    for (first, last) in ranges {
        put_varint(out, first.wrapping_sub(next));
        put_varint(out, last.wrapping_sub(*first));
        next = last.wrapping_add(1);
    }
}
