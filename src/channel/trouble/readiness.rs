//! Readiness of a process whose channels may be on a backend that may be away: it depends on what
//! the process can serve.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::TroubleReport;

/// Time for which a process that has other channels, too, waits for a backend that is
/// away at its start.
const WAIT: Duration = Duration::from_secs(10);
/// Time that queues may take to be declared at the start, before those that are declared are served
/// without the others.
const DECLARING: Duration = Duration::from_secs(30);

/// Judges trouble reports. It remembers earlier ones, since a process that has been ready stays so
/// as long as it serves anything.
#[derive(Debug, Default)]
pub(crate) struct ServiceReadiness(Mutex<ReadinessHistory>);

#[derive(Debug, Default)]
struct ReadinessHistory {
    first_judged: Option<Instant>,
    connected_since: Option<Instant>,
    was_ready: bool,
}

/// Decision on readiness that follows from a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadinessDecision {
    /// The process should get no traffic; holds what is missing, in words.
    Missing(String),
    /// The process should get traffic.
    Ready,
}

impl ServiceReadiness {
    /// Judges by what is served now. To be called once the configuration has been applied, and from
    /// time to time after that.
    pub(crate) fn judge(&self, report: &TroubleReport<'_>) -> ReadinessDecision {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match memory.find_missing(report, Instant::now()) {
            Some(missing) => ReadinessDecision::Missing(missing),
            None => ReadinessDecision::Ready,
        }
    }
}

impl ReadinessHistory {
    fn find_missing(&mut self, report: &TroubleReport<'_>, now: Instant) -> Option<String> {
        self.first_judged.get_or_insert(now);
        if let Some(failure) = report.failure() {
            return Some(failure.to_string());
        }
        self.connected_since = if report.outage().is_some() {
            None
        } else {
            self.connected_since.or(Some(now))
        };
        let missing = if self.was_ready {
            report.why_nothing_is_served()
        } else {
            self.find_missing_at_start(report, now)
        };
        self.was_ready |= missing.is_none();
        missing
    }

    fn find_missing_at_start(&self, report: &TroubleReport<'_>, now: Instant) -> Option<String> {
        let longer = |since: Option<Instant>, limit| {
            since.is_some_and(|since| now.duration_since(since) >= limit)
        };
        // A backend is waited for a while, then other channels are served without it.
        if let Some(outage) = report.outage()
            && !longer(self.first_judged, WAIT)
        {
            return Some(outage.to_string());
        }
        // Queues are declared in turn, for which all senders wait a while.
        let (undeclared, queues) = report.count_undeclared();
        let (unserved, channels) = report.count_channels();
        if undeclared > 0 && (unserved == channels || !longer(self.connected_since, DECLARING)) {
            return Some(format!(
                "{undeclared} of {queues} queues on {} are not declared yet",
                report.backend_names()
            ));
        }
        report.why_nothing_is_served()
    }
}
