//! The stop: readiness goes off, no new connections are accepted, running requests end, then
//! deliveries, then the rest. All that has to end within the drain time limit; deliveries that are
//! left then are counted and logged.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control::StopSignals;
use crate::ingress::request_metrics::ServedRequests;
use crate::supervisor::{Readiness, TaskSupervisor};
use crate::telemetry::counters::ProcessCounters;

/// How long each group of tasks may take to end by itself when time is up, so that senders are
/// answered that their events were not delivered.
const STAGE_END_LIMIT: Duration = Duration::from_millis(500);

/// Least time for which a stopping process waits before it closes its listeners, since a cluster
/// goes on sending for a while.
const MIN_QUIET_WAIT: Duration = Duration::from_secs(3);
/// How long no request must have come for the process to be quiet.
const QUIET: Duration = Duration::from_secs(1);
/// Interval at which requests are counted to find that.
const QUIET_POLL: Duration = Duration::from_millis(50);

/// The signals that end the process.
pub(super) struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl ShutdownSignals {
    pub(super) fn listen() -> anyhow::Result<Self> {
        // Where a file may not grow any more (RLIMIT_FSIZE), its write fails, instead of ending the
        // process: a signal that was listened to once does nothing by itself.
        let too_large = rustix::process::Signal::XFSZ.as_raw();
        drop(signal(SignalKind::from_raw(too_large))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The tasks of the process by the stage in which they are taken down, with the token that tells
/// each stage to stop.
#[derive(Default)]
pub(super) struct ShutdownStages {
    /// Cancelled first, while everything is still served.
    pub(super) stop_announced: CancellationToken,
    /// The counter of requests, if listeners are to be closed only when no more come.
    pub(super) served_until_quiet: Option<ServedRequests>,
    /// First stage: listeners, and the tasks that change what they serve.
    pub(super) accepting: TaskSupervisor,
    pub(super) stop_accepting: CancellationToken,
    /// Second stage: the dispatcher with its workers.
    pub(super) delivering: TaskSupervisor,
    pub(super) drained: CancellationToken,
    /// Third stage: the admin port, and everything that is needed until the very end.
    pub(super) answering: TaskSupervisor,
    pub(super) answering_stop: CancellationToken,
}

impl ShutdownStages {
    /// Signals that end the control plane with the first stage, and its writing before that.
    pub(super) fn stop_signals(&self) -> StopSignals {
        StopSignals {
            stop_writing: self.stop_announced.clone(),
            stop_all: self.stop_accepting.clone(),
        }
    }

    /// Runs until a signal, or until a task ends that should not, then stops. The exit code is a
    /// failure if a task ended by itself, if deliveries are left, or if the time was up.
    pub(super) async fn run(
        mut self,
        mut signals: ShutdownSignals,
        limit: Duration,
        readiness: &Readiness,
        counters: &ProcessCounters,
    ) -> ExitCode {
        let failed = self.wait_for_stop(&mut signals, limit, counters).await;
        // Readiness goes off before anything stops, so that a load balancer sends elsewhere while
        // requests are still served.
        readiness.set_stopping();
        self.stop_announced.cancel();
        let in_time = self.drain(&mut signals, limit).await;
        // From here on nobody waits for what would come; what is left is aborted.
        readiness.set_ended();
        self.end_remaining_tasks(counters).await;
        counters.series.log_losses(None);
        let left = counters.abandoned.get() + counters.unfinished();
        log_stopped(left);
        if failed || left > 0 || !in_time {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }

    /// Waits for a signal, or for the end of a task; returns true if a task ended that should not.
    async fn wait_for_stop(
        &mut self,
        signals: &mut ShutdownSignals,
        limit: Duration,
        counters: &ProcessCounters,
    ) -> bool {
        let ended = tokio::select! {
            signal = signals.next() => {
                log_stopping(signal, counters.unfinished(), limit);
                return false;
            }
            Some(ended) = self.accepting.next_ended() => ended,
            Some(ended) = self.delivering.next_ended() => ended,
            Some(ended) = self.answering.next_ended() => ended,
        };
        tracing::error!(
            task = ended.name,
            panicked = ended.panicked,
            "A task ended that should not, stopping"
        );
        true
    }

    /// Stops accepting, then delivers what was accepted. Returns true if that ended by itself,
    /// before the limit and before another signal.
    async fn drain(&mut self, signals: &mut ShutdownSignals, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let (accepting, delivering, drained) =
            (&mut self.accepting, &mut self.delivering, &self.drained);
        let orderly = async {
            // Listeners end first, since each brings new events. Their last requests may wait for
            // deliveries, which go on until then.
            if let Some(served) = &self.served_until_quiet {
                wait_until_quiet(served, limit / 2).await;
            }
            self.stop_accepting.cancel();
            accepting.all_ended().await;
            drained.cancel();
            delivering.all_ended().await;
        };
        tokio::select! {
            () = orderly => true,
            () = tokio::time::sleep_until(deadline) => {
                tracing::warn!(?limit, "Time to drain is up");
                self.stop_accepting.cancel();
                false
            }
            signal = signals.next() => {
                tracing::warn!(signal, "Told again, stopping at once");
                self.stop_accepting.cancel();
                false
            }
        }
    }

    /// Aborts the tasks that are left. Deliveries come first, so that the senders that wait for
    /// them can be answered.
    async fn end_remaining_tasks(&mut self, counters: &ProcessCounters) {
        self.delivering.abort().await;
        // Aborted deliveries let go of their events one after the other.
        let let_go = async {
            while counters.unfinished() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if !ends_in_time(let_go).await {
            tracing::debug!("Some deliveries have not been let go of");
        }
        // The senders that waited for aborted deliveries get their responses now.
        if !ends_in_time(self.accepting.all_ended()).await {
            tracing::debug!("Some senders did not take their answers");
        }
        self.accepting.abort().await;
        // The last stage has to outlive the others: it acknowledges messages, sends spans and
        // answers probes.
        self.answering_stop.cancel();
        if !ends_in_time(self.answering.all_ended()).await {
            tracing::debug!("Some acknowledgements, or answers of the admin port, were given up");
        }
        self.answering.abort().await;
    }
}

/// Waits for the end of what a stage has left; returns false if that takes too long.
async fn ends_in_time(end: impl Future<Output = ()>) -> bool {
    tokio::time::timeout(STAGE_END_LIMIT, end).await.is_ok()
}

fn log_stopping(signal: &str, deliveries: u64, limit: Duration) {
    tracing::info!(
        signal,
        deliveries,
        at_most = ?limit,
        "Stopping: requests and deliveries that have begun are waited for; \
         another Ctrl-C or SIGTERM ends them at once"
    );
}

fn log_stopped(left: u64) {
    if left > 0 {
        tracing::error!(
            left,
            "Stopped with deliveries left: those that were acknowledged are lost"
        );
    } else {
        tracing::info!(left, "Stopped");
    }
}

/// Waits until no more requests come, since a cluster goes on sending until everybody in it knows
/// of the stop (contract 1.12); not longer than `limit`.
async fn wait_until_quiet(served: &ServedRequests, limit: Duration) {
    let started = Instant::now();
    let (mut count, mut since) = (served.count(), started);
    let is_over = |since: Instant| started.elapsed() >= MIN_QUIET_WAIT && since.elapsed() >= QUIET;
    while started.elapsed() < limit && !is_over(since) {
        tokio::time::sleep(QUIET_POLL).await;
        if count != served.count() {
            (count, since) = (served.count(), Instant::now());
        }
    }
}
