//! Runs the conformance suite of backends on a directory of its own for each test.

use std::sync::Arc;

use tempfile::TempDir;

use crate::budget::MemoryBudget;
use crate::channel::ChannelBackend;
use crate::channel::conformance::{BackendUnderTest, conformance};
use crate::channel::disk::{DiskBackend, DiskBackendOptions};
use crate::model::BackendKind;
use crate::telemetry::counters::ProcessCounters;

/// A backend in a directory that outlives it.
struct OnDisk {
    directory: Arc<TempDir>,
    backend: DiskBackend,
    counters: Arc<ProcessCounters>,
}

impl OnDisk {
    fn open(directory: Arc<TempDir>) -> Self {
        let options = DiskBackendOptions {
            directory: directory.path().join("data"),
            max_bytes: None,
            budget: MemoryBudget::new(64 << 20),
            delete_after: None,
        };
        let counters = Arc::default();
        let backend = DiskBackend::new(options, Arc::clone(&counters));
        Self {
            directory,
            backend,
            counters,
        }
    }
}

impl BackendUnderTest for OnDisk {
    const STORAGE: BackendKind = BackendKind::Disk;
    const IS_DURABLE: bool = true;

    async fn start() -> Self {
        Self::open(Arc::new(TempDir::new().expect("a directory")))
    }

    fn namespace(&self) -> &str {
        "ns"
    }

    fn backend(&self) -> &dyn ChannelBackend {
        &self.backend
    }

    fn counters(&self) -> Arc<ProcessCounters> {
        Arc::clone(&self.counters)
    }

    async fn restart(self) -> Self {
        self.backend.shut_down().await;
        let directory = Arc::clone(&self.directory);
        drop(self.backend);
        Self::open(directory)
    }
}

conformance!(OnDisk);
