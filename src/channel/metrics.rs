//! Names under which subscriptions and channels are counted.

use std::sync::Arc;

use crate::model::{ChannelKey, SubscriptionKey};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{ChannelSeries, SeriesKey, SubscriptionSeries};

/// Counters of a subscription. The lookup takes a lock: it is for applying configuration, not for
/// each event.
#[must_use]
pub(crate) fn subscription_series(
    counters: &ProcessCounters,
    key: &SubscriptionKey,
) -> Arc<SubscriptionSeries> {
    let SubscriptionKey {
        kind,
        namespace,
        name,
    } = key;
    counters.series.subscription(&SeriesKey {
        kind: kind.as_str(),
        namespace: namespace.as_str().into(),
        name: name.as_str().into(),
    })
}

/// Counters of a channel or Broker. The lookup takes a lock: it is for applying configuration, not
/// for each event.
#[must_use]
pub(crate) fn channel_series(counters: &ProcessCounters, key: &ChannelKey) -> Arc<ChannelSeries> {
    let ChannelKey {
        kind,
        namespace,
        name,
    } = key;
    counters.series.channel(&SeriesKey {
        kind: kind.as_str(),
        namespace: namespace.as_str().into(),
        name: name.as_str().into(),
    })
}
