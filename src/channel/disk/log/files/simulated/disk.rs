//! The state of a simulated disk: what programs see, and what is on the medium.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use super::faults::{DiskCounts, DiskFaults, SeededChance};
use crate::channel::disk::log::files::DirectoryEntry;

/// A file. Names lead to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiskInode {
    /// What a read gives.
    pub(crate) cached: Vec<u8>,
    /// What is on the medium.
    pub(crate) medium: Vec<u8>,
    /// Writes that are not on the medium yet, or not for certain.
    pub(crate) pending: Vec<(u64, Vec<u8>)>,
}

/// A change of a name that is not on the medium yet.
#[derive(Clone, Debug)]
pub(crate) enum NameChange {
    Set(PathBuf, u64),
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Debug)]
pub(crate) struct DiskState {
    pub(crate) chance: SeededChance,
    pub(crate) faults: DiskFaults,
    pub(crate) counts: DiskCounts,
    pub(crate) inodes: HashMap<u64, DiskInode>,
    next_inode: u64,
    pub(crate) names: BTreeMap<PathBuf, u64>,
    pub(crate) durable_names: BTreeMap<PathBuf, u64>,
    pub(crate) changes: Vec<NameChange>,
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) holder: Option<String>,
    pub(crate) life: u64,
    pub(crate) is_crashed: bool,
    pub(crate) crash_at: Option<u64>,
}

