//! Ingress: one request in, one response out. It finds the channel, decodes the events, and
//! publishes them.
//!
//! The handler runs on the sender's connection. A sender that hangs up changes nothing for an event
//! that was published: its delivery belongs to the workers (unlike contract FO-8).

pub(crate) mod event_port;
mod probe;
mod refused_request;
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
use crate::event::{Event, EventGuard, announced_event, http as binding};
use crate::observation::{EventArrival, ObservedRefusal};
use crate::router::{AcceptError, ArrivedEvents, Router, ServedTable};
use crate::server::{RequestBody, RequestContext, RequestHandler};
use refused_request::RefusedRequest;
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
    ) -> Result<IngressResponse, Box<RefusedRequest>> {
        // One table is used for the whole request, even if it is replaced meanwhile.
        let serving = self.router.served_table();
        let found = self.find_target(&serving, &request, context);
        let target = found.map_err(|response| RefusedRequest::unaddressed(response, &request))?;
        match *request.method() {
            Method::POST => {}
            Method::OPTIONS => return Ok(IngressResponse::Options),
            _ => return Err(RefusedRequest::told(IngressResponse::MethodNotAllowed)),
        }
        let (via, peer) = (context.scheme.as_str(), context.peer);
        let (events, sender) = self
            .read_authorized(request, context, &serving, &target)
            .await
            .map_err(|refused| refused.at(target.observed(&serving)))?;
        let by = sender.subject();
        let arrived = ArrivedEvents {
            events,
            arrival: EventArrival { via, by, peer },
        };
        let sent = self.send_to_target(arrived, &serving, &target).await;
        sent.map_err(RefusedRequest::told)
    }

    /// Finds the target of a request whose scheme the mode takes.
    ///
    /// # Errors
    /// If there is none; the error is the response.
    fn find_target<'s>(
        &self,
        serving: &'s ServedTable,
        request: &Request<RequestBody>,
        context: &RequestContext,
    ) -> Result<IngressTarget<'s>, IngressResponse> {
        self.request_reader
            .check_scheme(serving.table.transport_encryption(), context.scheme)
            .map_err(IngressResponse::WrongScheme)?;
        // The target comes before the method: an unknown address names no methods.
        IngressTarget::find(serving, request)
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
    ) -> Result<(Vec<Event>, SenderIdentity), Box<RefusedRequest>> {
        let refused = |denial| IngressResponse::Refused(self.count_denied(serving, target, denial));
        // Before the body is read, the sender must be known, if the target wants that.
        let access = target.access();
        let credentials = RequestCredentials::of_headers(request.headers(), access);
        let authenticated = self.sender_authorizer.authenticate(access, &credentials);
        let sender = match authenticated.await {
            Ok(sender) => sender,
            Err(denial) => {
                // Upstream reports what is wrong with an event before it refuses its sender.
                let events = self.read_refused(request, context).await?;
                self.sender_authorizer.count_denial(&denial);
                return Err(RefusedRequest::new(refused(denial), events));
            }
        };
        // Determined while the header fields are there, which reading takes away.
        let is_batch = target.refuses_batches()
            && binding::content_mode(request.headers()) == Ok(ContentMode::Batched);
        if let IngressTarget::Channel(index, _) = target {
            let checked = self.router.check_rate(serving, *index);
            checked.map_err(|error| {
                let response = IngressResponse::Refused(error);
                RefusedRequest::unread(response, request.headers())
            })?;
        }
        let budget = target.budget(serving);
        let events = self.read_events(request, context, budget).await?;
        // With the event at hand, the policies that filter events can decide.
        let authorized = self.sender_authorizer.authorize(access, &sender, &events);
        if let Err(denial) = authorized {
            return Err(RefusedRequest::new(refused(denial), events));
        }
        if is_batch {
            let response = IngressResponse::BatchNotAllowed;
            return Err(RefusedRequest::new(response, events));
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

    /// Reads the events of a request that is refused anyway, if its body is small and there; what
    /// its header fields announce if it is not.
    ///
    /// # Errors
    /// If there is something wrong with the events, too.
    async fn read_refused(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Result<Vec<Event>, Box<RefusedRequest>> {
        let announced = announced_event(request.headers());
        let read = Box::pin(self.request_reader.read_refused(request, context)).await;
        let Some(received) = read else {
            return Ok(vec![announced]);
        };
        let (headers, limit) = (received.headers, received.attribute_limit);
        binding::decode_in_trace(headers, received.body, limit, None)
            .map_err(|undecoded| RefusedRequest::undecoded(*undecoded))
    }

    /// Reads the events of a request. Their share of the memory budget, or of that of their
    /// namespace, lasts as long as they do.
    async fn read_events(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
        budget: Option<&Arc<MemoryBudget>>,
    ) -> Result<Vec<Event>, Box<RefusedRequest>> {
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
            .map_err(|unread| {
                let response = IngressResponse::BodyUnreadable(unread.error);
                RefusedRequest::unread(response, &unread.headers)
            })?;
        let (counted, data) = (share.bytes(), body.len());
        let events = binding::decode_in_trace(headers, body, attributes, trace)
            .map_err(|undecoded| RefusedRequest::undecoded(*undecoded))?;
        if let Err(exhausted) = share.grow_to(held_bytes(&events, counted, data)) {
            let response = IngressResponse::BodyUnreadable(exhausted.into());
            return Err(RefusedRequest::new(response, events));
        }
        let guard: EventGuard = Arc::new(share);
        Ok(events
            .into_iter()
            .map(|event| event.with_guard(Arc::clone(&guard)))
            .collect())
    }

    /// Tells observers of a request that was refused, and gives the response.
    fn refuse(&self, refused: RefusedRequest, arrival: EventArrival<'_>) -> IngressResponse {
        tracing::debug!(answer = %refused, "Request refused");
        let refusal = ObservedRefusal {
            status: Some(refused.response.status().as_u16()),
            arrival,
            reason: &refused.reason(),
        };
        for event in &refused.events {
            self.router
                .observe_refused(event, refused.target.as_ref(), &refusal);
        }
        refused.response
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
        let (via, peer) = (context.scheme.as_str(), context.peer);
        let answer = match self.accept(request, context).await {
            Ok(answer) => answer,
            Err(refused) => {
                let arrival = EventArrival { via, by: "", peer };
                self.refuse(*refused, arrival)
            }
        };
        answer.into_response()
    }
}
