//! The role `ingress`: events for Brokers go to the Brokers' channels (contract BI-1 to BI-10, A-20
//! to A-28).

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;

use super::response::RelayResponse;
use super::{RelayDependencies, RelaySendError, build_request, scheme_series};
use crate::client::HttpTransport;
use crate::event::{Event, http as binding};
use crate::ingress::request_reader::{ReceivedRequest, webhook_headers};
use crate::model::{Addressable, DeliveryFormat, ServiceAccount, UriScheme};
use crate::router::enter_broker;
use crate::server::{RequestBody, RequestHandler};
use crate::telemetry::series::ArrivalOutcome;

/// Takes events for Brokers, and sends them once to the Broker's channel.
pub struct BrokerIngress<T> {
    relay: RelayDependencies<T>,
    max_ttl: i32,
}

impl<T: HttpTransport> BrokerIngress<T> {
    /// Makes an ingress that lets events pass `max_ttl` brokers.
    #[must_use]
    pub fn new(relay: RelayDependencies<T>, max_ttl: i32) -> Self {
        Self { relay, max_ttl }
    }

    /// Takes the steps of contract BI-3, in that order, except that no large body is read of a
    /// sender who may not send.
    ///
    /// # Errors
    /// If the event is refused; the error is the response.
    async fn accept(
        &self,
        request: Request<RequestBody>,
        scheme: UriScheme,
    ) -> Result<RelayResponse, RelayResponse> {
        match *request.method() {
            Method::POST => {}
            Method::OPTIONS => {
                return Ok(
                    RelayResponse::from_status(StatusCode::OK).with_headers(webhook_headers())
                );
            }
            _ => {
                return Err(RelayResponse::from_text(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "send events by POST",
                ));
            }
        }
        let path = parse_broker_path(&request)?;
        // One table is used for the whole request, even if it is replaced meanwhile.
        let serving = self.relay.router.served_table();
        let broker = serving.table.relays().brokers.get(&path);
        let access = broker.and_then(|broker| broker.authorization.as_ref());
        let series = serving.relayed_series.brokers.get(&path);
        let arrived = |arrival| _ = series.inspect(|series| series.count_arrivals(arrival, 1));
        // Before the body is read, Broker and sender must be known.
        let (broker, sender) = match (
            broker,
            self.relay.identify_sender(access, request.headers()).await,
        ) {
            (Some(broker), Ok(sender)) => (broker, sender),
            (known, identified) => {
                // Upstream reports what is wrong with an event first, whatever else is wrong.
                let malformed = self
                    .relay
                    .decode_error_response(request, decode_event)
                    .await;
                arrived(if malformed.is_some() {
                    ArrivalOutcome::Invalid
                } else {
                    ArrivalOutcome::Denied
                });
                let absent = || {
                    RelayResponse::from_text(
                        StatusCode::NOT_FOUND,
                        "no broker at this address: check /NAMESPACE/NAME",
                    )
                };
                let refused = || {
                    Some(
                        self.relay
                            .refuse_sender(&identified.err().filter(|_| known.is_some())?),
                    )
                };
                return Err(malformed.or_else(refused).unwrap_or_else(absent));
            }
        };
        let message = self
            .relay
            .request_reader
            .read_request(request)
            .await
            .map_err(|error| RelayResponse::from_body_error(&error))?;
        let mut event =
            decode_event(message).inspect_err(|_refused| arrived(ArrivalOutcome::Invalid))?;
        // With the event at hand, the policies that filter events can decide.
        let authorized = self.relay.authorize(access, &sender, &event);
        authorized.inspect_err(|_denied| arrived(ArrivalOutcome::Denied))?;
        self.relay
            .event_types
            .observe(broker.event_types.as_ref(), &event);
        // The hop is counted last, so that a refused event has the response of its own fault.
        let entered = enter_broker(&mut event, self.max_ttl)
            .inspect_err(|refusal| arrived(refusal.arrival()));
        entered.map_err(|refusal| RelayResponse::from_text(refusal.status(), refusal))?;
        let Some(channel) = &broker.channel else {
            arrived(ArrivalOutcome::Unavailable);
            let text = "the channel of this broker is not known yet: see the broker's status";
            return Err(RelayResponse::from_text(
                StatusCode::INTERNAL_SERVER_ERROR,
                text,
            ));
        };
        let started = Instant::now();
        let answer = self
            .send_to_channel(&event, broker.sender.as_ref(), channel)
            .await;
        arrived(if answer.is_ok() {
            ArrivalOutcome::Accepted
        } else {
            ArrivalOutcome::Unavailable
        });
        if let Some(series) = series {
            match &answer {
                Ok(answer) => {
                    let dispatched = &scheme_series(series.relay_durations(), scheme).dispatched;
                    dispatched.record(Some(answer.status_code().as_u16()), started.elapsed());
                    series.record_forward_success(started);
                }
                Err(why) => series.record_forward_failure(channel.url.path(), why),
            }
        }
        answer.map_err(|why| {
            let text =
                format!("the channel of this broker did not take the event ({why}): send it again");
            RelayResponse::from_text(StatusCode::INTERNAL_SERVER_ERROR, text)
        })
    }

