//! The log of configurations: how many objects they hold, and the problems that were not there
//! before.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{error, info, warn};

use crate::control::read::problem::{Problem, Severity};
use crate::control::resolve::Resolution;
use crate::model::{ChannelKind, SubscriptionKind};

/// The problems of the last resolution, which have been logged already.
#[derive(Debug, Default)]
pub(super) struct ProblemLog(HashSet<Problem>);

impl ProblemLog {
    /// Logs the number of configured objects, and the problems that were not there before.
    pub(super) fn log_resolution(&mut self, resolution: &Resolution) {
        for problem in resolution
            .problems
            .iter()
            .filter(|problem| !self.0.contains(problem))
        {
            match problem.severity {
                Severity::Error => error!(%problem, "Configuration has an error"),
                Severity::Warning => warn!(%problem, "Configuration is doubtful"),
                Severity::Note => info!(%problem, "Configuration has a remark"),
            }
        }
        self.0 = resolution.problems.iter().cloned().collect();
        let channels = resolution.table.channels();
        let of = |kind: ChannelKind| {
            channels
                .iter()
                .filter(|channel| channel.key.kind == kind)
                .count()
        };
        let all = || channels.iter().flat_map(|channel| &channel.subscriptions);
        let triggers = all()
            .filter(|subscription| subscription.key.kind == SubscriptionKind::Trigger)
            .count();
        let relays = resolution.table.relays();
        info!(
            transport_encryption = resolution.table.transport_encryption().as_str(),
            channels = of(ChannelKind::Channel),
            brokers = of(ChannelKind::Broker) + relays.brokers.len(),
            subscriptions = all().count() - triggers,
            triggers = triggers + relays.triggers.len(),
            errors = resolution
                .problems
                .iter()
                .filter(|problem| problem.is_error())
                .count(),
            "Configuration read"
        );
    }
}

/// The time now, in seconds since the epoch.
pub(super) fn epoch_seconds() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
