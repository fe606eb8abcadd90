//! What every request with an event goes through first, whatever the role: the mode, and the reading of its body.

use std::sync::Arc;

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, Request, Version};
use hyper::body::Incoming;

use crate::event::Lease;
use crate::model::{Scheme, TransportEncryption};
use crate::server::body::{BodyError, Intake};

/// Whether HTTPS is served while the mode is `disabled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpsWhenDisabled {
    /// Answer 404, as upstream (data-plane.md CR-38).
    #[default]
    Refuse,
    /// Serve it, as the older documentation says (interface.md §4).
    Accept,
}

/// A request that has been read.
pub struct Message {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
    /// The body's share of the memory budget.
    pub lease: Lease,
}

/// Decides which requests are read, and reads them.
pub struct Entrance {
    intake: Intake,
    https_when_disabled: HttpsWhenDisabled,
}

impl Entrance {
    /// An entrance that reads bodies by `intake`.
    #[must_use]
    pub fn new(intake: Intake, https_when_disabled: HttpsWhenDisabled) -> Self {
        Self { intake, https_when_disabled }
    }

    /// Whether events that come by this scheme are taken in this mode (CR-37, CR-38).
    #[must_use]
    pub fn admits(&self, mode: TransportEncryption, scheme: Scheme) -> bool {
        let extra = mode == TransportEncryption::Disabled && self.https_when_disabled == HttpsWhenDisabled::Accept;
        mode.accepts(scheme) || extra
    }

    /// Reads a request.
    ///
    /// # Errors
    /// If its body is too large, too slow, broken, or there is no memory left for it.
    pub async fn read(&self, request: Request<Incoming>) -> Result<Message, BodyError> {
        let (parts, mut body) = request.into_parts();
        match self.intake.read(&mut body).await {
            Ok((body, share)) => Ok(Message { headers: parts.headers, body, lease: Arc::new(share) }),
            Err(error) => {
                self.discard_refused(&error, &parts.headers, parts.version, &mut body).await;
                Err(error)
            }
        }
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
