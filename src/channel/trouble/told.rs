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
    seen: Option<(Kind, Instant)>,
    /// The kind of trouble that was told last, and when what was told began.
    told: Option<(Kind, Instant)>,
}

/// Kinds of trouble; another kind is told anew.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// All that are in trouble have the same reason.
    Common(TroubleReason),
    /// Queues have their own reasons.
    Queues,
}

/// What a look made the log say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Channels are not served.
    Begun,
    /// All of them are served again.
    Ended,
}

impl TroubleLog {
    /// Logs what is new since the last look; gives what that is.
    pub fn look(&mut self, report: &TroubleReport<'_>) -> Option<Told> {
        let now = Instant::now();
        let Some(kind) = kind(report) else {
            self.seen = None;
            let after = now.duration_since(self.told.take()?.1);
            tracing::info!(?after, "All channels are served again");
            return Some(Told::Ended);
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == kind => *since,
            _ => now,
        };
        let patience = if matches!(kind, Kind::Common(_)) { BLINK } else { DECLARING };
        let is_told = self.told.as_ref().is_some_and(|(told, _)| *told == kind);
        self.seen = Some((kind.clone(), since));
        if is_told || now.duration_since(since) < patience {
            return None;
        }
        tell(report);
        let begun = self.told.take().map_or(since, |(_, begun)| begun);
        self.told = Some((kind, begun));
        Some(Told::Begun)
    }
}

fn kind(report: &TroubleReport<'_>) -> Option<Kind> {
    if report.is_empty() {
        return None;
    }
    let common = report.common().filter(|common| **common != TroubleReason::NotDeclared && report.undeclared().0 == 0);
    Some(common.map_or(Kind::Queues, |common| Kind::Common(common.clone())))
}

fn tell(report: &TroubleReport<'_>) {
    let (unserved, channels) = report.channels();
    let summary = report.summary().unwrap_or_default();
    tracing::warn!(unserved, channels, summary, "Channels are not served");
}
