//! What observers are told of events that were not taken.

use std::sync::Arc;

use super::Router;
use super::accept_error::{self, AcceptError};
use super::request_reply_error::RequestReplyError;
use super::served_table::RoutedChannel;
use crate::channel::PublishError;
use crate::event::Event;
use crate::model::RequestReply;
use crate::observation::{EventArrival, ObservedFact, ObservedObject, ObservedRefusal};

/// A RequestReply as records of events name it.
pub(crate) fn observed_request_reply(request_reply: &RequestReply) -> Arc<ObservedObject> {
    let key = &request_reply.key;
    ObservedObject::new(key.kind.as_str(), &key.namespace, &key.name)
}

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

    /// Tells observers that there is no reply to an event, and why.
    pub(super) fn observe_unanswered(
        &self,
        request_reply: &RequestReply,
        event: &Event,
        error: &RequestReplyError,
    ) {
        let refusal = ObservedRefusal {
            status: Some(error.status().as_u16()),
            reason: &error.to_string(),
            ..ObservedRefusal::default()
        };
        let object = observed_request_reply(request_reply);
        self.observe_refused(event, Some(&object), &refusal);
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
