//! The log lines about a collector: at most one a minute while it fails.

use super::{ExportError, ExportResult, OtlpEndpoint};
use crate::telemetry::log_rate_limit::LogRateLimit;

/// The limit of lines about failures of the collector, since it answered last.
#[derive(Default)]
pub(super) struct CollectorLog {
    failures: LogRateLimit,
}

impl CollectorLog {
    /// Logs a failure, at most once a minute, and the first success after it; returns true for a
    /// success.
    pub(super) fn log_result(
        &mut self,
        endpoint: &OtlpEndpoint,
        what: &'static str,
        sent: ExportResult,
    ) -> bool {
        match sent {
            Ok(()) => {
                if self.failures.reset() {
                    tracing::info!(endpoint = %endpoint.origin(), "The collector answers again");
                }
                true
            }
            Err(ExportError { reason, .. }) => {
                self.log_failure(endpoint, what, &reason);
                false
            }
        }
    }

    fn log_failure(&mut self, endpoint: &OtlpEndpoint, what: &'static str, reason: &str) {
        if self.failures.is_due() {
            tracing::warn!(
                endpoint = %endpoint.origin(),
                reason,
                "{what} could not be sent and are dropped"
            );
        }
    }
}
