//! The families of durations that upstream has, too (contract OB-6, OB-7).

use std::sync::Arc;

use super::labels::{OwnedLabel, messaging_labels};
use super::points::push_durations;
use crate::telemetry::data_point::MetricValue;
use crate::telemetry::metric_family::MetricFamily;
use crate::telemetry::series::channel_series::ChannelSeries;
use crate::telemetry::series::relay_durations::RelayDurations;
use crate::telemetry::series::series_key::SeriesKey;
use crate::telemetry::series::subscription_series::SubscriptionSeries;

/// Makes the families of the durations of dispatching and processing.
pub(super) fn dispatch_families(
    channels: &[Arc<ChannelSeries>],
    subscriptions: &[Arc<SubscriptionSeries>],
) -> [MetricFamily<'static>; 2] {
    let mut families = DispatchFamilies::new();
    for series in subscriptions {
        let labels = messaging_labels(&series.messaging_destination);
        push_durations(
            &mut families.dispatched,
            &labels,
            &series.dispatch_durations,
        );
        families.push_relayed(&labels, series.relay_durations.get().map(Box::as_ref));
    }
    for series in channels {
        let labels = broker_labels(&series.name);
        families.push_relayed(&labels, series.relay_durations.get().map(Box::as_ref));
    }
    [families.dispatched, families.processed]
}

struct DispatchFamilies {
    dispatched: MetricFamily<'static>,
    processed: MetricFamily<'static>,
}

impl DispatchFamilies {
    fn new() -> Self {
        Self {
            dispatched: MetricFamily::new(
                "kn.eventing.dispatch.duration",
                "The last hop of each delivery, with its retries",
            ),
            processed: MetricFamily::new(
                "kn.eventing.process.duration",
                "From the arrival of an event to just before it is sent",
            ),
        }
    }

    /// Adds the durations of the relay roles, if there are any.
    fn push_relayed(&mut self, labels: &[OwnedLabel], relayed: Option<&RelayDurations>) {
        let Some(relayed) = relayed else { return };
        for (scheme, of) in [("http", &relayed.http), ("https", &relayed.https)] {
            let labels = [labels, &[("url.scheme", scheme.into())]].concat();
            push_durations(&mut self.dispatched, &labels, &of.dispatched);
            let histogram = of.processed.collect();
            if histogram.count() > 0 {
                self.processed
                    .push_point(&labels, MetricValue::DurationHistogram(histogram));
            }
        }
    }
}

fn broker_labels(broker: &SeriesKey) -> Vec<OwnedLabel> {
    let SeriesKey {
        kind,
        namespace,
        name,
    } = broker;
    let mut labels = messaging_labels(&format!("{kind}:{name}.{namespace}")).to_vec();
    labels.push(("kn.broker.name", name.to_string().into()));
    labels.push(("kn.broker.namespace", namespace.to_string().into()));
    labels
}
