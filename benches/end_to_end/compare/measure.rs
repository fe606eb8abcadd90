//! One measurement, by a fresh process.

use std::time::Duration;

use super::case::{Case, Pace};
use crate::dispatcher::Dispatcher;
use crate::load::{Load, Report};
use crate::nginx::Nginx;
use crate::process::{Process, busy};
use crate::sink::Sink;

const WARM_UP: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Nginx,
    Sealpost,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Sealpost => "sealpost",
        }
    }
}

/// What one measurement showed.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Microseconds of processor time for each delivery.
    pub(crate) cpu: f64,
    /// Deliveries a second.
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
    /// Milliseconds from the start of the process until it was ready.
    pub(crate) ready: f64,
    /// MiB resident when it was ready.
    pub(crate) idle: f64,
    /// MiB resident at most so far.
    pub(crate) peak: f64,
    /// Part of the time in which the first processor worked for others.
    pub(crate) others: f64,
}

/// What happened in the first events of all channels, if that is asked for, and then.
pub(crate) struct Measured {
    pub(crate) first: Option<Sample>,
    pub(crate) warm: Sample,
}

pub(crate) async fn measure(
    case: &Case,
    program: Program,
    time: Duration,
    client: &reqwest::Client,
) -> Measured {
    let sink = Sink::start(case.wire).await;
    let mut running = Running::start(case, program, &sink, client).await;
    let mut load = running.load(case).await;
    let meter = Meter {
        case,
        idle: mebibytes(running.process().memory_kib()),
        running: &running,
        sink: &sink,
    };
    let mut first = None;
    if case.channels > 1 {
        let begun = meter.begin();
        let report = load.send(case.channels).await;
        first = Some(meter.end(&begun, &report)).filter(|_| case.own_authorities);
    }
    send(case, &mut load, WARM_UP).await;
    sink.take_arrivals();
    let begun = meter.begin();
    let report = send(case, &mut load, time).await;
    let mut warm = meter.end(&begun, &report);
    if let Pace::Arrivals(_) = case.pace {
        let arrivals = sink.take_arrivals();
        warm.rate = arrivals.count() as f64 / time.as_secs_f64();
        warm.p50 = milliseconds(arrivals.percentile(0.50));
        warm.p99 = milliseconds(arrivals.percentile(0.99));
    }
    drop(load);
    running.end().await;
    Measured { first, warm }
}

async fn send(case: &Case, load: &mut Load, time: Duration) -> Report {
    match case.pace {
        Pace::Closed => load.run(time).await,
        Pace::Steady(rate) | Pace::Arrivals(rate) => load.paced(rate, time).await,
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(crate) fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

/// The program that is measured.
enum Running {
    Nginx(Nginx),
    Sealpost(Dispatcher, Duration),
}

impl Running {
    async fn start(case: &Case, program: Program, sink: &Sink, client: &reqwest::Client) -> Self {
        match program {
            Program::Nginx => Self::Nginx(Nginx::start(case.wire, sink).await),
            Program::Sealpost => {
                let dispatcher = Dispatcher::start_on(&case.manifest(sink), &[]).await;
                let ready = dispatcher.ready(client).await;
                Self::Sealpost(dispatcher, ready)
            }
        }
    }

    async fn load(&self, case: &Case) -> Load {
        let (address, ca) = match self {
            Self::Nginx(nginx) => (nginx.address, nginx.ca.clone()),
            Self::Sealpost(dispatcher, _) => dispatcher.entrance(case.wire),
        };
        Load::open(address, ca.as_deref(), case.wire, &case.mail()).await
    }

    async fn end(&mut self) {
        if let Self::Sealpost(dispatcher, _) = self {
            dispatcher.process.end().await;
        }
    }

    fn process(&self) -> &Process {
        match self {
            Self::Nginx(nginx) => &nginx.process,
            Self::Sealpost(dispatcher, _) => &dispatcher.process,
        }
    }

    fn ready(&self) -> Duration {
        match self {
            Self::Nginx(nginx) => nginx.ready,
            Self::Sealpost(_, ready) => *ready,
        }
    }
}

/// Reads what the process and the sink count.
struct Meter<'a> {
    case: &'a Case,
    idle: f64,
    running: &'a Running,
    sink: &'a Sink,
}

struct Begun {
    cpu: Duration,
    busy: Duration,
    delivered: u64,
}

impl Meter<'_> {
    fn begin(&self) -> Begun {
        Begun {
            cpu: self.running.process().cpu(),
            busy: busy(),
            delivered: self.sink.count(),
        }
    }

    fn end(&self, begun: &Begun, report: &Report) -> Sample {
        let cpu = self.running.process().cpu() - begun.cpu;
        let others = (busy() - begun.busy).saturating_sub(cpu);
        let delivered = self.sink.count() - begun.delivered;
        assert_eq!(
            report.refused, 0,
            "{}: every event is accepted",
            self.case.name
        );
        let expected = report.accepted * self.case.subscriptions as u64;
        assert_eq!(
            delivered, expected,
            "{}: every event reaches every subscriber",
            self.case.name
        );
        Sample {
            cpu: cpu.as_secs_f64() * 1e6 / delivered as f64,
            rate: delivered as f64 / report.elapsed.as_secs_f64(),
            p50: milliseconds(report.percentile(0.50)),
            p99: milliseconds(report.percentile(0.99)),
            ready: milliseconds(self.running.ready()),
            idle: self.idle,
            peak: mebibytes(self.running.process().peak_memory_kib()),
            others: others.as_secs_f64() / report.elapsed.as_secs_f64(),
        }
    }
}
