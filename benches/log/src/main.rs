//! What the log of channels on disk costs, beside the disk itself, SQLite and fjall:
//! `cargo run --release -- [SCENARIO…]`, with files below `SEALPOST_BENCH_DIR`. Docs say what is
//! measured: docs/decisions/0026-own-log-on-disk.md.

mod engines;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealpost_log_bench::channel::disk::log::{
    ChannelLog, DataDirectory, DirectoryOptions, LogOptions, NewEvent, QueueId, QueueOptions,
    QueueSet, SettledOutcome,
};

const WRITERS: u64 = 64;
const EACH: u64 = 4000;

/// Time of the processor that this process has used.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn memory(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with(field));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .map_or(0, |kib| kib.parse().unwrap());
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

pub struct Measurement {
    name: String,
    begin: Instant,
    processor: Duration,
}

impl Measurement {
    pub fn begin(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            begin: Instant::now(),
            processor: processor(),
        }
    }

    pub fn end(self, events: u64, more: &str) {
        let (took, cpu) = (self.begin.elapsed(), processor() - self.processor);
        println!(
            "{:28} {:>9.0} events/s, {:6.2} µs CPU each ({:3.0} % of one core), {:6.2} s, peak {}{more}",
            self.name,
            events as f64 / took.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / events as f64,
            cpu.as_secs_f64() * 100.0 / took.as_secs_f64(),
            took.as_secs_f64(),
            memory("VmHWM"),
        );
    }
}

async fn open(path: &Path) -> ChannelLog {
    let directory = DataDirectory::open(path, &DirectoryOptions::default()).expect("a directory");
    let opened = directory.open_log("log", LogOptions::default()).await;
    opened.expect("a log").0
}

fn fresh(path: &Path) -> &Path {
    let _absent = std::fs::remove_dir_all(path);
    path
}

fn event(queues: &QueueSet, body: &Bytes) -> Vec<NewEvent> {
    vec![NewEvent {
        queues: queues.clone(),
        event: body.clone(),
    }]
}

async fn follow(log: ChannelLog, queue: QueueId, events: u64) -> u64 {
    let mut seen = 0;
    while seen < events {
        let taken = log.take(queue, 512).await.expect("events");
        let sequences: Vec<u64> = taken.iter().map(|event| event.sequence).collect();
        let settled = log.settle_all(queue, sequences, SettledOutcome::Delivered);
        settled.await.expect("settled");
        seen += taken.len() as u64;
    }
    seen
}

/// The latency that so many of a thousand do not exceed; the shortest comes first.
fn percentile(latencies: &[Duration], part: usize) -> f64 {
    let place = latencies.len() * part / 1000;
    latencies[place.min(latencies.len() - 1)].as_secs_f64() * 1e3
}

pub fn latency_words(mut latencies: Vec<Duration>) -> String {
    latencies.sort_unstable();
    format!(
        ", p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
        percentile(&latencies, 500),
        percentile(&latencies, 990),
        percentile(&latencies, 999)
    )
}

fn large_window() -> QueueOptions {
    QueueOptions {
        window: 4096,
        ..QueueOptions::default()
    }
}

