//! Follows manifests: whatever way they change, they are read again when they have come to rest.
//!
//! Files are polled by what the system says of them, so that atomic renames, symbolic links that are swapped, mounted
//! ConfigMaps and network file systems are all the same.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::read::{Reader, files};
use super::{Manifests, Problem, Resolution, Settings, Severity, resolve};

/// How often files are looked at, at most.
const POLL: Duration = Duration::from_millis(200);
/// Looking takes at most this part of the time.
const REST: u32 = 50;
/// What depends on the time, such as the validity of certificates, is judged again after this.
const REVIEW: Duration = Duration::from_secs(3600);

/// What identifies the content of a file, as far as the system tells.
type Signature = Vec<(PathBuf, [i64; 6])>;

/// Reads manifests and resolves them, again and again.
pub struct Watcher {
    paths: Vec<PathBuf>,
    reader: Reader,
    settings: Settings,
    seen: Signature,
    manifests: Manifests,
    last: Option<Resolution>,
    reported: Vec<Problem>,
    reviewed: Instant,
}

impl Watcher {
    /// A watcher of these paths.
    #[must_use]
    pub fn new(paths: &[PathBuf], settings: Settings) -> Self {
        Self {
            paths: paths.to_vec(),
            reader: Reader::new(paths, &settings.default_namespace),
            settings,
            seen: Signature::new(),
            manifests: Manifests::default(),
            last: None,
            reported: Vec::new(),
            reviewed: Instant::now(),
        }
    }

    /// Reads and resolves now.
    pub fn read(&mut self) -> Resolution {
        self.seen = signature(&self.paths);
        self.manifests = self.reader.read();
        self.resolve()
    }

    fn resolve(&mut self) -> Resolution {
        let resolution =
            resolve(&self.manifests, self.last.as_ref(), &self.settings, OffsetDateTime::now_utc().unix_timestamp());
        self.report(&resolution.problems);
        self.reviewed = Instant::now();
        self.last = Some(resolution.clone());
        resolution
    }

    /// Logs each problem when it appears, and how much is configured.
    fn report(&mut self, problems: &[Problem]) {
        for problem in problems.iter().filter(|problem| !self.reported.contains(problem)) {
            match problem.severity {
                Severity::Error => tracing::error!("{problem}"),
                Severity::Warning => tracing::warn!("{problem}"),
                Severity::Note => tracing::info!("{problem}"),
            }
        }
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        tracing::info!(objects = self.manifests.objects.len(), errors, "Configuration read");
        self.reported = problems.to_vec();
    }

    /// Waits until the manifests have changed and come to rest, or it is time to judge them again; then resolves them.
    /// Not cancel-safe: what was read is lost with the future, and so is the watcher.
    ///
    /// # Errors
    /// If reading panicked.
    pub async fn next(mut self) -> Result<(Self, Resolution), tokio::task::JoinError> {
        let mut candidate: Option<Signature> = None;
        loop {
            let started = Instant::now();
            let paths = self.paths.clone();
            let found = tokio::task::spawn_blocking(move || signature(&paths)).await?;
            let at_rest = candidate.as_ref() == Some(&found);
            if found != self.seen && at_rest {
                return tokio::task::spawn_blocking(move || {
                    let resolution = self.read();
                    (self, resolution)
                })
                .await;
            }
            if self.reviewed.elapsed() >= REVIEW {
                let resolution = self.resolve();
                return Ok((self, resolution));
            }
            candidate = Some(found);
            tokio::time::sleep(POLL.max(started.elapsed() * REST)).await;
        }
    }
}

/// Every file that would be read, with what the system says of it. Links are followed.
fn signature(paths: &[PathBuf]) -> Signature {
    let found = paths.iter().flat_map(|path| files(path).unwrap_or_default());
    found.map(|file| (file.clone(), identity(&file))).collect()
}

fn identity(file: &Path) -> [i64; 6] {
    fs::metadata(file).map_or([0; 6], |metadata| {
        let unsigned = |number: u64| i64::from_ne_bytes(number.to_ne_bytes());
        [
            unsigned(metadata.dev()),
            unsigned(metadata.ino()),
            unsigned(metadata.size()),
            metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec()),
            metadata.ctime().wrapping_mul(1_000_000_000).wrapping_add(metadata.ctime_nsec()),
            i64::from(metadata.mode()),
        ]
    })
}
