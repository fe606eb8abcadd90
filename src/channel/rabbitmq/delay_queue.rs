//! Delay queues, in which events wait for their next attempt, or for a queue that does not answer.
//! There is one for each power of two seconds.

use std::time::Duration;

/// Powers of two of the seconds for which events can be delayed: 4 s, 8 s, up to 18 hours.
const DELAYS: std::ops::RangeInclusive<u32> = 2..=16;

/// Waits of diverted events; each has a delay queue of its own.
pub(super) const DIVERSION_DELAYS: [Duration; 3] = [
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

/// Delay in seconds for a wait in seconds: the longest delay that is not longer, and 4 s at least.
pub(super) fn delay_seconds(seconds: u64) -> u64 {
    DELAYS
        .rev()
        .map(|power| 1u64 << power)
        .find(|delay| *delay <= seconds)
        .unwrap_or(1 << DELAYS.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_powers_of_two() {
        for (seconds, delay) in [
            (0, 4),
            (4, 4),
            (7, 4),
            (8, 8),
            (60, 32),
            (3600, 2048),
            (1_000_000, 65_536),
        ] {
            assert_eq!(delay_seconds(seconds), delay, "{seconds}");
        }
    }
}
