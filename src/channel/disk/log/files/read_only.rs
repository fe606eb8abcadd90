//! The files of the operating system for who may only read them.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::standard::StandardFiles;
use super::{DirectoryEntry, FileSystem, LogFile};

/// The file system of the operating system, on which nothing is changed or locked: it needs no right
/// to write, and may be used beside a process that does.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnlyFiles;

impl FileSystem for ReadOnlyFiles {
    fn list(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        StandardFiles.list(directory)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(File::open(path)?))
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        StandardFiles.lock_holder(path)
    }
}
