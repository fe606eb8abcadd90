//! What is measured on RabbitMQ beside something else: sealpost beside an earlier version, one way
//! of publishing beside another. Each is measured in turn, round after round.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::{exchange, fan_out, start};
use crate::Options;
use crate::compare::Spread;
use crate::dispatcher::program;

/// Seconds that a measurement takes unless told otherwise.
const SECONDS: u64 = 5;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Events to 1, 10 and 100 subscriptions of a channel
    FanOut,
    /// The time from the start until 2,000 subscriptions are consumed
    Start,
    /// Without sealpost: a message for each queue, and one message to a fanout exchange
    Exchange,
}

/// Measures it, and prints a table as Markdown.
pub(crate) async fn run(case: Case, options: &Options) {
    let time = Duration::from_secs(options.seconds.unwrap_or(SECONDS));
    println!("{} rounds; median [least..most]\n", options.rounds);
    match case {
        Case::FanOut => fan_out::measure(&versions(), options.rounds, time).await,
        Case::Start => start::measure(&versions(), options.rounds).await,
        Case::Exchange => exchange::measure(options.rounds, time).await,
    }
}

/// The program that `SEALPOST_BENCH_BEFORE` names, if it does, and the one that every measurement
/// is of.
fn versions() -> Vec<Subject<PathBuf>> {
    let before =
        std::env::var_os("SEALPOST_BENCH_BEFORE").map(|file| ("before", PathBuf::from(file)));
    before.into_iter().chain([("now", program())]).collect()
}

/// What is measured beside others, with its name.
pub(super) type Subject<S> = (&'static str, S);

/// The head of a table.
pub(super) fn print_head(what: &str, columns: &[&str]) {
    println!("| {what} | | {} |", columns.join(" | "));
    println!("|---|---|{}", "---|".repeat(columns.len()));
}

/// Measures each subject once a round, in every other round in reverse order. Prints the medians,
/// and how the last subject's compare with the first's.
pub(super) async fn in_turn<S, const N: usize>(
    what: usize,
    subjects: &[Subject<S>],
    rounds: u16,
    measure: impl AsyncFn(&S) -> [f64; N],
) {
    let mut figures = vec![Vec::new(); subjects.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for place in order {
            let (name, subject) = &subjects[place];
            let measured = measure(subject).await;
            eprintln!("{what} {name}: {measured:.1?}");
            figures[place].push(measured);
        }
    }
    let spreads: Vec<[Spread; N]> = figures.iter().map(|figures| spreads(figures)).collect();
    for ((name, _), spreads) in subjects.iter().zip(&spreads) {
        print_row(what, name, spreads.map(|spread| spread.text(1)).as_slice());
    }
    if let [first, .., last] = spreads.as_slice() {
        let ratio = |column: usize| format!("{:.2}", last[column].median / first[column].median);
        print_row(what, "ratio", &(0..N).map(ratio).collect::<Vec<_>>());
    }
}

fn spreads<const N: usize>(figures: &[[f64; N]]) -> [Spread; N] {
    std::array::from_fn(|column| {
        Spread::of(figures.iter().map(|figures| figures[column]).collect())
    })
}

fn print_row(what: usize, name: &str, columns: &[String]) {
    println!("| {what} | {name} | {} |", columns.join(" | "));
}
