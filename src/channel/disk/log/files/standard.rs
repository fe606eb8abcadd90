//! The files of the operating system.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::standard_place::place_of;
use super::{DirectoryEntry, FilePlace, FileSystem, LockOutcome, LogFile, standard_lock};

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

    fn place(&self, path: &Path) -> io::Result<FilePlace> {
        place_of(self, path)
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

    fn lock(&self, path: &Path, words: &str) -> io::Result<LockOutcome> {
        standard_lock::lock(path, words)
    }

    fn lock_holder(&self, path: &Path) -> io::Result<Option<String>> {
        standard_lock::holder(path)
    }
}
