//! What a Sequence of three steps costs beside three plain deliveries, in turn, round by round.
//!
//! The sink answers with an event, so that each step has something to send on. The rows: three
//! events to a channel with one subscription; an event to a channel with three; an event to a
//! Sequence of three. The ratio is to the first row.

use std::fmt::Write;
use std::time::Duration;

use crate::Wire;
use crate::dispatcher::{Dispatcher, channel_manifest, subscription_manifest};
use crate::load::{Load, Mail};
use crate::sink::Sink;

/// Steps, and deliveries for each row's unit of work.
const STEPS: usize = 3;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    ThreeEvents,
    FanOut,
    Sequence,
}

impl Row {
    const ALL: [Self; 3] = [Self::ThreeEvents, Self::FanOut, Self::Sequence];

    fn name(self) -> &'static str {
        match self {
            Self::ThreeEvents => "three events, one delivery each",
            Self::FanOut => "one event, three subscriptions",
            Self::Sequence => "one event, a Sequence of three",
        }
    }

    fn manifest(self, sink: &Sink) -> String {
        let count = match self {
            Self::ThreeEvents => 1,
            Self::FanOut => STEPS,
            Self::Sequence => {
                let mut yaml =
                    "apiVersion: flows.knative.dev/v1\nkind: Sequence\nmetadata: {name: c}\nspec:\n  steps:\n"
                        .to_owned();
                (0..STEPS).for_each(|_| {
                    writeln!(yaml, "  - uri: {}", sink.replying_url()).expect("a string")
                });
                return yaml;
            }
        };
        let subscriptions = (0..count).map(|index| {
            subscription_manifest(&format!("s{index}"), "c", &sink.replying_url(), None)
        });
        channel_manifest("c") + &subscriptions.collect::<String>()
    }

    /// Events in one unit of work, and deliveries of one event.
    fn counts(self) -> (u64, u64) {
        match self {
            Self::ThreeEvents => (STEPS as u64, 1),
            Self::FanOut | Self::Sequence => (1, STEPS as u64),
        }
    }
}

/// Measures each row once in each round, and prints the median, the least and the most of each.
pub(crate) async fn run(rounds: u16, time: Duration) {
    let mut measured = [const { Vec::new() }; Row::ALL.len()];
    for _ in 0..rounds {
        for (row, costs) in Row::ALL.into_iter().zip(&mut measured) {
            costs.push(measure(row, time).await);
        }
    }
    println!(
        "{:<34} {:>22} {:>7} {:>20}",
        "per unit of work", "CPU us [least..most]", "ratio", "units/s of one round"
    );
    let median = |costs: &[(f64, f64)]| {
        let mut sorted: Vec<f64> = costs.iter().map(|(cost, _)| *cost).collect();
        sorted.sort_by(f64::total_cmp);
        (
            sorted[sorted.len() / 2],
            sorted[0],
            sorted[sorted.len() - 1],
        )
    };
    let (plain, _, _) = median(&measured[0]);
    for (row, costs) in Row::ALL.into_iter().zip(&measured) {
        let (cost, least, most) = median(costs);
        let range = format!("{cost:.1} [{least:.1}..{most:.1}]");
        println!(
            "{:<34} {range:>22} {:>7.2} {:>20.0}",
            row.name(),
            cost / plain,
            costs[costs.len() - 1].1
        );
    }
}

/// Processor time for a unit of work in microseconds, and units in a second.
async fn measure(row: Row, time: Duration) -> (f64, f64) {
    let sink = Sink::start(Wire::Plain).await;
    let mut dispatcher = Dispatcher::start_on(&row.manifest(&sink), &[]).await;
    let path = if row == Row::Sequence {
        "/default/c-kn-sequence-0"
    } else {
        "/default/c"
    };
    let mail = Mail {
        path: Some(path.to_owned()),
        ..Mail::default()
    };
    let mut load = Load::new(&dispatcher, Wire::Plain, &mail).await;
    load.run(Duration::from_secs(1)).await;
    let (cpu, delivered) = (dispatcher.process.cpu(), sink.count());
    let report = load.run(time).await;
    let (cpu, delivered) = (dispatcher.process.cpu() - cpu, sink.count() - delivered);
    let (events, deliveries) = row.counts();
    assert_eq!(report.refused, 0, "every event is accepted");
    assert_eq!(
        delivered,
        report.accepted * deliveries,
        "every event goes all the way"
    );
    drop(load);
    dispatcher.process.end().await;
    let units = report.accepted as f64 / events as f64;
    (
        cpu.as_secs_f64() * 1e6 / units,
        units / report.elapsed.as_secs_f64(),
    )
}
