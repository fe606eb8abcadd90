//! Room that all logs of a directory keep back on the disk: a file of zeros that is removed when
//! there is no room left for what ends events. Without it, a log could not even be opened on a full
//! disk, since each opening begins a segment, and so its events could not be delivered, which makes
//! room.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::channel::disk::log::files::FileSystem;

/// Name of the file in the data directory.
pub(crate) const RESERVE_NAME: &str = "reserve";
/// Period in which it is looked whether the file can be made again.
const LOOK: Duration = Duration::from_secs(15);

/// The reserve of a directory.
pub(crate) struct RoomReserve {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
    /// Bytes of the file; none is kept with 0.
    bytes: u64,
    state: Mutex<ReserveState>,
}

#[derive(Debug, Default)]
struct ReserveState {
    is_there: bool,
    /// Time of the last attempt to make it.
    tried: Option<Instant>,
}

impl ReserveState {
    fn is_due(&self) -> bool {
        !self.is_there && self.tried.is_none_or(|tried| tried.elapsed() >= LOOK)
    }
}

impl RoomReserve {
    /// Makes the file, unless it is there or there is no room for it.
    pub(crate) fn new(files: &Arc<dyn FileSystem>, path: PathBuf, bytes: u64) -> Self {
        let is_there = files.open(&path).is_ok_and(|file| {
            let length = file.length();
            length.is_ok_and(|length| length >= bytes)
        });
        let reserve = Self {
            files: Arc::clone(files),
            path,
            bytes,
            state: Mutex::new(ReserveState {
                is_there,
                tried: None,
            }),
        };
        reserve.restore();
        reserve
    }

    fn state(&self) -> MutexGuard<'_, ReserveState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the room back to the disk; false if there was none.
    pub(crate) fn give(&self) -> bool {
        let mut state = self.state();
        if !state.is_there || self.files.remove(&self.path).is_err() {
            return false;
        }
        // Those who asked for the room need it more than the next reserve does.
        *state = ReserveState {
            is_there: false,
            tried: Some(Instant::now()),
        };
        true
    }

    /// True if the file is gone, and it was not tried a moment ago to make it.
    pub(crate) fn is_due(&self) -> bool {
        self.bytes > 0 && self.state().is_due()
    }

    /// Makes the file again if it is due.
    pub(crate) fn restore(&self) {
        let mut state = self.state();
        if self.bytes == 0 || !state.is_due() {
            return;
        }
        state.tried = Some(Instant::now());
        state.is_there = self.files.create(&self.path, self.bytes).is_ok();
        if !state.is_there {
            // What there is of it would only take room.
            let _left = self.files.remove(&self.path);
        }
    }
}
