//! The role `ingress`: events for Brokers, to their channels (contract BI-1 to BI-10, A-20 to A-28).

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;

use super::answer::Answer;
use super::{Relay, Unsent, of_scheme, request};
use crate::client::Transport;
use crate::event::{Event, http as binding};
use crate::ingress::entrance::{Message, webhook};
use crate::model::{Addressable, Format, Scheme, ServiceAccount};
use crate::router::enter_broker;
use crate::server::{Handler, Incoming};
use crate::telemetry::series::Arrival;

/// Takes events for Brokers.
pub struct BrokerIngress<T> {
    relay: Relay<T>,
    max_ttl: i32,
}

impl<T: Transport> BrokerIngress<T> {
    /// An ingress that lets events pass `max_ttl` brokers.
    #[must_use]
    pub fn new(relay: Relay<T>, max_ttl: i32) -> Self {
        Self { relay, max_ttl }
    }

    /// The steps of contract BI-3, in that order, but that nothing large is read of who may not send.
    async fn accept(&self, request: Request<Incoming>, scheme: Scheme) -> Result<Answer, Answer> {
        match *request.method() {
            Method::POST => {}
            Method::OPTIONS => return Ok(Answer::status(StatusCode::OK).with_headers(webhook())),
            _ => return Err(Answer::text(StatusCode::METHOD_NOT_ALLOWED, "send events by POST")),
        }
        let path = path(&request)?;
        let serving = self.relay.router.serving();
        let broker = serving.table.relays().brokers.get(&path);
        let access = broker.and_then(|broker| broker.access.as_ref());
        let series = serving.relayed.brokers.get(&path);
        let arrived = |arrival| _ = series.inspect(|series| series.arrived(arrival, 1));
        let (broker, sender) = match (broker, self.relay.identify(access, request.headers()).await) {
            (Some(broker), Ok(sender)) => (broker, sender),
            (known, identified) => {
                let malformed = self.relay.malformed(request, decode).await;
                arrived(if malformed.is_some() { Arrival::Invalid } else { Arrival::Denied });
                let absent = || Answer::text(StatusCode::NOT_FOUND, "no broker at this address: check /NAMESPACE/NAME");
                let refused = || Some(self.relay.refuse(&identified.err().filter(|_| known.is_some())?));
                return Err(malformed.or_else(refused).unwrap_or_else(absent));
            }
        };
        let message = self.relay.entrance.read(request).await.map_err(|error| Answer::body(&error))?;
        let mut event = decode(message).inspect_err(|_refused| arrived(Arrival::Invalid))?;
        let authorized = self.relay.authorize(access, &sender, &event);
        authorized.inspect_err(|_denied| arrived(Arrival::Denied))?;
        self.relay.event_types.observe(broker.event_types.as_ref(), &event);
        let entered = enter_broker(&mut event, self.max_ttl).inspect_err(|refusal| arrived(refusal.arrival()));
        entered.map_err(|refusal| Answer::text(refusal.status(), refusal))?;
        let Some(channel) = &broker.channel else {
            arrived(Arrival::Unavailable);
            let text = "the channel of this broker is not known yet: see the broker's status";
            return Err(Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text));
        };
        let started = Instant::now();
        let answer = self.forward(&event, broker.sender.as_ref(), channel).await;
        arrived(if answer.is_ok() { Arrival::Accepted } else { Arrival::Unavailable });
        if let Some(series) = series {
            match &answer {
                Ok(answer) => {
                    let dispatched = &of_scheme(series.relayed(), scheme).dispatched;
                    dispatched.record(Some(answer.code().as_u16()), started.elapsed());
                    series.forwarded(started);
                }
                Err(why) => series.not_forwarded(channel.url.path(), why),
            }
        }
        answer.map_err(|why| {
            let text = format!("the channel of this broker did not take the event ({why}): send it again");
            Answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
        })
    }

    /// Contract BI-8, BI-9: one attempt; the status of a success, else why there is none.
    async fn forward(
        &self,
        event: &Event,
        sender: Option<&Arc<ServiceAccount>>,
        channel: &Addressable,
    ) -> Result<Answer, String> {
        match self.relay.send(request(event, Format::Binary), sender, channel).await {
            Ok(answer) if answer.status().is_success() => {
                self.relay.counters.accepted.increment();
                Ok(Answer::status(answer.status()))
            }
            Ok(answer) => Err(format!("it answered {}", answer.status())),
            Err(Unsent::Transport(error)) => Err(error.reason().to_owned()),
            Err(Unsent::Token(error)) => Err(error.to_string()),
        }
    }
}

impl<T: Transport> Handler for BrokerIngress<T> {
    async fn handle(&self, request: Request<Incoming>, scheme: Scheme) -> Response<Full<Bytes>> {
        self.relay.respond(scheme, "POST, OPTIONS", self.accept(request, scheme)).await
    }
}

/// `/namespace/name` of a request target, which must be just that; a query belongs to the name (contract BI-2).
fn path(request: &Request<Incoming>) -> Result<String, Answer> {
    let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    if target == "/" {
        return Err(Answer::text(StatusCode::NOT_FOUND, "no broker at this address: check /NAMESPACE/NAME"));
    }
    let target = target.strip_suffix('/').unwrap_or(target);
    if target.split('/').count() == 3 {
        return Ok(target.to_owned());
    }
    Err(Answer::text(StatusCode::BAD_REQUEST, "the path must be /NAMESPACE/NAME of a broker"))
}

/// The valid event of a request; a batch has to be taken apart by its sender.
fn decode(Message { headers, body, share, attributes }: Message) -> Result<Event, Answer> {
    let events = binding::decode(headers, body, attributes);
    let events = events.map_err(|error| Answer::text(StatusCode::BAD_REQUEST, error))?;
    let [event] = <[Event; 1]>::try_from(events)
        .map_err(|_batch| Answer::text(StatusCode::BAD_REQUEST, "a batch is not taken here: send events one by one"))?;
    Ok(event.with_lease(Arc::new(share)))
}
