//! Full disks, failing disks, two processes, and files that do not grow for ever.

use super::simulation::run_paused;
use super::*;
use crate::channel::disk::log::EventParking;

/// A full budget refuses events before anything is written, and what ends events goes on, so that
/// there is room again.
#[test]
fn a_full_log_can_be_emptied() {
    run_paused(async {
        let bench = Bench {
            max_bytes: 64 << 10,
            ..Bench::new()
        };
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        let body = "x".repeat(1000);
        let mut published = 0_u64;
        let error = loop {
            match log.publish(vec![event(&[queue], &body)]).await {
                Ok(_) => published += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, LogError::Full { .. }), "{error}");
        assert!(published > 40, "{published}");
        assert_eq!(log.counts(queue).expect("counts").depth, published);
        assert!(log.usage().bytes <= 64 << 10);
        for _ in 0..published {
            deliver(&log, queue).await;
        }
        assert_eq!(log.counts(queue).expect("counts").depth, 0);
        for _ in 0..40 {
            publish(&log, &[queue], &body).await;
        }
    });
}

/// A disk without room is like a full budget.
#[test]
fn a_full_disk_refuses_and_poisons_nothing() {
    run_paused(async {
        let bench = Bench::new();
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        bench.disk.set_faults(DiskFaults {
            capacity: 28 << 10,
            ..DiskFaults::default()
        });
        let body = "x".repeat(1000);
        let mut published = 0;
        let error = loop {
            match log.publish(vec![event(&[queue], &body)]).await {
                Ok(_) => published += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, LogError::Full { .. }), "{error}");
        for _ in 0..published {
            deliver(&log, queue).await;
        }
        assert_eq!(log.failure(), None);
        bench.disk.set_faults(DiskFaults::default());
        publish(&log, &[queue], &body).await;
        assert_eq!(deliver(&log, queue).await, body);
    });
}

/// What was kept back is enough to open a log on a disk that is full, and to empty it, which makes
/// room; then it is kept back again.
#[test]
fn a_log_is_opened_and_emptied_on_a_full_disk() {
    run_paused(async {
        let bench = Bench {
            reserve_bytes: 64 << 10,
            ..Bench::new()
        };
        let has_reserve = || {
            let names = bench.disk.files().into_iter().map(|(name, _)| name);
            names.filter(|name| name == Path::new("/d/reserve")).count() == 1
        };
        assert!(!has_reserve(), "the directory is not open yet");
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        let body = "x".repeat(1000);
        for _ in 0..60 {
            publish(&log, &[queue], &body).await;
        }
        log.close().await;
        drop(log);
        let full = DiskFaults {
            capacity: bench.disk.files().iter().map(|(_, bytes)| bytes).sum(),
            ..DiskFaults::default()
        };
        bench.disk.set_faults(full);
        let (log, _) = bench.open().await;
        assert!(!has_reserve(), "it was given");
        for _ in 0..60 {
            assert_eq!(deliver(&log, queue).await, body);
        }
        assert_eq!(log.counts(queue).expect("counts").depth, 0);
        bench.disk.set_faults(DiskFaults::default());
        tokio::time::sleep(Duration::from_secs(60)).await;
        publish(&log, &[queue], &body).await;
        log.close().await;
        assert!(has_reserve(), "there is room for it");
    });
}

/// After a failed sync nothing is written, whatever the disk says then, until the log is opened
/// anew; what was acknowledged before is there.
#[test]
fn a_failed_sync_poisons() {
    run_paused(async {
        let bench = Bench::new();
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        publish(&log, &[queue], "1").await;
        bench.disk.set_faults(DiskFaults {
            sync_errors: 1_000_000,
            ..DiskFaults::default()
        });
        let failed = log.publish(vec![event(&[queue], "2")]).await;
        assert!(
            matches!(failed, Err(LogError::Poisoned { .. })),
            "{failed:?}"
        );
        bench.disk.set_faults(DiskFaults::default());
        let operations = bench.disk.counts().operations;
        let failed = log.publish(vec![event(&[queue], "3")]).await;
        assert!(
            matches!(failed, Err(LogError::Poisoned { .. })),
            "{failed:?}"
        );
        assert!(log.take(queue, 1).await.is_err());
        assert_eq!(bench.disk.counts().operations, operations);
        assert!(
            log.failure()
                .is_some_and(|cause| cause.to_string().contains("sync"))
        );
        log.close().await;
        drop(log);
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        assert_eq!(deliver(&log, queue).await, "1");
        publish(&log, &[queue], "4").await;
    });
}

#[tokio::test]
async fn a_second_process_is_told_who_has_the_directory() {
    let path = tempfile::tempdir().expect("a directory");
    let first = DataDirectory::open(path.path(), &DirectoryOptions::default());
    let first = first.expect("a directory");
    let second = DataDirectory::open(path.path(), &DirectoryOptions::default());
    let error = second.err().expect("an error").to_string();
    let process = format!("process {}", std::process::id());
    assert!(error.contains(&process), "{error}");
    drop(first);
    DataDirectory::open(path.path(), &DirectoryOptions::default()).expect("a directory");
}

/// Events that are parked, deferred or in flight for long keep their own bytes, not those of the
/// segments that they are in.
#[test]
fn a_straggler_keeps_little() {
    run_paused(async {
        let bench = Bench::new();
        let (log, _) = bench.open().await;
        let (a, b) = (declare(&log, "a").await, declare(&log, "b").await);
        let body = "x".repeat(500);
        let mut kept = Vec::new();
        for number in 0..2000 {
            publish(&log, &[a], &format!("{number} {body}")).await;
            let taken = log.take(a, 1).await.expect("an event");
            if number % 50 > 0 {
                settle(&log, a, &taken).await;
            } else if number % 100 > 0 {
                kept.push(text(&taken[0]));
            } else {
                let parked = log
                    .park(a, taken[0].sequence, EventParking::default())
                    .await;
                parked.expect("parked");
            }
        }
        // The other queue has one event, far back.
        publish(&log, &[b], "b").await;
        let usage = log.usage();
        // Of more than a million bytes; what is left of a segment takes a page.
        assert!(
            usage.written < 64 << 10 && usage.bytes < 256 << 10,
            "{usage:?}"
        );
        assert!(log.statistics().gathered > 0);
        log.close().await;
        drop(log);
        let (log, _) = bench.open().await;
        assert_eq!(log.parked(a, 0, 100).await.expect("parked").len(), 20);
        let mut found = Vec::new();
        while found.len() < kept.len() {
            found.extend(log.take(a, 100).await.expect("events").iter().map(text));
        }
        assert_eq!(found, kept);
        assert_eq!(deliver(&log, b).await, "b");
    });
}

/// Files are used again and again, and their number does not grow.
#[test]
fn what_is_finished_frees_its_segments() {
    run_paused(async {
        let bench = Bench::new();
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        for number in 0..3000 {
            publish(&log, &[queue], &format!("{number} {}", "x".repeat(400))).await;
            deliver(&log, queue).await;
        }
        let (usage, statistics) = (log.usage(), log.statistics());
        assert!(usage.segments <= 3, "{usage:?}");
        assert!(statistics.freed > 50, "{statistics:?}");
        assert!(bench.disk.files().len() <= 5);
    });
}
