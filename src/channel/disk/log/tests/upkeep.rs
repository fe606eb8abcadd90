//! What is done for a log though nobody writes to it, and what keeps two from writing to it.

use super::simulation::{JumpingClock, run_paused};
use super::*;

#[test]
fn a_log_is_not_opened_twice() {
    run_paused(async {
        let bench = Bench::new();
        let directory = bench.directory();
        let (log, _) = directory
            .open_log("log", bench.options)
            .await
            .expect("a log");
        let second = directory.open_log("log", bench.options).await;
        let refused = LogError::AlreadyOpen("/d/log".into());
        assert_eq!(second.err(), Some(refused.clone()));
        assert_eq!(directory.delete_log("log").await, Err(refused));
        log.close().await;
        // It is closed, though it has not been dropped.
        let (again, _) = directory
            .open_log("log", bench.options)
            .await
            .expect("a log");
        again.close().await;
        directory.delete_log("log").await.expect("deleted");
        assert!(bench.disk.files().is_empty());
    });
}

/// A log that could not be opened can be opened later.
#[test]
fn a_failed_opening_leaves_the_place() {
    run_paused(async {
        let bench = Bench::new();
        let stray = Path::new("/d/log/notes.txt");
        let directory = bench.directory();
        bench.disk.put(stray, b"mine");
        let refused = directory.open_log("log", bench.options).await;
        assert_eq!(refused.err(), Some(LogError::Foreign(stray.to_owned())));
        bench.disk.lose(stray);
        directory
            .open_log("log", bench.options)
            .await
            .expect("a log");
    });
}

/// Events that are kept for a time are given up when it is over, though nothing happens in the log.
#[test]
fn an_idle_log_gives_up_what_is_old() {
    run_paused(async {
        let mut bench = Bench::new();
        bench.clock = JumpingClock::new();
        bench.options.retain = Some(Duration::from_secs(1000));
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        for number in 0..100 {
            publish(&log, &[queue], &format!("{number} {}", "x".repeat(400))).await;
            deliver(&log, queue).await;
        }
        tokio::time::sleep(Duration::from_secs(900)).await;
        assert_eq!(log.usage().events, 100);
        tokio::time::sleep(Duration::from_secs(200)).await;
        let usage = log.usage();
        assert!(usage.segments == 1 && usage.events < 40, "{usage:?}");
    });
}

/// A log that was busy and is idle gives back the room of its large segments and its spare file.
#[test]
fn an_idle_log_becomes_small() {
    run_paused(async {
        let mut bench = Bench::new();
        bench.options.max_segment_bytes = 1 << 20;
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        for number in 0..4000 {
            publish(&log, &[queue], &format!("{number} {}", "x".repeat(400))).await;
            deliver(&log, queue).await;
        }
        let bytes = |bench: &Bench| -> u64 { bench.disk.files().iter().map(|it| it.1).sum() };
        assert!(bytes(&bench) > 1 << 20, "{}", bytes(&bench));
        tokio::time::sleep(Duration::from_secs(400)).await;
        assert!(bytes(&bench) < 64 << 10, "{:?}", bench.disk.files());
        publish(&log, &[queue], "again").await;
        assert_eq!(deliver(&log, queue).await, "again");
    });
}

/// A spare file that is too small for what comes is no obstacle, and does not stay for ever.
#[test]
fn a_small_spare_file_is_replaced() {
    run_paused(async {
        let bench = Bench::new();
        let spare = Path::new("/d/log/spare");
        let (log, _) = bench.open().await;
        log.close().await;
        drop(log);
        bench.disk.put(spare, &[0; 512]);
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        for number in 0..100 {
            publish(&log, &[queue], &format!("{number} {}", "x".repeat(400))).await;
        }
        let sizes = bench.disk.files();
        assert!(sizes.iter().all(|it| it.1 >= 8 << 10), "{sizes:?}");
    });
}
