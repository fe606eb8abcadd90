//! The time limit of an exchange, and the notice that one takes long.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::TransportError;

/// Deadline of a request without a time limit, for `timeout`s that do not fit into an `Instant`: 30
/// years.
const NO_DEADLINE: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
/// Time after which an exchange takes long.
const SLOW: Duration = Duration::from_secs(1);

/// The time by which an exchange has to end, and the time limit that it was made from, for errors.
#[derive(Clone, Copy)]
pub(crate) struct RequestDeadline {
    began: Instant,
    pub(super) at: Instant,
    timeout: Duration,
}

impl RequestDeadline {
    /// The deadline of an exchange that begins now.
    pub(crate) fn within(timeout: Duration) -> Self {
        let began = Instant::now();
        Self {
            began,
            at: began.checked_add(timeout).unwrap_or(began + NO_DEADLINE),
            timeout,
        }
    }

    /// When the exchange began.
    pub(crate) fn began(self) -> Instant {
        self.began
    }

    pub(super) fn timed_out(self) -> TransportError {
        TransportError::Timeout {
            after: self.timeout,
        }
    }

    /// Waits for what ends before the deadline; `when_slow` is called if it takes more than a
    /// second. What does not has one timer, as it would have without that. The caller pins it, so
    /// that its future has one place.
    ///
    /// # Errors
    /// If it has not ended by the deadline.
    pub(crate) async fn watch<T>(
        self,
        mut exchange: Pin<&mut impl Future<Output = T>>,
        when_slow: impl FnOnce(),
    ) -> Result<T, TransportError> {
        let slow_at = self.began + SLOW;
        if slow_at < self.at {
            match timeout_at(slow_at, exchange.as_mut()).await {
                Ok(ended) => return Ok(ended),
                Err(_elapsed) => when_slow(),
            }
        }
        let ended = timeout_at(self.at, exchange).await;
        ended.map_err(|_elapsed| self.timed_out())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_told_once_and_ends_in_time() {
        for (takes, timeout, is_slow, ends) in [
            (900, 5000, false, true),
            (1100, 5000, true, true),
            (900, 500, false, false),
            (6000, 5000, true, false),
        ] {
            let mut told = 0;
            let began = Instant::now();
            let exchange = pin!(tokio::time::sleep(Duration::from_millis(takes)));
            let deadline = RequestDeadline::within(Duration::from_millis(timeout));
            let ended = deadline.watch(exchange, || told += 1).await;
            assert_eq!((told, ended.is_ok()), (u32::from(is_slow), ends), "{takes}");
            let took = began.elapsed().as_millis();
            assert_eq!(took, u128::from(takes.min(timeout)), "{takes}");
        }
    }
}
