//! Ingress: one request in, one response out. It finds the channel, decodes the events, and
//! publishes them.
//!
//! The handler runs on the sender's connection. A sender that hangs up changes nothing for an event
//! that was published: its delivery belongs to the workers (unlike contract FO-8).

pub mod event_port;
pub mod request_reader;
mod response;

use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, Response};
use http_body_util::Full;

use crate::auth::policy::AccessDenial;
use crate::auth::{RequestCredentials, SenderAuthorizer};
use crate::budget::PER_ONE_OF_MANY;
use crate::event::http::ContentMode;
use crate::event::{Event, EventGuard, http as binding};
use crate::model::{AddressLookup, Channel, RequestReply, SenderAuthorization, UriScheme};
use crate::router::{AcceptError, Router, ServedTable};
use crate::server::body::BodyError;
use crate::server::{RequestBody, RequestHandler};
use request_reader::{ReceivedRequest, RequestReader};
use response::IngressResponse;

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
        scheme: UriScheme,
    ) -> Result<IngressResponse, IngressResponse> {
        // One table is used for the whole request, even if it is replaced meanwhile.
        let serving = self.router.served_table();
        self.request_reader
            .check_scheme(serving.table.transport_encryption(), scheme)
            .map_err(IngressResponse::WrongScheme)?;
        // The target comes before the method: an unknown address names no methods.
        let target = find_target(&serving, &request)?;
        match *request.method() {
            Method::POST => {}
            Method::OPTIONS => return Ok(IngressResponse::Options),
            _ => return Err(IngressResponse::MethodNotAllowed),
        }
        // Before the body is read, the sender must be known, if the target wants that.
        let access = target.access();
        let credentials = RequestCredentials::of_headers(request.headers(), access);
        let refused =
            |denial| IngressResponse::Refused(self.count_denied(&serving, &target, denial));
        let sender = match self
            .sender_authorizer
            .authenticate(access, &credentials)
            .await
        {
            Ok(sender) => sender,
            Err(denial) => {
                let refused = || {
                    self.sender_authorizer.count_denial(&denial);
                    refused(denial)
                };
                // Upstream reports what is wrong with an event before it refuses its sender.
                return Err(self
                    .decode_error_response(request)
                    .await
                    .unwrap_or_else(refused));
            }
        };
        // Determined while the header fields are there, which reading takes away.
        let is_batch = target.refuses_batches()
            && binding::content_mode(request.headers()) == Ok(ContentMode::Batched);
        let mut events = self.read_events(request).await?;
        // With the event at hand, the policies that filter events can decide.
        self.sender_authorizer
            .authorize(access, &sender, &events)
            .map_err(refused)?;
        match target {
            IngressTarget::Channel(index, _) => {
                self.router
                    .accept(&serving, index, events)
                    .await
                    .map_err(IngressResponse::Refused)?;
                Ok(IngressResponse::Accepted)
            }
            IngressTarget::RequestReply(request_reply) => {
                let Some(event) = events.pop().filter(|_| !is_batch) else {
                    return Err(IngressResponse::BatchNotAllowed);
                };
                let replied = Box::pin(self.router.request(&serving, request_reply, event)).await;
                replied
                    .map(|reply| IngressResponse::Reply(Box::new(reply)))
                    .map_err(IngressResponse::Refused)
            }
        }
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
    ) -> Option<IngressResponse> {
        let ReceivedRequest {
            headers,
            body,
            attribute_limit: attributes,
            ..
        } = Box::pin(self.request_reader.read_refused(request)).await?;
        binding::decode(headers, body, attributes)
            .err()
            .map(IngressResponse::NotAnEvent)
    }

    /// Reads the events of a request. Their share of the memory budget lasts as long as they do.
    async fn read_events(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Vec<Event>, IngressResponse> {
        let ReceivedRequest {
            headers,
            body,
            memory_share: mut share,
            attribute_limit: attributes,
        } = self
            .request_reader
            .read_request(request)
            .await
            .map_err(IngressResponse::BodyUnreadable)?;
        let (counted, data) = (share.bytes(), body.len());
        let events =
            binding::decode(headers, body, attributes).map_err(IngressResponse::NotAnEvent)?;
        // Attributes that came in headers are counted with those; others are copies of parts of the
        // body.
        let beside: usize = events.iter().map(Event::metadata_length).sum();
        let copied = beside.saturating_sub(counted.saturating_sub(data));
        let many = counted + copied + events.len().saturating_sub(1) * PER_ONE_OF_MANY;
        share
            .grow_to(many)
            .map_err(|_exhausted| IngressResponse::BodyUnreadable(BodyError::OverBudget))?;
        let guard: EventGuard = Arc::new(share);
        Ok(events
            .into_iter()
            .map(|event| event.with_guard(Arc::clone(&guard)))
            .collect())
    }
}

impl RequestHandler for Ingress {
    async fn handle(
        &self,
        request: Request<RequestBody>,
        scheme: UriScheme,
    ) -> Response<Full<Bytes>> {
        let answer = self.accept(request, scheme).await.unwrap_or_else(|answer| {
            tracing::debug!(%answer, "Request refused");
            answer
        });
        answer.into_response()
    }
}

/// Target of a request, by its host and path.
enum IngressTarget<'s> {
    /// A channel or Broker, at this index of the table.
    Channel(usize, &'s Channel),
    RequestReply(&'s RequestReply),
}

impl<'s> IngressTarget<'s> {
    /// True if the target takes no batches.
    fn refuses_batches(&self) -> bool {
        matches!(self, Self::RequestReply(_))
    }

    /// Authorization that the target asks of senders.
    fn access(&self) -> Option<&'s SenderAuthorization> {
        match self {
            Self::Channel(_, channel) => channel.authorization.as_ref(),
            Self::RequestReply(request_reply) => request_reply.authorization.as_ref(),
        }
    }
}

/// Looks the target of a request up in the table.
///
/// # Errors
/// If no target has this address, or more than one has.
fn find_target<'s>(
    serving: &'s ServedTable,
    request: &Request<RequestBody>,
) -> Result<IngressTarget<'s>, IngressResponse> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| {
        request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok())
    });
    match serving.table.look_up(host, request.uri().path()) {
        AddressLookup::Channel(index, channel) => Ok(IngressTarget::Channel(index, channel)),
        AddressLookup::RequestReply(request_reply) => {
            Ok(IngressTarget::RequestReply(request_reply))
        }
        AddressLookup::NotFound => Err(IngressResponse::NotFound),
        AddressLookup::BadPath => Err(IngressResponse::BadPath),
        AddressLookup::Ambiguous => Err(IngressResponse::Ambiguous),
    }
}