fn failure(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

pub(crate) fn put_at(bytes: &mut Vec<u8>, offset: u64, new: &[u8]) {
    let begin = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = begin.saturating_add(new.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(begin..end) {
        place.copy_from_slice(new);
    }
}

impl DiskState {
    pub(crate) fn new(seed: u64, faults: DiskFaults) -> Self {
        Self {
            chance: SeededChance::new(seed),
            faults,
            counts: DiskCounts::default(),
            inodes: HashMap::new(),
            next_inode: 1,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            directories: Vec::new(),
            holder: None,
            life: 0,
            is_crashed: false,
            crash_at: None,
        }
    }

    /// Counts an operation, and crashes if it is the one to crash at.
    pub(crate) fn begin_operation(&mut self) -> io::Result<()> {
        if !self.is_crashed && self.crash_at.is_some_and(|at| self.counts.operations >= at) {
            self.is_crashed = true;
            self.crash_at = None;
        }
        if self.is_crashed {
            return Err(failure("the disk has crashed"));
        }
        self.counts.operations += 1;
        Ok(())
    }

    pub(crate) fn check_life(&self, life: u64) -> io::Result<()> {
        if life == self.life {
            Ok(())
        } else {
            Err(failure("the file was opened before the crash"))
        }
    }

    fn fail_by(&mut self, chance: u32, what: &str) -> io::Result<()> {
        if self.chance.hits(chance) {
            self.counts.failed += 1;
            return Err(failure(what));
        }
        Ok(())
    }

    /// Number of bytes that are done at once of those that were asked for.
    fn shorten(&mut self, count: usize) -> usize {
        if count < 2 || !self.chance.hits(self.faults.short) {
            return count;
        }
        self.counts.short += 1;
        let part = self.chance.below(count as u64 - 1) + 1;
        usize::try_from(part).unwrap_or(count)
    }

    pub(crate) fn length(&self, inode: u64) -> u64 {
        self.inodes
            .get(&inode)
            .map_or(0, |inode| inode.cached.len() as u64)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.length(*inode)).sum()
    }

    pub(crate) fn read(&mut self, inode: u64, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.begin_operation()?;
        self.fail_by(self.faults.read_errors, "a read failed")?;
        let count = self.shorten(buffer.len());
        let file = self.inodes.get(&inode).ok_or(io::ErrorKind::NotFound)?;
        let begin = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = file.cached.get(begin..).unwrap_or_default();
        let count = count.min(bytes.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    pub(crate) fn write(&mut self, inode: u64, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.is_crashed {
            return Err(failure("the disk has crashed"));
        }
        let crashes = self.begin_operation();
        let fails = crashes.is_err()
            || self
                .fail_by(self.faults.write_errors, "a write failed")
                .is_err();
        let mut count = self.shorten(bytes.len());
        if fails {
            // A part of a write that failed may have come to the disk, or will.
            count = usize::try_from(self.chance.below(bytes.len() as u64 + 1)).unwrap_or(0);
        }
        let grows = (offset + count as u64).saturating_sub(self.length(inode));
        if self.faults.capacity > 0 && self.used() + grows > self.faults.capacity {
            self.counts.full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = self.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        let part = bytes.get(..count).unwrap_or_default();
        put_at(&mut file.cached, offset, part);
        file.pending.push((offset, part.to_vec()));
        crashes?;
        if fails {
            return Err(failure("a write failed"));
        }
        Ok(count)
    }

    pub(crate) fn sync(&mut self, inode: u64) -> io::Result<()> {
        self.begin_operation()?;
        let fails = self.fail_by(self.faults.sync_errors, "a sync failed");
        let file = self.inodes.get_mut(&inode).ok_or(io::ErrorKind::NotFound)?;
        for (offset, bytes) in std::mem::take(&mut file.pending) {
            // What could not be written is not tried again, and stays in the memory of the
            // operating system as if it were on the disk.
            if fails.is_ok() || self.chance.below(2) == 0 {
                put_at(&mut file.medium, offset, &bytes);
            }
        }
        fails
    }

    pub(crate) fn open(&mut self, path: &Path) -> io::Result<(u64, u64)> {
        self.begin_operation()?;
        let inode = self.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok((*inode, self.life))
    }

    pub(crate) fn create(&mut self, path: &Path, size: u64) -> io::Result<(u64, u64)> {
        self.begin_operation()?;
        self.fail_by(self.faults.name_errors, "a file could not be made")?;
        let replaced = self.names.get(path).map_or(0, |inode| self.length(*inode));
        let is_full = self.faults.capacity > 0
            && (self.used() - replaced).saturating_add(size) > self.faults.capacity;
        let inode = self.next_inode;
        self.next_inode += 1;
        let zeros = vec![0; usize::try_from(size).unwrap_or(0)];
        let file = DiskInode {
            cached: if is_full { Vec::new() } else { zeros.clone() },
            medium: if is_full { Vec::new() } else { zeros },
            pending: Vec::new(),
        };
        self.inodes.insert(inode, file);
        self.names.insert(path.to_owned(), inode);
        self.changes.push(NameChange::Set(path.to_owned(), inode));
        if is_full {
            self.counts.full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok((inode, self.life))
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin_operation()?;
        self.fail_by(self.faults.name_errors, "a file could not be renamed")?;
        let inode = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), inode);
        let change = NameChange::Move(from.to_owned(), to.to_owned());
        self.changes.push(change);
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.begin_operation()?;
        self.fail_by(self.faults.name_errors, "a file could not be removed")?;
        self.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        self.changes.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    pub(crate) fn sync_names(&mut self) -> io::Result<()> {
        self.begin_operation()?;
        self.fail_by(self.faults.name_errors, "a directory could not be synced")?;
        for change in std::mem::take(&mut self.changes) {
            self.make_durable(change);
        }
        Ok(())
    }

    pub(crate) fn make_durable(&mut self, change: NameChange) {
        match change {
            NameChange::Set(path, inode) => {
                self.durable_names.insert(path, inode);
            }
            NameChange::Move(from, to) => {
                if let Some(inode) = self.durable_names.remove(&from) {
                    self.durable_names.insert(to, inode);
                }
            }
            NameChange::Remove(path) => {
                self.durable_names.remove(&path);
            }
        }
    }

    /// Directories are there at once: what is tried here are the files in them.
    pub(crate) fn create_directory(&mut self, directory: &Path) -> io::Result<()> {
        self.begin_operation()?;
        if !self.directories.iter().any(|it| it == directory) {
            self.directories.push(directory.to_owned());
        }
        Ok(())
    }

    pub(crate) fn list(&mut self, directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.begin_operation()?;
        if !self.directories.iter().any(|it| it == directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name_of = |path: &Path| {
            let is_in = path.parent() == Some(directory);
            is_in.then(|| {
                path.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
            })
        };
        let files = self.names.iter().filter_map(|(path, inode)| {
            name_of(path).map(|name| (name, true, self.length(*inode)))
        });
        let within = self.directories.iter().filter_map(|path| name_of(path));
        let within = within.map(|name| (name, false, 0));
        Ok(files
            .chain(within)
            .map(|(name, is_file, length)| DirectoryEntry {
                name,
                is_file,
                length,
            })
            .collect())
    }

    pub(crate) fn remove_directory(&mut self, directory: &Path) -> io::Result<()> {
        self.begin_operation()?;
        let is_below = |path: &Path| path.starts_with(directory);
        self.names.retain(|path, _| !is_below(path));
        self.durable_names.retain(|path, _| !is_below(path));
        self.directories.retain(|path| !is_below(path));
        Ok(())
    }

    pub(crate) fn flip(&mut self, path: &Path, offset: u64, bit: u8) {
        let inode = self.names.get(path).and_then(|it| self.inodes.get_mut(it));
        let Some(inode) = inode else {
            return;
        };
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        for bytes in [&mut inode.cached, &mut inode.medium] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    pub(crate) fn set_length(&mut self, path: &Path, length: u64) {
        let inode = self.names.get(path).and_then(|it| self.inodes.get_mut(it));
        if let Some(inode) = inode {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            inode.cached.resize(length, 0);
            inode.medium.resize(length, 0);
        }
    }

    pub(crate) fn put(&mut self, path: &Path, bytes: &[u8]) {
        let inode = self.next_inode;
        self.next_inode += 1;
        let file = DiskInode {
            cached: bytes.to_vec(),
            medium: bytes.to_vec(),
            pending: Vec::new(),
        };
        self.inodes.insert(inode, file);
        self.names.insert(path.to_owned(), inode);
        self.durable_names.insert(path.to_owned(), inode);
    }
}
