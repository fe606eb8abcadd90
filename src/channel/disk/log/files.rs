//! The one seam between the log and its disk: everything that touches a file goes through here, so
//! that tests can put a disk underneath that loses, tears and refuses what they like.

pub mod read_only;
#[cfg(test)]
pub mod simulated;
pub mod standard;
mod standard_lock;
mod standard_place;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The answer of a file system that may only be read.
fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

/// One open file, read and written at positions. One that may only be read has no more than what
/// reads: everything else is refused.
pub trait LogFile: fmt::Debug + Send + Sync {
    /// Reads into the buffer from an offset; may read less. Gives 0 at the end of the file.
    ///
    /// # Errors
    /// If the disk fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes bytes at an offset; may write less.
    ///
    /// # Errors
    /// If the disk fails or is full.
    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<usize> {
        refused()
    }

    /// Returns when everything that was written to the file is on the disk.
    ///
    /// # Errors
    /// If the disk fails. What was written since the last sync may then be lost, whatever a later
    /// sync says.
    fn sync_data(&self) -> io::Result<()> {
        refused()
    }

    /// Length of the file in bytes.
    ///
    /// # Errors
    /// If the disk fails.
    fn length(&self) -> io::Result<u64>;

    /// Whether the file is still found where it was opened.
    ///
    /// # Errors
    /// If the disk fails.
    fn place(&self, _path: &Path) -> io::Result<FilePlace> {
        Ok(FilePlace::Same)
    }
}

/// Where an open file is, compared with the path by which it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilePlace {
    /// The path leads to it.
    Same,
    /// It has no name any more: what is written to it is lost.
    Removed,
    /// It, or a directory above it, has another name, and the path leads to nothing or to
    /// something else.
    Moved,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name alone.
    pub name: String,
    /// True if it is a file, and not a directory or something else.
    pub is_file: bool,
    /// Length of the file in bytes.
    pub length: u64,
}

/// The lock of a directory, which is held until this is dropped.
pub trait DirectoryLock: Send + Sync {
    /// True if a path leads to the directory that is locked.
    ///
    /// # Errors
    /// If the disk fails.
    fn is_of(&self, _directory: &Path) -> io::Result<bool> {
        Ok(true)
    }
}

/// Result of an attempt to lock a directory.
pub enum LockOutcome {
    /// The lock is held until this guard is dropped.
    Held(Box<dyn DirectoryLock>),
    /// Somebody else holds it, who has left these words about itself.
    HeldBy(String),
}

/// The operations on files and directories that a log needs. A file system that may only be read
/// has no more than what reads: everything else is refused.
pub trait FileSystem: Send + Sync + 'static {
    /// Makes a directory and its parents, durably; does nothing if it is there.
    ///
    /// # Errors
    /// If the disk fails or is full.
    fn create_directory(&self, _directory: &Path) -> io::Result<()> {
        refused()
    }

    /// Lists a directory.
    ///
    /// # Errors
    /// If the disk fails, or the directory is not there.
    fn list(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// If the disk fails, or the file is not there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;

    /// Makes a file of `size` bytes that are zero and have their place on the disk, so that a later
    /// write cannot find it full, and its sync has no metadata to write. Replaces what is there.
    ///
    /// # Errors
    /// If the disk fails or is full; the file may be there then, in part.
    fn create(&self, _path: &Path, _size: u64) -> io::Result<Arc<dyn LogFile>> {
        refused()
    }

    /// Renames a file; replaces what has the new name. Is durable after a sync of the directory.
    ///
    /// # Errors
    /// If the disk fails.
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        refused()
    }

    /// Removes a file. Is durable after a sync of the directory.
    ///
    /// # Errors
    /// If the disk fails.
    fn remove(&self, _path: &Path) -> io::Result<()> {
        refused()
    }

    /// Removes a directory with all that is in it.
    ///
    /// # Errors
    /// If the disk fails.
    fn remove_directory(&self, _directory: &Path) -> io::Result<()> {
        refused()
    }

    /// Returns when the names in a directory are on the disk.
    ///
    /// # Errors
    /// If the disk fails.
    fn sync_directory(&self, _directory: &Path) -> io::Result<()> {
        refused()
    }

    /// Locks with a file for as long as this process lives, or until the guard is dropped. Leaves
    /// `words` in it, for who comes second.
    ///
    /// # Errors
    /// If the disk fails.
    fn lock(&self, _path: &Path, _words: &str) -> io::Result<LockOutcome> {
        refused()
    }

    /// Words of the process that holds the lock of a file, if one does.
    ///
    /// # Errors
    /// If the file is not there, or cannot be read.
    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>>;
}

/// Reads until the buffer is full or the file ends; gives the number of bytes.
pub(crate) fn read_fully(
    file: &dyn LogFile,
    buffer: &mut [u8],
    mut offset: u64,
) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all bytes at an offset.
pub(crate) fn write_fully(file: &dyn LogFile, bytes: &[u8], mut offset: u64) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match file.write_at(rest, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                rest = rest.get(count..).unwrap_or_default();
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// True if an error says that there is no room, so that nothing is wrong with the disk itself.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
