//! Rate at which a replay sends, and the time that it takes of the processor.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

/// Part of a second for which sending may lag behind and catch up.
const CATCH_UP: f64 = 0.02;

/// Rate of one replay.
pub(super) struct SendRate {
    per_second: f64,
    /// Events that may be sent now.
    tokens: f64,
    counted: Instant,
    /// Time that was spent since others had their turn.
    spent: Duration,
}

impl SendRate {
    pub(super) fn new(rate: NonZeroU32) -> Self {
        Self {
            per_second: f64::from(rate.get()),
            tokens: 1.0,
            counted: Instant::now(),
            spent: Duration::ZERO,
        }
    }

    /// Number of events that may be sent now.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between zero and a small number"
    )]
    pub(super) fn allowed(&mut self) -> usize {
        let now = Instant::now();
        let since = now.duration_since(self.counted).as_secs_f64();
        self.counted = now;
        let most = (self.per_second * CATCH_UP).max(1.0);
        self.tokens = (self.tokens + since * self.per_second).min(most);
        self.tokens.max(0.0) as usize
    }

    /// Time until the next event may be sent.
    pub(super) fn wait(&self) -> Duration {
        Duration::from_secs_f64((1.0 - self.tokens).max(0.0) / self.per_second)
    }

    pub(super) fn count_sent(&mut self) {
        self.tokens -= 1.0;
    }

    /// Counts time that was spent on events.
    pub(super) fn spend(&mut self, time: Duration) {
        self.spent = self.spent.saturating_add(time);
    }

    /// True if so much time was spent that others should have their turn.
    pub(super) fn is_turn_over(&self, turn: Duration) -> bool {
        self.spent >= turn
    }

    /// Begins a new turn; gives the time that was spent in the last one.
    pub(super) fn take_turn(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_is_sent_than_the_rate_allows() {
        for per_second in [1, 50, 1000] {
            let mut rate = SendRate::new(NonZeroU32::new(per_second).expect("a rate"));
            let begin = Instant::now();
            let mut sent: usize = 0;
            while begin.elapsed() < Duration::from_secs(10) {
                let allowed = rate.allowed();
                (0..allowed).for_each(|_| rate.count_sent());
                sent += allowed;
                let wait = rate.wait().max(Duration::from_millis(2));
                tokio::time::sleep(wait).await;
            }
            let expected = per_second as usize * 10;
            assert!(
                (expected * 9 / 10..=expected * 11 / 10 + 1).contains(&sent),
                "{per_second}: {sent}"
            );
        }
    }
}
