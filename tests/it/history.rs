//! Nothing is lost, doubled, disordered or stopped on RabbitMQ, whatever happens: events go through
//! several replicas while a nemesis ill-treats them and RabbitMQ, everything is written down, and a
//! judge reads it.
//!
//! `tests/history/run` is the long form.

mod balancer;
mod fleet;
mod judge;
mod nemesis;
mod rabbit;
mod record;
mod report;
mod script;
mod senders;
mod sinks;
mod spans;
mod surroundings;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use balancer::TcpBalancer;
use fleet::{FleetPlan, ReplicaFleet};
use judge::{RunLimits, RunVerdict, judge};
use nemesis::HistoryNemesis;
use rabbit::TestedRabbit;
use record::{Recorder, RunHistory};
use script::NemesisScript;
use senders::{EventSenders, SendPlan};
use sinks::EventSinks;

const PREFETCH: u64 = 64;
const REPLICAS: usize = 3;
/// How long a queue may stay as it is before it is given up: longer than any wait for a retry, and
/// than the 70 s that RabbitMQ gives the channels of a connection that is gone to end, which hold
/// their messages that long.
const STANDSTILL: Duration = Duration::from_secs(120);

const LIMITS: RunLimits = RunLimits {
    outage: Duration::from_secs(5),
    pause_outage: Duration::from_secs(12),
    idle: Duration::from_secs(5),
    doubled_percent: 1.0,
};

/// Which URIs the replicas are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UriChoice {
    /// Those of all nodes, separated by commas.
    All,
    /// That of the first node.
    First,
    /// That of a balancer.
    Balanced,
}

impl std::str::FromStr for UriChoice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "all" => Ok(Self::All),
            "first" => Ok(Self::First),
            "balanced" => Ok(Self::Balanced),
            _ => Err(()),
        }
    }
}

/// A run, as the environment asks for it.
struct RunPlan {
    nodes: usize,
    sending: SendPlan,
    script: NemesisScript,
    uris: UriChoice,
    /// Where the logs of the replicas, the history and the report are written.
    directory: Option<PathBuf>,
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(format!("SEALPOST_HISTORY_{name}")).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("SEALPOST_HISTORY_{name} cannot be {text:?}")),
    )
}

impl RunPlan {
    fn of_environment() -> Self {
        let nodes = variable("NODES").unwrap_or(1);
        let seed = variable("SEED").unwrap_or_else(|| fastrand::u64(..100_000));
        let made = || {
            if nodes == 1 {
                NemesisScript::short(seed)
            } else {
                NemesisScript::long(seed)
            }
        };
        let sending = SendPlan {
            events: variable("EVENTS").unwrap_or(4_000),
            rate: variable("RATE").unwrap_or(160),
            senders: variable("SENDERS").unwrap_or(32),
        };
        let uris = variable("URIS").unwrap_or(UriChoice::All);
        let script = variable("SCRIPT").unwrap_or_else(made);
        let plan = Self {
            nodes,
            sending,
            script,
            uris,
            directory: variable("DIRECTORY"),
        };
        eprintln!(
            "{nodes} nodes, URIs {uris:?}, {sending:?}\nSEALPOST_HISTORY_SCRIPT='{}'",
            plan.script
        );
        plan
    }

    fn environment(
        &self,
        rabbit: &TestedRabbit,
        balancer: &TcpBalancer,
    ) -> Vec<(&'static str, String)> {
        let uri = match self.uris {
            UriChoice::All => rabbit.uris().join(","),
            UriChoice::First => rabbit.uris().remove(0),
            UriChoice::Balanced => balancer.uri.clone(),
        };
        vec![
            ("SEALPOST_RABBITMQ_URI", uri),
            ("SEALPOST_RABBITMQ_PREFETCH", PREFETCH.to_string()),
            ("SEALPOST_RABBITMQ_PATIENCE", "PT1S".to_owned()),
        ]
    }

    async fn run(&self) -> RunHistory {
        let rabbit = TestedRabbit::start(self.nodes);
        let balancer = TcpBalancer::start(&rabbit.uris()).await;
        let empty = RunHistory {
            wishes: surroundings::wishes(),
            replicas: REPLICAS,
            nodes: self.nodes,
            prefetch: PREFETCH,
            ..RunHistory::default()
        };
        let recorder = Arc::new(Recorder::new(empty));
        let sinks = EventSinks::start(Arc::clone(&recorder)).await;
        let plan = FleetPlan {
            replicas: REPLICAS,
            manifests: surroundings::manifests(sinks.address),
            environment: self.environment(&rabbit, &balancer),
            logs: self.directory.clone(),
        };
        let mut fleet = ReplicaFleet::start(plan, Arc::clone(&recorder)).await;
        let senders = EventSenders::start(self.sending, &fleet.live, &recorder);
        let (events, taken) = (self.sending.events, Arc::clone(&recorder));
        HistoryNemesis {
            rabbit: &rabbit,
            fleet: &mut fleet,
            recorder: taken,
            events,
        }
        .run(&self.script)
        .await;
        senders.finish(Duration::from_secs(120)).await;
        let left = rabbit.until_empty(STANDSTILL).await;
        if let (false, Some(directory)) = (left.is_empty(), &self.directory) {
            std::fs::write(directory.join("rabbitmq.txt"), rabbit.state()).expect("written");
        }
        recorder.left(left);
        fleet.finish().await;
        rabbit.drain_parked(&recorder).await;
        recorder.history()
    }

    fn keep(&self, history: &RunHistory) {
        let Some(directory) = &self.directory else {
            return;
        };
        for (name, text) in history.tables() {
            std::fs::write(directory.join(name), text).expect("written");
        }
    }

    fn report(&self, verdict: &RunVerdict, violations: &[String]) {
        let text = format!(
            "{verdict}\n{} promises not kept\n{}\n",
            violations.len(),
            violations.join("\n")
        );
        eprintln!("\n{text}");
        if let Some(directory) = &self.directory {
            std::fs::write(directory.join("report.txt"), text).expect("written");
        }
    }
}

/// Every promise, through every fault of a script. The short form by default, the long one by the
/// environment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_through_every_fault() {
    let plan = RunPlan::of_environment();
    let history = plan.run().await;
    plan.keep(&history);
    let verdict = judge(&history);
    let violations = verdict.violations(&LIMITS);
    plan.report(&verdict, &violations);
    assert!(violations.is_empty(), "{violations:#?}");
}
