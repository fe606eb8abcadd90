//! Keeps the configuration in step with its files: looks whether one has changed, reads, resolves, hands over.
//!
//! Looking is polling, since that sees a change on every file system, through every link, and by every way to replace
//! a file. It knows nothing of what the resolution is used for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::file::{Signature, read_again, signature};
use super::journal::{Journal, now};
use super::manifest::Manifests;
use super::{Resolution, Settings, resolve};

/// How often files are looked at, at most.
const INTERVAL: Duration = Duration::from_millis(200);
/// How much of the time may go into looking: one part in this many.
const IDLE_FACTOR: u32 = 50;
/// The longest time between two looks, however long they take.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often everything is resolved again although nothing has changed, so that expired certificates are noticed.
const REFRESH: Duration = Duration::from_secs(3600);

/// Applies `first`, which was read from these paths, and then every change of the files or of the settings, until
/// `stop`.
///
/// `apply` is called with every resolution that differs from the one before it. `Settings::now` is replaced by the time.
/// Files are read when two looks in a row, 200 ms apart or more, and a third after reading, see the same. Problems are
/// logged when they appear.
pub async fn watch(
    paths: Vec<PathBuf>,
    settings: watch::Receiver<Settings>,
    first: Manifests,
    apply: impl FnMut(&Arc<Resolution>),
    stop: CancellationToken,
) {
    let watcher = Watcher {
        paths: paths.into(),
        settings,
        manifests: first,
        resolution: None,
        resolved_at: Instant::now(),
        journal: Journal::default(),
        seen: None,
        changing: None,
        apply,
    };
    stop.run_until_cancelled_owned(watcher.run()).await;
}

struct Watcher<F> {
    paths: Arc<[PathBuf]>,
    settings: watch::Receiver<Settings>,
    manifests: Manifests,
    resolution: Option<Arc<Resolution>>,
    resolved_at: Instant,
    journal: Journal,
    /// What the files looked like when they were read.
    seen: Option<Signature>,
    /// What they looked like last, if that was different.
    changing: Option<Signature>,
    apply: F,
}

impl<F: FnMut(&Arc<Resolution>)> Watcher<F> {
    async fn run(mut self) {
        self.settings.borrow_and_update();
        self.resolve().await;
        let mut pause = INTERVAL;
        loop {
            tokio::select! {
                Ok(()) = self.settings.changed() => self.resolve().await,
                () = tokio::time::sleep(pause) => pause = self.look().await,
            }
        }
    }

    /// Looks at the files, and reads them once they rest. Gives the time until the next look.
    async fn look(&mut self) -> Duration {
        let started = Instant::now();
        let Some(now) = finished(self.scan().await) else {
            return INTERVAL;
        };
        let took = started.elapsed();
        if self.seen.as_ref() == Some(&now) {
            self.changing = None;
        } else if self.changing.as_ref() == Some(&now) {
            self.read(now).await;
        } else {
            self.changing = Some(now);
        }
        if self.resolved_at.elapsed() >= REFRESH {
            self.resolve().await;
        }
        (took * IDLE_FACTOR).clamp(INTERVAL, LONGEST_PAUSE)
    }

    async fn scan(&self) -> Result<Signature, JoinError> {
        let paths = Arc::clone(&self.paths);
        spawn_blocking(move || signature(&paths)).await
    }

    /// Reads the files, unless they change meanwhile; then they are looked at again.
    async fn read(&mut self, before: Signature) {
        let (paths, last) = (Arc::clone(&self.paths), self.manifests.clone());
        let read = spawn_blocking(move || {
            let manifests = read_again(&paths, &last);
            (manifests, signature(&paths))
        });
        let Some((manifests, after)) = finished(read.await) else {
            return;
        };
        if before != after {
            self.changing = Some(after);
            return;
        }
        (self.seen, self.changing) = (Some(after), None);
        if !manifests.is_same(&self.manifests) {
            self.manifests = manifests;
            self.resolve().await;
        }
    }

    async fn resolve(&mut self) {
        let mut settings = self.settings.borrow_and_update().clone();
        settings.now = now();
        let (manifests, last) = (self.manifests.clone(), self.resolution.clone());
        let resolved = match last {
            // Nothing waits yet, and what is left of the work is memory that this thread uses again: a third of the memory
            // of a process with a thousand destinations.
            None => Ok(resolve(&manifests, None, &settings)),
            Some(last) => spawn_blocking(move || resolve(&manifests, Some(&last), &settings)).await,
        };
        self.resolved_at = Instant::now();
        let Some(resolution) = finished(resolved) else {
            return;
        };
        if self.resolution.as_ref().is_some_and(|last| !resolution.differs(last)) {
            return;
        }
        self.journal.write(&resolution);
        let resolution = Arc::new(resolution);
        (self.apply)(&resolution);
        self.resolution = Some(resolution);
    }
}

/// The result of a blocking task. One that panicked leaves everything as it was.
fn finished<T>(result: Result<T, JoinError>) -> Option<T> {
    result.inspect_err(|error| error!(%error, "Configuration could not be processed, the last one stays")).ok()
}

#[cfg(test)]
mod tests;
