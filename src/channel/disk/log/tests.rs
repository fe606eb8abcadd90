//! Tests of the log as a whole.

mod codec;
mod crowd;
mod damage;
mod limits;
mod model;
mod queues;
mod ranges;
mod reader;
mod reopening;
mod simulation;
mod slice;
mod upkeep;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::channel::disk::log::files::simulated::{DiskFaults, SimulatedDisk};
use crate::channel::disk::log::{
    ChannelLog, DataDirectory, DirectoryOptions, LaneKind, LogClock, LogError, LogOpening,
    LogOptions, NewEvent, QueueId, QueueLeftover, QueueOptions, SettledOutcome, StandardClock,
    TakenEvent,
};

fn event(queues: &[QueueId], body: &str) -> NewEvent {
    NewEvent {
        queues: queues.iter().copied().collect(),
        event: Bytes::copy_from_slice(body.as_bytes()),
    }
}

async fn open(path: &Path) -> ChannelLog {
    let directory = DataDirectory::open(path, &DirectoryOptions::default()).expect("a directory");
    let opened = directory.open_log("log", LogOptions::default()).await;
    opened.expect("a log").0
}

/// Takes and settles the next event; gives its body.
async fn deliver(log: &ChannelLog, queue: QueueId) -> String {
    let taken = log.take(queue, 1).await.expect("an event").remove(0);
    let settled = log.settle(queue, taken.sequence, SettledOutcome::Delivered);
    settled.await.expect("settled");
    text(&taken)
}

fn text(taken: &TakenEvent) -> String {
    String::from_utf8(taken.event.to_vec()).expect("text")
}

/// A log on a simulated disk, with what it is opened with.
struct Bench {
    disk: SimulatedDisk,
    clock: Arc<dyn LogClock>,
    options: LogOptions,
    max_bytes: u64,
    reserve_bytes: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            disk: SimulatedDisk::new(1, DiskFaults::default()),
            clock: Arc::new(StandardClock::default()),
            options: LogOptions {
                min_segment_bytes: 16 << 10,
                max_segment_bytes: 16 << 10,
                ..LogOptions::default()
            },
            max_bytes: u64::MAX,
            reserve_bytes: 0,
        }
    }

    fn directory(&self) -> DataDirectory {
        self.try_directory().expect("a directory")
    }

    fn try_directory(&self) -> Result<DataDirectory, LogError> {
        let options = DirectoryOptions {
            lanes: LaneKind::Tasks,
            max_bytes: self.max_bytes,
            reserve_bytes: self.reserve_bytes,
            ..DirectoryOptions::default()
        };
        let (files, clock) = (Arc::new(self.disk.clone()), Arc::clone(&self.clock));
        DataDirectory::open_on(files, clock, Path::new("/d"), &options)
    }

    async fn try_open(&self) -> Result<(ChannelLog, LogOpening), LogError> {
        let directory = self.try_directory()?;
        directory.open_log("log", self.options).await
    }

    async fn open(&self) -> (ChannelLog, LogOpening) {
        self.try_open().await.expect("a log")
    }

    /// The names of the log's segments, the oldest first.
    fn segments(&self) -> Vec<std::path::PathBuf> {
        let files = self.disk.files().into_iter().map(|(path, _)| path);
        let is_segment = |path: &std::path::PathBuf| path.extension() == Some("segment".as_ref());
        files.filter(is_segment).collect()
    }
}

async fn declare(log: &ChannelLog, name: &str) -> QueueId {
    let declared = log.declare(name, QueueOptions::default()).await;
    declared.expect("a queue")
}

async fn publish(log: &ChannelLog, queues: &[QueueId], body: &str) {
    let published = log.publish(vec![event(queues, body)]).await;
    published.expect("published");
}

/// The next events of a queue, or none if none comes.
async fn take_now(log: &ChannelLog, queue: QueueId, most: usize) -> Vec<TakenEvent> {
    let taken = tokio::time::timeout(Duration::from_millis(5), log.take(queue, most)).await;
    taken.map_or(Vec::new(), |taken| taken.expect("events"))
}

async fn settle(log: &ChannelLog, queue: QueueId, taken: &[TakenEvent]) {
    for event in taken {
        let settled = log.settle(queue, event.sequence, SettledOutcome::Delivered);
        settled.await.expect("settled");
    }
}
