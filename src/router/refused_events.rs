//! What observers are told of events that were not taken.

use std::sync::Arc;

use super::Router;
use super::accept_error::{self, AcceptError};
use super::served_table::RoutedChannel;
use crate::channel::PublishError;
use crate::event::Event;
use crate::observation::{EventArrival, ObservedFact, ObservedObject, ObservedRefusal};

impl Router {
    /// Tells observers that the queues of a channel did not take these events, of which they know.
    pub(super) fn observe_unpublished(
        &self,
        routed: &RoutedChannel,
        events: &[Arc<Event>],
        error: &PublishError,
    ) {
        let (status, reason) = (
            accept_error::publish_status(error).as_u16(),
            error.to_string(),
        );
        let refused = ObservedFact::Refused(ObservedRefusal {
            status: Some(status),
            reason: &reason,
            ..ObservedRefusal::default()
        });
        for event in events {
            self.counters
                .observer
                .observe(event, &routed.observed, &refused);
        }
    }

    /// Tells observers that a channel, if there is one, did not take an event, and why.
    pub(super) fn observe_error(
        &self,
        routed: Option<&RoutedChannel>,
        event: &Event,
        arrival: EventArrival<'_>,
        error: &AcceptError,
    ) {
        let refusal = ObservedRefusal {
            status: Some(error.status().as_u16()),
            arrival,
            reason: &error.to_string(),
        };
        self.observe_refused(event, routed.map(|routed| &routed.observed), &refusal);
    }

    /// Tells observers that an event was refused before the channel had it, or at an address that
    /// nothing has.
    pub(crate) fn observe_refused(
        &self,
        event: &Event,
        target: Option<&Arc<ObservedObject>>,
        refusal: &ObservedRefusal<'_>,
    ) {
        self.counters
            .observer
            .observe_refused(event, target, refusal);
    }
}
