//! Schedule of the retries of a delivery: the statuses that allow one, and the waits. Functions are
//! pure; sleeping happens in `destination_send`.

use std::time::{Duration, SystemTime};

use backoff::backoff::Backoff;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::model::{BackoffPolicy, DeliverySpec};

/// Limit of every wait, whatever a schedule multiplies to.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Meaning of a response's status (contract ).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryVerdict {
    /// The event was taken by the destination.
    Success,
    /// The event may be taken later, so it is sent again.
    Retry,
    /// The event will never be taken, so it is not sent again.
    Refused,
}

/// Judges the status of a response.
pub(super) fn judge_status(status: StatusCode) -> RetryVerdict {
    match status.as_u16() {
        200..=299 => RetryVerdict::Success,
        404 | 408 | 409 | 429 | 500.. => RetryVerdict::Retry,
        _ => RetryVerdict::Refused,
    }
}

/// Wait that a response asks for: only with 429 and 503, only if the delivery spec sets
/// `retryAfterMax`, and never longer than that (contract DP-19). Both forms of the header are read;
/// a past date or nonsense asks for nothing.
pub(super) fn retry_after(
    status: StatusCode,
    headers: &HeaderMap,
    spec: &DeliverySpec,
    now: SystemTime,
) -> Option<Duration> {
    let max = spec.retry_after_max.filter(|max| !max.is_zero())?;
    if !matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .ok()?,
    };
    Some(asked.min(max))
}

/// Waits before the retries that a delivery spec allows (contract DP-16, DP-17), as a [`Backoff`].
#[derive(Clone, Debug)]
pub(super) struct RetrySchedule {
    retries: u32,
    policy: Option<BackoffPolicy>,
    delay: Duration,
    longest: Duration,
    jitter: f64,
    attempts_made: u32,
}

impl RetrySchedule {
    /// Makes the schedule of a delivery spec. `jitter` is the part of each wait that is left to
    /// chance, from 0 to 1.
    pub(super) fn new(spec: &DeliverySpec, jitter: f64) -> Self {
        Self {
            retries: spec.retry,
            policy: spec.backoff_policy,
            delay: spec.backoff_delay.unwrap_or_default(),
            longest: spec.backoff_max.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT),
            jitter: jitter.clamp(0.0, 1.0),
            attempts_made: 0,
        }
    }

    /// Continues the schedule after this number of attempts.
    pub(super) fn after_attempts(self, attempts: u32) -> Self {
        Self {
            attempts_made: attempts,
            ..self
        }
    }

    /// Number of attempts made until now.
    pub(super) fn attempts_made(&self) -> u32 {
        self.attempts_made
    }

    /// Number of attempts made when the last wait that was handed out is over.
    pub(super) fn attempts_after_wait(&self) -> u32 {
        self.attempts_made.saturating_add(1)
    }

    /// Wait before retry `n`, counted from 1, before chance shortens it.
    fn wait_before_retry(&self, n: u32) -> Duration {
        let steps = n.saturating_sub(1);
        let wait = match self.policy {
            None => Duration::ZERO,
            Some(BackoffPolicy::Linear) => self.delay.saturating_mul(steps),
            Some(BackoffPolicy::Exponential) => {
                self.delay.saturating_mul(2u32.saturating_pow(steps))
            }
        };
        wait.min(self.longest)
    }
}

impl Backoff for RetrySchedule {
    fn reset(&mut self) {
        self.attempts_made = 0;
    }

