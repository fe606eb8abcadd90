//! The mark of a log: a small file that names its newest segment, so that the loss of that file
//! is noticed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use crate::channel::disk::log::LogError;
use crate::channel::disk::log::files::{FileSystem, LogFile, read_fully, write_fully};
use crate::channel::disk::log::format::fields::{FieldError, FieldReader};
use crate::channel::disk::log::format::{VERSION, append_checksum};

/// Name of its file.
pub(crate) const MARK_NAME: &str = "mark";

/// Name of its file until it is whole. No segment has the number 0.
const TEMPORARY_NAME: &str = "0.new";

const MAGIC: &[u8; 8] = b"SEALPOST";

/// Bytes of an entry, and its place in the file: it is written by turns in one of two, far enough
/// apart that no disk tears both.
const ENTRY_BYTES: usize = 64;
const PLACE_BYTES: u64 = 4096;
const PLACES: u64 = 2;

/// Bytes of the file.
pub(crate) const MARK_BYTES: u64 = PLACES * PLACE_BYTES;

/// Offset of the checksum, which is of all bytes of the entry but its own.
const CHECKSUM_AT: usize = 12;

/// What the mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MarkEntry {
    /// Chance number of the log.
    pub(crate) nonce: u64,
    /// Number of a segment that was there: the newest, or the one before.
    pub(crate) newest: u64,
}

impl MarkEntry {
    fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_slice(MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(0);
        out.put_u64_le(self.nonce);
        out.put_u64_le(self.newest);
        out.resize(ENTRY_BYTES, 0);
        let checksum = checksum(&out).to_le_bytes();
        if let Some(place) = out.get_mut(CHECKSUM_AT..CHECKSUM_AT + 4) {
            place.copy_from_slice(&checksum);
        }
        out
    }

    /// Decodes an entry; `None` if it is not whole.
    fn decode(path: &Path, bytes: &Bytes) -> Result<Option<Self>, LogError> {
        if bytes.len() < ENTRY_BYTES || !bytes.starts_with(MAGIC) {
            return Ok(None);
        }
        let mut fields = FieldReader::new(bytes.slice(MAGIC.len()..));
        let decoded = (|| {
            let (version, sum) = (fields.u32()?, fields.u32()?);
            let entry = Self {
                nonce: fields.u64()?,
                newest: fields.u64()?,
            };
            Ok::<_, FieldError>((version, sum, entry))
        })();
        let Ok((version, sum, entry)) = decoded else {
            return Ok(None);
        };
        if version != VERSION {
            return Err(LogError::UnknownVersion {
                path: path.to_owned(),
                version,
            });
        }
        Ok((sum == checksum(bytes)).then_some(entry))
    }
}

fn checksum(entry: &[u8]) -> u32 {
    let before = entry.get(..CHECKSUM_AT).unwrap_or_default();
    let after = entry.get(CHECKSUM_AT + 4..).unwrap_or_default();
    append_checksum(crc32fast::hash(before), after)
}

/// The mark of an open log.
#[derive(Debug)]
pub(crate) struct SegmentMark {
    path: PathBuf,
    file: Arc<dyn LogFile>,
    entry: MarkEntry,
    /// Place in which the entry stands; the next one is written to another.
    place: u64,
}

impl SegmentMark {
    /// Makes the mark of a log that has no segments yet.
    pub(crate) fn create(
        files: &dyn FileSystem,
        directory: &Path,
        nonce: u64,
    ) -> Result<Self, LogError> {
        let path = directory.join(MARK_NAME);
        let entry = MarkEntry { nonce, newest: 0 };
        let temporary = directory.join(TEMPORARY_NAME);
        let made = files.create(&temporary, MARK_BYTES).and_then(|file| {
            write_fully(&*file, &entry.encode(), 0)?;
            file.sync_data()?;
            files.rename(&temporary, &path)?;
            files.sync_directory(directory)?;
            Ok(file)
        });
        let file = made.map_err(|error| LogError::of_write(&path, MARK_BYTES, &error))?;
        Ok(Self {
            path,
            file,
            entry,
            place: 0,
        })
    }

    /// Reads the mark of a log.
    pub(crate) fn read(files: &dyn FileSystem, directory: &Path) -> Result<Self, LogError> {
        let path = directory.join(MARK_NAME);
        let unreadable = |error| LogError::unreadable(&path, &error);
        let file = files.open(&path).map_err(unreadable)?;
        let mut best: Option<(u64, MarkEntry)> = None;
        for place in 0..PLACES {
            let mut bytes = vec![0; ENTRY_BYTES];
            let filled = read_fully(&*file, &mut bytes, place * PLACE_BYTES);
            bytes.truncate(filled.map_err(|error| LogError::unreadable(&path, &error))?);
            let Some(entry) = MarkEntry::decode(&path, &Bytes::from(bytes))? else {
                continue;
            };
            if best.is_none_or(|(_, best)| best.newest < entry.newest) {
                best = Some((place, entry));
            }
        }
        let Some((place, entry)) = best else {
            return Err(LogError::damaged(&path, 0, "it has no entry that is whole"));
        };
        Ok(Self {
            path,
            file,
            entry,
            place,
        })
    }

    pub(crate) fn entry(&self) -> MarkEntry {
        self.entry
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Says that a segment is there, after its name is on the disk and before anything is
    /// acknowledged that is in it.
    pub(crate) fn advance(&mut self, newest: u64) -> Result<(), LogError> {
        let entry = MarkEntry {
            newest,
            ..self.entry
        };
        let place = (self.place + 1) % PLACES;
        write_fully(&*self.file, &entry.encode(), place * PLACE_BYTES)
            .and_then(|()| self.file.sync_data())
            // A full disk is no excuse: the segment is there already, and what would be written to
            // the one before would be lost.
            .map_err(|error| LogError::unreadable(&self.path, &error))?;
        (self.entry, self.place) = (entry, place);
        Ok(())
    }
}
