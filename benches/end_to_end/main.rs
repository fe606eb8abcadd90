//! The whole path on loopback: a sender, a `sealpost run`, and sinks, with 1 KiB events at
//! concurrency 64.
//!
//! Prints for each scenario: CPU time of the sealpost process per delivery, deliveries per second,
//! latency of the sender's answers, and peak memory. sealpost is pinned to the first processor and
//! sender and sinks to the second, so compare the rows of one run with each other and with a
//! yardstick measured in the same way, not with other machines.
//!
//! `cargo bench --bench end_to_end [-- FILTER] [--seconds N]`; with `--compare` beside nginx, as
//! `benches/compare` does; with `--rabbitmq fan-out`, `start` or `exchange` on RabbitMQ beside an
//! earlier version; with `--tenants` what a hostile tenant costs the others; with `--clients` what
//! HTTP clients cost; with `--flows` what a Sequence costs; with `--disk` what the disk costs beside
//! memory.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program of its own that prints what it measures by the wall clock, and may end at what it did not expect"
)]

mod clients;
mod compare;
mod disk;
mod dispatcher;
mod flows;
mod latency;
mod load;
mod nginx;
mod process;
mod rabbitmq;
mod sink;
mod tenants;

use std::time::Duration;

use clap::Parser;
use dispatcher::Dispatcher;
use load::{Load, Mail, Report};
use sink::Sink;

/// How events come in and go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP/1.1 without TLS.
    Plain,
    /// HTTP/1.1 over TLS.
    TlsHttp1,
    /// HTTP/2 over TLS.
    TlsHttp2,
}

impl Wire {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::TlsHttp1 => "tls-h1",
            Self::TlsHttp2 => "tls-h2",
        }
    }
}

/// What to measure.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Only what has this in its name
    filter: Option<String>,

    /// Measure nginx, too, in turn with sealpost
    #[arg(long)]
    compare: bool,

    /// Everything that sealpost can do here, once and briefly: what a profile for the compiler is
    /// made from
    #[arg(long)]
    train: bool,

    /// How long each measurement takes [default: 5; with --compare 3, with --train 1]
    #[arg(long)]
    seconds: Option<u64>,

    /// Instead, on RabbitMQ: this beside an earlier version that SEALPOST_BENCH_BEFORE names, in
    /// turn
    #[arg(long, value_name = "CASE", value_enum)]
    rabbitmq: Option<rabbitmq::beside::Case>,

    /// With --compare and --rabbitmq: how often each is measured
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// With --compare: instead, how sealpost does with half of the load that it can take, for so
    /// long
    #[arg(long, value_name = "MINUTES", num_args = 0..=1, default_missing_value = "10", requires = "compare")]
    soak: Option<f64>,

    /// Instead, what reqwest, hyper's client and ours cost, for --seconds each and --rounds
    #[arg(long)]
    clients: bool,

    /// One of them, a process of its own
    #[arg(long, value_enum, hide = true)]
    client: Option<clients::Kind>,

    /// Where it sends to
    #[arg(long, hide = true, default_value = "")]
    client_url: String,

    /// What it trusts there
    #[arg(long, hide = true)]
    client_ca: Option<String>,

    /// Instead, four tenants, one of them hostile: without it and with it, for --seconds each
    /// [default: 300]
    #[arg(long)]
    tenants: bool,

    /// Instead, a Sequence of three steps beside three plain deliveries, for --seconds each and
    /// --rounds
    #[arg(long)]
    flows: bool,

    /// Instead, channels on disk beside those in memory, for --seconds each and --rounds, and many
    /// events that wait
    #[arg(long)]
    disk: bool,

    /// The senders of the hostile tenant, a process of its own
    #[arg(long, value_name = "ADDRESS", hide = true)]
    hostile: Option<std::net::SocketAddr>,

    /// The bare loop of the rabbitmq lines, a process of its own
    #[arg(long, num_args = 2, value_names = ["URI", "URL"], hide = true)]
    bare: Vec<String>,

    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// Who gets an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receivers {
    /// So many subscriptions of a channel.
    Subscriptions(usize),
    /// One of so many Triggers of a Broker, by an exact type each.
    OneTriggerOf(usize),
    /// One of so many Triggers of a Broker, by a CESQL expression each, all on one attribute, which
    /// no index answers.
    OneExpressionOf(usize),
    /// The Trigger of a Broker, whose subscriber answers with an event that no Trigger wants.
    OneThatReplies,
}

struct Scenario {
    name: &'static str,
    wire: Wire,
    receivers: Receivers,
    /// Whether events come in structured mode.
    structured: bool,
    keeping: Keeping,
}

/// Where channels keep events, and so when senders are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// In memory, until they are delivered.
    Synchronous,
    /// In memory; senders are answered when they are in every queue.
    Asynchronous,
    /// On disk.
    OnDisk,
}

impl Scenario {
    /// Deliveries of one event.
    fn deliveries(&self) -> u64 {
        match self.receivers {
            Receivers::Subscriptions(count) => count as u64,
            Receivers::OneTriggerOf(_)
            | Receivers::OneExpressionOf(_)
            | Receivers::OneThatReplies => 1,
        }
    }
}

const ONE: Scenario = Scenario {
    name: "plain 1x1",
    wire: Wire::Plain,
    receivers: Receivers::Subscriptions(1),
    structured: false,
    keeping: Keeping::Synchronous,
};

