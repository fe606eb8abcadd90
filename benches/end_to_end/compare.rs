//! sealpost beside nginx: every case by both in turn, round after round, then the targets.
//!
//! docs/PERFORMANCE.md says how to read the table.

mod case;
mod measure;
mod soak;
mod start;
mod table;
mod targets;

use std::time::Duration;

use case::{CASES, Case};
use measure::Program;
pub(crate) use table::Spread;
use table::Table;

use crate::Options;
use crate::nginx::Nginx;

/// Seconds that a measurement takes unless told otherwise.
const SECONDS: u64 = 3;
const START: &str = "start";

/// All cases by sealpost alone.
pub(crate) async fn train(options: &Options) {
    let client = reqwest::Client::new();
    let time = Duration::from_secs(options.seconds.unwrap_or(1));
    for case in &CASES {
        measure::measure(case, Program::Sealpost, time, &client).await;
    }
}

/// The table of all cases whose name contains the filter, or the soak.
pub(crate) async fn run(options: &Options) {
    let client = reqwest::Client::new();
    let time = Duration::from_secs(options.seconds.unwrap_or(SECONDS));
    let filter = options.filter.as_deref().unwrap_or_default();
    let cases: Vec<&Case> = CASES
        .iter()
        .filter(|case| case.name.contains(filter))
        .collect();
    if let Some(minutes) = options.soak {
        let case = cases.first().expect("the filter names a case");
        return soak::run(case, time, Duration::from_secs_f64(minutes * 60.0), &client).await;
    }
    let nginx = Nginx::version().expect("nginx is installed");
    println!(
        "{nginx}; {} rounds of {} s; median [least..most]\n",
        options.rounds,
        time.as_secs()
    );
    let mut table = Table::default();
    Table::print_head();
    for case in cases {
        for _ in 0..options.rounds {
            for program in [Program::Nginx, Program::Sealpost] {
                if case.nginx || program == Program::Sealpost {
                    table.add(
                        case,
                        program,
                        measure::measure(case, program, time, &client).await,
                    );
                }
            }
        }
        table.print(case);
    }
    table.print_others();
    let starts = if START.contains(filter) {
        start::run(usize::from(options.rounds) * 2 + 1, &client).await
    } else {
        vec![]
    };
    targets::print(&table, &starts);
}
