//! The senders of a run: each sends one event after the other, and each event until it is accepted,
//! to whichever replica lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use reqwest::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fleet::{LiveReplicas, ReplicaAddress};
use super::record::{Recorder, SendTry};
use super::surroundings::{TRY, event_type};
use crate::support::sender::plain;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// The first and the longest wait when every replica has refused an event.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendPlan {
    /// At least so many events.
    pub(super) events: usize,
    /// Events a second at most.
    pub(super) rate: u32,
    pub(super) senders: u16,
}

/// The senders.
pub(super) struct EventSenders {
    tasks: JoinSet<()>,
    /// Whether the nemesis has ended, so that they may end.
    over: Arc<AtomicBool>,
}

struct Sender {
    number: u16,
    plan: SendPlan,
    begun: Instant,
    next: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
    live: LiveReplicas,
    recorder: Arc<Recorder>,
    client: Client,
}

impl EventSenders {
    /// Begins to send.
    pub(super) fn start(plan: SendPlan, live: &LiveReplicas, recorder: &Arc<Recorder>) -> Self {
        let (next, over, begun) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(AtomicBool::new(false)),
            Instant::now(),
        );
        let mut tasks = JoinSet::new();
        for number in 0..plan.senders {
            let (live, recorder, next, over) = (
                Arc::clone(live),
                Arc::clone(recorder),
                Arc::clone(&next),
                Arc::clone(&over),
            );
            tasks.spawn(
                Sender {
                    number,
                    plan,
                    begun,
                    next,
                    over,
                    live,
                    recorder,
                    client: plain(),
                }
                .run(),
            );
        }
        Self { tasks, over }
    }

    /// Lets them end when as much is sent as is planned, and gives up if that takes too long.
    pub(super) async fn finish(self, limit: Duration) {
        self.over.store(true, Ordering::Relaxed);
        let finished = tokio::time::timeout(limit, self.tasks.join_all()).await;
        assert!(
            finished.is_ok(),
            "the senders do not finish in {limit:?}: events are accepted no more"
        );
    }
}

impl Sender {
    async fn run(self) {
        while !(self.over.load(Ordering::Relaxed) && self.recorder.accepted() >= self.plan.events) {
            let event = self.next.fetch_add(1, Ordering::Relaxed);
            let due = Duration::from_secs_f64(f64::from(event) / f64::from(self.plan.rate));
            tokio::time::sleep_until(self.begun + due).await;
            self.send(event).await;
        }
    }

    /// Sends an event until it is accepted: to each replica at once, then again after a wait.
    async fn send(&self, event: u32) {
        let (mut number, mut wait) = (0, BACKOFF.0);
        loop {
            let live: Vec<_> = self
                .live
                .lock()
                .expect("lock")
                .iter()
                .flatten()
                .cloned()
                .collect();
            for turn in 0..live.len() {
                number += 1;
                let replica =
                    &live[(usize::from(self.number) + event as usize + turn) % live.len()];
                if self.send_once(event, number, replica).await {
                    return;
                }
            }
            tokio::time::sleep(wait).await;
            wait = BACKOFF.1.min(wait * 2);
        }
    }

    async fn send_once(&self, event: u32, number: u16, to: &ReplicaAddress) -> bool {
        let begun = self.recorder.now();
        let request = self
            .client
            .post(&to.events)
            .timeout(PATIENCE)
            .body(r#"{"a":"b"}"#);
        let attributes = [
            ("ce-specversion", "1.0"),
            ("ce-type", event_type(event)),
            ("ce-source", &format!("/sender/{}", self.number)),
            ("ce-id", &event.to_string()),
            (&format!("ce-{TRY}"), &number.to_string()),
            ("content-type", "application/json"),
        ];
        let request = attributes
            .into_iter()
            .fold(request, |request, (name, value)| {
                request.header(name, value)
            });
        let status = request
            .send()
            .await
            .map_or(0, |answer| answer.status().as_u16());
        let (sender, replica, ended) = (self.number, to.replica, self.recorder.now());
        let tried = SendTry {
            event,
            number,
            sender,
            replica,
            begun,
            ended,
            status,
        };
        self.recorder.tried(tried);
        tried.is_accepted()
    }
}