const SCENARIOS: [Scenario; 14] = [
    ONE,
    Scenario {
        name: "plain 1x10",
        receivers: Receivers::Subscriptions(10),
        ..ONE
    },
    Scenario {
        name: "memory 1x1",
        keeping: Keeping::Asynchronous,
        ..ONE
    },
    Scenario {
        name: "disk 1x1",
        keeping: Keeping::OnDisk,
        ..ONE
    },
    Scenario {
        name: "memory 1x10",
        receivers: Receivers::Subscriptions(10),
        keeping: Keeping::Asynchronous,
        ..ONE
    },
    Scenario {
        name: "disk 1x10",
        receivers: Receivers::Subscriptions(10),
        keeping: Keeping::OnDisk,
        ..ONE
    },
    Scenario {
        name: "tls-h1 1x1",
        wire: Wire::TlsHttp1,
        ..ONE
    },
    Scenario {
        name: "tls-h2 1x1",
        wire: Wire::TlsHttp2,
        ..ONE
    },
    Scenario {
        name: "tls-h2 1x10",
        wire: Wire::TlsHttp2,
        receivers: Receivers::Subscriptions(10),
        ..ONE
    },
    Scenario {
        name: "structured",
        structured: true,
        ..ONE
    },
    Scenario {
        name: "broker 1",
        receivers: Receivers::OneTriggerOf(1),
        ..ONE
    },
    Scenario {
        name: "broker 1000",
        receivers: Receivers::OneTriggerOf(1000),
        ..ONE
    },
    Scenario {
        name: "broker cesql",
        receivers: Receivers::OneExpressionOf(1000),
        ..ONE
    },
    Scenario {
        name: "broker reply",
        receivers: Receivers::OneThatReplies,
        ..ONE
    },
];

fn main() {
    let options = Options::parse();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("the first provider");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    if let [uri, url] = options.bare.as_slice() {
        return runtime.block_on(rabbitmq::bare(uri, url));
    }
    rlimit::increase_nofile_limit(rlimit::INFINITY).expect("a limit");
    process::pin_self();
    if let Some(kind) = options.client {
        let time = Duration::from_secs(options.seconds.unwrap_or(3));
        let (url, ca) = (&options.client_url, options.client_ca.as_deref());
        return runtime.block_on(clients::measure(kind, url, ca, time));
    }
    if options.clients {
        process::pin_self();
        let time = Duration::from_secs(options.seconds.unwrap_or(3));
        return runtime.block_on(clients::run(options.rounds, time));
    }
    if options.flows {
        return runtime.block_on(flows::run(
            options.rounds,
            Duration::from_secs(options.seconds.unwrap_or(3)),
        ));
    }
    if options.disk {
        return runtime.block_on(disk::run(
            options.rounds,
            Duration::from_secs(options.seconds.unwrap_or(4)),
        ));
    }
    if let Some(address) = options.hostile {
        return runtime.block_on(tenants::attack(
            address,
            Duration::from_secs(options.seconds.unwrap_or(5)),
        ));
    }
    if options.tenants {
        return runtime.block_on(tenants::run(Duration::from_secs(
            options.seconds.unwrap_or(300),
        )));
    }
    if let Some(case) = options.rabbitmq {
        return runtime.block_on(rabbitmq::beside::run(case, &options));
    }
    if options.compare {
        return runtime.block_on(compare::run(&options));
    }
    if options.train {
        runtime.block_on(compare::train(&options));
    }
    let time = options.seconds.unwrap_or(if options.train { 1 } else { 5 });
    let filter = options.filter.unwrap_or_default();
    println!(
        "{:<12} {:>14} {:>14} {:>9} {:>9} {:>10}",
        "scenario", "CPU us/deliv.", "deliveries/s", "p50 ms", "p99 ms", "peak MiB"
    );
    for scenario in SCENARIOS
        .iter()
        .filter(|scenario| scenario.name.contains(&filter))
    {
        runtime.block_on(measure(scenario, Duration::from_secs(time)));
    }
    match std::env::var("SEALPOST_TEST_RABBITMQ") {
        Ok(uri) if "rabbitmq".contains(&filter) => runtime.block_on(rabbitmq::measure(&uri)),
        Ok(_) => {}
        Err(_) => println!("rabbitmq: not measured, SEALPOST_TEST_RABBITMQ is not set"),
    }
}

async fn measure(scenario: &Scenario, time: Duration) {
    let sink = Sink::start(scenario.wire).await;
    let mut dispatcher = Dispatcher::start(scenario, &sink).await;
    let mail = Mail {
        structured: scenario.structured,
        ..Mail::default()
    };
    let mut load = Load::new(&dispatcher, scenario.wire, &mail).await;
    let warm: Report = load.run(Duration::from_secs(1)).await;
    sink.until(warm.accepted * scenario.deliveries()).await;
    let (cpu, delivered) = (dispatcher.process.cpu(), sink.count());
    let report: Report = load.run(time).await;
    sink.until(delivered + report.accepted * scenario.deliveries())
        .await;
    let (cpu, delivered) = (dispatcher.process.cpu() - cpu, sink.count() - delivered);
    assert_eq!(report.refused, 0, "every event is accepted");
    assert_eq!(
        delivered,
        report.accepted * scenario.deliveries(),
        "every event reaches every subscriber"
    );
    println!(
        "{:<12} {:>14.1} {:>14.0} {:>9.2} {:>9.2} {:>10.1}",
        scenario.name,
        cpu.as_secs_f64() * 1e6 / delivered as f64,
        delivered as f64 / report.elapsed.as_secs_f64(),
        report.percentile(0.50).as_secs_f64() * 1e3,
        report.percentile(0.99).as_secs_f64() * 1e3,
        dispatcher.process.peak_memory_kib() as f64 / 1024.0,
    );
    drop(load);
    dispatcher.process.end().await;
}
