//! The family of the series of channels and Brokers.

use std::sync::Arc;

use super::labels::object_labels;
use super::points::push_used;
use crate::telemetry::metric_family::MetricFamily;
use crate::telemetry::series::channel_series::ChannelSeries;

/// The names of the labels that name a channel or Broker.
const CHANNEL: [&str; 3] = ["channel_kind", "channel_namespace", "channel_name"];

/// Makes the family of the events that were sent to channels.
pub(super) fn channel_family(channels: &[Arc<ChannelSeries>]) -> MetricFamily<'static> {
    let mut events = MetricFamily::new(
        "sealpost_channel_events",
        "Events for a channel or broker, by what became of them",
    );
    for series in channels {
        let labels = object_labels(CHANNEL, &series.name);
        push_used(&mut events, &labels, "result", series.arrivals.labelled());
    }
    events
}
