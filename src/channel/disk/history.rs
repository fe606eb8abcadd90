//! Points in what a log has retained.

use std::time::Duration;

use super::log::{ChannelLog, LogClock, LogError, Sequence, StandardClock};
use crate::model::HistoryPoint;

/// Sequence of the first event at a point or behind it; that of the next event to come if there is
/// none.
pub(super) async fn first_sequence(
    log: &ChannelLog,
    point: HistoryPoint,
) -> Result<Sequence, LogError> {
    match point {
        HistoryPoint::Earliest => log.first_since(0, 0).await,
        HistoryPoint::Time(time) => log.first_since(time, 0).await,
        HistoryPoint::Ago(ago) => log.first_since(time_ago(ago), 0).await,
        HistoryPoint::Position(0) => log.first_since(0, 0).await,
        HistoryPoint::Position(position) => log.first_since(0, position - 1).await,
    }
}

/// Time of the wall clock so long ago.
fn time_ago(ago: Duration) -> u64 {
    let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
    StandardClock::default().wall().saturating_sub(ago)
}
