//! The lock of a data directory: that of the directory itself, so that whoever removes the file opens
//! it to nobody else, and that of the file, which holds words about who has it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::standard_place::place_of;
use super::{DirectoryLock, FilePlace, LockOutcome};

/// The locks of a process.
struct HeldLocks {
    directory: File,
    /// Held for those who only look at it.
    _file: File,
}

impl DirectoryLock for HeldLocks {
    fn is_of(&self, directory: &Path) -> io::Result<bool> {
        place_of(&self.directory, directory).map(|place| place == FilePlace::Same)
    }
}

/// Locks the directory of a file, and the file, in which it leaves words. Makes no file if somebody
/// else has the directory.
pub(super) fn lock(path: &Path, words: &str) -> io::Result<LockOutcome> {
    let directory = open_parent(path)?;
    match lock_patiently(&directory) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Ok(LockOutcome::HeldBy(words_of_holder(path, &directory)));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    match lock_patiently(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(LockOutcome::HeldBy(read_words(&file))),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(words.as_bytes())?;
    let _file = file;
    Ok(LockOutcome::Held(Box::new(HeldLocks { directory, _file })))
}

/// Words of who has the lock of a file or of its directory, if somebody has. Tries the locks for a
/// moment, together with others that only look: who wants them for itself then tries again.
pub(super) fn holder(path: &Path) -> io::Result<Option<String>> {
    let directory = open_parent(path)?;
    if is_locked(&directory)? {
        return Ok(Some(words_of_holder(path, &directory)));
    }
    let file = File::open(path)?;
    Ok(is_locked(&file)?.then(|| read_words(&file)))
}

fn open_parent(path: &Path) -> io::Result<File> {
    File::open(path.parent().unwrap_or(Path::new(".")))
}

fn is_locked(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Words of who has a directory. Only a file that is locked as well has words of theirs: it may have
/// been removed, and another put in its place.
fn words_of_holder(path: &Path, directory: &File) -> String {
    let file = File::open(path).ok();
    let file = file.filter(|file| is_locked(file).unwrap_or(false));
    let words = file.map(|file| read_words(&file)).unwrap_or_default();
    if words.is_empty() {
        return process_of_lock(directory).unwrap_or_default();
    }
    words
}

/// The process that has locked a file, by what the operating system says of all locks; `None` where it
/// does not say so, or not to this process.
fn process_of_lock(file: &File) -> Option<String> {
    let metadata = file.metadata().ok()?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    let place = format!(
        "{:02x}:{:02x}:{inode}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| holder_in_line(line, &place))
}

/// The holder in a line such as `3: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`. Those who wait for a
/// lock have an arrow behind the number; those in another container have no number that means
/// something here.
fn holder_in_line(line: &str, place: &str) -> Option<String> {
    let mut words = line.split_whitespace().skip(1);
    let (kind, mode) = (words.next()?, words.nth(1)?);
    let (process, locked) = (words.next()?.parse::<u32>().ok()?, words.next()?);
    let is_meant = kind == "FLOCK" && mode == "WRITE" && locked == place && process > 0;
    is_meant.then(|| format!("process {process}"))
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
fn read_words(file: &File) -> String {
    let mut holder = String::new();
    // Words that are no text, or very many, are not the holder's.
    let read = file.take(1024).read_to_string(&mut holder);
    read.map_or(String::new(), |_count| holder.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::holder_in_line;

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let place = "08:01:131";
        let found = |line: &str| holder_in_line(line, place);
        let held = "3: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF";
        assert_eq!(found(held).as_deref(), Some("process 4711"));
        for other in [
            "",
            "3: -> FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF",
            "3: FLOCK  ADVISORY  READ 4711 08:01:131 0 EOF",
            "3: POSIX  ADVISORY  WRITE 4711 08:01:131 0 EOF",
            "3: FLOCK  ADVISORY  WRITE 0 08:01:131 0 EOF",
            "3: FLOCK  ADVISORY  WRITE -1 08:01:131 0 EOF",
            "3: FLOCK  ADVISORY  WRITE 4711 08:01:13 0 EOF",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
