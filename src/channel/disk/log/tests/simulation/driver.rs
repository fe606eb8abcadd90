//! Draws operations, does them on the log, and tells the model what came of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::JumpingClock;
use crate::channel::disk::log::files::simulated::faults::SeededChance;
use crate::channel::disk::log::files::simulated::{DiskCounts, DiskFaults, SimulatedDisk};
use crate::channel::disk::log::tests::model::{ModelQueue, ModelRange};
use crate::channel::disk::log::{
    ChannelLog, DataDirectory, DirectoryOptions, LaneKind, LogError, LogOptions, QueueId,
    QueueLeftover, QueueOptions, QueueRange, ReadAhead, SequenceSpan,
};

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SimulationCounts {
    pub(super) published: u64,
    pub(super) taken: u64,
    pub(super) settled: u64,
    pub(super) deferred: u64,
    pub(super) parked: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    pub(super) openings: u64,
    pub(super) reopenings: u64,
    pub(super) torn_ends: u64,
    pub(super) drained: u64,
    pub(super) segments: u64,
    pub(super) freed: u64,
    pub(super) gathered: u64,
    pub(super) ranges: u64,
    pub(super) in_ranges: u64,
    pub(super) cuts: u64,
}

impl SimulationCounts {
    pub(super) fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.taken += other.taken;
        self.settled += other.settled;
        self.deferred += other.deferred;
        self.parked += other.parked;
        self.refused += other.refused;
        self.failed += other.failed;
        self.openings += other.openings;
        self.reopenings += other.reopenings;
        self.torn_ends += other.torn_ends;
        self.drained += other.drained;
        self.segments = self.segments.max(other.segments);
        self.freed += other.freed;
        self.gathered += other.gathered;
        self.ranges += other.ranges;
        self.in_ranges += other.in_ranges;
        self.cuts += other.cuts;
    }
}

pub(super) struct Simulation {
    pub(super) chance: SeededChance,
    pub(super) disk: SimulatedDisk,
    pub(super) clock: Arc<JumpingClock>,
    pub(super) options: LogOptions,
    directory: Option<DataDirectory>,
    pub(super) log: Option<ChannelLog>,
    pub(super) queues: Vec<ModelQueue>,
    pub(super) next_tag: u64,
    pub(super) counts: SimulationCounts,
}

fn log_options() -> LogOptions {
    LogOptions {
        min_segment_bytes: 8 << 10,
        max_segment_bytes: 32 << 10,
        max_frame_bytes: 6 << 10,
        read_ahead: ReadAhead {
            events: 6,
            bytes: 2 << 10,
        },
        ..LogOptions::default()
    }
}

impl Simulation {
    pub(super) async fn new(seed: u64) -> Self {
        let mut chance = SeededChance::new(seed);
        let disk = SimulatedDisk::new(chance.next(), DiskFaults::default());
        let mut simulation = Self {
            chance,
            disk,
            clock: JumpingClock::new(),
            options: log_options(),
            directory: None,
            log: None,
            queues: Vec::new(),
            next_tag: 1,
            counts: SimulationCounts::default(),
        };
        if simulation.chance.below(3) == 0 {
            simulation.options.retain = Some(Duration::from_secs(30));
        }
        simulation.open().await;
        for _ in 0..=simulation.chance.below(4) {
            simulation.declare().await;
        }
        simulation
    }

    pub(super) fn log(&self) -> ChannelLog {
        self.log.clone().expect("an open log")
    }

    fn faults(&mut self) -> DiskFaults {
        let mut faults = DiskFaults {
            short: 20_000,
            ..DiskFaults::default()
        };
        match self.chance.below(8) {
            0 => faults.write_errors = 20_000,
            1 => faults.sync_errors = 20_000,
            2 => faults.read_errors = 20_000,
            3 => faults.name_errors = 50_000,
            4 => {
                let used: u64 = self.disk.files().iter().map(|(_, length)| length).sum();
                faults.capacity = used + self.chance.below(64 << 10);
            }
            _ => {}
        }
        faults
    }

    /// Opens the log, again if the disk crashes meanwhile.
    async fn open(&mut self) {
        while let Err(error) = self.try_open().await {
            assert!(self.disk.is_crashed(), "{error}");
            if let Some(log) = self.log.take() {
                log.close().await;
            }
            self.directory = None;
            self.disk.restart();
        }
        self.check_counts();
    }

    async fn try_open(&mut self) -> Result<(), LogError> {
        self.disk.set_faults(DiskFaults {
            short: 20_000,
            ..DiskFaults::default()
        });
        let options = DirectoryOptions {
            lanes: LaneKind::Tasks,
            reserve_bytes: 0,
            ..DirectoryOptions::default()
        };
        let (files, clock) = (Arc::new(self.disk.clone()), self.clock.clone());
        let directory = DataDirectory::open_on(files, clock, Path::new("/d"), &options)?;
        let (log, opening) = directory.open_log("log", self.options).await?;
        self.directory = Some(directory);
        self.counts.openings += 1;
        self.counts.torn_ends += u64::from(opening.torn_end.is_some());
        self.log = Some(log);
        for queue in &mut self.queues {
            queue.reopen();
            let options = QueueOptions {
                is_ordered: queue.is_ordered,
                ..queue_options()
            };
            let log = self.log.as_ref().expect("a log");
            let declared = declare_again(log, queue, options).await?;
            assert_eq!(declared, queue.id, "{}", queue.name);
        }
        Ok(())
    }

