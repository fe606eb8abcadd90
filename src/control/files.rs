//! Keeps the configuration in step with its files: looks whether a file has changed, reads it,
//! resolves, and hands the resolution over.
//!
//! Changes are found by polling, since that sees a change on every file system, through every link,
//! and by every way to replace a file. The module knows nothing of what a resolution is used for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::control::problem_log::{ProblemLog, epoch_seconds};
use crate::control::read::document::ManifestSet;
use crate::control::read::file::list::{FilesSignature, files_signature};
use crate::control::read::file::reread_manifests;
use crate::control::resolve::{Resolution, resolve};
use crate::control::settings::ControlSettings;

/// The shortest time between two looks at the files.
const INTERVAL: Duration = Duration::from_millis(200);
/// Looking may take one part in this many of the time; slow file systems are looked at less often.
const IDLE_FACTOR: u32 = 50;
/// The longest time between two looks at the files, however long a look takes.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The time after which everything is resolved again although nothing has changed, so that expired
/// certificates are noticed. Those of subscriptions' destinations are noticed when they expire.
const REFRESH: Duration = Duration::from_secs(3600);

/// Applies `first`, which was read from these paths, and then every change of the files or of the
/// settings, until `stop`.
///
/// `apply` is called with every resolution that differs from the one before it.
/// `ControlSettings::now` is replaced by the time. Files are read when two looks in a row, 200 ms
/// apart or more, and a third after reading, see the same. Problems are logged when they appear.
pub(crate) async fn watch_files(
    paths: Vec<PathBuf>,
    settings: watch::Receiver<ControlSettings>,
    first: ManifestSet,
    apply: impl FnMut(&Arc<Resolution>),
    stop: CancellationToken,
) {
    let watcher = FileWatcher {
        paths: paths.into(),
        settings,
        manifests: first,
        resolution: None,
        resolved_at: Instant::now(),
        next_trust_change: None,
        problem_log: ProblemLog::default(),
        read_signature: None,
        changed_signature: None,
        apply,
    };
    stop.run_until_cancelled_owned(watcher.run()).await;
}

struct FileWatcher<F> {
    paths: Arc<[PathBuf]>,
    settings: watch::Receiver<ControlSettings>,
    /// The manifests that were read last.
    manifests: ManifestSet,
    /// The resolution that was applied last; `None` before the first one.
    resolution: Option<Arc<Resolution>>,
    /// The time of the last resolution, whether it was applied or not.
    resolved_at: Instant,
    /// The next time, in seconds since the epoch, at which a certificate of the last resolution
    /// expires or becomes valid.
    next_trust_change: Option<i64>,
    problem_log: ProblemLog,
    /// The names, sizes and times of the files when they were read.
    read_signature: Option<FilesSignature>,
    /// The signature at the last look, if it was another one than when the files were read.
    changed_signature: Option<FilesSignature>,
    /// Called with every resolution that differs from the one before it.
    apply: F,
}

impl<F: FnMut(&Arc<Resolution>)> FileWatcher<F> {
    async fn run(mut self) {
        // The settings that the channel holds now count as seen, so that only later ones wake the
        // loop.
        self.settings.borrow_and_update();
        self.resolve_and_apply().await;
        let mut pause = INTERVAL;
        loop {
            tokio::select! {
                Ok(()) = self.settings.changed() => self.resolve_and_apply().await,
                () = tokio::time::sleep(pause) => pause = self.check_files().await,
            }
        }
    }

    /// Looks at the files, and reads them once two looks have seen the same. Gives the time until
    /// the next look.
    async fn check_files(&mut self) -> Duration {
        let started = Instant::now();
        let Some(now) = task_result(self.scan_files().await) else {
            return INTERVAL;
        };
        let took = started.elapsed();
        // Nothing has changed since the files were read; a change that was seen meanwhile has been
        // undone.
        if self.read_signature.as_ref() == Some(&now) {
            self.changed_signature = None;
        // The change was there at the last look, too: whoever writes the files has finished.
        } else if self.changed_signature.as_ref() == Some(&now) {
            self.read_files(now).await;
        // The files have just changed, and may still be written: they are read after the next look.
        } else {
            self.changed_signature = Some(now);
        }
        let is_trust_changed = self
            .next_trust_change
            .is_some_and(|change| change <= epoch_seconds());
        if is_trust_changed || self.resolved_at.elapsed() >= REFRESH {
            self.resolve_and_apply().await;
        }
        (took * IDLE_FACTOR).clamp(INTERVAL, LONGEST_PAUSE)
    }

    async fn scan_files(&self) -> Result<FilesSignature, JoinError> {
        let paths = Arc::clone(&self.paths);
        spawn_blocking(move || files_signature(&paths)).await
    }

    /// Reads the files and applies them, unless they change meanwhile; then they are looked at
    /// again.
    async fn read_files(&mut self, before: FilesSignature) {
        let (paths, last) = (Arc::clone(&self.paths), self.manifests.clone());
        let read = spawn_blocking(move || {
            let manifests = reread_manifests(&paths, &last);
            (manifests, files_signature(&paths))
        });
        let Some((manifests, after)) = task_result(read.await) else {
            return;
        };
        if before != after {
            self.changed_signature = Some(after);
            return;
        }
        (self.read_signature, self.changed_signature) = (Some(after), None);
        if !manifests.is_same(&self.manifests) {
            self.manifests = manifests;
            self.resolve_and_apply().await;
        }
    }

    /// Resolves the manifests that were read last, and applies the resolution if it differs from
    /// the last one.
    async fn resolve_and_apply(&mut self) {
        let mut settings = self.settings.borrow_and_update().clone();
        let now = epoch_seconds();
        settings.now = now;
        let (manifests, last) = (self.manifests.clone(), self.resolution.clone());
        let resolved = match last {
            // Nothing waits for the first resolution, so it may block this thread. The memory that
            // the work takes is then used again by this thread: a third of the memory of a process
            // with a thousand destinations.
            None => Ok(resolve(&manifests, None, &settings)),
            Some(last) => spawn_blocking(move || resolve(&manifests, Some(&last), &settings)).await,
        };
        self.resolved_at = Instant::now();
        let resolution = task_result(resolved);
        self.next_trust_change = resolution
            .as_ref()
            .and_then(|resolution| resolution.table.next_trust_change(now));
        let Some(resolution) = resolution else {
            return;
        };
        if self
            .resolution
            .as_ref()
            .is_some_and(|last| !resolution.differs(last))
        {
            return;
        }
        self.problem_log.log_resolution(&resolution);
        let resolution = Arc::new(resolution);
        (self.apply)(&resolution);
        self.resolution = Some(resolution);
    }
}

/// The result of a blocking task; `None` if it panicked, which is logged and leaves everything as
/// it was.
fn task_result<T>(result: Result<T, JoinError>) -> Option<T> {
    result
        .inspect_err(
            |error| error!(%error, "Configuration could not be processed, the last one stays"),
        )
        .ok()
}

#[cfg(test)]
mod tests;
