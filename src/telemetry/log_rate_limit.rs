//! Limits log lines about a condition that lasts: one when it begins, then one a minute.

use std::time::Duration;

use tokio::time::Instant;

/// Time from one line about a lasting condition to the next.
const PAUSE: Duration = Duration::from_secs(60);

/// Decides which of many lines about the same condition are written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogRateLimit(Option<Instant>);

impl LogRateLimit {
    /// Returns true if a line is due now, which then counts as written.
    pub(crate) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self
            .0
            .is_none_or(|told| now.saturating_duration_since(told) >= PAUSE);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }

    /// Records that the condition is over; returns true if it was logged. The next line is due at
    /// once.
    pub(crate) fn reset(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_is_told_once_a_minute() {
        let mut sparing = LogRateLimit::default();
        assert!(!sparing.reset(), "nothing was told");
        let mut told = 0;
        for _second in 0..150 {
            told += u32::from(sparing.is_due());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(told, 3);
        assert!(
            sparing.reset() && sparing.is_due(),
            "the next one is another"
        );
    }
}