    pub(super) fn check_counts(&self) {
        for queue in &self.queues {
            let counts = self.log().counts(queue.id).expect("counts");
            if let Some((open, parked)) = queue.certain_counts() {
                // A range is counted by its sequences, of which some are no events.
                let depth = match queue.range {
                    ModelRange::Nothing => counts.depth,
                    _ => counts.depth.min(open),
                };
                let found = (depth, counts.parked);
                assert_eq!(found, (open, parked), "counts of {}", queue.name);
            }
        }
    }

    /// Opens a log that has failed anew, without an end of the process. False if the disk has
    /// crashed meanwhile.
    async fn reopen_in_place(&mut self) -> bool {
        self.disk.set_faults(DiskFaults {
            short: 20_000,
            ..DiskFaults::default()
        });
        let directory = self.directory.clone().expect("a directory");
        match self.log().reopen(&directory).await {
            Ok(opening) => {
                self.counts.reopenings += 1;
                self.counts.torn_ends += u64::from(opening.torn_end.is_some());
                self.queues.iter_mut().for_each(ModelQueue::reopen);
                self.check_counts();
                true
            }
            Err(error) => {
                assert!(self.disk.is_crashed(), "{error}");
                false
            }
        }
    }

    /// Ends the process: in good order, or with the machine; or goes on with a log that has failed.
    pub(super) async fn reopen(&mut self) {
        let has_failed = self.log().failure().is_some() && !self.disk.is_crashed();
        if has_failed && self.chance.below(2) == 0 && self.reopen_in_place().await {
            return;
        }
        let log = self.log.take().expect("a log");
        self.directory = None;
        self.counts.freed += log.statistics().freed;
        self.counts.gathered += log.statistics().gathered;
        let is_orderly = !self.disk.is_crashed() && self.chance.below(2) == 0;
        log.close().await;
        drop(log);
        if !is_orderly {
            self.disk.restart();
        }
        self.open().await;
    }

    pub(super) async fn step(&mut self) {
        if self.log().failure().is_some() || self.disk.is_crashed() {
            return self.reopen().await;
        }
        match self.chance.below(100) {
            0..=38 => self.publish_some().await,
            39..=71 => self.take_some().await,
            72..=76 => self.change_parked().await,
            77..=81 => {
                let millis = self.chance.below(4000);
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            82..=87 => self.disk.crash_after(self.chance.below(30)),
            88..=89 => self.reopen().await,
            90..=93 => {
                let faults = self.faults();
                self.disk.set_faults(faults);
            }
            94 => self.change_time(),
            95 if self.queues.len() < 8 => self.declare_range().await,
            96 => self.retire().await,
            97 if self.queues.len() < 6 => self.declare().await,
            98 => self.drain().await,
            99 => self.cut_range().await,
            _ => {}
        }
        self.counts.segments = self.counts.segments.max(self.log().usage().segments as u64);
    }

    pub(super) fn crash_after(&self, operations: u64) {
        self.disk.crash_after(operations);
    }

    /// A step without faults, and without a crash but the one that was asked for.
    pub(super) async fn quiet_step(&mut self) {
        if self.log().failure().is_some() || self.disk.is_crashed() {
            return self.reopen().await;
        }
        match self.chance.below(12) {
            0..=4 => self.publish_some().await,
            5..=7 => self.take_some().await,
            8 => self.change_parked().await,
            9 if self.queues.len() < 8 => self.declare_range().await,
            10 => self.cut_range().await,
            _ => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }

    /// Has the clock jump, or events kept for another time.
    fn change_time(&mut self) {
        if self.chance.below(2) == 0 {
            return self.jump();
        }
        let retain = (self.chance.below(2) == 0).then(|| Duration::from_secs(30));
        self.options.retain = retain;
        self.log().set_retention(retain);
    }

    fn jump(&mut self) {
        let by = i64::try_from(self.chance.below(20_000)).unwrap() - 10_000;
        self.clock.jump(by);
        let by = Duration::from_millis(by.unsigned_abs());
        self.queues.iter_mut().for_each(|queue| queue.jump(by));
    }

    async fn declare(&mut self) {
        let name = format!("queue {}", self.chance.next());
        let options = QueueOptions {
            is_ordered: self.chance.below(3) == 0,
            ..queue_options()
        };
        if let Ok(id) = self.log().declare(&name, options).await {
            self.queues.push(ModelQueue::new(id, name, options));
        }
    }

    async fn retire(&mut self) {
        if self.queues.len() < 2 {
            return;
        }
        let place = usize::try_from(self.chance.below(self.queues.len() as u64)).unwrap();
        let queue = self.queues.swap_remove(place);
        // If it fails, the queue may be there or not; nobody looks at it any more.
        let _retired = self.log().retire(queue.id, QueueLeftover::GivenUp).await;
    }

    pub(super) async fn end(mut self) -> (DiskCounts, SimulationCounts) {
        self.drain().await;
        self.drain().await;
        (self.disk.counts(), self.counts)
    }
}

/// Declares a queue that is there. Whatever range is asked for, it keeps its own.
async fn declare_again(
    log: &ChannelLog,
    queue: &ModelQueue,
    options: QueueOptions,
) -> Result<QueueId, LogError> {
    let range = match queue.range {
        ModelRange::Nothing => return log.declare(&queue.name, options).await,
        ModelRange::Alone => QueueRange::Alone(SequenceSpan { from: 5, until: 6 }),
        ModelRange::AndOn => QueueRange::AndOn(0),
    };
    log.declare_range(&queue.name, range, options).await
}

pub(super) fn queue_options() -> QueueOptions {
    QueueOptions {
        is_ordered: false,
        window: 20,
        max_deferred: 1000,
        max_parked: 1000,
    }
}
