//! Opening a log that has failed anew, where it is: whoever has it goes on with it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::channel::disk::log::channel_log::{LogCore, LogOptions};
use crate::channel::disk::log::commit::operation::LogOperation;
use crate::channel::disk::log::queue::QueueOptions;
use crate::channel::disk::log::{
    ChannelLog, DataDirectory, LogError, LogInspection, LogOpening, QueueId,
};

/// A queue that the log had before.
struct FormerQueue {
    id: QueueId,
    name: String,
    /// True if it gets what is published.
    is_active: bool,
    options: QueueOptions,
}

impl ChannelLog {
    /// The log as it is open now: it has failed for good when the log is opened anew, so that what
    /// was taken from it is not taken for what the log gives then.
    #[must_use]
    pub fn pinned(&self) -> Self {
        Self::new(self.core())
    }

    /// Waits until the log has failed; gives the reason.
    pub async fn until_failed(&self) -> LogError {
        let core = self.core();
        loop {
            let mut failed = std::pin::pin!(core.failed.notified());
            failed.as_mut().enable();
            let failure = core.state().failure.clone();
            if let Some(failure) = failure {
                return failure;
            }
            failed.await;
        }
    }

    /// Waits until a log that has failed was opened anew.
    pub async fn until_sound(&self) {
        loop {
            let mut reopened = std::pin::pin!(self.shared.reopened.notified());
            reopened.as_mut().enable();
            if self.failure().is_none() {
                return;
            }
            reopened.await;
        }
    }

    /// Opens a log that has failed anew. Its queues keep their ids and options, also if what is in
    /// its place now does not know them; what was in flight is taken again.
    ///
    /// # Errors
    /// If the log cannot be opened, or is damaged where it was. The error is its failure from then
    /// on.
    pub async fn reopen(&self, directory: &DataDirectory) -> Result<LogOpening, LogError> {
        let old = self.core();
        old.close().await;
        match reopen(directory, &old).await {
            Ok((core, opening)) => {
                self.shared.replace(core);
                Ok(opening)
            }
            Err(error) => {
                old.state().failure = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// Opens the log of a core that was closed.
async fn reopen(
    directory: &DataDirectory,
    old: &Arc<LogCore>,
) -> Result<(Arc<LogCore>, LogOpening), LogError> {
    let lane = &directory.lanes.reads;
    let (to_open, former) = (directory.clone(), Arc::clone(old));
    let opened = lane.run(move || open_again(&to_open, &former)).await?;
    let (core, opening) = opened?;
    if let Err(error) = take_over_queues(&core, old).await {
        core.close().await;
        return Err(error);
    }
    Ok((core, opening))
}

fn open_again(
    directory: &DataDirectory,
    old: &LogCore,
) -> Result<(Arc<LogCore>, LogOpening), LogError> {
    ensure_mended(directory, old)?;
    let retain = old.retention.load(Ordering::Relaxed);
    let options = LogOptions {
        retain: (retain > 0).then(|| Duration::from_millis(retain)),
        ..old.options
    };
    directory.open_core(&old.directory, options)
}

/// Fails if the segment in which a queue met damage is damaged still: the log would be opened, and
/// fail again when the queue comes to that place.
fn ensure_mended(directory: &DataDirectory, old: &LogCore) -> Result<(), LogError> {
    let failure = old.state().failure.clone();
    let Some(LogError::Damaged(damage)) = failure else {
        return Ok(());
    };
    let listed = directory.files.list(&old.directory);
    if listed.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(());
    }
    let log = LogInspection::read_on(&directory.files, &old.directory)?;
    log.verify_segment(&damage.path)
}

/// Has the queues of the log as it was: whoever uses them knows them by their ids.
async fn take_over_queues(core: &Arc<LogCore>, old: &LogCore) -> Result<(), LogError> {
    for former in former_queues(core, old) {
        match place_of(core, &former) {
            FormerPlace::Known => {}
            FormerPlace::Free if former.is_active => {
                let declare = LogOperation::DeclareAs(former.id, former.name);
                core.commit(declare).await?;
            }
            FormerPlace::Free => continue,
            FormerPlace::Taken => return Err(LogError::Replaced(old.directory.clone())),
        }
        if let Some(queue) = core.state().queues.get_mut(&former.id) {
            queue.options = former.options;
        }
    }
    Ok(())
}

/// What a log has in the place of a queue that it should have.
enum FormerPlace {
    /// The queue.
    Known,
    Free,
    /// Another queue has the name, or the id.
    Taken,
}

fn place_of(core: &LogCore, former: &FormerQueue) -> FormerPlace {
    let state = core.state();
    match state.names.get(&former.name) {
        Some(id) if *id == former.id => FormerPlace::Known,
        None if !state.queues.contains_key(&former.id) => FormerPlace::Free,
        _ => FormerPlace::Taken,
    }
}

/// The queues of a log as it was. No queue that is declared from now on gets the id of one of them.
fn former_queues(core: &LogCore, old: &LogCore) -> Vec<FormerQueue> {
    let former = old.state();
    let queues = former.queues.iter();
    let queues = queues.map(|(id, queue)| FormerQueue {
        id: *id,
        name: queue.name.clone(),
        is_active: queue.is_active,
        options: queue.options,
    });
    let (queues, next) = (queues.collect(), former.next_queue);
    drop(former);
    let mut state = core.state();
    state.next_queue = state.next_queue.max(next);
    queues
}
