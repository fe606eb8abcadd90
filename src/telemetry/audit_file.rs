//! The file of the audit log: whole lines or none, and a word in the log about those that it lacks.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::OFlags;
use tracing_subscriber::fmt::MakeWriter;

use super::counter::Counter;

/// The file of this process, if it has one: whoever records a line tells of it afterwards, since
/// nothing can be logged while a line is being written.
static FILE: OnceLock<AuditFile> = OnceLock::new();

/// The number of lines that the file of this process lacks; `None` without a file.
#[must_use]
pub(super) fn missing_lines() -> Option<u64> {
    FILE.get().map(|file| file.0.missing.get())
}

/// Tells in the log that lines are missing in the file from now on, and that they are not any more.
pub(super) fn tell_of_trouble() {
    let Some(AuditFile(file)) = FILE.get() else {
        return;
    };
    let path = file.path.display();
    let mut trouble = file.trouble();
    match &mut *trouble {
        AuditTrouble::Begun(error) => {
            tracing::error!(
                file = %path,
                %error,
                "The audit log cannot be written: its lines are in this log alone"
            );
            *trouble = AuditTrouble::Told;
        }
        AuditTrouble::Ended => {
            let missing = file.missing.get();
            tracing::info!(file = %path, missing, "The audit log can be written again");
            *trouble = AuditTrouble::None;
        }
        AuditTrouble::None | AuditTrouble::Told => {}
    }
}

/// A file of audit lines. It is opened for each line, so that it can be moved away at any time.
#[derive(Clone, Debug)]
pub struct AuditFile(Arc<OpenedByLine>);

#[derive(Debug)]
struct OpenedByLine {
    path: PathBuf,
    missing: Counter,
    trouble: Mutex<AuditTrouble>,
}

/// What is wrong with the file, and whether the log says so.
#[derive(Debug)]
enum AuditTrouble {
    None,
    Begun(io::Error),
    Told,
    Ended,
}

impl AuditFile {
    /// Checks that lines can be written, and makes it the file of this process.
    ///
    /// # Errors
    /// If the file cannot be opened; a FIFO that nobody reads is not waited for.
    pub fn new(path: &Path) -> Result<Self, String> {
        let opened = open_to_append(path);
        opened.map_err(|error| {
            let why = match rustix::io::Errno::from_io_error(&error) {
                Some(rustix::io::Errno::NXIO) => "is a FIFO that nobody reads".to_owned(),
                _ => error.to_string(),
            };
            format!("--audit-log {}: {why}", path.display())
        })?;
        let file = Self(Arc::new(OpenedByLine {
            path: path.to_owned(),
            missing: Counter::default(),
            trouble: Mutex::new(AuditTrouble::None),
        }));
        Ok(FILE.get_or_init(|| file).clone())
    }
}

impl OpenedByLine {
    fn trouble(&self) -> std::sync::MutexGuard<'_, AuditTrouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, written: io::Result<()>) {
        let mut trouble = self.trouble();
        match (written, &*trouble) {
            (Ok(()), AuditTrouble::Told) => *trouble = AuditTrouble::Ended,
            (Ok(()), AuditTrouble::Begun(_) | AuditTrouble::None | AuditTrouble::Ended) => {}
            (Err(error), _) => {
                self.missing.increment();
                if !matches!(*trouble, AuditTrouble::Told) {
                    *trouble = AuditTrouble::Begun(error);
                }
            }
        }
    }
}

fn open_to_append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // A line that a pipe does not take at once must not hold the process.
    let not_waiting = OFlags::NONBLOCK.bits().cast_signed();
    options.append(true).create(true).mode(0o600);
    options.custom_flags(not_waiting).open(path)
}

/// Appends a line. Of one for which there is no room, nothing is left: a torn line would make
/// another of the next.
fn append_whole(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = open_to_append(path)?;
    let before = file.metadata()?;
    let written = file.write_all(line);
    if written.is_err() && before.is_file() {
        file.set_len(before.len())?;
    }
    written
}

/// Writer of one line; a line that cannot be written is in the log nevertheless.
#[derive(Debug)]
pub struct AuditWriter<'f>(&'f OpenedByLine);

impl<'w> MakeWriter<'w> for AuditFile {
    type Writer = AuditWriter<'w>;

    fn make_writer(&'w self) -> Self::Writer {
        AuditWriter(&self.0)
    }
}

impl Write for AuditWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.note(append_whole(&self.0.path, line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
