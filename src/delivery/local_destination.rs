//! Destinations inside of the process: channels, Brokers and RequestReplies, requests that wait for
//! a reply, and the log of `event_display`. Each gives the response that it would give by HTTP.

use std::pin::pin;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::EventDeliverer;
use super::attempt::DeliveryAttempt;
use crate::client::{RequestDeadline, TransportError};
use crate::event::{Event, http as binding};
use crate::model::{ChannelKey, ChannelKind};
use crate::router::AcceptError;

impl<T> EventDeliverer<T> {
    /// Sends an event into a channel, Broker or RequestReply of this process, as if by HTTP.
    ///
    /// # Errors
    /// If that takes longer than the timeout of the attempt.
    pub(super) async fn accept_locally(
        &self,
        key: &ChannelKey,
        event: Event,
        attempt: &DeliveryAttempt<'_>,
    ) -> Result<Response<Bytes>, TransportError> {
        let inside = attempt.internal_sender();
        let entered = pin!(async {
            if key.kind == ChannelKind::RequestReply {
                self.router
                    .request_local(key, event, inside)
                    .await
                    .map(Some)
            } else {
                self.router
                    .accept_local(key, event, inside, attempt.arrival)
                    .await
                    .map(|()| None)
            }
        });
        let deadline = RequestDeadline::within(attempt.timeout);
        let when_slow = || attempt.note_slow(deadline.began());
        match deadline.watch(entered, when_slow).await? {
            Ok(Some(reply)) => Ok(binding::binary_response(&reply)),
            entered => Ok(router_response(entered.map(drop))),
        }
    }

    /// Shows an event in the log.
    pub(super) async fn display_event(&self, event: &Event) -> Response<Bytes> {
        match self.display.show(event).await {
            Ok(()) => build_response(StatusCode::OK, Bytes::new()),
            Err(error) => build_response(
                StatusCode::INTERNAL_SERVER_ERROR,
                Bytes::from(error.to_string()),
            ),
        }
    }

    /// Gives an event to the request that waits for it.
    pub(super) fn answer_request(&self, key: &ChannelKey, event: Event) -> Response<Bytes> {
        router_response(self.router.accept_reply(key, event))
    }
}

/// Response that the router's answer would be by HTTP.
fn router_response(taken: Result<(), AcceptError>) -> Response<Bytes> {
    match taken {
        Ok(()) => build_response(StatusCode::ACCEPTED, Bytes::new()),
        Err(refusal) => build_response(refusal.status(), Bytes::from(refusal.to_string())),
    }
}

fn build_response(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
