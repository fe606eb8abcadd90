//! The data directory, which is opened when the first log is, and again and again if that fails.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::log::{DataDirectory, DirectoryOptions, LogError};
use crate::channel::StorageUsage;

/// The data directory of the process.
pub(super) struct DirectoryKeeper {
    path: PathBuf,
    max_bytes: Option<u64>,
    state: Mutex<DirectoryState>,
}

/// Whether the directory is open.
#[derive(Default)]
enum DirectoryState {
    /// Nobody has needed it yet, or nobody needs it any more.
    #[default]
    Unused,
    Open(DataDirectory),
    Failed(LogError),
}

impl DirectoryKeeper {
    pub(super) fn new(path: PathBuf, max_bytes: Option<u64>) -> Self {
        Self {
            path,
            max_bytes,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, DirectoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory; opens it if it is not open, or anew if the one that is open was moved or removed:
    /// nobody else must get into what is in its place now.
    ///
    /// # Errors
    /// If another process has it, or it cannot be read or written.
    pub(super) fn open(&self) -> Result<DataDirectory, LogError> {
        let mut state = self.state();
        if let DirectoryState::Open(directory) = &*state {
            if directory.is_in_place()? {
                return Ok(directory.clone());
            }
            tracing::error!(
                directory = %self.path.display(),
                "The data directory was moved or removed while it was in use: it is made anew"
            );
        }
        let opened = self.open_now();
        *state = match &opened {
            Ok(directory) => DirectoryState::Open(directory.clone()),
            Err(error) => DirectoryState::Failed(error.clone()),
        };
        opened
    }

    fn open_now(&self) -> Result<DataDirectory, LogError> {
        let unreadable = |error: std::io::Error| LogError::unreadable(&self.path, &error);
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent).map_err(unreadable)?;
        }
        // Events are nobody else's business.
        let made = DirBuilder::new().mode(0o700).create(&self.path);
        match made {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(unreadable(error));
            }
            Ok(()) | Err(_) => {}
        }
        let mut options = DirectoryOptions::default();
        match self.max_bytes {
            Some(limit) => options.max_bytes = limit,
            None => {
                let space = rustix::fs::statvfs(&self.path);
                let space = space.map_err(|error| unreadable(error.into()))?;
                let free = space.f_bavail.saturating_mul(space.f_frsize);
                options.max_more_bytes = free / 10 * 9;
            }
        }
        DataDirectory::open(&self.path, &options)
    }

    /// What all logs take and may take; `None` if the directory is not open.
    pub(super) fn usage(&self) -> Option<StorageUsage> {
        match &*self.state() {
            DirectoryState::Open(directory) => {
                let budget = directory.budget();
                Some(StorageUsage {
                    used: budget.used(),
                    limit: budget.limit(),
                    lack: None,
                })
            }
            DirectoryState::Unused | DirectoryState::Failed(_) => None,
        }
    }

    /// Reason for which the directory cannot be opened.
    pub(super) fn failure(&self) -> Option<String> {
        match &*self.state() {
            DirectoryState::Failed(error) => Some(error.to_string()),
            DirectoryState::Unused | DirectoryState::Open(_) => None,
        }
    }

    /// Gives the directory up, so that another process may have it.
    pub(super) fn close(&self) {
        *self.state() = DirectoryState::Unused;
    }
}
