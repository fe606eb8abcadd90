//! One line of the log when channels begin to be not served, and one when all of them are served again.

use std::time::Duration;

use tokio::time::Instant;

use super::{TroubleReason, TroubleReport};

/// How long something is in trouble before that is told: shorter is a blink, such as a connection that is made again.
const BLINK: Duration = Duration::from_secs(1);
/// The same for queues alone: one that is added is declared within this time, and nobody needs to hear of that.
const DECLARING: Duration = Duration::from_secs(30);

/// What has been told of reports until now.
#[derive(Debug, Default)]
pub struct TroubleLog {
    /// The kind of trouble at the last look, and since when.
    last_seen: Option<(TroubleKind, Instant)>,
    /// The kind of trouble that was told last, and when what was told began.
    last_logged: Option<(TroubleKind, Instant)>,
}

/// Kinds of trouble; another kind is told anew.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TroubleKind {
    /// All that are in trouble have the same reason.
    Common(TroubleReason),
    /// Queues have their own reasons.
    PerQueue,
}

/// What a look made the log say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleTransition {
    /// Channels are not served.
    Begun,
    /// All of them are served again.
    Ended,
}

impl TroubleLog {
    /// Logs what is new since the last look; gives what that is.
    pub fn log_changes(&mut self, report: &TroubleReport<'_>) -> Option<TroubleTransition> {
        let now = Instant::now();
        let Some(kind) = trouble_kind(report) else {
            self.last_seen = None;
            let after = now.duration_since(self.last_logged.take()?.1);
            tracing::info!(?after, "All channels are served again");
            return Some(TroubleTransition::Ended);
        };
        let since = match &self.last_seen {
            Some((seen, since)) if *seen == kind => *since,
            _ => now,
        };
        let patience = if matches!(kind, TroubleKind::Common(_)) { BLINK } else { DECLARING };
        let is_told = self.last_logged.as_ref().is_some_and(|(told, _)| *told == kind);
        self.last_seen = Some((kind.clone(), since));
        if is_told || now.duration_since(since) < patience {
            return None;
        }
        log_trouble(report);
        let begun = self.last_logged.take().map_or(since, |(_, begun)| begun);
        self.last_logged = Some((kind, begun));
        Some(TroubleTransition::Begun)
    }
}

fn trouble_kind(report: &TroubleReport<'_>) -> Option<TroubleKind> {
    if report.is_empty() {
        return None;
    }
    let common = report
        .common_reason()
        .filter(|common| **common != TroubleReason::NotDeclared && report.count_undeclared().0 == 0);
    Some(common.map_or(TroubleKind::PerQueue, |common| TroubleKind::Common(common.clone())))
}

fn log_trouble(report: &TroubleReport<'_>) {
    let (unserved, channels) = report.count_channels();
    let summary = report.summary().unwrap_or_default();
    tracing::warn!(unserved, channels, summary, "Channels are not served");
}
