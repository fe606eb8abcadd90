//! How many events may be sent now: so many at once, then one after the other.

use std::time::Duration;

use tokio::time::Instant;

/// Events that may be sent at once after a silence.
pub(super) const BURST: u32 = 30;
/// Time after which one more may be sent.
const PER_EVENT: Duration = Duration::from_secs(1);

/// The allowance: one more event each second, and [`BURST`] at most.
#[derive(Debug)]
pub(super) struct RateAllowance {
    left: u32,
    /// The time up to which `left` was counted.
    counted: Instant,
}

impl RateAllowance {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            counted: now,
        }
    }

    /// Takes one; false if there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && now.saturating_duration_since(self.counted) >= PER_EVENT {
            self.counted += PER_EVENT;
            self.left += 1;
        }
        if self.left >= BURST {
            self.counted = now;
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_a_second() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut allowance = RateAllowance::new(start);
        let mut taken = |seconds| (0..100).filter(|_| allowance.take(at(seconds))).count();
        assert_eq!(taken(0), 30);
        assert_eq!(taken(1), 1);
        assert_eq!(taken(11), 10);
        assert_eq!(taken(1000), 30);
        assert_eq!(taken(1000), 0);
    }
}
