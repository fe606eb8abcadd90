//! The series of a channel or Broker.

use std::sync::{Arc, OnceLock};

use super::failure_tracker::FailureTracker;
use super::outcome::{ArrivalOutcome, ByArrivalOutcome};
use super::relay_durations::RelayDurations;
use super::series_key::SeriesKey;
use crate::observation::ObservedObject;
use crate::telemetry::counter::Counter;

/// The series of a channel or broker.
#[derive(Debug, Default)]
pub(crate) struct ChannelSeries {
    pub(super) name: SeriesKey,
    /// The channel as records of events name it, where it is in another process.
    observed: OnceLock<Arc<ObservedObject>>,
    pub(super) arrivals: ByArrivalOutcome<Counter>,
    /// The failure spell of the channel to which the role `ingress` sends events.
    pub(super) failure_tracker: FailureTracker,
    pub(super) relay_durations: OnceLock<Box<RelayDurations>>,
}

impl ChannelSeries {
    /// Makes series that are not registered, and so not exposed.
    #[must_use]
    pub(crate) fn new(name: SeriesKey) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Returns the durations of the role `ingress`; they are made when first asked for.
    pub(crate) fn relay_durations(&self) -> &RelayDurations {
        self.relay_durations.get_or_init(Box::default)
    }

    /// Returns the channel as records of events name it; it is made when first asked for.
    pub(crate) fn observed(&self) -> &Arc<ObservedObject> {
        let SeriesKey {
            kind,
            namespace,
            name,
        } = &self.name;
        let make = || ObservedObject::new(kind, namespace, name);
        self.observed.get_or_init(make)
    }

    /// Returns the number of events with this result.
    #[must_use]
    pub(crate) fn arrival_count(&self, arrival: ArrivalOutcome) -> u64 {
        self.arrivals.get(arrival).get()
    }

    /// Counts events with this result.
    pub(crate) fn count_arrivals(&self, arrival: ArrivalOutcome, events: u64) {
        self.arrivals.get(arrival).add(events);
    }
}
