//! The data directory of a process: its lock, and what all logs in it share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::channel::disk::log::LogError;
use crate::channel::disk::log::budget::{DiskBudget, LogAccounts};
use crate::channel::disk::log::channel_log::{ChannelLog, LogOptions};
use crate::channel::disk::log::clock::{LogClock, StandardClock};
use crate::channel::disk::log::files::standard::StandardFiles;
use crate::channel::disk::log::files::{DirectoryLock, FileSystem, LockOutcome};
use crate::channel::disk::log::lane::{BlockingLane, LaneKind};
use crate::channel::disk::log::open_logs::OpenLogs;
use crate::channel::disk::log::opening::LogOpening;
use crate::channel::disk::log::reserve::{RESERVE_NAME, RoomReserve};

/// Name of the file whose lock keeps other processes out.
pub(crate) const LOCK_NAME: &str = "lock";

/// What a data directory is opened with.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// Bytes that the files of all logs may take.
    pub max_bytes: u64,
    /// Bytes that they may take beyond those that they take when the directory is opened.
    pub max_more_bytes: u64,
    /// Most threads that write, and most threads that read, at once.
    pub commit_threads: usize,
    /// Most threads that read at once.
    pub read_threads: usize,
    /// Where blocking work is done.
    pub lanes: LaneKind,
    /// Bytes that are kept back on the disk for what ends events; none with 0. They are beside those
    /// of the logs.
    pub reserve_bytes: u64,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self {
            max_bytes: u64::MAX,
            max_more_bytes: u64::MAX,
            commit_threads: 8,
            read_threads: 4,
            lanes: LaneKind::Threads,
            reserve_bytes: 1 << 20,
        }
    }
}

/// Lanes of blocking work that all logs share.
#[derive(Clone, Debug)]
pub(crate) struct SharedLanes {
    pub(crate) commits: Arc<BlockingLane>,
    pub(crate) reads: Arc<BlockingLane>,
}

/// Directory with the logs of one process. Its lock is held while this value, or a log that was
/// opened in it, is there.
#[derive(Clone)]
pub struct DataDirectory {
    pub(crate) path: PathBuf,
    pub(crate) files: Arc<dyn FileSystem>,
    pub(crate) clock: Arc<dyn LogClock>,
    pub(crate) accounts: Arc<LogAccounts>,
    pub(crate) lanes: SharedLanes,
    pub(crate) lock: Arc<dyn DirectoryLock>,
    pub(crate) reserve: Arc<RoomReserve>,
    pub(crate) open_logs: Arc<OpenLogs>,
}

impl DataDirectory {
    /// Opens a directory on the file system of the operating system; makes it if it is not there.
    ///
    /// # Errors
    /// If another process has it, it cannot be made, or there is no Tokio runtime.
    pub fn open(path: &Path, options: &DirectoryOptions) -> Result<Self, LogError> {
        let clock = Arc::new(StandardClock::default());
        Self::open_on(Arc::new(StandardFiles), clock, path, options)
    }

    /// Opens a directory on another file system, with another clock.
    ///
    /// # Errors
    /// As [`DataDirectory::open`].
    pub fn open_on(
        files: Arc<dyn FileSystem>,
        clock: Arc<dyn LogClock>,
        path: &Path,
        options: &DirectoryOptions,
    ) -> Result<Self, LogError> {
        let runtime = Handle::try_current().map_err(|_outside| LogError::Closed)?;
        files
            .create_directory(path)
            .map_err(|error| LogError::unreadable(path, &error))?;
        let lock_path = path.join(LOCK_NAME);
        let words = format!("process {}", std::process::id());
        let lock = files
            .lock(&lock_path, &words)
            .map_err(|error| LogError::unreadable(&lock_path, &error))?;
        let lock = match lock {
            LockOutcome::Held(guard) => guard,
            LockOutcome::HeldBy(holder) => {
                return Err(LogError::Locked {
                    path: path.to_owned(),
                    holder: if holder.is_empty() {
                        "another process".to_owned()
                    } else {
                        holder
                    },
                });
            }
        };
        let logs = bytes_of_logs(&*files, path)?;
        let taken: u64 = logs.iter().map(|log| log.bytes).sum();
        let limit = taken.saturating_add(options.max_more_bytes);
        let accounts = LogAccounts::new(DiskBudget::new(limit.min(options.max_bytes)));
        for log in logs {
            accounts.of(&log.path).set(log.bytes);
        }
        let reserve = RoomReserve::new(&files, path.join(RESERVE_NAME), options.reserve_bytes);
        Ok(Self {
            path: path.to_owned(),
            files,
            clock,
            accounts: Arc::new(accounts),
            lanes: SharedLanes {
                commits: BlockingLane::new(options.lanes, options.commit_threads)?,
                reads: BlockingLane::new(options.lanes, options.read_threads)?,
            },
            lock: Arc::from(lock),
            reserve: Arc::new(reserve),
            open_logs: OpenLogs::start(&runtime),
        })
    }

