//! The stop: readiness off, no new connections, running requests to their end, deliveries to theirs, then the rest.
//! All within the drain time limit; what is left then is counted and named.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ingress::gate::Served;
use crate::supervisor::{Readiness, Supervisor};
use crate::telemetry::counters::Counters;

/// How long senders may take to be told that their events were not delivered, when time is up.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a cluster may need to send no more to a process that is about to stop.
const LINGER: Duration = Duration::from_secs(3);
/// How long nothing must have come for it to be quiet.
const QUIET: Duration = Duration::from_secs(1);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What ends the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The tasks of the process, in the order in which they are taken down, and what tells each group to stop.
#[derive(Default)]
pub(super) struct Stage {
    /// Told first, while everything is still served.
    pub(super) leaving: CancellationToken,
    /// What tells when nobody sends any more, if that is to be waited for before listeners are closed.
    pub(super) lingering: Option<Served>,
    /// Listeners and whoever changes what they serve.
    pub(super) accepting: Supervisor,
    pub(super) stop: CancellationToken,
    /// Workers.
    pub(super) delivering: Supervisor,
    pub(super) drained: CancellationToken,
    /// The admin port.
    pub(super) answering: Supervisor,
    pub(super) answering_stop: CancellationToken,
}

impl Stage {
    /// Runs until a signal or the end of a task that should not end, then stops.
    pub(super) async fn run(
        mut self,
        mut signals: Signals,
        limit: Duration,
        readiness: &Readiness,
        counters: &Counters,
    ) -> ExitCode {
        let failed = self.until_told(&mut signals, limit, counters).await;
        readiness.stopping();
        self.leaving.cancel();
        let in_time = self.drain(&mut signals, limit).await;
        readiness.over();
        self.end(counters).await;
        counters.series.tell_losses(None);
        let left = counters.abandoned.get() + counters.unfinished();
        if left > 0 {
            tracing::error!(left, "Stopped with deliveries left: those that were acknowledged are lost");
        } else {
            tracing::info!(left, "Stopped");
        }
        if failed || left > 0 || !in_time { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// Whether a task failed.
    async fn until_told(&mut self, signals: &mut Signals, limit: Duration, counters: &Counters) -> bool {
        let ended = tokio::select! {
            signal = signals.next() => {
                let deliveries = counters.unfinished();
                tracing::info!(signal, deliveries, at_most = ?limit, "Stopping: requests and deliveries that have begun are waited for; another Ctrl-C or SIGTERM ends them at once");
                return false;
            }
            Some(ended) = self.accepting.next_ended() => ended,
            Some(ended) = self.delivering.next_ended() => ended,
            Some(ended) = self.answering.next_ended() => ended,
        };
        tracing::error!(task = ended.name, panicked = ended.panicked, "A task ended that should not, stopping");
        true
    }

    /// Stops accepting, then delivers what was accepted. Whether that ended by itself, before the limit and before
    /// another signal.
    async fn drain(&mut self, signals: &mut Signals, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let (accepting, delivering, drained) = (&mut self.accepting, &mut self.delivering, &self.drained);
        let orderly = async {
            if let Some(served) = &self.lingering {
                until_quiet(served, limit / 2).await;
            }
            self.stop.cancel();
            accepting.all_ended().await;
            drained.cancel();
            delivering.all_ended().await;
        };
        tokio::select! {
            () = orderly => true,
            () = tokio::time::sleep_until(deadline) => {
                tracing::warn!(?limit, "Time to drain is up");
                self.stop.cancel();
                false
            }
            signal = signals.next() => {
                tracing::warn!(signal, "Told again, stopping at once");
                self.stop.cancel();
                false
            }
        }
    }

    /// Ends what is left. Deliveries first, so that senders that wait for them can be told.
    async fn end(&mut self, counters: &Counters) {
        self.delivering.abort().await;
        // Aborted deliveries let go of their events one after the other.
        let let_go = async {
            while counters.unfinished() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(LAST_WORDS, let_go).await.is_err() {
            tracing::debug!("Some deliveries have not been let go of");
        }
        if tokio::time::timeout(LAST_WORDS, self.accepting.all_ended()).await.is_err() {
            tracing::debug!("Some senders did not take their answers");
        }
        self.accepting.abort().await;
        self.answering_stop.cancel();
        if tokio::time::timeout(LAST_WORDS, self.answering.all_ended()).await.is_err() {
            tracing::debug!("Some acknowledgements, or answers of the admin port, were given up");
        }
        self.answering.abort().await;
    }
}

/// Waits until nobody sends any more, since a cluster goes on sending until everybody in it knows (contract 1.12);
/// not longer than `limit`.
async fn until_quiet(served: &Served, limit: Duration) {
    let started = Instant::now();
    let (mut count, mut since) = (served.count(), started);
    let is_over = |since: Instant| started.elapsed() >= LINGER && since.elapsed() >= QUIET;
    while started.elapsed() < limit && !is_over(since) {
        tokio::time::sleep(LOOK).await;
        if count != served.count() {
            (count, since) = (served.count(), Instant::now());
        }
    }
}
