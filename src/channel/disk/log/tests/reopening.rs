//! A log that has failed is opened anew where it is: whoever has it goes on with it.

use std::path::Path;

use super::simulation::run_paused;
use super::*;

/// A disk on which each sync fails.
const NO_SYNC: DiskFaults = DiskFaults {
    read_errors: 0,
    write_errors: 0,
    sync_errors: 1_000_000,
    name_errors: 0,
    short: 0,
    capacity: 0,
};

#[test]
fn a_log_whose_sync_failed_goes_on_when_it_is_opened_anew() {
    run_paused(async {
        let bench = Bench::new();
        let directory = bench.directory();
        let opened = directory.open_log("log", bench.options).await;
        let log = opened.expect("a log").0;
        let options = QueueOptions {
            is_ordered: true,
            ..QueueOptions::default()
        };
        let queue = log.declare("a", options).await.expect("a queue");
        for body in ["1", "2"] {
            publish(&log, &[queue], body).await;
        }
        let taken = log.take(queue, 5).await.expect("an event");
        bench.disk.set_faults(NO_SYNC);
        let failed = log.publish(vec![event(&[queue], "3")]).await;
        let failed = failed.expect_err("a failure");
        assert!(matches!(failed, LogError::Poisoned { .. }), "{failed}");
        assert_eq!(log.until_failed().await, failed);
        let pinned = log.pinned();
        // As long as the disk fails, the log does, and says why.
        let error = log.reopen(&directory).await.expect_err("an error");
        assert_eq!(log.failure(), Some(error));
        bench.disk.set_faults(DiskFaults::default());
        log.reopen(&directory).await.expect("a log");
        log.until_sound().await;
        publish(&log, &[queue], "4").await;
        // What was taken before is not in flight, and order is kept.
        let late = log.settle(queue, taken[0].sequence, SettledOutcome::Delivered);
        assert!(matches!(late.await, Err(LogError::NotInFlight { .. })));
        assert!(
            pinned.take(queue, 1).await.is_err(),
            "it is of the log before"
        );
        let mut bodies = Vec::new();
        while bodies.last().is_none_or(|last| last != "4") {
            assert_eq!(log.counts(queue).expect("counts").in_flight, 0);
            bodies.push(deliver(&log, queue).await);
        }
        // The third was refused, and may be there all the same.
        bodies.retain(|body| body != "3");
        assert_eq!(bodies, ["1", "2", "4"]);
        assert!(log.statistics().frames > 5, "of both lives");
    });
}

/// What was damaged stays closed until it is as it was.
#[test]
fn damage_is_looked_at_before_the_log_is_opened_anew() {
    run_paused(async {
        let mut bench = Bench::new();
        bench.options.read_ahead.events = 6;
        let directory = bench.directory();
        let opened = directory.open_log("log", bench.options).await;
        let log = opened.expect("a log").0;
        let queue = declare(&log, "a").await;
        for number in 0..120 {
            publish(&log, &[queue], &format!("{number:>300}")).await;
        }
        let segment = &bench.segments()[1];
        let length = bench.disk.contents(segment).expect("a file").len() as u64;
        bench.disk.flip(segment, length / 2, 0);
        let mut taken = 0;
        let error = loop {
            match log.take(queue, 1).await {
                Ok(events) => {
                    settle(&log, queue, &events).await;
                    taken += 1;
                }
                Err(error) => break error,
            }
        };
        assert!(taken > 6 && taken < 119, "{taken}");
        let still = log.reopen(&directory).await.expect_err("an error");
        assert!(matches!(still, LogError::Damaged(_)), "{still}");
        assert!(error.to_string().contains(segment.to_str().expect("text")));
        bench.disk.flip(segment, length / 2, 0);
        log.reopen(&directory).await.expect("a log");
        for number in taken..120 {
            assert_eq!(deliver(&log, queue).await.trim(), number.to_string());
        }
    });
}

/// If another log is put in its place, or none, the queues are in it under the ids that they had.
#[test]
fn a_log_that_was_moved_away_begins_anew_with_its_queues() {
    run_paused(async {
        let bench = Bench::new();
        let directory = bench.directory();
        let opened = directory.open_log("log", bench.options).await;
        let log = opened.expect("a log").0;
        let (a, b) = (declare(&log, "a").await, declare(&log, "b").await);
        let gone = log.retire(a, QueueLeftover::GivenUp).await;
        gone.expect("retired");
        publish(&log, &[b], "1").await;
        // A spare file may be made meanwhile.
        let before = directory.budget().used() + bench.options.max_segment_bytes;
        bench.disk.set_faults(NO_SYNC);
        let failed = log.publish(vec![event(&[b], "2")]).await;
        failed.expect_err("a failure");
        bench.disk.set_faults(DiskFaults::default());
        for (path, _) in bench.disk.files() {
            if path.starts_with(Path::new("/d/log")) {
                bench.disk.lose(&path);
            }
        }
        let opening = log.reopen(&directory).await.expect("a log");
        assert!(opening.is_new);
        assert!(
            directory.budget().used() <= before,
            "it counts what is there"
        );
        publish(&log, &[b], "3").await;
        assert_eq!(deliver(&log, b).await, "3");
        let c = declare(&log, "c").await;
        assert!(c > b && a < b, "no id is used twice");
    });
}
