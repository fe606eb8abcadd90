//! Destinations inside of the process: channels, Brokers and RequestReplies, requests that wait for
//! a reply, and the log of `event_display`. Each gives the response that it would give by HTTP.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::EventDeliverer;
use super::attempt::DeliveryAttempt;
use crate::client::TransportError;
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
        let (inside, timeout) = (attempt.internal_sender(), attempt.timeout);
        let entered = async {
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
        };
        match tokio::time::timeout(timeout, entered).await {
            Ok(Ok(Some(reply))) => Ok(binding::binary_response(&reply)),
            Ok(entered) => Ok(router_response(entered.map(drop))),
            Err(_elapsed) => Err(TransportError::Timeout { after: timeout }),
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
