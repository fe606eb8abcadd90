//! Ingress: one request in, one response out. It finds the channel, decodes the events, and
//! publishes them.
//!
//! The handler runs on the sender's connection. A sender that hangs up changes nothing for an event
//! that was published: its delivery belongs to the workers (unlike contract FO-8).

pub(crate) mod event_port;
mod probe;
pub(crate) mod request_metrics;
pub mod request_reader;
mod response;
mod server_span;
mod target;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;

use crate::auth::policy::AccessDenial;
use crate::auth::{RequestCredentials, SenderAuthorizer, SenderIdentity};
use crate::budget::{MemoryBudget, PER_ONE_OF_MANY};
use crate::event::http::ContentMode;
use crate::event::{Event, EventGuard, http as binding};
use crate::observation::EventArrival;
use crate::router::{AcceptError, ArrivedEvents, Router, ServedTable};
use crate::server::{RequestBody, RequestContext, RequestHandler};
use request_reader::{ReceivedRequest, RequestReader};
use response::IngressResponse;
use target::IngressTarget;

/// Takes events from HTTP requests for the channels of this process.
pub struct Ingress {
    router: Arc<Router>,
    request_reader: RequestReader,
    sender_authorizer: Arc<SenderAuthorizer>,
}

impl Ingress {
    /// Makes an ingress in front of `router`, with the reader and the authorizer of its requests.
    #[must_use]
    pub fn new(
        router: Arc<Router>,
        request_reader: RequestReader,
        sender_authorizer: Arc<SenderAuthorizer>,
    ) -> Self {
        Self {
            router,
            request_reader,
            sender_authorizer,
        }
    }