async fn write(path: &Path, name: &str, (writers, each): (u64, u64), (queues, cursors): (u32, usize)) {
    let log = open(fresh(path)).await;
    let mut ids = Vec::new();
    for queue in 0..queues {
        let declared = log.declare(&queue.to_string(), large_window()).await;
        ids.push(declared.expect("a queue"));
    }
    let set: QueueSet = ids.iter().copied().collect();
    let body = Bytes::from(vec![b'x'; 1024]);
    let measurement = Measurement::begin(name);
    let followers: Vec<_> = ids
        .iter()
        .take(cursors)
        .map(|queue| tokio::spawn(follow(log.clone(), *queue, writers * each)))
        .collect();
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (log, set, body) = (log.clone(), set.clone(), body.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                for _ in 0..each {
                    let begin = Instant::now();
                    log.publish(event(&set, &body)).await.expect("published");
                    latencies.push(begin.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("a task"));
    }
    for follower in followers {
        follower.await.expect("a task");
    }
    let statistics = log.statistics();
    let frames = statistics.frames.max(1);
    let more = format!(
        "{}, {} syncs of {:.0} µs and {} KiB",
        latency_words(latencies),
        frames,
        statistics.busy.as_secs_f64() * 1e6 / frames as f64,
        statistics.bytes / frames / 1024,
    );
    measurement.end(writers * each, &more);
    log.close().await;
}

/// Fills a queue with so many events that wait.
async fn fill(path: &Path, events: u64, bytes: usize) {
    let log = open(fresh(path)).await;
    let queue = log.declare("a", large_window()).await.expect("a queue");
    let set: QueueSet = [queue].into_iter().collect();
    let body = Bytes::from(vec![b'x'; bytes]);
    let measurement = Measurement::begin(&format!("fill {events} of {bytes} B"));
    for _ in 0..events / 1000 {
        let batch = (0..1000).flat_map(|_| event(&set, &body)).collect();
        log.publish(batch).await.expect("published");
    }
    let more = format!(", resident {}, {:?}", memory("VmRSS"), log.usage());
    measurement.end(events, &more);
    log.close().await;
}

async fn reopen(path: &Path) {
    let begin = Instant::now();
    let log = open(path).await;
    let opened = begin.elapsed();
    let queue = log.declare("a", large_window()).await.expect("a queue");
    let depth = log.counts(queue).expect("counts").depth;
    let taken = log.take(queue, 1).await.expect("an event");
    println!(
        "open with {depth} waiting: {opened:?}, first event after {:?}, resident {}",
        begin.elapsed(),
        memory("VmRSS")
    );
    log.release(queue, taken[0].sequence).expect("released");
    log.close().await;
}

async fn drain(path: &Path) {
    let log = open(path).await;
    let queue = log.declare("a", large_window()).await.expect("a queue");
    let depth = log.counts(queue).expect("counts").depth;
    let measurement = Measurement::begin(&format!("drain {depth}"));
    follow(log.clone(), queue, depth).await;
    measurement.end(depth, &format!(", left {:?}", log.usage()));
    log.close().await;
}

async fn run(scenario: &str, path: &Path) {
    match scenario {
        "disk" => engines::disk(fresh(path)),
        "64" => write(path, "log, 64 writers", (WRITERS, EACH), (1, 0)).await,
        "256" => write(path, "log, 256 writers", (256, EACH / 2), (1, 0)).await,
        "64+3" => write(path, "log, 64 writers, 3 cursors", (WRITERS, EACH), (3, 3)).await,
        "64x10" => write(path, "log, 64 writers, 10 queues", (WRITERS, EACH), (10, 0)).await,
        "1" => write(path, "log, 1 writer", (1, 5000), (1, 0)).await,
        "sqlite" => engines::sqlite(fresh(path)).await,
        "fjall" => engines::fjall(fresh(path)).await,
        "million" => {
            fill(path, 1_000_000, 200).await;
            reopen(path).await;
            reopen(path).await;
            drain(path).await;
        }
        "10million" => fill(path, 10_000_000, 64).await,
        "reopen" => reopen(path).await,
        other => panic!("no scenario is called {other}"),
    }
}

fn main() {
    let directory = std::env::var("SEALPOST_BENCH_DIR").unwrap_or_else(|_unset| "target".to_owned());
    let path = PathBuf::from(directory).join("bench-data");
    let mut scenarios: Vec<String> = std::env::args().skip(1).collect();
    if scenarios.is_empty() {
        let all = ["disk", "64", "sqlite", "fjall", "64+3", "64x10", "1", "million"];
        scenarios = all.map(str::to_owned).to_vec();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    for scenario in &scenarios {
        runtime.block_on(run(scenario, &path));
    }
    if scenarios.last().is_none_or(|it| it != "10million") {
        let _absent = std::fs::remove_dir_all(&path);
    }
}
