//! Many at once, on real files and threads.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::*;

async fn open_small(path: &Path) -> ChannelLog {
    let options = LogOptions {
        min_segment_bytes: 32 << 10,
        max_segment_bytes: 64 << 10,
        ..LogOptions::default()
    };
    let directory = DataDirectory::open(path, &DirectoryOptions::default()).expect("a directory");
    directory.open_log("log", options).await.expect("a log").0
}

/// Takes until so many events have come; settles them, or, one in seven, defers them first.
async fn follow(log: ChannelLog, queue: QueueId, events: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while seen.len() < events {
        for taken in log.take(queue, 20).await.expect("events") {
            if taken.attempts == 0 && taken.sequence % 7 == 0 {
                let deferral = crate::channel::disk::log::EventDeferral {
                    attempts: 1,
                    wait: Duration::from_millis(taken.sequence % 20),
                    ..crate::channel::disk::log::EventDeferral::default()
                };
                let deferred = log.defer(queue, taken.sequence, deferral).await;
                deferred.expect("deferred");
                continue;
            }
            let settled = log.settle(queue, taken.sequence, SettledOutcome::Delivered);
            settled.await.expect("settled");
            assert!(seen.insert(text(&taken)), "{} came twice", text(&taken));
        }
    }
    seen
}

async fn send(log: ChannelLog, queues: [QueueId; 2], name: String) {
    for number in 0..100 {
        let body = format!("{name} {number} {}", "x".repeat(200));
        publish(&log, &queues, &body).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_loses_and_doubles_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    for round in 0..3 {
        let log = open_small(directory.path()).await;
        let (a, b) = (declare(&log, "a").await, declare(&log, "b").await);
        let mut followers = JoinSet::new();
        for queue in [a, b] {
            followers.spawn(follow(log.clone(), queue, 800));
        }
        let mut senders = JoinSet::new();
        for sender in 0..8 {
            senders.spawn(send(log.clone(), [a, b], format!("{round} {sender}")));
        }
        senders.join_all().await;
        for seen in followers.join_all().await {
            assert_eq!(seen.len(), 800);
        }
        for queue in [a, b] {
            assert_eq!(log.counts(queue).expect("counts").depth, 0);
        }
        log.close().await;
    }
}

/// However many logs are written at once, they have the threads of one directory.
#[tokio::test]
async fn many_logs_share_their_threads() {
    let path = tempfile::tempdir().expect("a directory");
    let options = DirectoryOptions {
        commit_threads: 2,
        read_threads: 1,
        ..DirectoryOptions::default()
    };
    let directory = DataDirectory::open(path.path(), &options).expect("a directory");
    let options = LogOptions {
        min_segment_bytes: 8 << 10,
        ..LogOptions::default()
    };
    let mut tasks = JoinSet::new();
    for number in 0..50 {
        let opened = directory.open_log(&format!("log-{number}"), options).await;
        let log = opened.expect("a log").0;
        tasks.spawn(async move {
            let queue = declare(&log, "a").await;
            for number in 0..5 {
                publish(&log, &[queue], &number.to_string()).await;
            }
            for number in 0..5 {
                assert_eq!(deliver(&log, queue).await, number.to_string());
            }
            log.close().await;
        });
    }
    tasks.join_all().await;
    let workers = directory.lanes.commits.most_workers() + directory.lanes.reads.most_workers();
    assert!(workers <= 3, "{workers}");
    assert_eq!(directory.log_names().expect("names").len(), 50);
    directory.delete_log("log-7").await.expect("deleted");
    assert_eq!(directory.log_names().expect("names").len(), 49);
}