    /// Takes the steps of contract CR-10, in that order, except that no large body is read of a
    /// sender who may not send.
    ///
    /// # Errors
    /// If the request is refused; the error is its response.
    async fn accept(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Result<IngressResponse, IngressResponse> {
        // One table is used for the whole request, even if it is replaced meanwhile.
        let serving = self.router.served_table();
        self.request_reader
            .check_scheme(serving.table.transport_encryption(), context.scheme)
            .map_err(IngressResponse::WrongScheme)?;
        // The target comes before the method: an unknown address names no methods.
        let target = IngressTarget::find(&serving, &request)?;
        match *request.method() {
            Method::POST => {}
            Method::OPTIONS => return Ok(IngressResponse::Options),
            _ => return Err(IngressResponse::MethodNotAllowed),
        }
        let (via, peer) = (context.scheme.as_str(), context.peer);
        let (events, sender) = self
            .read_authorized(request, context, &serving, &target)
            .await?;
        let by = sender.subject();
        let arrived = ArrivedEvents {
            events,
            arrival: EventArrival { via, by, peer },
        };
        self.send_to_target(arrived, &serving, &target).await
    }

    /// Sends the events to their target. A RequestReply takes one of them, and gives its reply.
    ///
    /// # Errors
    /// If the target refuses them.
    async fn send_to_target(
        &self,
        mut arrived: ArrivedEvents<'_>,
        serving: &ServedTable,
        target: &IngressTarget<'_>,
    ) -> Result<IngressResponse, IngressResponse> {
        match *target {
            IngressTarget::Channel(index, _) => self
                .router
                .accept(serving, index, arrived)
                .await
                .map(|()| IngressResponse::Accepted),
            IngressTarget::RequestReply(request_reply) => {
                let event = arrived
                    .events
                    .pop()
                    .ok_or(IngressResponse::BatchNotAllowed)?;
                Box::pin(self.router.request(serving, request_reply, event))
                    .await
                    .map(|reply| IngressResponse::Reply(Box::new(reply)))
            }
        }
        .map_err(IngressResponse::Refused)
    }

    /// Reads the events of a request whose sender may send them to the target.
    ///
    /// # Errors
    /// If the sender may not send them, or the request holds no valid events.
    async fn read_authorized(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
        serving: &ServedTable,
        target: &IngressTarget<'_>,
    ) -> Result<(Vec<Event>, SenderIdentity), IngressResponse> {
        let refused = |denial| IngressResponse::Refused(self.count_denied(serving, target, denial));
        // Before the body is read, the sender must be known, if the target wants that.
        let access = target.access();
        let credentials = RequestCredentials::of_headers(request.headers(), access);
        let authenticated = self.sender_authorizer.authenticate(access, &credentials);
        let sender = match authenticated.await {
            Ok(sender) => sender,
            Err(denial) => {
                // Upstream reports what is wrong with an event before it refuses its sender.
                let malformed = self.decode_error_response(request, context).await;
                return Err(malformed.unwrap_or_else(|| {
                    self.sender_authorizer.count_denial(&denial);
                    refused(denial)
                }));
            }
        };
        // Determined while the header fields are there, which reading takes away.
        let is_batch = target.refuses_batches()
            && binding::content_mode(request.headers()) == Ok(ContentMode::Batched);
        if let IngressTarget::Channel(index, _) = target {
            let checked = self.router.check_rate(serving, *index);
            checked.map_err(IngressResponse::Refused)?;
        }
        let budget = target.budget(serving);
        let events = self.read_events(request, context, budget).await?;
        // With the event at hand, the policies that filter events can decide.
        self.sender_authorizer
            .authorize(access, &sender, &events)
            .map_err(refused)?;
        if is_batch {
            return Err(IngressResponse::BatchNotAllowed);
        }
        Ok((events, sender))
    }

    /// Counts events whose sender may not send them there, and gives the error.
    fn count_denied(
        &self,
        serving: &ServedTable,
        target: &IngressTarget<'_>,
        denial: AccessDenial,
    ) -> AcceptError {
        match target {
            IngressTarget::Channel(index, _) => self.router.count_denied(serving, *index, denial),
            IngressTarget::RequestReply(request_reply) => {
                self.router
                    .count_denied_request(serving, request_reply, denial)
            }
        }
    }

    /// Response that says what is wrong with a request that is refused anyway, if its body is small
    /// and there.
    async fn decode_error_response(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Option<IngressResponse> {
        let received = Box::pin(self.request_reader.read_refused(request, context)).await?;
        binding::decode(received.headers, received.body, received.attribute_limit)
            .err()
            .map(IngressResponse::NotAnEvent)
    }

    /// Reads the events of a request. Their share of the memory budget, or of that of their
    /// namespace, lasts as long as they do.
    async fn read_events(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
        budget: Option<&Arc<MemoryBudget>>,
    ) -> Result<Vec<Event>, IngressResponse> {
        let ReceivedRequest {
            headers,
            body,
            memory_share: mut share,
            attribute_limit: attributes,
            trace,
        } = self
            .request_reader
            .read_request_within(request, context, budget)
            .await
            .map_err(IngressResponse::BodyUnreadable)?;
        let (counted, data) = (share.bytes(), body.len());
        let events = binding::decode_in_trace(headers, body, attributes, trace)
            .map_err(IngressResponse::NotAnEvent)?;
        share
            .grow_to(held_bytes(&events, counted, data))
            .map_err(|exhausted| IngressResponse::BodyUnreadable(exhausted.into()))?;
        let guard: EventGuard = Arc::new(share);
        Ok(events
            .into_iter()
            .map(|event| event.with_guard(Arc::clone(&guard)))
            .collect())
    }
}

/// Memory that the events of a request hold, of which `counted` bytes were counted when it was
/// read, with `data` bytes of its body among them. Attributes that came in headers are counted with
/// those; others are copies of parts of the body.
fn held_bytes(events: &[Event], counted: usize, data: usize) -> usize {
    let beside: usize = events.iter().map(Event::metadata_length).sum();
    let copied = beside.saturating_sub(counted.saturating_sub(data));
    counted + copied + events.len().saturating_sub(1) * PER_ONE_OF_MANY
}

impl RequestHandler for Ingress {
    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Response<Full<Bytes>> {
        let answer = self
            .accept(request, context)
            .await
            .unwrap_or_else(|answer| {
                tracing::debug!(%answer, "Request refused");
                answer
            });
        answer.into_response()
    }
}
