//! Resolves what a store of objects holds, again and again, and logs the problems that appear.

use std::sync::Arc;

use tokio::task::{JoinError, spawn_blocking};

use crate::control::problem_log::{ProblemLog, epoch_seconds};
use crate::control::read::document::{ManifestFile, ManifestSet};
use crate::control::resolve::{Resolution, resolve};
use crate::control::settings::ControlSettings;

/// The latest resolution that was handed over, or that is served; `None` before the first one.
pub(crate) type LatestResolution = Option<Arc<Resolution>>;

/// Resolves objects with the last resolution at hand, which keeps the last good forms.
pub(super) struct StoreResolver {
    pub(super) settings: ControlSettings,
    last: LatestResolution,
    problem_log: ProblemLog,
}

impl StoreResolver {
    pub(super) fn new(settings: ControlSettings) -> Self {
        Self {
            settings,
            last: None,
            problem_log: ProblemLog::default(),
        }
    }

    /// Resolves these objects, beside the tasks of the process.
    ///
    /// # Errors
    /// Fails if resolving has panicked.
    pub(super) async fn resolve(
        &self,
        files: Vec<Arc<ManifestFile>>,
    ) -> Result<Arc<Resolution>, JoinError> {
        let manifests = ManifestSet {
            files,
            problems: Vec::new(),
        };
        let settings = ControlSettings {
            now: epoch_seconds(),
            ..self.settings.clone()
        };
        let last = self.last.clone();
        spawn_blocking(move || Arc::new(resolve(&manifests, last.as_deref(), &settings))).await
    }

    /// Makes a resolution the last one; if it differs from the one before, its problems are logged.
    pub(super) fn keep(&mut self, resolution: &Arc<Resolution>) {
        if self
            .last
            .as_ref()
            .is_none_or(|last| resolution.differs(last))
        {
            self.problem_log.log_resolution(resolution);
        }
        self.last = Some(Arc::clone(resolution));
    }
}
