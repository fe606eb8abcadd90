//! What sealpost has set out to reach, and whether this run reaches it.

use super::measure::{Program, Sample};
use super::start;
use super::table::{Spread, Table, cpu, first};

/// What the Go dispatcher of knative/eventing 8cf4c4b took, in a run in which nginx took `nginx`.
struct Go {
    case: &'static str,
    /// Microseconds of processor time for each delivery.
    cpu: f64,
    /// The line of nginx whose figure scales it.
    yardstick: &'static str,
    /// Microseconds of that line in the run of Go's figures.
    nginx: f64,
    /// Most memory, MiB.
    peak: Option<f64>,
}

const CA_SETS: &str = "tls-h1 1000 CA sets";
const CA_SETS_H2: &str = "tls-h2 1000 CA sets";
const PACED: &str = "plain paced 1000/s";
const PLAIN: &str = "plain 1x1";
const TLS_H1: &str = "tls-h1 1x1";
const TLS_H2: &str = "tls-h2 1x1";

const GO: [Go; 6] = [
    Go {
        case: PLAIN,
        cpu: 162.0,
        yardstick: PLAIN,
        nginx: 22.1,
        peak: Some(60.0),
    },
    Go {
        case: "plain 1x10",
        cpu: 149.0,
        yardstick: PLAIN,
        nginx: 22.1,
        peak: Some(93.0),
    },
    Go {
        case: TLS_H1,
        cpu: 188.0,
        yardstick: TLS_H1,
        nginx: 28.2,
        peak: Some(69.0),
    },
    Go {
        case: TLS_H2,
        cpu: 177.0,
        yardstick: TLS_H2,
        nginx: 26.1,
        peak: None,
    },
    Go {
        case: CA_SETS,
        cpu: 177.0,
        yardstick: TLS_H1,
        nginx: 28.2,
        peak: Some(219.0),
    },
    Go {
        case: PACED,
        cpu: 337.0,
        yardstick: PACED,
        nginx: 82.0,
        peak: None,
    },
];
/// Of the first event of each of 1,000 channels with authorities of their own.
const GO_FIRST: f64 = 940.0;
/// MiB of the idle Go dispatcher.
const GO_IDLE: f64 = 47.0;

struct Target {
    text: String,
    /// What the figure may be at most.
    limit: f64,
    figure: Option<f64>,
}

pub(crate) fn print(table: &Table, starts: &[(&str, Spread)]) {
    println!("\n| target | at most | measured | |\n|---|---|---|---|");
    for Target {
        text,
        limit,
        figure,
    } in all(table, starts)
    {
        let (measured, verdict) = match figure {
            None => ("–".to_owned(), "not measured"),
            // Ratios need the third place: 0.704 is not 0.7.
            Some(figure) => {
                let decimals = if figure < 10.0 { 3 } else { 1 };
                (
                    format!("{figure:.decimals$}"),
                    if figure <= limit { "met" } else { "MISSED" },
                )
            }
        };
        println!("| {text} | {limit:.2} | {measured} | {verdict} |");
    }
}

fn all(table: &Table, starts: &[(&str, Spread)]) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut add = |text: String, limit, figure| {
        targets.push(Target {
            text,
            limit,
            figure,
        })
    };
    for case in [PLAIN, TLS_H1, TLS_H2, PACED] {
        add(
            format!("{case}: CPU ÷ nginx"),
            1.5,
            table.to_nginx(case, case),
        );
    }
    for (case, one) in [("plain 1x10", PLAIN), ("tls-h2 1x10", TLS_H2)] {
        add(
            format!("{case}: CPU per delivery ÷ {one}"),
            0.7,
            table.to_own(case, one),
        );
    }
    for (case, one) in [(CA_SETS, TLS_H1), (CA_SETS_H2, TLS_H2)] {
        add(
            format!("{case}: CPU per delivery ÷ {one}"),
            1.2,
            table.to_own(case, one),
        );
    }
    for go in &GO {
        let limit = |figure| scaled(table, go, figure) / 4.0;
        let own = table.median(go.case, Program::Sealpost, cpu);
        add(
            format!("{}: CPU µs, a quarter of Go's, scaled", go.case),
            limit(go.cpu),
            own,
        );
        if go.case == CA_SETS {
            let own = table.median(&first(CA_SETS), Program::Sealpost, cpu);
            add(
                format!("{CA_SETS}, first events: CPU µs, a quarter of Go's, scaled"),
                limit(GO_FIRST),
                own,
            );
        }
        if let Some(peak) = go.peak {
            let own = table.median(go.case, Program::Sealpost, |sample| sample.peak);
            add(
                format!("{}: peak MiB, a quarter of Go's", go.case),
                peak / 4.0,
                own,
            );
        }
    }
    for case in [CA_SETS, CA_SETS_H2] {
        add(
            format!("{case}: peak MiB"),
            60.0,
            table.median(case, Program::Sealpost, |sample| sample.peak),
        );
    }
    for (name, part, limit) in [("p50", p50 as fn(&Sample) -> f64, 1.5), ("p99", p99, 2.0)] {
        let [slow, none] = ["plain ten, one slow", "plain ten, none slow"]
            .map(|case| table.median(case, Program::Sealpost, part));
        let ratio = slow.zip(none).map(|(slow, none)| slow / none);
        add(
            format!("nine beside a slow one: {name} ÷ the same without it"),
            limit,
            ratio,
        );
    }
    let started = |wanted| {
        starts
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, spread)| spread.median)
    };
    for (name, limit) in [
        (start::ACCEPTED, 50.0),
        (start::READY, 50.0),
        (start::IDLE, 15.0),
    ] {
        add(name.to_owned(), limit, started(name));
    }
    add(
        format!("{}, a quarter of Go's", start::IDLE),
        GO_IDLE / 4.0,
        started(start::IDLE),
    );
    targets
}

/// Go's figure on a machine on which nginx takes what it takes now; as it was if nginx has not been
/// measured.
fn scaled(table: &Table, go: &Go, figure: f64) -> f64 {
    figure
        * table
            .median(go.yardstick, Program::Nginx, cpu)
            .map_or(1.0, |nginx| nginx / go.nginx)
}

fn p50(sample: &Sample) -> f64 {
    sample.p50
}

fn p99(sample: &Sample) -> f64 {
    sample.p99
}
