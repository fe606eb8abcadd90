//! What an attempt has come to, by its response: a success, a failure that may pass, or one that
//! never will (contract ).

use std::time::SystemTime;

use bytes::Bytes;
use http::Response;

use super::EventDeliverer;
use super::dead_letter::DeliveryFailure;
use super::outgoing_event::DeliveryAttemptResult;
use super::retry_schedule::{RetryVerdict, judge_status, retry_after};
use crate::client::TransportError;
use crate::model::{Addressable, DestinationRoute, Subscription};

impl<T> EventDeliverer<T> {
    /// Judges the response of an attempt, or the reason for which there is none.
    pub(super) fn judge_response(
        &self,
        response: Result<Response<Bytes>, TransportError>,
        destination: &Addressable,
        subscription: &Subscription,
    ) -> DeliveryAttemptResult {
        let response = response.map_err(|error| transport_failure(destination, &error))?;
        match judge_status(response.status()) {
            RetryVerdict::Success => Ok(response),
            RetryVerdict::Refused => Err(backoff::Error::permanent(
                self.response_failure(destination, &response),
            )),
            RetryVerdict::Retry => Err(backoff::Error::Transient {
                err: self.response_failure(destination, &response),
                retry_after: retry_after(
                    response.status(),
                    response.headers(),
                    &subscription.delivery,
                    SystemTime::now(),
                ),
            }),
        }
    }

    /// Failure that a response reports. A broker filter of another process reports the subscriber
    /// that it asked, and its response (contract DP-32).
    fn response_failure(
        &self,
        destination: &Addressable,
        response: &Response<Bytes>,
    ) -> DeliveryFailure {
        let failure =
            DeliveryFailure::from_response(destination, response.status(), response.body());
        let is_remote = matches!(destination.route, DestinationRoute::Remote { .. });
        let is_filter = destination.url.host_str() == Some(&*self.options.broker_filter_host);
        if !is_remote {
            failure.with_own_words(response.body())
        } else if is_filter {
            failure.with_filter_report(response.body())
        } else {
            failure
        }
    }
}

fn transport_failure(
    destination: &Addressable,
    error: &TransportError,
) -> backoff::Error<DeliveryFailure> {
    let failure = DeliveryFailure::from_transport_error(destination, error);
    if error.is_permanent() {
        backoff::Error::permanent(failure)
    } else {
        backoff::Error::transient(failure)
    }
}
