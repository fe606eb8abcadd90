//! What a channel on disk costs beside one in memory that answers at once, in turn, round by round,
//! to one subscription and to ten; then what it is to have many events waiting.
//!
//! Waiting: the subscriber takes requests and never answers while events come in; then sealpost is
//! stopped and started anew with a subscriber that takes everything.

use std::time::{Duration, Instant};

use crate::dispatcher::{Dispatcher, on_disk};
use crate::load::{Load, Mail};
use crate::process::Process;
use crate::sink::Sink;
use crate::{Keeping, ONE, Receivers, Scenario, Wire};

const FAN_OUTS: [usize; 2] = [1, 10];
/// Deliveries in a second at which the cost of an event is measured, too: a channel in memory that is
/// asked for more takes many at a time, which nothing that waits for a disk does.
const PACE: f64 = 8000.0;
/// Events that wait, in one run each.
const WAITING: [usize; 2] = [200_000, 1_000_000];

/// What one measurement shows.
#[derive(Clone, Copy, Debug, Default)]
struct Costs {
    /// Microseconds of processor time for each event.
    event: f64,
    /// Events in a second.
    rate: f64,
    /// Syncs for each event.
    syncs: f64,
    /// Milliseconds in which 99 of 100 senders were answered.
    p99: f64,
    /// The same at half of the rate.
    p99_at_half: f64,
    /// Microseconds of processor time for each event at [`PACE`].
    at_pace: f64,
}

/// Measures all of it, and prints tables.
pub(crate) async fn run(rounds: u16, time: Duration) {
    println!(
        "{:<12} {:>28} {:>10} {:>7} {:>16} {:>7} {:>10} {:>12} {:>8} {:>12}",
        "1 to",
        "CPU us of an event",
        "delivery",
        "ratio",
        "at 8000 a second",
        "ratio",
        "events/s",
        "syncs/event",
        "p99 ms",
        "at half load"
    );
    for subscriptions in FAN_OUTS {
        let keepings = [Keeping::Asynchronous, Keeping::OnDisk];
        let mut measured = keepings.map(|_| Vec::new());
        for _ in 0..rounds {
            for (keeping, costs) in keepings.into_iter().zip(&mut measured) {
                costs.push(measure(keeping, subscriptions, time).await);
            }
        }
        let [memory, disk] = measured;
        let base = [
            median(&memory, |it| it.event).0,
            median(&memory, |it| it.at_pace).0,
        ];
        print_costs(
            &format!("{subscriptions} in memory"),
            &memory,
            (base, subscriptions),
        );
        print_costs(
            &format!("{subscriptions} on disk"),
            &disk,
            (base, subscriptions),
        );
    }
    let client = reqwest::Client::new();
    for events in WAITING {
        wait_and_drain(events, &client).await;
    }
}

fn print_costs(
    name: &str,
    costs: &[Costs],
    ([base, base_at_pace], subscriptions): ([f64; 2], usize),
) {
    let (event, least, most) = median(costs, |it| it.event);
    let of = |field: fn(&Costs) -> f64| median(costs, field).0;
    println!(
        "{name:<12} {:>28} {:>10.1} {:>7.2} {:>16.1} {:>7.2} {:>10.0} {:>12.2} {:>8.2} {:>12.2}",
        format!("{event:.1} [{least:.1}..{most:.1}]"),
        event / subscriptions as f64,
        event / base,
        of(|it| it.at_pace),
        of(|it| it.at_pace) / base_at_pace,
        of(|it| it.rate),
        of(|it| it.syncs),
        of(|it| it.p99),
        of(|it| it.p99_at_half),
    );
}

/// The median, the least and the most.
fn median(costs: &[Costs], field: impl Fn(&Costs) -> f64) -> (f64, f64, f64) {
    let mut sorted: Vec<f64> = costs.iter().map(field).collect();
    sorted.sort_by(f64::total_cmp);
    (
        sorted[sorted.len() / 2],
        sorted[0],
        sorted[sorted.len() - 1],
    )
}