    /// Sends the event to the Broker's channel in one attempt (contract BI-8, BI-9); gives the
    /// status of a success.
    ///
    /// # Errors
    /// If there is no success, in words.
    async fn send_to_channel(
        &self,
        event: &Event,
        sender: Option<&Arc<ServiceAccount>>,
        channel: &Addressable,
    ) -> Result<RelayResponse, String> {
        match self
            .relay
            .send(
                build_request(event, DeliveryFormat::Binary),
                sender,
                channel,
            )
            .await
        {
            Ok(answer) if answer.status().is_success() => {
                self.relay.counters.accepted.increment();
                Ok(RelayResponse::from_status(answer.status()))
            }
            Ok(answer) => Err(format!("it answered {}", answer.status())),
            Err(RelaySendError::Transport(error)) => Err(error.reason().to_owned()),
            Err(RelaySendError::Token(error)) => Err(error.to_string()),
        }
    }
}

impl<T: HttpTransport> RequestHandler for BrokerIngress<T> {
    async fn handle(
        &self,
        request: Request<RequestBody>,
        scheme: UriScheme,
    ) -> Response<Full<Bytes>> {
        self.relay
            .respond(scheme, "POST, OPTIONS", self.accept(request, scheme))
            .await
    }
}

/// Takes `/namespace/name` from a request target, which must be just that; a query belongs to the
/// name (contract BI-2).
///
/// # Errors
/// If the target is something else; the error is the response.
fn parse_broker_path(request: &Request<RequestBody>) -> Result<String, RelayResponse> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    if target == "/" {
        return Err(RelayResponse::from_text(
            StatusCode::NOT_FOUND,
            "no broker at this address: check /NAMESPACE/NAME",
        ));
    }
    let target = target.strip_suffix('/').unwrap_or(target);
    if target.split('/').count() == 3 {
        return Ok(target.to_owned());
    }
    Err(RelayResponse::from_text(
        StatusCode::BAD_REQUEST,
        "the path must be /NAMESPACE/NAME of a broker",
    ))
}

/// Decodes the valid event of a request; a batch has to be taken apart by its sender.
fn decode_event(
    ReceivedRequest {
        headers,
        body,
        memory_share: share,
        attribute_limit: attributes,
    }: ReceivedRequest,
) -> Result<Event, RelayResponse> {
    let events = binding::decode(headers, body, attributes);
    let events =
        events.map_err(|error| RelayResponse::from_text(StatusCode::BAD_REQUEST, error))?;
    let [event] = <[Event; 1]>::try_from(events).map_err(|_batch| {
        RelayResponse::from_text(
            StatusCode::BAD_REQUEST,
            "a batch is not taken here: send events one by one",
        )
    })?;
    Ok(event.with_guard(Arc::new(share)))
}
