//! One line in the log when channels begin not to be served, and one when all of them are served
//! again.

use std::time::Duration;

use tokio::time::Instant;

use super::TroubleReport;
use crate::channel::trouble_reason::{TroubleReason, TroubleScope};

/// Time for which something is in trouble before it is logged; a shorter time is common, such as
/// that of a connection that is made again.
const BLINK: Duration = Duration::from_secs(1);
/// The same time for queues alone: a queue that is added is declared within it, and need not be
/// logged.
const DECLARING: Duration = Duration::from_secs(30);

/// Trouble that has been logged until now.
#[derive(Debug, Default)]
pub(crate) struct TroubleLog {
    /// Kind of trouble at the last report, and the time since when it has been the same.
    last_seen: Option<(TroubleKind, Instant)>,
    /// Kind of trouble that was logged last, and the time when the trouble began.
    last_logged: Option<(TroubleKind, Instant)>,
}

/// Kind of trouble; a change of the kind is logged anew.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TroubleKind {
    /// Every channel that is in trouble has this reason.
    Common(TroubleReason),
    /// Each queue has a reason of its own, or queues are being declared.
    PerQueue,
}

/// Change that was logged for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TroubleTransition {
    /// Channels are not served, since now or for a new reason.
    Begun,
    /// All channels are served again.
    Ended,
}

impl TroubleLog {
    /// Logs the changes since the last report; gives the change that was logged, if any.
    pub(crate) fn log_changes(&mut self, report: &TroubleReport<'_>) -> Option<TroubleTransition> {
        let now = Instant::now();
        let Some(kind) = trouble_kind(report) else {
            self.last_seen = None;
            let after = now.duration_since(self.last_logged.take()?.1);
            tracing::info!(?after, "All channels are served again");
            return Some(TroubleTransition::Ended);
        };
        // Another kind of trouble begins anew, and has to last before it is logged.
        let since = match &self.last_seen {
            Some((seen, since)) if *seen == kind => *since,
            _ => now,
        };
        self.last_seen = Some((kind.clone(), since));
        let logged = self.last_logged.as_ref();
        let is_logged = logged.is_some_and(|(logged, _)| *logged == kind);
        if is_logged || now.duration_since(since) < kind.log_delay() {
            return None;
        }
        log_trouble(report);
        // The end is logged with the time since the first trouble, whatever its kind.
        let begun = self.last_logged.take().map_or(since, |(_, begun)| begun);
        self.last_logged = Some((kind, begun));
        Some(TroubleTransition::Begun)
    }
}

impl TroubleKind {
    /// Time for which such a trouble has to last before it is logged.
    fn log_delay(&self) -> Duration {
        match self {
            Self::Common(_) => BLINK,
            Self::PerQueue => DECLARING,
        }
    }
}

fn trouble_kind(report: &TroubleReport<'_>) -> Option<TroubleKind> {
    if report.is_empty() {
        return None;
    }
    let common = report.common_reason().filter(|common| {
        common.scope != TroubleScope::UndeclaredQueue && report.count_undeclared().0 == 0
    });
    Some(common.map_or(TroubleKind::PerQueue, |common| {
        TroubleKind::Common(common.clone())
    }))
}

fn log_trouble(report: &TroubleReport<'_>) {
    let (unserved, channels) = report.count_channels();
    let summary = report.summary().unwrap_or_default();
    tracing::warn!(unserved, channels, summary, "Channels are not served");
}
