//! Files that are kept ready for the next segment: one at most for each log.

use std::path::PathBuf;
use std::sync::Arc;

use crate::channel::disk::log::channel_log::LogCore;
use crate::channel::disk::log::segment::SegmentState;

/// Name of the file that is kept ready.
pub(crate) const SPARE_NAME: &str = "spare";

/// The place for the file of the next segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum SpareSlot {
    #[default]
    Empty,
    /// It is being filled with zeros.
    Preparing,
    /// It is there, of so many bytes.
    Ready(u64),
}

impl LogCore {
    pub(crate) fn spare_path(&self) -> PathBuf {
        self.directory.join(SPARE_NAME)
    }

    /// Takes the spare file; gives its size.
    pub(crate) fn take_spare(&self) -> Option<u64> {
        let mut spare = self.spare();
        let SpareSlot::Ready(size) = *spare else {
            return None;
        };
        *spare = SpareSlot::Empty;
        Some(size)
    }

    /// Removes the spare file if it has not the size that it should.
    pub(crate) fn drop_spare_unless(&self, is_fit: impl Fn(u64) -> bool) {
        let mut spare = self.spare();
        let SpareSlot::Ready(size) = *spare else {
            return;
        };
        // One that cannot be removed is replaced by the next one.
        if !is_fit(size) && self.files.remove(&self.spare_path()).is_ok() {
            *spare = SpareSlot::Empty;
            self.budget.release(size);
        }
    }

    /// Has a file prepared for the next segment, unless there is one. If that fails, the next
    /// segment is made when it is needed.
    pub(crate) fn prepare_spare(self: &Arc<Self>, size: u64) {
        let mut spare = self.spare();
        if *spare != SpareSlot::Empty || !self.budget.reserve(size) {
            return;
        }
        *spare = SpareSlot::Preparing;
        drop(spare);
        self.submit(&self.lanes.reads, move |core| {
            let path = core.spare_path();
            let made = core.files.create(&path, size);
            let mut spare = core.spare();
            *spare = if made.is_ok() {
                SpareSlot::Ready(size)
            } else {
                // What is left of it is replaced by the next one.
                let _left = core.files.remove(&path);
                core.budget.release(size);
                SpareSlot::Empty
            };
        });
    }

    /// Keeps the file of a segment that nothing needs for the next one, or removes it.
    pub(crate) fn recycle(&self, segment: &SegmentState, next_size: u64) {
        let is_unread = segment.file.give_up();
        let mut spare = self.spare();
        let is_fit = segment.size >= next_size / 2 && segment.size <= next_size.saturating_mul(2);
        if is_unread && is_fit && *spare == SpareSlot::Empty {
            let renamed = self.files.rename(&segment.file.path, &self.spare_path());
            if renamed.is_ok() {
                *spare = SpareSlot::Ready(segment.size);
                return;
            }
        }
        drop(spare);
        // A file that cannot be removed is removed when the log is opened: the log says that it is
        // free.
        if self.files.remove(&segment.file.path).is_ok() {
            self.budget.release(segment.size);
        }
    }
}
