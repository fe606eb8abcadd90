//! What queues on disk hold, as metrics and the status page show it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::log::LogQueueCounts;
use super::queue::DiskQueue;
use super::queue_table::SharedQueueTable;

/// Period in which gauges are brought up to date.
const PERIOD: Duration = Duration::from_secs(1);

/// Brings the gauges of all queues up to date until the end.
pub(super) async fn keep_current(table: SharedQueueTable, ending: CancellationToken) {
    let mut period = tokio::time::interval(PERIOD);
    while ending.run_until_cancelled(period.tick()).await.is_some() {
        for open in table.queues() {
            if let Some(counts) = open.counts() {
                show(&open.queue, counts);
            }
            open.queue.log.recent.forget_gone();
        }
    }
}

/// Shows what the queue of a subscription holds.
pub(super) fn show(queue: &DiskQueue, counts: LogQueueCounts) {
    let LogQueueCounts {
        depth,
        parked,
        oldest,
        ..
    } = counts;
    // The worker counts those that it has; a wait for another attempt is no wait for the first.
    let elsewhere = counts.in_flight + counts.deferred;
    let ready = depth.saturating_sub(elsewhere as u64);
    queue
        .places
        .set(usize::try_from(depth).unwrap_or(usize::MAX));
    let series = &queue.series;
    series.ready.set(i64::try_from(ready).unwrap_or(i64::MAX));
    series
        .parked_now
        .set(i64::try_from(parked).unwrap_or(i64::MAX));
    series.set_oldest_stored(oldest);
}
