//! Random operations on a disk that fails, against the model. `SEALPOST_TEST_SEED` is the first seed and
//! `SEALPOST_TEST_SEEDS` the number of seeds.

mod actions;
mod checks;
mod driver;
mod ranges;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::channel::disk::log::LogClock;
use crate::channel::disk::log::files::simulated::DiskCounts;
use driver::{Simulation, SimulationCounts};

/// A wall clock that jumps.
#[derive(Debug)]
pub(super) struct JumpingClock {
    begin: Instant,
    offset: AtomicI64,
}

const EPOCH: i64 = 1_800_000_000_000;

impl JumpingClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begin: Instant::now(),
            offset: AtomicI64::new(0),
        })
    }

    pub(super) fn jump(&self, millis: i64) {
        self.offset.fetch_add(millis, Ordering::Relaxed);
    }
}

impl LogClock for JumpingClock {
    fn wall(&self) -> u64 {
        let elapsed = i64::try_from(self.begin.elapsed().as_millis()).unwrap();
        let wall = EPOCH + elapsed + self.offset.load(Ordering::Relaxed);
        u64::try_from(wall).unwrap()
    }

    fn steady(&self) -> Duration {
        self.begin.elapsed()
    }
}

/// A crash at each of the operations that a log does from its first on, one after the other.
#[test]
fn a_crash_at_any_operation_breaks_no_promise() {
    let operations = variable("SEALPOST_TEST_OPERATIONS", 60);
    let seeds = variable("SEALPOST_TEST_CRASH_SEEDS", 3);
    let first = variable("SEALPOST_TEST_SEED", 1);
    let (mut disk, mut done) = (DiskCounts::default(), SimulationCounts::default());
    let each = (first..first + seeds).flat_map(|seed| (0..operations).map(move |it| (seed, it)));
    for (seed, operation) in each {
        let result = std::panic::catch_unwind(|| {
            run_paused(async {
                let mut simulation = Simulation::new(seed).await;
                simulation.crash_after(operation);
                for _ in 0..30 {
                    simulation.quiet_step().await;
                }
                simulation.end().await
            })
        });
        let (disk_counts, counts) =
            result.unwrap_or_else(|_panic| panic!("seed {seed} fails at operation {operation}"));
        disk.add(&disk_counts);
        done.add(&counts);
    }
    println!("{seeds} seeds, {operations} operations each: {done:?}\n{disk:?}");
    let drawn = [
        done.settled,
        done.deferred,
        done.parked,
        done.ranges,
        disk.crashes,
    ];
    assert!(drawn.iter().all(|count| *count > 0), "{done:?} {disk:?}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "who runs the tests says how many seeds are tried"
)]
fn variable(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |it| it.parse().expect("a number"))
}

pub(super) fn run_paused<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// Whatever happens to the disk, each event whose publication was acknowledged is there until it
/// is settled, none that was settled comes again, and order and attempts are kept.
#[test]
fn a_log_keeps_its_promises_on_a_disk_that_fails() {
    let first = variable("SEALPOST_TEST_SEED", 1);
    let seeds = variable("SEALPOST_TEST_SEEDS", 60);
    let steps = variable("SEALPOST_TEST_STEPS", 250);
    let (mut disk, mut done) = (DiskCounts::default(), SimulationCounts::default());
    for seed in first..first + seeds {
        let result = std::panic::catch_unwind(|| {
            run_paused(async {
                let mut simulation = Simulation::new(seed).await;
                for _ in 0..steps {
                    simulation.step().await;
                }
                simulation.end().await
            })
        });
        let (disk_counts, counts) = result.unwrap_or_else(|_panic| {
            panic!("seed {seed} fails: SEALPOST_TEST_SEED={seed} SEALPOST_TEST_SEEDS=1 shows it")
        });
        disk.add(&disk_counts);
        done.add(&counts);
    }
    println!("{seeds} seeds: {done:?}\n{disk:?}");
    let drawn = [
        disk.crashes,
        disk.torn,
        disk.reordered,
        done.in_ranges,
        done.cuts,
        done.reopenings,
    ];
    assert!(seeds < 60 || drawn.iter().all(|count| *count > 0));
}
