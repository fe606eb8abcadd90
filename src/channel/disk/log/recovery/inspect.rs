//! What is in the directory of a log.

use std::path::Path;

use bytes::Bytes;

use crate::channel::disk::log::LogError;
use crate::channel::disk::log::commit::spare::SPARE_NAME;
use crate::channel::disk::log::files::{FileSystem, LogFile, read_fully};
use crate::channel::disk::log::format::HEAD_BYTES;
use crate::channel::disk::log::format::head::SegmentHead;
use crate::channel::disk::log::mark::MARK_NAME;
use crate::channel::disk::log::segment::{segment_name, segment_of_name};
use crate::channel::disk::log::state::LogState;

/// Ending of the names of files that are not whole yet.
const TEMPORARY: &str = ".new";

/// The files of a log, by what they are.
#[derive(Debug, Default)]
pub(crate) struct DirectoryListing {
    /// Numbers of segments, in order, with the sizes of their files.
    pub(crate) segments: Vec<(u64, u64)>,
    /// Size of the file that is kept ready for the next segment.
    pub(crate) spare: Option<u64>,
    temporary: Vec<(String, u64)>,
    /// True if there is a mark.
    pub(crate) has_mark: bool,
}

impl DirectoryListing {
    pub(crate) fn read(files: &dyn FileSystem, directory: &Path) -> Result<Self, LogError> {
        let entries = files
            .list(directory)
            .map_err(|error| LogError::unreadable(directory, &error))?;
        let mut listing = Self::default();
        for entry in entries {
            if !entry.is_file {
                return Err(LogError::Foreign(directory.join(entry.name)));
            }
            if let Some(id) = segment_of_name(&entry.name) {
                listing.segments.push((id, entry.length));
            } else if entry.name == SPARE_NAME {
                listing.spare = Some(entry.length);
            } else if entry.name == MARK_NAME {
                listing.has_mark = true;
            } else if is_temporary(&entry.name) {
                listing.temporary.push((entry.name, entry.length));
            } else {
                return Err(LogError::Foreign(directory.join(entry.name)));
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }

    /// True if nothing was ever written to the log.
    pub(crate) fn is_new(&self) -> bool {
        self.segments.is_empty() && !self.has_mark
    }

    /// Number of the newest segment, and the size of its file.
    pub(crate) fn newest(&self) -> Option<(u64, u64)> {
        self.segments.last().copied()
    }

    pub(crate) fn size_of(&self, id: u64) -> Option<u64> {
        let place = self.segments.binary_search_by_key(&id, |(id, _)| *id);
        self.segments.get(place.ok()?).map(|(_, size)| *size)
    }

    /// Removes what an interrupted change has left: files that are not whole, and segments that
    /// were given up. Gives the number of files and their bytes. One that cannot be removed is left
    /// for the next time.
    pub(crate) fn remove_leftovers(
        &self,
        files: &dyn FileSystem,
        directory: &Path,
        state: &LogState,
    ) -> (usize, u64) {
        let is_known = |id: u64| state.segments.iter().any(|it| it.file.id == id);
        let given_up = self.segments.iter().filter(|(id, _)| !is_known(*id));
        let given_up = given_up.map(|(id, size)| (segment_name(*id), *size));
        let mut removed = (0, 0);
        for (name, size) in given_up.chain(self.temporary.iter().cloned()) {
            let _left = files.remove(&directory.join(name));
            removed = (removed.0 + 1, removed.1 + size);
        }
        removed
    }
}

fn is_temporary(name: &str) -> bool {
    let number = name.strip_suffix(TEMPORARY);
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads the head of a segment, and sees that it is of the segment that its name says.
pub(crate) fn read_head(path: &Path, id: u64, file: &dyn LogFile) -> Result<SegmentHead, LogError> {
    let mut bytes = vec![0; usize::try_from(HEAD_BYTES).unwrap_or_default()];
    let filled = read_fully(file, &mut bytes, 0);
    let filled = filled.map_err(|error| LogError::unreadable(path, &error))?;
    bytes.truncate(filled);
    let head = SegmentHead::decode(path, &Bytes::from(bytes))?;
    if head.id != id {
        let what = format!(
            "its head is of segment {}: it was renamed or copied",
            head.id
        );
        return Err(LogError::damaged(path, 0, what));
    }
    Ok(head)
}