async fn measure(keeping: Keeping, subscriptions: usize, time: Duration) -> Costs {
    let sink = Sink::start(Wire::Plain).await;
    let scenario = Scenario {
        receivers: Receivers::Subscriptions(subscriptions),
        keeping,
        ..ONE
    };
    let mut dispatcher = Dispatcher::start(&scenario, &sink).await;
    let client = reqwest::Client::new();
    dispatcher.ready(&client).await;
    let mut load = Load::new(&dispatcher, Wire::Plain, &Mail::default()).await;
    let warm = load.run(Duration::from_secs(1)).await;
    sink.until(warm.accepted * subscriptions as u64).await;
    let (cpu, all) = (dispatcher.process.cpu(), sink.count());
    let syncs = count_syncs(&dispatcher, &client).await;
    let begun = Instant::now();
    let report = load.run(time).await;
    sink.until(all + report.accepted * subscriptions as u64)
        .await;
    let elapsed = begun.elapsed().as_secs_f64();
    let cpu = (dispatcher.process.cpu() - cpu).as_secs_f64();
    let syncs = count_syncs(&dispatcher, &client).await - syncs;
    let events = report.accepted as f64;
    let all = sink.count();
    let half = load.paced(events / elapsed / 2.0, time / 2).await;
    sink.until(all + half.accepted * subscriptions as u64).await;
    let all = sink.count();
    let cpu_before = dispatcher.process.cpu();
    let paced = load.paced(PACE / subscriptions as f64, time / 2).await;
    sink.until(all + paced.accepted * subscriptions as u64)
        .await;
    let at_pace = (dispatcher.process.cpu() - cpu_before).as_secs_f64();
    let refused = report.refused + half.refused + paced.refused;
    assert_eq!(refused, 0, "every event is accepted");
    drop(load);
    dispatcher.process.end().await;
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Costs {
        event: cpu * 1e6 / events,
        rate: events / elapsed,
        syncs: syncs / events,
        p99: millis(report.percentile(0.99)),
        p99_at_half: millis(half.percentile(0.99)),
        at_pace: at_pace * 1e6 / paced.accepted as f64,
    }
}

async fn count_syncs(dispatcher: &Dispatcher, client: &reqwest::Client) -> f64 {
    let metrics = dispatcher.metrics(client).await;
    let of_syncs = |line: &&str| line.starts_with("sealpost_disk_syncs_total");
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse().ok());
    metrics
        .lines()
        .find(of_syncs)
        .and_then(value)
        .unwrap_or(0.0)
}

/// Has so many events wait, then starts anew and delivers them.
async fn wait_and_drain(events: usize, client: &reqwest::Client) {
    let sink = Sink::start(Wire::Plain).await;
    let manifest = |url: &str| on_disk(&crate::dispatcher::channel_of(url));
    let dispatcher = Dispatcher::start_on(&manifest(&sink.silent_url()), &[]).await;
    dispatcher.ready(client).await;
    let mut load = Load::new(&dispatcher, Wire::Plain, &Mail::default()).await;
    let cpu = dispatcher.process.cpu();
    let report = load.send(events).await;
    assert_eq!(report.refused, 0, "every event is accepted");
    let each = (dispatcher.process.cpu() - cpu).as_secs_f64() * 1e6 / events as f64;
    println!(
        "{events} come in: {:.0} events/s, CPU us {each:.1}, p99 ms {:.2}, resident MiB {:.1}, peak {:.1}",
        events as f64 / report.elapsed.as_secs_f64(),
        report.percentile(0.99).as_secs_f64() * 1e3,
        mib(dispatcher.process.memory_kib()),
        mib(dispatcher.process.peak_memory_kib()),
    );
    drop(load);
    let directory = dispatcher.end();
    std::fs::write(directory.path().join("channel.yaml"), manifest(sink.url())).expect("written");
    let taken = sink.count();
    let dispatcher = Dispatcher::start_in(directory, &[]).await;
    let ready = dispatcher.ready(client).await;
    let resident = mib(dispatcher.process.memory_kib());
    drain(
        &sink,
        taken + events as u64,
        &dispatcher.process,
        (ready, resident),
    )
    .await;
}

async fn drain(sink: &Sink, all: u64, process: &Process, (ready, resident): (Duration, f64)) {
    let (begun, before, cpu) = (Instant::now(), sink.count(), process.cpu());
    while sink.count() < all {
        assert!(
            begun.elapsed() < Duration::from_secs(300),
            "{} of {all}",
            sink.count()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (elapsed, events) = (begun.elapsed().as_secs_f64(), (all - before) as f64);
    println!(
        "  started anew: ready after {} ms, resident MiB {resident:.1}; drained at {:.0} events/s, CPU us {:.1}, peak MiB {:.1}",
        ready.as_millis(),
        events / elapsed,
        (process.cpu() - cpu).as_secs_f64() * 1e6 / events,
        mib(process.peak_memory_kib()),
    );
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
