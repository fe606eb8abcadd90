//! A disk in memory for tests: what was written and not synced may be lost, torn or kept in any
//! combination when it crashes; it fails, fills up and flips bits as it is told.
//!
//! turmoil-fs 0.1.0 was looked at first. It keeps pending and synced bytes apart as this does, and
//! tears writes by blocks. It cannot let a sync fail, nor a rename, a removal or the making of a
//! file; a write that fails has done nothing; a torn write keeps its first blocks only, never later
//! ones without them; a crash comes between operations, not in one; bits flip in what is read and
//! not on the medium; there are no locks. Each of these is what the log has to withstand.

mod crash;
mod disk;
pub(crate) mod faults;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DirectoryEntry, DirectoryLock, FileSystem, LockOutcome, LogFile};
use disk::DiskState;
pub use faults::{DiskCounts, DiskFaults};

/// A disk that crashes. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<DiskState>>,
}

/// A file that was opened on the disk before it crashed, or after.
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
    /// Number of crashes before it was opened: it is of no use after the next one.
    life: u64,
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "inode {} of life {}", self.inode, self.life)
    }
}

/// Releases a lock, unless the disk has crashed since.
struct SimulatedLock {
    disk: SimulatedDisk,
    life: u64,
}

impl DirectoryLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.holder = None;
        }
    }
}

impl SimulatedDisk {
    /// Makes an empty disk whose faults depend on a seed.
    #[must_use]
    pub fn new(seed: u64, faults: DiskFaults) -> Self {
        Self {
            state: Arc::new(Mutex::new(DiskState::new(seed, faults))),
        }
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets which faults the disk has from now on.
    pub fn set_faults(&self, faults: DiskFaults) {
        self.state().faults = faults;
    }

    /// Has the disk crash at the operation after so many: that one is done in part or not at all,
    /// and each one after it fails until [`SimulatedDisk::restart`].
    pub fn crash_after(&self, operations: u64) {
        let mut state = self.state();
        state.crash_at = Some(state.counts.operations + operations);
    }

    /// Crashes the disk now, if it has not, and starts it with what is left: everything that was
    /// synced, and any part of what was not.
    pub fn restart(&self) {
        self.state().restart();
    }

    /// True if the disk has crashed and not been restarted.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.state().is_crashed
    }

    /// What the disk has done so far.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        self.state().counts
    }

    /// Names and lengths of all files.
    #[must_use]
    pub fn files(&self) -> Vec<(std::path::PathBuf, u64)> {
        let state = self.state();
        let names = state.names.iter();
        names
            .map(|(path, inode)| (path.clone(), state.length(*inode)))
            .collect()
    }

    /// Flips one bit of a file, in memory and on the medium.
    pub fn flip(&self, path: &Path, offset: u64, bit: u8) {
        self.state().flip(path, offset, bit);
    }

    /// Sets the length of a file, in memory and on the medium.
    pub fn set_length(&self, path: &Path, length: u64) {
        self.state().set_length(path, length);
    }

    /// The bytes of a file.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.names.get(path)?;
        state.inodes.get(inode).map(|inode| inode.cached.clone())
    }

    /// Puts a file onto the disk that no program has written.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        self.state().put(path, bytes);
    }

    /// Makes a directory that no program has made.
    pub fn make_directory(&self, directory: &Path) {
        self.state().directories.push(directory.to_owned());
    }

    /// Removes a file from the medium.
    pub fn lose(&self, path: &Path) {
        self.state().names.remove(path);
        self.state().durable_names.remove(path);
    }
}

impl LogFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.check_life(self.life)?;
        state.read(self.inode, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.check_life(self.life)?;
        state.write(self.inode, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check_life(self.life)?;
        state.sync(self.inode)
    }

    fn length(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.check_life(self.life)?;
        Ok(state.length(self.inode))
    }
}

impl FileSystem for SimulatedDisk {
    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.state().create_directory(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.state().list(directory)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let (inode, life) = self.state().open(path)?;
        Ok(self.file(inode, life))
    }

    fn create(&self, path: &Path, size: u64) -> io::Result<Arc<dyn LogFile>> {
        let (inode, life) = self.state().create(path, size)?;
        Ok(self.file(inode, life))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().remove(path)
    }

    fn remove_directory(&self, directory: &Path) -> io::Result<()> {
        self.state().remove_directory(directory)
    }

    fn sync_directory(&self, _directory: &Path) -> io::Result<()> {
        self.state().sync_names()
    }

    fn lock(&self, _path: &Path, words: &str) -> io::Result<LockOutcome> {
        let mut state = self.state();
        state.begin_operation()?;
        if let Some(holder) = &state.holder {
            return Ok(LockOutcome::HeldBy(holder.clone()));
        }
        state.holder = Some(words.to_owned());
        let life = state.life;
        drop(state);
        let disk = self.clone();
        Ok(LockOutcome::Held(Box::new(SimulatedLock { disk, life })))
    }

    fn lock_holder(&self, _path: &Path) -> io::Result<Option<String>> {
        Ok(self.state().holder.clone())
    }
}

impl SimulatedDisk {
    fn file(&self, inode: u64, life: u64) -> Arc<dyn LogFile> {
        Arc::new(SimulatedFile {
            disk: self.clone(),
            inode,
            life,
        })
    }
}
