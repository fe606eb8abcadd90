//! One event for one Broker, and the counting of it.

use std::sync::Arc;

use super::refused_event::RefusedEvent;
use super::relay_request::RelayStart;
use super::response::RelayResponse;
use super::scheme_series;
use crate::model::{Addressable, BrokerRelay, UriScheme};
use crate::observation::{EventArrival, EventObserver, ObservedObject};
use crate::router::ServedTable;
use crate::telemetry::series::{ArrivalOutcome, ChannelSeries};

/// One event on its way through the role `ingress`.
#[derive(Clone, Copy)]
pub(super) struct BrokerRequest<'c> {
    /// The Broker; `None` if there is none at this address.
    pub(super) broker: Option<&'c BrokerRelay>,
    /// Counters of the Broker; `None` if there is no such Broker.
    series: Option<&'c ChannelSeries>,
    /// Scheme of the request with which the event came.
    scheme: UriScheme,
}

impl<'c> BrokerRequest<'c> {
    /// Looks the Broker of a request up by its path, `/namespace/name`.
    pub(super) fn look_up(serving: &'c ServedTable, path: &str, scheme: UriScheme) -> Self {
        let brokers = &serving.table.relays().brokers;
        let series = &serving.relayed_series.brokers;
        Self {
            broker: brokers.get(path).map(AsRef::as_ref),
            series: series.get(path).map(AsRef::as_ref),
            scheme,
        }
    }

    /// The Broker as records of events name it.
    pub(super) fn observed(&self) -> Option<&'c Arc<ObservedObject>> {
        self.series.map(ChannelSeries::observed)
    }

    /// Counts the outcome of the arrival.
    pub(super) fn count_arrival(&self, arrival: ArrivalOutcome) {
        if let Some(series) = self.series {
            series.count_arrivals(arrival, 1);
        }
    }

    /// Counts and tells that an event is refused, and gives the response.
    pub(super) fn refuse(
        &self,
        refused: Box<RefusedEvent>,
        observer: &EventObserver,
        arrival: EventArrival<'_>,
    ) -> RelayResponse {
        if let Some(outcome) = refused.arrival {
            self.count_arrival(outcome);
        }
        refused.observe(observer, self.observed(), arrival)
    }

    /// Counts the attempt at the Broker's channel, and with it the arrival.
    pub(super) fn record_forwarded(
        &self,
        answer: &Result<RelayResponse, String>,
        channel: &Addressable,
        start: &RelayStart,
    ) {
        self.count_arrival(match answer {
            Ok(_) => ArrivalOutcome::Accepted,
            Err(_) => ArrivalOutcome::Unavailable,
        });
        let Some(series) = self.series else {
            return;
        };
        match answer {
            Ok(answer) => {
                let dispatched = &scheme_series(series.relay_durations(), self.scheme).dispatched;
                start.record_elapsed(Some(answer.status_code().as_u16()), dispatched);
                series.record_forward_success(start.time);
            }
            Err(why) => series.record_forward_failure(channel.url.path(), why),
        }
    }
}