    /// The budget of all logs.
    #[must_use]
    pub fn budget(&self) -> &DiskBudget {
        &self.accounts.budget
    }

    /// True if the path leads to the directory that this process has: nobody has moved or removed it,
    /// or a directory above it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn is_in_place(&self) -> Result<bool, LogError> {
        let is_in_place = self.lock.is_of(&self.path);
        is_in_place.map_err(|error| LogError::unreadable(&self.path, &error))
    }

    /// Names of the logs that are in the directory.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn log_names(&self) -> Result<Vec<String>, LogError> {
        let entries = self
            .files
            .list(&self.path)
            .map_err(|error| LogError::unreadable(&self.path, &error))?;
        let logs = entries.into_iter().filter(|entry| !entry.is_file);
        let mut names: Vec<String> = logs.map(|entry| entry.name).collect();
        names.sort();
        Ok(names)
    }

    /// Opens a log; makes it if it is not there.
    ///
    /// # Errors
    /// If the name cannot be that of a directory, the log is open already, the disk fails or is full, or the log is damaged.
    pub async fn open_log(
        &self,
        name: &str,
        options: LogOptions,
    ) -> Result<(ChannelLog, LogOpening), LogError> {
        let path = self.log_path(name)?;
        let directory = self.clone();
        let lanes = self.lanes.clone();
        let opened = lanes.reads.run(move || directory.open_core(&path, options));
        let (core, opening) = opened.await??;
        Ok((ChannelLog::new(core), opening))
    }

    /// Deletes a log with all its events.
    ///
    /// # Errors
    /// If the name cannot be that of a log, the log is open, or the disk fails.
    pub async fn delete_log(&self, name: &str) -> Result<(), LogError> {
        let path = self.log_path(name)?;
        let directory = self.clone();
        let lanes = self.lanes.clone();
        let place = self.open_logs.take_place(&path)?;
        let deleted = lanes.reads.run(move || {
            let _place = place;
            let removed = directory.files.remove_directory(&path);
            let account = directory.accounts.of(&path);
            account.set(bytes_of_log(&*directory.files, &path));
            removed
                .and_then(|()| directory.files.sync_directory(&directory.path))
                .map_err(|error| LogError::unreadable(&path, &error))
        });
        deleted.await?
    }

    fn log_path(&self, name: &str) -> Result<PathBuf, LogError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+~".contains(&byte);
        let is_name = name.bytes().all(is_plain)
            && !name.starts_with('.')
            && ![LOCK_NAME, RESERVE_NAME].contains(&name);
        if name.is_empty() || name.len() > 255 || !is_name {
            return Err(LogError::InvalidName(name.to_owned()));
        }
        Ok(self.path.join(name))
    }
}

/// A log, and the bytes of its files.
struct LogBytes {
    path: PathBuf,
    bytes: u64,
}

/// All logs, whether they will be opened or not.
fn bytes_of_logs(files: &dyn FileSystem, path: &Path) -> Result<Vec<LogBytes>, LogError> {
    let entries = files
        .list(path)
        .map_err(|error| LogError::unreadable(path, &error))?;
    let logs = entries.into_iter().filter(|entry| !entry.is_file);
    let logs = logs.map(|entry| path.join(entry.name));
    Ok(logs
        .map(|path| LogBytes {
            bytes: bytes_of_log(files, &path),
            path,
        })
        .collect())
}

/// Bytes of the files of a log; none if it cannot be read, which opening it will tell.
pub(crate) fn bytes_of_log(files: &dyn FileSystem, path: &Path) -> u64 {
    let entries = files.list(path).unwrap_or_default();
    entries.iter().map(|entry| entry.length).sum()
}
