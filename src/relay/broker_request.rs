//! One event for one Broker, and the counting of it.

use tokio::time::Instant;

use super::response::RelayResponse;
use super::scheme_series;
use crate::model::{Addressable, UriScheme};
use crate::telemetry::series::{ArrivalOutcome, ChannelSeries};

/// One event on its way through the role `ingress`.
#[derive(Clone, Copy)]
pub(super) struct BrokerRequest<'c> {
    /// Counters of the Broker; `None` if there is no such Broker.
    pub(super) series: Option<&'c ChannelSeries>,
    /// Scheme of the request with which the event came.
    pub(super) scheme: UriScheme,
}

impl BrokerRequest<'_> {
    /// Counts the outcome of the arrival.
    pub(super) fn count_arrival(&self, arrival: ArrivalOutcome) {
        if let Some(series) = self.series {
            series.count_arrivals(arrival, 1);
        }
    }

    /// Counts the attempt at the Broker's channel, which began at `started`, and with it the
    /// arrival.
    pub(super) fn record_forwarded(
        &self,
        answer: &Result<RelayResponse, String>,
        channel: &Addressable,
        started: Instant,
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
                dispatched.record(Some(answer.status_code().as_u16()), started.elapsed());
                series.record_forward_success(started);
            }
            Err(why) => series.record_forward_failure(channel.url.path(), why),
        }
    }
}
