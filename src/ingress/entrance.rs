//! What every request with an event goes through first, whatever the role: the mode, and the reading of its body.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::EXPECT;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use hyper::body::Incoming;

use crate::event::Lease;
use crate::model::{Scheme, TransportEncryption};
use crate::server::body::{BodyError, Intake, Measure};

/// Whether HTTPS is served while the mode is `disabled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpsWhenDisabled {
    /// Answer 404, as upstream (data-plane.md CR-38).
    #[default]
    Refuse,
    /// Serve it, as the older documentation says (interface.md §4).
    Accept,
}

/// The mode does not take events by the scheme of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongScheme(TransportEncryption);

impl fmt::Display for WrongScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.0 == TransportEncryption::Strict { "https" } else { "http" };
        write!(f, "transport-encryption is {}: send the event to the {scheme} address", self.0.as_str())
    }
}

/// The headers that `OPTIONS` asks for (CR-7).
#[must_use]
pub fn webhook() -> HeaderMap {
    let names = ["webhook-allowed-origin", "webhook-allowed-rate"].map(HeaderName::from_static);
    HeaderMap::from_iter(names.map(|name| (name, HeaderValue::from_static("*"))))
}

/// A request that has been read.
pub struct Message {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
    /// Its share of the memory budget.
    pub lease: Lease,
}

/// What headers take, in bytes.
fn length(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
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

    /// Lets in events that come by this scheme in this mode (CR-37, CR-38).
    ///
    /// # Errors
    /// If they are to come by the other one.
    pub fn admit(&self, mode: TransportEncryption, scheme: Scheme) -> Result<(), WrongScheme> {
        let extra = mode == TransportEncryption::Disabled && self.https_when_disabled == HttpsWhenDisabled::Accept;
        if mode.accepts(scheme) || extra { Ok(()) } else { Err(WrongScheme(mode)) }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// If its body is too large, too slow, broken, or there is no memory left for it.
    pub async fn read(&self, request: Request<Incoming>) -> Result<Message, BodyError> {
        let (parts, mut body) = request.into_parts();
        match self.intake.read(length(&parts.headers), &mut body).await {
            Ok((body, share)) => {
                if let Some(measure) = parts.extensions.get::<Measure>() {
                    measure.set(body.len());
                }
                Ok(Message { headers: parts.headers, body, lease: Arc::new(share) })
            }
            Err(error) => {
                Box::pin(self.discard_refused(&error, &parts.headers, parts.version, &mut body)).await;
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
