//! The log lines about a collector: at most one a minute of each kind.

use super::{ExportAnswer, ExportError, ExportResult, OtlpEndpoint};
use crate::telemetry::log_rate_limit::LogRateLimit;
use crate::wire_text::WireText;

/// The limits of lines about the collector of one signal.
#[derive(Default)]
pub(super) struct CollectorLog {
    failures: LogRateLimit,
    /// Whether the last line says that it fails.
    told_failing: bool,
    /// About answers by which it took only a part.
    rejections: LogRateLimit,
    /// About answers by which it took all, with a warning.
    warnings: LogRateLimit,
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
            Ok(answer) => {
                if std::mem::take(&mut self.told_failing) {
                    tracing::info!(endpoint = %endpoint.origin(), "The collector answers again");
                }
                self.log_answer(endpoint, what, &answer);
                true
            }
            Err(ExportError { reason, .. }) => {
                self.log_failure(endpoint, what, &reason);
                false
            }
        }
    }

    fn log_answer(&mut self, endpoint: &OtlpEndpoint, what: &'static str, answer: &ExportAnswer) {
        let (rejected, reason) = (answer.rejected, WireText::new(&answer.message));
        if rejected > 0 {
            if self.rejections.is_due() {
                tracing::warn!(
                    endpoint = %endpoint.origin(),
                    rejected,
                    %reason,
                    "{what} are rejected by the collector"
                );
            }
        } else if !answer.message.is_empty() && self.warnings.is_due() {
            tracing::warn!(
                endpoint = %endpoint.origin(),
                %reason,
                "{what} are taken by the collector, with a warning"
            );
        }
    }

    fn log_failure(&mut self, endpoint: &OtlpEndpoint, what: &'static str, reason: &str) {
        if self.failures.is_due() {
            self.told_failing = true;
            tracing::warn!(
                endpoint = %endpoint.origin(),
                reason,
                "{what} could not be sent and are dropped"
            );
        }
    }
}