    fn next_backoff(&mut self) -> Option<Duration> {
        if self.attempts_made >= self.retries {
            return None;
        }
        self.attempts_made += 1;
        let kept = 1.0 - self.jitter * fastrand::f64();
        Some(
            self.wait_before_retry(self.attempts_made)
                .mul_f64(kept.clamp(0.0, 1.0)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    /// Contract, DP-15.
    #[test]
    fn statuses() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(
                judge_status(StatusCode::from_u16(status).expect("a status")),
                RetryVerdict::Success,
                "{status}"
            );
        }
        for status in [404, 408, 409, 429, 500, 501, 502, 503, 504, 599, 600, 999] {
            assert_eq!(
                judge_status(StatusCode::from_u16(status).expect("a status")),
                RetryVerdict::Retry,
                "{status}"
            );
        }
        for status in [
            100, 101, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 405, 410, 413, 422, 425,
            431, 499,
        ] {
            assert_eq!(
                judge_status(StatusCode::from_u16(status).expect("a status")),
                RetryVerdict::Refused,
                "{status}"
            );
        }
    }

    fn waits(spec: &DeliverySpec) -> Vec<u128> {
        let mut schedule = RetrySchedule::new(spec, 0.0);
        std::iter::from_fn(|| schedule.next_backoff())
            .map(|wait| wait.as_millis())
            .collect()
    }

    /// Contract DP-16, DP-17, W-10; sub-second delays are exact (unlike contract DP-18).
    #[test]
    fn schedules() {
        let spec = |retry, policy, delay| DeliverySpec {
            retry,
            backoff_policy: policy,
            backoff_delay: Some(Duration::from_millis(delay)),
            ..DeliverySpec::default()
        };
        assert_eq!(waits(&DeliverySpec::default()), Vec::<u128>::new());
        assert_eq!(
            waits(&spec(4, Some(BackoffPolicy::Linear), 200)),
            [0, 200, 400, 600]
        );
        assert_eq!(
            waits(&spec(4, Some(BackoffPolicy::Exponential), 200)),
            [200, 400, 800, 1600]
        );
        assert_eq!(
            waits(&spec(3, Some(BackoffPolicy::Exponential), 50)),
            [50, 100, 200]
        );
        assert_eq!(waits(&spec(2, None, 200)), [0, 0]);
        let capped = DeliverySpec {
            backoff_max: Some(Duration::from_millis(500)),
            ..spec(4, Some(BackoffPolicy::Exponential), 200)
        };
        assert_eq!(waits(&capped), [200, 400, 500, 500]);
    }

    /// Contract DP-19, W-10.
    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let date = |seconds: u64| httpdate::fmt_http_date(now + Duration::from_secs(seconds));
        let (five, hundred) = (date(5), date(100));
        let ten = Some(10);
        for (status, header, max, expected) in [
            (429, "1", ten, Some(1)),
            (503, "1", ten, Some(1)),
            (500, "1", ten, None),
            (429, "1", None, None),
            (429, "1", Some(0), None),
            (429, "100", ten, Some(10)),
            (429, "-1", ten, None),
            (429, "soon", ten, None),
            (429, five.as_str(), ten, Some(5)),
            (503, hundred.as_str(), ten, Some(10)),
            (503, "Sunday, 06-Nov-94 08:49:37 GMT", ten, None),
            (503, "99999999999999999999999", ten, None),
        ] {
            let spec = DeliverySpec {
                retry_after_max: max.map(Duration::from_secs),
                ..DeliverySpec::default()
            };
            let headers = HeaderMap::from_iter([(
                RETRY_AFTER,
                HeaderValue::from_str(header).expect("a value"),
            )]);
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(
                retry_after(status, &headers, &spec, now),
                expected.map(Duration::from_secs),
                "{status} {header} {max:?}"
            );
        }
    }

    proptest! {
        /// Contract G-30: no overflow to an immediate retry, no panic, never more retries than
        /// allowed.
        #[test]
        fn schedules_are_total(
            retry in 0u32..200,
            exponential in any::<bool>(),
            delay in any::<u64>(),
            max in proptest::option::of(any::<u64>()),
            jitter in -1.0f64..2.0,
        ) {
            let spec = DeliverySpec {
                retry,
                backoff_policy: Some(if exponential { BackoffPolicy::Exponential } else { BackoffPolicy::Linear }),
                backoff_delay: Some(Duration::from_millis(delay)),
                backoff_max: max.map(Duration::from_millis),
                ..DeliverySpec::default()
            };
            let exact = waits(&spec);
            prop_assert_eq!(exact.len(), retry as usize);
            prop_assert!(exact.is_sorted());
            let mut schedule = RetrySchedule::new(&spec, jitter);
            let jittered: Vec<_> = std::iter::from_fn(|| schedule.next_backoff()).collect();
            prop_assert!(jittered.iter().zip(&exact).all(|(a, b)| a.as_millis() <= *b));
        }
    }
}
