//! The replicas of a run: processes with the same manifests and the same RabbitMQ, watched and
//! ill-treated one by one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinSet;

use super::record::{FaultKind, FaultStrike, ReadyLook, Recorder, ReplicaLife};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::plain;

/// How often `/readyz` is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a replica may take until it is ready, again or for the first time.
const READY: Duration = Duration::from_secs(90);

/// Where a replica takes events and says whether it is ready.
#[derive(Clone, Debug)]
pub(super) struct ReplicaAddress {
    pub(super) replica: ReplicaLife,
    pub(super) events: String,
    readyz: String,
}

/// The replicas that live, by their index.
pub(super) type LiveReplicas = Arc<Mutex<Vec<Option<ReplicaAddress>>>>;

/// How the replicas are started.
pub(super) struct FleetPlan {
    pub(super) replicas: usize,
    pub(super) manifests: String,
    pub(super) environment: Vec<(&'static str, String)>,
    /// Where the logs of ended processes are kept, if they are to be.
    pub(super) logs: Option<PathBuf>,
}

/// The replicas; ended when they are dropped.
pub(super) struct ReplicaFleet {
    plan: FleetPlan,
    recorder: Arc<Recorder>,
    pub(super) live: LiveReplicas,
    processes: Vec<Option<Dispatcher>>,
    lives: u16,
    _watch: JoinSet<()>,
}

impl ReplicaFleet {
    /// Starts all, and waits until they are ready.
    pub(super) async fn start(plan: FleetPlan, recorder: Arc<Recorder>) -> Self {
        let live = LiveReplicas::new(Mutex::new(vec![None; plan.replicas]));
        let mut watch = JoinSet::new();
        for replica in 0..plan.replicas {
            watch.spawn(look(replica, Arc::clone(&live), Arc::clone(&recorder)));
        }
        let processes = (0..plan.replicas).map(|_| None).collect();
        let mut fleet = Self {
            plan,
            recorder,
            live,
            processes,
            lives: 0,
            _watch: watch,
        };
        for replica in 0..fleet.plan.replicas {
            fleet.launch(replica).await;
        }
        fleet.until_all_are_ready().await;
        fleet
    }

    pub(super) fn len(&self) -> usize {
        self.processes.len()
    }

    /// Starts a replica and waits until it listens.
    pub(super) async fn launch(&mut self, replica: usize) {
        let mut builder = Dispatcher::of(&self.plan.manifests);
        for (name, value) in &self.plan.environment {
            builder = builder.env(name, value);
        }
        let process = builder
            .arg("--default-channel")
            .arg("rabbitmq")
            .launch()
            .await;
        self.lives += 1;
        let address = ReplicaAddress {
            replica: ReplicaLife {
                replica,
                life: self.lives,
            },
            events: process.http_url("/default/b"),
            readyz: format!("http://{}/readyz", process.admin),
        };
        self.processes[replica] = Some(process);
        self.live.lock().expect("lock")[replica] = Some(address);
    }

    /// Kills a replica.
    pub(super) async fn kill(&mut self, replica: usize) -> FaultStrike {
        self.end(replica, FaultKind::ReplicaKilled(replica), Signal::KILL)
            .await
    }

    /// Stops a replica in an orderly way.
    pub(super) async fn stop(&mut self, replica: usize) -> FaultStrike {
        self.end(replica, FaultKind::ReplicaStopped(replica), Signal::TERM)
            .await
    }

    async fn end(&mut self, replica: usize, kind: FaultKind, signal: Signal) -> FaultStrike {
        let mut process = self.processes[replica].take().expect("a replica");
        let strike = self.recorder.strike(kind, || process.signal(signal));
        let status = process.ended().await;
        assert!(
            signal == Signal::KILL || status.success(),
            "a stop ends with {status}"
        );
        let address = self.live.lock().expect("lock")[replica].take();
        if let (Some(logs), Some(address)) = (&self.plan.logs, address) {
            let name = format!("replica-{}-life-{}.log", replica + 1, address.replica.life);
            std::fs::write(logs.join(name), process.log()).expect("written");
        }
        strike
    }

    /// Starts a replica that was ended, and waits until it is ready.
    pub(super) async fn revive(&mut self, replica: usize, ended: FaultStrike) {
        self.launch(replica).await;
        self.until_ready(replica).await;
        self.recorder.mended(ended);
    }

    /// Waits until a replica is ready.
    pub(super) async fn until_ready(&self, replica: usize) {
        let deadline = Instant::now() + READY;
        let address = self.live.lock().expect("lock")[replica]
            .clone()
            .expect("it lives");
        let client = plain();
        while !is_ready(&client, &address).await {
            assert!(
                Instant::now() < deadline,
                "replica {replica} is not ready in {READY:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until every replica is ready.
    pub(super) async fn until_all_are_ready(&self) {
        for replica in 0..self.len() {
            self.until_ready(replica).await;
        }
    }

    /// Stops all; what they have not finished stays in RabbitMQ.
    pub(super) async fn finish(mut self) {
        for replica in 0..self.len() {
            self.stop(replica).await;
        }
    }
}

async fn is_ready(client: &reqwest::Client, address: &ReplicaAddress) -> bool {
    let answer = client
        .get(&address.readyz)
        .timeout(Duration::from_secs(2))
        .send()
        .await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

/// Looks whether a replica is ready, as long as the run lasts.
async fn look(replica: usize, live: LiveReplicas, recorder: Arc<Recorder>) {
    let (client, mut tick) = (plain(), tokio::time::interval(LOOK));
    loop {
        tick.tick().await;
        let address = live.lock().expect("lock")[replica].clone();
        let Some(address) = address else { continue };
        let ready = is_ready(&client, &address).await;
        recorder.looked(ReadyLook {
            replica: address.replica,
            at: recorder.now(),
            ready,
        });
    }
}
