//! The nemesis: does what a script says, one step after the other, and notes from when to when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fleet::ReplicaFleet;
use super::rabbit::TestedRabbit;
use super::record::{FaultKind, Recorder};
use super::script::{NemesisScript, NemesisStep, QueuePolicy};
use super::surroundings::{SUBSCRIPTIONS, queue};

/// How long anything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The queues of Triggers, without those of parked events.
const QUEUES: &str = "^sealpost:broker:[^:]+:[^:]+:trigger:[^:]+:[^:]+$";

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
            eprintln!(
                "{begun:>9.1?}  {step}, for {:.1?}",
                self.recorder.now() - begun
            );
        }
    }

    async fn step(&mut self, step: &NemesisStep) {
        match step {
            NemesisStep::KillReplica(replica) => {
                let ended = self.fleet.kill(replica - 1).await;
                self.fleet.revive(replica - 1, ended).await;
            }
            NemesisStep::KillRow(times) => self.kill_row(*times).await,
            NemesisStep::Roll => self.roll().await,
            NemesisStep::CloseConnection => self.close_connection(),
            NemesisStep::Alarm(seconds) => self.alarm(*seconds).await,
            NemesisStep::Policy(policy, seconds) => self.policy(*policy, *seconds).await,
            NemesisStep::DeleteQueue(name) => self.delete_queue(name),
            _ => self.node_step(step).await,
        }
    }

    /// A step that is done to a node.
    async fn node_step(&self, step: &NemesisStep) {
        let rabbit = self.rabbit;
        match step {
            NemesisStep::RestartNode(node) => {
                self.node(
                    FaultKind::NodeDown(*node),
                    0,
                    || rabbit.stop(*node),
                    || rabbit.restart(*node),
                )
                .await;
            }
            NemesisStep::KillNode(node, seconds) => {
                let kill = || rabbit.three().kill(*node);
                self.node(FaultKind::NodeDown(*node), *seconds, kill, || {
                    rabbit.restart(*node)
                })
                .await;
            }
            NemesisStep::PauseNode(node, seconds) => {
                let (pause, resume) = (|| rabbit.pause(*node), || rabbit.resume(*node));
                self.node(FaultKind::NodePaused(*node), *seconds, pause, resume)
                    .await;
            }
            NemesisStep::PartNode(node, seconds) => {
                let part = || rabbit.three().partition(*node);
                self.node(FaultKind::NodeParted(*node), *seconds, part, || {
                    rabbit.three().heal()
                })
                .await;
            }
            NemesisStep::ForgetNode(node) => {
                let (forget, grow) = (
                    || rabbit.three().forget(*node),
                    || rabbit.three().grow(*node),
                );
                self.node(FaultKind::NodeDown(*node), 0, forget, grow).await;
            }
            _ => panic!("{step} is not done to a node"),
        }
    }

    /// Makes a fault, and mends it after so many seconds.
    async fn node(&self, kind: FaultKind, seconds: u64, make: impl FnOnce(), mend: impl FnOnce()) {
        let strike = self.recorder.strike(kind, make);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        mend();
        self.recorder.mended(strike);
    }

    /// Waits until so many events are accepted.
    async fn until_accepted(&self, count: usize) {
        let accepted = || self.recorder.accepted() >= count;
        self.until(&format!("{count} events are accepted"), accepted)
            .await;
    }

    async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition() {
            assert!(Instant::now() < deadline, "not in {LIMIT:?}: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn kill_row(&mut self, times: usize) {
        for _ in 0..times {
            let mut ended = Vec::new();
            for replica in 0..self.fleet.len() {
                ended.push(self.fleet.kill(replica).await);
            }
            let before = self.recorder.copies();
            for replica in 0..self.fleet.len() {
                self.fleet.launch(replica).await;
            }
            self.until("events are delivered again", || {
                self.recorder.copies() > before + 20
            })
            .await;
            for (replica, strike) in ended.into_iter().enumerate() {
                self.fleet.until_ready(replica).await;
                self.recorder.mended(strike);
            }
        }
    }

    async fn roll(&mut self) {
        for replica in 0..self.fleet.len() {
            let ended = self.fleet.stop(replica).await;
            self.fleet.revive(replica, ended).await;
        }
    }

    /// `list_connections` asks each of them, which takes long while they are busy.
    fn close_connection(&self) {
        let close = "[C | _] = rabbit_networking:connections_local(), \
                     rabbit_networking:close_connection(C, \"closed by the nemesis\").";
        self.strike(FaultKind::ConnectionClosed, &["eval", close]);
    }

    fn delete_queue(&self, name: &str) {
        let subscription = SUBSCRIPTIONS
            .iter()
            .position(|case| case.name == name)
            .expect("a name");
        self.strike(
            FaultKind::QueueDeleted(subscription),
            &["delete_queue", &queue(name)],
        );
    }

    /// A fault that sealpost has to mend.
    fn strike(&self, kind: FaultKind, ctl: &[&str]) {
        let strike = self.recorder.strike(kind, || drop(self.rabbit.ctl(1, ctl)));
        self.recorder.mended(strike);
    }

    async fn alarm(&self, seconds: u64) {
        let watermark = |value: &[&str]| {
            drop(
                self.rabbit
                    .ctl(1, &[&["set_vm_memory_high_watermark"], value].concat()),
            )
        };
        let (begin, end) = (
            || watermark(&["0.0001"]),
            || watermark(&["absolute", "1GB"]),
        );
        self.node(FaultKind::MemoryAlarm, seconds, begin, end).await;
    }

    async fn policy(&mut self, policy: QueuePolicy, seconds: u64) {
        let set = [
            "set_policy",
            "--apply-to",
            "queues",
            policy.name(),
            QUEUES,
            policy.definition(),
        ];
        let strike = self
            .recorder
            .strike(FaultKind::PolicySet, || drop(self.rabbit.ctl(1, &set)));
        if policy == QueuePolicy::DeliveryLimit {
            self.kill_row(4).await;
        }
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.rabbit.ctl(1, &["clear_policy", policy.name()]);
        self.recorder.mended(strike);
    }
}
