//! Takes the numbers of subscriptions into their histories as time passes.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::telemetry::counters::ProcessCounters;

/// Interval of the samples: a minute shows the greatest of a dozen.
const PERIOD: Duration = Duration::from_secs(5);

/// Samples until the stop.
pub(super) async fn run(counters: Arc<ProcessCounters>, stop: CancellationToken) {
    let mut period = tokio::time::interval(PERIOD);
    while stop.run_until_cancelled(period.tick()).await.is_some() {
        let minute = OffsetDateTime::now_utc().unix_timestamp() / 60;
        counters
            .series
            .sample_history(u64::try_from(minute).unwrap_or_default());
    }
}
