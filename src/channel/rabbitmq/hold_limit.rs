//! Limit of the time for which a message may be held unacknowledged. RabbitMQ closes the channel of
//! a consumer that holds one for longer than its consumer timeout, and delivers all messages of
//! that channel again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Part of the consumer timeout for which messages are held; the rest is for settling after an
/// attempt.
const PART: f64 = 0.75;
/// Text of RabbitMQ's error before the timeout that it has applied, in milliseconds.
const TIMEOUT_MARKER: &str = "Timeout value used: ";

/// Longest time for which a message is held; it only becomes shorter.
#[derive(Debug)]
pub(super) struct HoldLimit {
    millis: AtomicU64,
}

impl HoldLimit {
    /// Makes the limit for a RabbitMQ with this consumer timeout.
    pub(super) fn new(consumer_timeout: Duration) -> Self {
        Self {
            millis: AtomicU64::new(held_part(millis(consumer_timeout))),
        }
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::Acquire))
    }

    /// Learns the consumer timeout from RabbitMQ's reason for closing a channel. True if the limit
    /// is shorter now.
    pub(super) fn learn_consumer_timeout(&self, reason: &str) -> bool {
        let Some((_, told)) = reason.split_once(TIMEOUT_MARKER) else {
            return false;
        };
        let digits: String = told.chars().take_while(char::is_ascii_digit).collect();
        let Ok(timeout @ 1..) = digits.parse::<u64>() else {
            return false;
        };
        let limit = held_part(timeout);
        self.millis.fetch_min(limit, Ordering::AcqRel) > limit
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn held_part(millis: u64) -> u64 {
    u64::try_from(Duration::from_millis(millis).mul_f64(PART).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_is_learnt_from_what_rabbitmq_says() {
        let limit = HoldLimit::new(Duration::from_secs(1800));
        assert_eq!(limit.get(), Duration::from_secs(1350));
        for nothing in [
            "",
            "PRECONDITION_FAILED",
            "Timeout value used: 0 ms",
            "Timeout value used: soon",
        ] {
            assert!(!limit.learn_consumer_timeout(nothing), "{nothing}");
        }
        let told = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout \
             value used: 20000 ms. This timeout value can be configured";
        assert!(limit.learn_consumer_timeout(told) && !limit.learn_consumer_timeout(told));
        assert_eq!(limit.get(), Duration::from_secs(15));
        assert!(
            !limit.learn_consumer_timeout("Timeout value used: 30000 ms"),
            "a shorter one of another node holds"
        );
    }
}
