//! The files of the operating system for who may only read them.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::standard::StandardFiles;
use super::{DirectoryEntry, FileSystem, LockOutcome, LogFile};

/// The file system of the operating system, on which nothing is changed or locked: it needs no right
/// to write, and may be used beside a process that does.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnlyFiles;

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl FileSystem for ReadOnlyFiles {
    fn create_directory(&self, _directory: &Path) -> io::Result<()> {
        refused()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        StandardFiles.list(directory)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(File::open(path)?))
    }

    fn create(&self, _path: &Path, _size: u64) -> io::Result<Arc<dyn LogFile>> {
        refused()
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        refused()
    }

    fn remove_directory(&self, _directory: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_directory(&self, _directory: &Path) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _path: &Path, _words: &str) -> io::Result<LockOutcome> {
        refused()
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        StandardFiles.lock_holder(path)
    }
}
