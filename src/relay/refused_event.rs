//! An event that is refused before it is sent on: the response, and what is known of the event, for
//! whoever asks where it is.

use std::sync::Arc;

use http::HeaderMap;

use super::response::RelayResponse;
use crate::event::Event;
use crate::event::announced_event;
use crate::observation::{EventArrival, EventObserver, ObservedObject, ObservedRefusal};
use crate::telemetry::series::ArrivalOutcome;

/// An event that is refused.
pub(super) struct RefusedEvent {
    /// As what its arrival is counted; `None` if no event has arrived.
    pub(super) arrival: Option<ArrivalOutcome>,
    pub(super) response: RelayResponse,
    /// The event, as far as it is known.
    pub(super) event: Event,
}

impl RefusedEvent {
    /// Makes an event that is counted.
    pub(super) fn new(arrival: ArrivalOutcome, response: RelayResponse, event: Event) -> Box<Self> {
        Box::new(Self {
            arrival: Some(arrival),
            response,
            event,
        })
    }

    /// Makes an event that is counted as not valid.
    pub(super) fn invalid(response: RelayResponse, event: Event) -> Box<Self> {
        Self::new(ArrivalOutcome::Invalid, response, event)
    }

    /// Makes an event whose sender may not send it.
    pub(super) fn denied(response: RelayResponse, event: Event) -> Box<Self> {
        Self::new(ArrivalOutcome::Denied, response, event)
    }

    /// Makes a request that was not read, so that no event has arrived; its header fields may name
    /// one.
    pub(super) fn unread(response: RelayResponse, headers: &HeaderMap) -> Box<Self> {
        Box::new(Self {
            arrival: None,
            response,
            event: announced_event(headers),
        })
    }

    /// Tells observers, and gives the response. `target` is `None` if nothing has the address.
    pub(super) fn observe(
        self,
        observer: &EventObserver,
        target: Option<&Arc<ObservedObject>>,
        arrival: EventArrival<'_>,
    ) -> RelayResponse {
        let refusal = ObservedRefusal {
            status: Some(self.response.status_code().as_u16()),
            arrival,
            reason: &self.response.text(),
        };
        observer.observe_refused(&self.event, target, &refusal);
        self.response
    }
}
