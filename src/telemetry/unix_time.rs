//! The time of this machine as OpenTelemetry counts it.

use time::OffsetDateTime;

/// Returns the time in nanoseconds since the epoch, until the year 2554.
pub(super) fn unix_nanos() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos()).unwrap_or_default()
}
