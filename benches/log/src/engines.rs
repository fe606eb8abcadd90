//! What the log is compared with: the disk itself, SQLite and fjall, each with group commit.

use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::{EACH, Measurement, WRITERS, latency_words};

/// Writes and syncs into a file whose bytes were written before, one after the other.
pub fn disk(path: &Path) {
    std::fs::create_dir_all(path).expect("a directory");
    let mut file = std::fs::File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(path.join("file"))
        .expect("a file");
    for _ in 0..64 {
        file.write_all(&vec![0; 1 << 20]).expect("written");
    }
    file.sync_all().expect("synced");
    file.rewind().expect("rewound");
    for kib in [4_u64, 64, 256, 1024] {
        let bytes = vec![b'x'; (kib << 10) as usize];
        let rounds = 50;
        let begin = Instant::now();
        for round in 0..rounds {
            let offset = round * (kib << 10);
            file.write_all_at(&bytes, offset).expect("written");
            file.sync_data().expect("synced");
        }
        let each = begin.elapsed().as_secs_f64() / rounds as f64;
        println!(
            "disk: write and fdatasync of {kib:4} KiB: {:6.0} µs, {:5.0} a second, {:7.1} MiB/s",
            each * 1e6,
            1.0 / each,
            kib as f64 / 1024.0 / each
        );
    }
}

type Pending = oneshot::Sender<()>;

/// Sixty-four writers, whose events are committed by `commit` as many at once as wait.
async fn grouped(name: &str, commit: impl FnMut(usize) + Send + 'static) {
    let (sender, receiver) = mpsc::channel::<Pending>(1024);
    let committing = std::thread::spawn(move || commit_groups(receiver, commit));
    let measurement = Measurement::begin(name);
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                for _ in 0..EACH {
                    let begin = Instant::now();
                    let (done, committed) = oneshot::channel();
                    sender.send(done).await.expect("a committer");
                    committed.await.expect("committed");
                    latencies.push(begin.elapsed());
                }
                latencies
            })
        })
        .collect();
    drop(sender);
    let mut latencies: Vec<Duration> = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a task"));
    }
    let groups = committing.join().expect("a committer");
    let more = format!("{}, {groups} commits", latency_words(latencies));
    measurement.end(WRITERS * EACH, &more);
}

fn commit_groups(mut receiver: mpsc::Receiver<Pending>, mut commit: impl FnMut(usize)) -> u64 {
    let mut groups = 0;
    while let Some(first) = receiver.blocking_recv() {
        let mut group = vec![first];
        while let Ok(next) = receiver.try_recv() {
            group.push(next);
        }
        commit(group.len());
        groups += 1;
        for done in group {
            let _gone = done.send(());
        }
    }
    groups
}

pub async fn sqlite(path: &Path) {
    std::fs::create_dir_all(path).expect("a directory");
    let database = rusqlite::Connection::open(path.join("sqlite")).expect("a database");
    database
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; \
             CREATE TABLE events (sequence INTEGER PRIMARY KEY, event BLOB)",
        )
        .expect("a table");
    let body = vec![b'x'; 1024];
    grouped("SQLite, 64 writers", move |count| {
        let transaction = database.unchecked_transaction().expect("a transaction");
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO events (event) VALUES (?1)")
                .expect("a statement");
            for _ in 0..count {
                insert.execute([&body]).expect("inserted");
            }
        }
        transaction.commit().expect("committed");
    })
    .await;
}

pub async fn fjall(path: &Path) {
    let database = fjall::Database::builder(path).open().expect("a database");
    let events = database
        .keyspace("events", fjall::KeyspaceCreateOptions::default)
        .expect("a keyspace");
    let body = vec![b'x'; 1024];
    let mut sequence = 0_u64;
    grouped("fjall, 64 writers", move |count| {
        let mut batch = database.batch().durability(Some(fjall::PersistMode::SyncData));
        for _ in 0..count {
            batch.insert(&events, sequence.to_be_bytes(), body.as_slice());
            sequence += 1;
        }
        batch.commit().expect("committed");
    })
    .await;
}
