//! The nemesis: does what a script says, one step after the other, and notes from when to when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fleet::ReplicaFleet;
use super::rabbit::TestedRabbit;
use super::record::{FaultKind, Moment, Recorder};
use super::script::{NemesisScript, NemesisStep, QueuePolicy};
use super::surroundings::{SUBSCRIPTIONS, queue};

/// How long anything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What a nemesis has in its hands.
pub(super) struct HistoryNemesis<'a> {
    pub(super) rabbit: &'a TestedRabbit,
    pub(super) fleet: &'a mut ReplicaFleet,
    pub(super) recorder: Arc<Recorder>,
    /// Events that are to be accepted by the end of the script.
    pub(super) events: usize,
}

impl HistoryNemesis<'_> {
    /// Does all steps, spread over the events.
    pub(super) async fn run(&mut self, script: &NemesisScript) {
        let share = self.events / (script.0.len() + 1);
        for (number, step) in script.0.iter().enumerate() {
            self.until_accepted(share * (number + 1)).await;
            let begun = self.recorder.now();
            self.step(step).await;
            self.fleet.until_all_are_ready().await;
            // A step has ended when events are accepted again.
            self.until_accepted(self.recorder.accepted() + 1).await;
            eprintln!("{begun:>9.1?}  {step}, for {:.1?}", self.recorder.now() - begun);
        }
    }

    async fn step(&mut self, step: &NemesisStep) {
        match step {
            NemesisStep::KillReplica(replica) => {
                let at = self.fleet.kill(replica - 1).await;
                self.fleet.revive(replica - 1, FaultKind::ReplicaKilled(replica - 1), at).await;
            }
            NemesisStep::KillRow(times) => self.kill_row(*times).await,
            NemesisStep::Roll => self.roll().await,
            NemesisStep::CloseConnection => self.close_connection(),
            NemesisStep::RestartNode(node) => {
                self.during(FaultKind::NodeDown(*node), || self.rabbit.restart(*node));
            }
            NemesisStep::PauseNode(node, seconds) => {
                let from = self.recorder.now();
                self.rabbit.pause(*node);
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
                self.rabbit.resume(*node);
                self.recorder.mended(FaultKind::NodePaused(*node), from);
            }
            NemesisStep::Alarm(seconds) => self.alarm(*seconds).await,
            NemesisStep::Policy(policy, seconds) => self.policy(*policy, *seconds).await,
            NemesisStep::DeleteQueue(name) => {
                let subscription = SUBSCRIPTIONS.iter().position(|case| case.name == name).expect("a name");
                let kind = FaultKind::QueueDeleted(subscription);
                self.during(kind, || drop(self.rabbit.ctl(1, &["delete_queue", &queue(name)])));
            }
            NemesisStep::KillNode(node, seconds) => {
                let from = self.recorder.now();
                self.rabbit.cluster("kill", *node);
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
                self.rabbit.cluster("restart", *node);
                self.recorder.mended(FaultKind::NodeDown(*node), from);
            }
            NemesisStep::PartNode(node, seconds) => {
                let from = self.recorder.now();
                self.rabbit.cluster("partition", *node);
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
                self.rabbit.heal();
                self.recorder.mended(FaultKind::NodeParted(*node), from);
            }
            NemesisStep::ForgetNode(node) => {
                let away = || {
                    self.rabbit.cluster("forget", *node);
                    self.rabbit.cluster("grow", *node);
                };
                self.during(FaultKind::NodeDown(*node), away);
            }
        }
    }

    /// Does something, and notes it as a fault.
    fn during(&self, kind: FaultKind, act: impl FnOnce()) {
        let from = self.recorder.now();
        act();
        self.recorder.mended(kind, from);
    }

    /// Waits until so many events are accepted.
    async fn until_accepted(&self, count: usize) {
        let accepted = || self.recorder.accepted() >= count;
        self.until(&format!("{count} events are accepted"), accepted).await;
    }

    async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition() {
            assert!(Instant::now() < deadline, "not in {LIMIT:?}: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn kill_row(&mut self, times: usize) {
        let replicas = self.fleet.len();
        for _ in 0..times {
            let mut ended: Vec<Moment> = Vec::new();
            for replica in 0..replicas {
                ended.push(self.fleet.kill(replica).await);
            }
            let before = self.recorder.copies();
            for replica in 0..replicas {
                self.fleet.launch(replica).await;
            }
            self.until("events are delivered again", || self.recorder.copies() > before + 20).await;
            for (replica, at) in ended.into_iter().enumerate() {
                self.fleet.until_ready(replica).await;
                self.recorder.mended(FaultKind::ReplicaKilled(replica), at);
            }
        }
    }

    async fn roll(&mut self) {
        for replica in 0..self.fleet.len() {
            let at = self.fleet.stop(replica).await;
            self.fleet.revive(replica, FaultKind::ReplicaStopped(replica), at).await;
        }
    }

    fn close_connection(&self) {
        let connections = self.rabbit.ctl(1, &["list_connections", "--no-table-headers", "pid"]);
        let connection = connections.lines().map(str::trim).find(|line| line.starts_with('<')).expect("a connection");
        let close = ["close_connection", connection, "closed by the nemesis"];
        self.during(FaultKind::ConnectionClosed, || drop(self.rabbit.ctl(1, &close)));
    }

    async fn alarm(&self, seconds: u64) {
        let from = self.recorder.now();
        self.rabbit.ctl(1, &["set_vm_memory_high_watermark", "0.0001"]);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.rabbit.ctl(1, &["set_vm_memory_high_watermark", "absolute", "1GB"]);
        self.recorder.mended(FaultKind::MemoryAlarm, from);
    }

    async fn policy(&mut self, policy: QueuePolicy, seconds: u64) {
        let from = self.recorder.now();
        let pattern = "^sealpost:broker:";
        self.rabbit.ctl(1, &["set_policy", "--apply-to", "queues", policy.name(), pattern, policy.definition()]);
        if policy == QueuePolicy::DeliveryLimit {
            self.kill_row(4).await;
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.rabbit.ctl(1, &["clear_policy", policy.name()]);
        self.recorder.mended(FaultKind::PolicySet, from);
    }
}
