//! One request in, one answer out: finds the channel, reads the event, publishes it.
//!
//! The handler runs on the sender's connection. A sender that hangs up changes nothing for an event that was
//! published: its delivery belongs to the workers (unlike contract FO-8).

pub mod entrance;
pub mod gate;
mod response;

use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, Response};
use http_body_util::Full;

use crate::auth::policy::Denial;
use crate::auth::{Credentials, Gate};
use crate::budget::PER_ONE_OF_MANY;
use crate::event::http::Mode;
use crate::event::{Event, Lease, http as binding};
use crate::model::{Access, Channel, Find, RequestReply, Scheme};
use crate::router::{Refusal, Router, Serving};
use crate::server::body::BodyError;
use crate::server::{Handler, Incoming};
use entrance::{Entrance, Message};
use response::Answer;

/// Takes events from requests.
pub struct Ingress {
    router: Arc<Router>,
    entrance: Entrance,
    gate: Arc<Gate>,
}

impl Ingress {
    /// An ingress in front of `router`, behind `gate`.
    #[must_use]
    pub fn new(router: Arc<Router>, entrance: Entrance, gate: Arc<Gate>) -> Self {
        Self { router, entrance, gate }
    }

    /// The steps of contract CR-10, in that order, but that nothing large is read of who may not send.
    async fn accept(&self, request: Request<Incoming>, scheme: Scheme) -> Result<Answer, Answer> {
        let serving = self.router.serving();
        self.entrance.admit(serving.table.transport_encryption(), scheme).map_err(Answer::WrongScheme)?;
        let place = find(&serving, &request)?;
        match *request.method() {
            Method::POST => {}
            Method::OPTIONS => return Ok(Answer::Options),
            _ => return Err(Answer::MethodNotAllowed),
        }
        let access = place.access();
        let credentials = Credentials::of(request.headers(), access);
        let refused = |denial| Answer::Refused(self.refuse(&serving, &place, denial));
        let sender = match self.gate.identify(access, &credentials).await {
            Ok(sender) => sender,
            Err(denial) => {
                let refused = || {
                    self.gate.count(&denial);
                    refused(denial)
                };
                return Err(self.malformed(request).await.unwrap_or_else(refused));
            }
        };
        let is_batch = place.is_one_at_a_time() && binding::mode(request.headers()) == Ok(Mode::Batched);
        let mut events = self.read(request).await?;
        self.gate.authorize(access, &sender, &events).map_err(refused)?;
        match place {
            Place::Channel(index, _) => {
                self.router.accept(&serving, index, events).await.map_err(Answer::Refused)?;
                Ok(Answer::Accepted)
            }
            Place::RequestReply(request_reply) => {
                let Some(event) = events.pop().filter(|_| !is_batch) else { return Err(Answer::Batch) };
                let replied = Box::pin(self.router.request(&serving, request_reply, event)).await;
                replied.map(|reply| Answer::Replied(Box::new(reply))).map_err(Answer::Refused)
            }
        }
    }

    /// Refuses events whose sender may not send them there.
    fn refuse(&self, serving: &Serving, place: &Place<'_>, denial: Denial) -> Refusal {
        match place {
            Place::Channel(index, _) => self.router.refuse(serving, *index, denial),
            Place::RequestReply(request_reply) => self.router.refuse_request(serving, request_reply, denial),
        }
    }

    /// What is wrong with a request that is refused anyway, if that can be told at no cost.
    async fn malformed(&self, request: Request<Incoming>) -> Option<Answer> {
        let Message { headers, body, attributes, .. } = Box::pin(self.entrance.glance(request)).await?;
        binding::decode(headers, body, attributes).err().map(Answer::NotAnEvent)
    }

    /// Reads the request's events. Their share of the memory budget lasts as long as they do.
    async fn read(&self, request: Request<Incoming>) -> Result<Vec<Event>, Answer> {
        let Message { headers, body, mut share, attributes } =
            self.entrance.read(request).await.map_err(Answer::Body)?;
        let (counted, data) = (share.bytes(), body.len());
        let events = binding::decode(headers, body, attributes).map_err(Answer::NotAnEvent)?;
        // Attributes that came in headers are counted with those; others are copies of what stands in the body.
        let beside: usize = events.iter().map(Event::beside).sum();
        let copied = beside.saturating_sub(counted.saturating_sub(data));
        let many = counted + copied + events.len().saturating_sub(1) * PER_ONE_OF_MANY;
        share.grow_to(many).map_err(|_exhausted| Answer::Body(BodyError::OverBudget))?;
        let lease: Lease = Arc::new(share);
        Ok(events.into_iter().map(|event| event.with_lease(Arc::clone(&lease))).collect())
    }
}

impl Handler for Ingress {
    async fn handle(&self, request: Request<Incoming>, scheme: Scheme) -> Response<Full<Bytes>> {
        let answer = self.accept(request, scheme).await.unwrap_or_else(|answer| {
            tracing::debug!(%answer, "Request refused");
            answer
        });
        answer.into_response()
    }
}

/// What a request means.
enum Place<'s> {
    /// A channel or broker, at this index of the table.
    Channel(usize, &'s Channel),
    RequestReply(&'s RequestReply),
}

impl<'s> Place<'s> {
    /// Whether it takes no batches.
    fn is_one_at_a_time(&self) -> bool {
        matches!(self, Self::RequestReply(_))
    }

    /// What it asks of senders.
    fn access(&self) -> Option<&'s Access> {
        match self {
            Self::Channel(_, channel) => channel.access.as_ref(),
            Self::RequestReply(request_reply) => request_reply.access.as_ref(),
        }
    }
}

/// What a request means.
fn find<'s>(serving: &'s Serving, request: &Request<Incoming>) -> Result<Place<'s>, Answer> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| request.headers().get(HOST).and_then(|host| host.to_str().ok()));
    match serving.table.find(host, request.uri().path()) {
        Find::Found(index, channel) => Ok(Place::Channel(index, channel)),
        Find::RequestReply(request_reply) => Ok(Place::RequestReply(request_reply)),
        Find::NotFound => Err(Answer::NotFound),
        Find::BadPath => Err(Answer::BadPath),
        Find::Ambiguous => Err(Answer::Ambiguous),
    }
}
