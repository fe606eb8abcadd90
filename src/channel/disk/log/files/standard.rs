//! The files of the operating system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{DirectoryEntry, FileSystem, LockOutcome, LogFile};

/// Zeros that a new file is filled with at once.
const ZEROS: usize = 1 << 20;

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandardFiles;

impl LogFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn has_name(&self) -> io::Result<bool> {
        self.metadata().map(|metadata| metadata.nlink() > 0)
    }
}

impl FileSystem for StandardFiles {
    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        if directory.is_dir() {
            return Ok(());
        }
        let parent = directory.parent().filter(|it| !it.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.create_directory(parent)?;
        }
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_directory(parent.unwrap_or(Path::new(".")))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            entries.push(DirectoryEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_file: metadata.is_file(),
                length: metadata.len(),
            });
        }
        Ok(entries)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(file))
    }

    /// Writes the zeros rather than only reserving them: an extent that was reserved and not
    /// written is changed in the metadata by the first write, which its sync would have to wait
    /// for.
    fn create(&self, path: &Path, size: u64) -> io::Result<Arc<dyn LogFile>> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let zeros = vec![0; ZEROS];
        let mut left = size;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(ZEROS).min(ZEROS);
            file.write_all(zeros.get(..count).unwrap_or(&zeros))?;
            left -= count as u64;
        }
        file.sync_all()?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_directory(&self, directory: &Path) -> io::Result<()> {
        fs::remove_dir_all(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    /// The directory is locked as well, so that whoever removes the file opens it to nobody else.
    fn lock(&self, path: &Path, words: &str) -> io::Result<LockOutcome> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let directory = File::open(path.parent().unwrap_or(Path::new(".")))?;
        for locked in [&file, &directory] {
            match lock_patiently(locked) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Ok(LockOutcome::HeldBy(holder_words(&file)));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(words.as_bytes())?;
        Ok(LockOutcome::Held(Box::new((file, directory))))
    }

    /// Tries the lock for a moment, together with others that only look: who wants it for itself
    /// then tries again.
    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        let file = File::open(path)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(holder_words(&file))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Locks a file that somebody else may have locked for a moment.
fn lock_patiently(file: &File) -> Result<(), TryLockError> {
    const TRIES: u32 = 10;
    const PAUSE: Duration = Duration::from_millis(5);
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => pause(PAUSE),
            locked => return locked,
        }
    }
    file.try_lock()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a process waits so at its start alone, and only if another one has its directory"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// What the holder of a lock has written about itself.
fn holder_words(file: &File) -> String {
    let mut holder = String::new();
    // Words that are no text, or very many, are not the holder's.
    let read = file.take(1024).read_to_string(&mut holder);
    read.map_or(String::new(), |_count| holder.trim().to_owned())
}
