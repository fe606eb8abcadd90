//! The logs of a data directory that are open: none is opened twice, and each is looked after though
//! nobody writes to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::channel::disk::log::LogError;

/// Period in which logs are looked after: events that are kept for a time are kept so much longer at
/// most, besides what is left of their segment.
const PERIOD: Duration = Duration::from_secs(15);

type LogTable = BTreeMap<PathBuf, Option<Weak<dyn UpkeptLog>>>;

/// An open log, as far as time alone makes something due in it.
pub(crate) trait UpkeptLog: Send + Sync {
    /// Has done what is due.
    fn look_after(self: Arc<Self>);
}

/// The open logs of a directory.
#[derive(Default)]
pub(crate) struct OpenLogs {
    table: Mutex<LogTable>,
    /// Ends with this value.
    upkeep: Mutex<JoinSet<()>>,
}

/// The place of a log among those that are open, until it is dropped.
pub(crate) struct OpenLogPlace {
    logs: Arc<OpenLogs>,
    path: PathBuf,
}

impl Drop for OpenLogPlace {
    fn drop(&mut self) {
        self.logs.table().remove(&self.path);
    }
}

impl OpenLogs {
    /// Makes the table of a directory that is used in a runtime.
    pub(crate) fn start(runtime: &Handle) -> Arc<Self> {
        let logs = Arc::new(Self::default());
        let looked_after = Arc::downgrade(&logs);
        let mut upkeep = logs.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        upkeep.spawn_on(look_after(looked_after), runtime);
        drop(upkeep);
        logs
    }

    fn table(&self) -> MutexGuard<'_, LogTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place of a log that is to be opened or deleted.
    pub(crate) fn take_place(self: &Arc<Self>, path: &Path) -> Result<OpenLogPlace, LogError> {
        let mut table = self.table();
        if table.contains_key(path) {
            return Err(LogError::AlreadyOpen(path.to_owned()));
        }
        table.insert(path.to_owned(), None);
        Ok(OpenLogPlace {
            logs: Arc::clone(self),
            path: path.to_owned(),
        })
    }

    fn all(&self) -> Vec<Arc<dyn UpkeptLog>> {
        let table = self.table();
        let open = table.values().flatten();
        open.filter_map(Weak::upgrade).collect()
    }
}

impl OpenLogPlace {
    /// Has a log looked after from now on.
    pub(crate) fn fill(&self, log: Weak<dyn UpkeptLog>) {
        self.logs.table().insert(self.path.clone(), Some(log));
    }
}

/// Looks after the logs of a directory until it is closed.
async fn look_after(logs: Weak<OpenLogs>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let Some(open) = logs.upgrade() else { return };
        for log in open.all() {
            log.look_after();
        }
    }
}
