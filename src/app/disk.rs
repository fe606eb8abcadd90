//! Makes the backend of channels on disk from the flags, and decides when its directory is opened.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use super::shared_services::SharedServices;
use super::shutdown::ShutdownStages;
use crate::channel::disk::{DiskBackend, DiskBackendOptions};
use crate::cli::RunOptions;
use crate::model::{BackendKind, RoutingTable};

/// Directory of channels on disk; `None` in a cluster without the flag.
pub(super) fn data_directory(options: &RunOptions) -> Option<PathBuf> {
    let given = options.disk.data_dir.clone();
    given.or_else(|| (!options.kubernetes).then(|| options.state_dir.join("data")))
}

/// Makes the backend; `None` if there is no directory. The directory is opened at once if it is
/// known to be needed, so that the process ends if another one has it.
pub(super) fn disk_backend(
    options: &RunOptions,
    services: &SharedServices,
    table: &RoutingTable,
    stages: &mut ShutdownStages,
) -> anyhow::Result<Option<Arc<DiskBackend>>> {
    let Some(directory) = data_directory(options) else {
        return Ok(None);
    };
    let is_on_disk = |backend| backend == BackendKind::Disk;
    let mut channels = table.channels().iter();
    let is_needed = options.disk.data_dir.is_some()
        || is_on_disk(options.served.default_channel)
        || channels.any(|channel| is_on_disk(channel.backend));
    let backend_options = DiskBackendOptions {
        directory,
        max_bytes: options.disk.disk_max_bytes.map(|bytes| bytes as u64),
        budget: Arc::clone(&services.budget),
        delete_after: options.disk.disk_delete_after,
    };
    let backend = Arc::new(DiskBackend::new(
        backend_options,
        Arc::clone(&services.counters),
    ));
    if is_needed {
        backend
            .claim_directory()
            .context("channels on disk cannot be served (--data-dir)")?;
    }
    let (ended, stop) = (Arc::clone(&backend), stages.answering_stop.clone());
    stages.answering.spawn("disk", async move {
        stop.cancelled().await;
        ended.shut_down().await;
    });
    Ok(Some(backend))
}
