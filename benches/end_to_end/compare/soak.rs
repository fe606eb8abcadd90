//! A long run at half of what goes: whether anything grows.

use std::time::{Duration, Instant};

use super::case::Case;
use super::measure::{mebibytes, milliseconds};
use super::table::Spread;
use crate::dispatcher::Dispatcher;
use crate::load::Load;
use crate::process::Process;
use crate::sink::Sink;

/// Time between two looks; shorter if the soak is shorter than ten minutes.
const EVERY: Duration = Duration::from_secs(10);

/// What is looked at, and by how much it may be more at the end, beside 2 %.
const WATCHED: [(&str, f64); 4] = [
    ("resident MiB", 0.5),
    ("threads", 1.0),
    ("open files", 2.0),
    ("open sockets", 2.0),
];

pub(crate) async fn run(case: &Case, time: Duration, soak: Duration, client: &reqwest::Client) {
    let sink = Sink::start(case.wire).await;
    let dispatcher = Dispatcher::start_on(&case.manifest(&sink), &[]).await;
    let (address, ca) = dispatcher.entrance(case.wire);
    let mut load = Load::open(address, ca.as_deref(), case.wire, &case.mail()).await;
    load.run(Duration::from_secs(1)).await;
    let report = load.run(time).await;
    let rate = report.accepted as f64 / report.elapsed.as_secs_f64();
    println!(
        "{}: {rate:.0} events/s in a closed loop; {:.0} minutes at half of that\n",
        case.name,
        soak.as_secs_f64() / 60.0
    );
    let (report, watched) = tokio::join!(
        load.paced(rate / 2.0, soak),
        watch(&dispatcher, soak, EVERY.min(soak / 60), client)
    );
    println!(
        "{} events accepted, {} refused, {:.0} a second, p50 {:.2} ms, p99 {:.2} ms\n",
        report.accepted,
        report.refused,
        report.accepted as f64 / report.elapsed.as_secs_f64(),
        milliseconds(report.percentile(0.50)),
        milliseconds(report.percentile(0.99)),
    );
    print(&watched);
}

/// What is watched, and its figures in the order of time.
struct Series {
    name: String,
    slack: f64,
    figures: Vec<f64>,
}

async fn watch(
    dispatcher: &Dispatcher,
    soak: Duration,
    every: Duration,
    client: &reqwest::Client,
) -> Vec<Series> {
    let mut series: Vec<Series> = WATCHED
        .iter()
        .map(|(name, slack)| Series {
            name: (*name).to_owned(),
            slack: *slack,
            figures: Vec::new(),
        })
        .collect();
    let (started, mut next) = (Instant::now(), every);
    while next <= soak {
        tokio::time::sleep_until((started + next).into()).await;
        next += every;
        series
            .iter_mut()
            .zip(look(&dispatcher.process))
            .for_each(|(series, figure)| series.figures.push(figure));
        for (name, figure) in gauges(&dispatcher.metrics(client).await) {
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.figures.push(figure),
                None => series.push(Series {
                    name,
                    slack: 64.0,
                    figures: vec![figure],
                }),
            }
        }
    }
    series
}

fn look(process: &Process) -> [f64; 4] {
    let (files, sockets) = process.files();
    [
        mebibytes(process.memory_kib()),
        process.threads() as f64,
        files as f64,
        sockets as f64,
    ]
}

/// Tasks, if the metrics count them, and deliveries under way.
fn gauges(metrics: &str) -> Vec<(String, f64)> {
    let wanted = |name: &str| {
        name.contains("tasks") && !name.ends_with("_total") || name.ends_with("_unfinished")
    };
    let pairs = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '));
    pairs
        .filter(|(name, _)| wanted(name))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

/// Growth is more in the last tenth than in the second one; in the first one things still settle.
fn print(watched: &[Series]) {
    println!(
        "| watched | first | last | most | median of the second tenth | of the last tenth | |\n|---|---|---|---|---|---|---|"
    );
    for Series {
        name,
        slack,
        figures,
    } in watched.iter().filter(|series| !series.figures.is_empty())
    {
        let tenth = (figures.len() / 10).max(1);
        let second = Spread::of(
            figures
                .iter()
                .skip(tenth)
                .chain(figures.last())
                .take(tenth)
                .copied()
                .collect(),
        )
        .median;
        let last = Spread::of(figures.iter().rev().take(tenth).copied().collect()).median;
        let verdict = if last > second * 1.02 + slack {
            "GREW"
        } else {
            "did not grow"
        };
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} | {second:.1} | {last:.1} | {verdict} |",
            figures[0],
            figures[figures.len() - 1],
            Spread::of(figures.clone()).most,
        );
    }
}
