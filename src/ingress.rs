//! One request in, one answer out: finds the channel, reads the event, publishes it.
//!
//! The handler runs on the sender's connection. A sender that hangs up changes nothing for an event that was
//! published: its delivery belongs to the workers (contrast data-plane.md FO-8).

mod response;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{EXPECT, HOST};
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::event::{Event, Lease, http as binding};
use crate::model::{Find, Scheme, TransportEncryption};
use crate::router::{Router, Serving};
use crate::server::Handler;
use crate::server::body::{BodyError, Intake};
use response::Answer;

/// Whether HTTPS is served while the mode is `disabled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpsWhenDisabled {
    /// Answer 404, as upstream (data-plane.md CR-38).
    #[default]
    Refuse,
    /// Serve it, as the older documentation says (interface.md §4).
    Accept,
}

/// Takes events from requests.
pub struct Ingress {
    router: Arc<Router>,
    intake: Intake,
    https_when_disabled: HttpsWhenDisabled,
}

impl Ingress {
    /// An ingress in front of `router`.
    #[must_use]
    pub fn new(router: Arc<Router>, intake: Intake, https_when_disabled: HttpsWhenDisabled) -> Self {
        Self { router, intake, https_when_disabled }
    }

    /// The steps of data-plane.md CR-10, in that order.
    async fn accept(&self, request: Request<Incoming>, scheme: Scheme) -> Result<Answer, Answer> {
        let serving = self.router.serving();
        self.check_scheme(&serving, scheme)?;
        let index = find(&serving, &request)?;
        match *request.method() {
            Method::POST => {}
            Method::OPTIONS => return Ok(Answer::Options),
            _ => return Err(Answer::MethodNotAllowed),
        }
        let events = self.read(request).await?;
        self.router.accept(&serving, index, events).await.map_err(Answer::Refused)?;
        Ok(Answer::Accepted)
    }

    fn check_scheme(&self, serving: &Serving, scheme: Scheme) -> Result<(), Answer> {
        let mode = serving.table.transport_encryption();
        let extra = mode == TransportEncryption::Disabled && self.https_when_disabled == HttpsWhenDisabled::Accept;
        if mode.accepts(scheme) || extra { Ok(()) } else { Err(Answer::WrongScheme(mode)) }
    }

    /// Reads the request's events. Their share of the memory budget lasts as long as they do.
    async fn read(&self, request: Request<Incoming>) -> Result<Vec<Event>, Answer> {
        let (parts, mut body) = request.into_parts();
        let (data, share) = match self.intake.read(&mut body).await {
            Ok(read) => read,
            Err(error) => {
                self.discard_refused(&error, &parts.headers, parts.version, &mut body).await;
                return Err(Answer::Body(error));
            }
        };
        let lease: Lease = Arc::new(share);
        let events = binding::decode(parts.headers, data).map_err(Answer::NotAnEvent)?;
        Ok(events.into_iter().map(|event| event.with_lease(Arc::clone(&lease))).collect())
    }

    /// An HTTP/1.1 peer that does not wait for permission would lose the answer if the connection were closed while it
    /// sends.
    async fn discard_refused(&self, error: &BodyError, headers: &HeaderMap, version: Version, body: &mut Incoming) {
        let sends_on = version < Version::HTTP_2 && !headers.contains_key(EXPECT);
        if sends_on && matches!(error, BodyError::TooLarge { .. } | BodyError::OverBudget) {
            self.intake.discard(body).await;
        }
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

/// The place of the channel that a request means.
fn find(serving: &Serving, request: &Request<Incoming>) -> Result<usize, Answer> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| request.headers().get(HOST).and_then(|host| host.to_str().ok()));
    match serving.table.find(host, request.uri().path()) {
        Find::Found(index, _) => Ok(index),
        Find::NotFound => Err(Answer::NotFound),
        Find::BadPath => Err(Answer::BadPath),
        Find::Ambiguous => Err(Answer::Ambiguous),
    }
}
