//! The timings of the Lease: the defaults, or those of `config-leader-election` (contract 2.21,
//! 3.8), which are Go durations.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::read::go_duration::parse_go_duration;

/// The timings of an election, each longer than the one below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseTimings {
    /// The time that others wait after the last renewal before they take over.
    pub(super) lease_duration: Duration,
    /// The time for which the holder tries to renew before it stops writing.
    pub(super) renew_deadline: Duration,
    /// The wait between two looks at the Lease.
    pub(super) retry_period: Duration,
}

impl Default for LeaseTimings {
    /// With these times, a crash is noticed after three seconds at least and less than five at
    /// most.
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(3),
            renew_deadline: Duration::from_secs(2),
            retry_period: Duration::from_millis(800),
        }
    }
}

impl LeaseTimings {
    /// Reads the timings from the data of a ConfigMap. Times that cannot be read, or do not fit
    /// together, are replaced by the defaults, with a warning.
    pub(super) fn from_config_map(data: &BTreeMap<String, String>) -> Self {
        let time = |key| read_time(data, key);
        let default = Self::default();
        let read = Self {
            lease_duration: time("lease-duration").unwrap_or(default.lease_duration),
            renew_deadline: time("renew-deadline").unwrap_or(default.renew_deadline),
            retry_period: time("retry-period").unwrap_or(default.retry_period),
        };
        // The Lease holds its duration in whole seconds.
        let whole = read.lease_duration.as_secs() >= 1;
        if whole
            && read.lease_duration > read.renew_deadline
            && read.renew_deadline > read.retry_period
        {
            return read;
        }
        tracing::warn!(
            ?read,
            "config-leader-election: lease-duration > renew-deadline > retry-period does not hold"
        );
        default
    }
}

/// The time of a key; `None` if there is none, or it cannot be read, which is logged.
fn read_time(data: &BTreeMap<String, String>, key: &str) -> Option<Duration> {
    let text = data.get(key)?;
    let time = parse_go_duration(text).filter(|time| !time.is_zero());
    if time.is_none() {
        tracing::warn!(
            key,
            text,
            "config-leader-election: no duration, such as 15s"
        );
    }
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 2.21, 2.22, 3.8.
    #[test]
    fn explicit_times_count_if_they_go_together() {
        let read = |entries: &[(&str, &str)]| {
            LeaseTimings::from_config_map(
                &entries
                    .iter()
                    .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
                    .collect(),
            )
        };
        assert_eq!(read(&[]), LeaseTimings::default());
        assert!(
            LeaseTimings::default().lease_duration
                + LeaseTimings::default().retry_period.mul_f64(1.2)
                < Duration::from_secs(5)
        );
        let upstream = read(&[
            ("lease-duration", "60s"),
            ("renew-deadline", "40s"),
            ("retry-period", "10s"),
        ]);
        assert_eq!(
            (
                upstream.lease_duration.as_secs(),
                upstream.retry_period.as_secs()
            ),
            (60, 10)
        );
        assert_eq!(read(&[("lease-duration", "1s")]), LeaseTimings::default());
        assert_eq!(read(&[("retry-period", "soon")]), LeaseTimings::default());
    }
}
