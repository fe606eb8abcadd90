//! Reader that every request with an event goes through first, whatever the role: it checks the
//! scheme, and reads the body within the limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};

use crate::budget::{BudgetShare, MemoryBudget, PER_EVENT};
use crate::event::http::content_coding;
use crate::event::{AttributeLimit, TraceContext};
use crate::model::{TransportEncryption, UriScheme};
use crate::server::body::{BodyError, BodyReader, ReceivedBody};
use crate::server::{RequestBody, RequestContext};
use crate::wire_text::WireText;

/// Behaviour of the HTTPS port while `transport-encryption` is `disabled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpsWhenDisabled {
    /// Requests get 404, as upstream's do (contract CR-38).
    #[default]
    Refuse,
    /// Requests are served, as the older documentation says (contract IF-4).
    Accept,
}

/// Error for a request whose scheme the mode does not take; holds the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongScheme(TransportEncryption);

impl fmt::Display for WrongScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.0 == TransportEncryption::Strict {
            "https"
        } else {
            "http"
        };
        write!(
            f,
            "transport-encryption is {}: send the event to the {scheme} address",
            self.0.as_str()
        )
    }
}

/// Header fields that the response to `OPTIONS` has (contract CR-7).
#[must_use]
pub(crate) fn webhook_headers() -> HeaderMap {
    let names = ["webhook-allowed-origin", "webhook-allowed-rate"].map(HeaderName::from_static);
    HeaderMap::from_iter(names.map(|name| (name, HeaderValue::from_static("*"))))
}

/// A request that has been read as a whole.
pub(crate) struct ReceivedRequest {
    /// Header fields of the request.
    pub(crate) headers: HeaderMap,
    /// Body of the request, as a whole.
    pub(crate) body: Bytes,
    /// Share of the memory budget that the request takes, which its events keep.
    pub(crate) memory_share: BudgetShare,
    /// Limit of the attributes of each event.
    pub(crate) attribute_limit: AttributeLimit,
    /// Trace of the request's span, to which its events belong; `None` if it has none, so that the
    /// header fields say it.
    pub(crate) trace: Option<Arc<TraceContext>>,
}

/// A request whose body could not be read.
pub(crate) struct UnreadRequest {
    /// Why.
    pub(crate) error: BodyError,
    /// Header fields of the request.
    pub(crate) headers: HeaderMap,
}

/// Largest size in bytes of a body that is read although its request is refused.
const MAX_REFUSED_BODY_BYTES: usize = 16 * 1024;
/// Longest time that reading such a body may take.
const GLANCE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that all such bodies may hold at once.
const MAX_REFUSED_TOTAL_BYTES: usize = 1024 * 1024;

/// Size of the header fields in bytes.
fn headers_length(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// Decides which requests are read, and reads them.
pub struct RequestReader {
    body_reader: BodyReader,
    /// Reader of small bodies of requests that are refused anyway.
    refused_body_reader: BodyReader,
    attribute_limit: AttributeLimit,
    https_when_disabled: HttpsWhenDisabled,
}

impl RequestReader {
    /// Makes a reader of requests with the limits of `body_reader` for bodies and of
    /// `attribute_limit` for events.
    #[must_use]
    pub fn new(
        body_reader: BodyReader,
        attribute_limit: AttributeLimit,
        https_when_disabled: HttpsWhenDisabled,
    ) -> Self {
        let refused_body_reader = BodyReader {
            max_bytes: MAX_REFUSED_BODY_BYTES,
            timeout: GLANCE_TIMEOUT,
            budget: MemoryBudget::new(MAX_REFUSED_TOTAL_BYTES),
        };
        Self {
            body_reader,
            refused_body_reader,
            attribute_limit,
            https_when_disabled,
        }
    }

    /// Limit of the attributes of one event.
    #[must_use]
    pub(crate) fn attribute_limit(&self) -> AttributeLimit {
        self.attribute_limit
    }

    /// Checks that this mode takes events by this scheme (contract CR-37, CR-38).
    ///
    /// # Errors
    /// If events have to come by the other scheme.
    pub(crate) fn check_scheme(
        &self,
        mode: TransportEncryption,
        scheme: UriScheme,
    ) -> Result<(), WrongScheme> {
        let extra = mode == TransportEncryption::Disabled
            && self.https_when_disabled == HttpsWhenDisabled::Accept;
        if mode.accepts(scheme) || extra {
            Ok(())
        } else {
            Err(WrongScheme(mode))
        }
    }

    /// Reads a request as a whole.
    ///
    /// # Errors
    /// If its body is too large, too slow, compressed or broken, or there is no memory left for it.
    pub(crate) async fn read_request(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Result<ReceivedRequest, UnreadRequest> {
        self.read_by(&self.body_reader, request, context).await
    }

    /// Reads a request as a whole, within this budget of its namespace if there is one.
    ///
    /// # Errors
    /// If its body is too large, too slow, compressed or broken, or there is no memory left for it.
    pub(crate) async fn read_request_within(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
        budget: Option<&Arc<MemoryBudget>>,
    ) -> Result<ReceivedRequest, UnreadRequest> {
        let within = budget.map(|budget| BodyReader {
            budget: Arc::clone(budget),
            ..self.body_reader
        });
        let body_reader = within.as_ref().unwrap_or(&self.body_reader);
        self.read_by(body_reader, request, context).await
    }

    /// Reads a request that is refused whatever it holds, if its body is small and there: upstream
    /// reports first what is wrong with the event (contract CR-10, BI-3). It takes nothing of the
    /// memory budget of events.
    pub(crate) async fn read_refused(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Option<ReceivedRequest> {
        self.read_by(&self.refused_body_reader, request, context)
            .await
            .ok()
    }

    async fn read_by(
        &self,
        body_reader: &BodyReader,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Result<ReceivedRequest, UnreadRequest> {
        let (parts, mut body) = request.into_parts();
        let mut headers = parts.headers;
        // An encoded body is refused before it is read.
        if let Some(coding) = content_coding(&headers) {
            let error = BodyError::ContentEncoded(WireText::new(coding));
            return Err(UnreadRequest { error, headers });
        }
        let beside = PER_EVENT + headers_length(&headers);
        let (read, share) = match body_reader.read_body(beside, &mut body).await {
            Ok(read) => read,
            Err(error) => return Err(UnreadRequest { error, headers }),
        };
        let body = detach_from_connection(read, parts.version, &mut headers);
        context.body_bytes = body.len();
        Ok(ReceivedRequest {
            headers,
            body,
            memory_share: share,
            attribute_limit: self.attribute_limit,
            trace: context.span.context().cloned(),
        })
    }
}

/// Moves body and header fields to memory of their own, where they would hold the connection's. The
/// rest of a connection's buffer is used again only when nothing holds a part of it. On a
/// connection with one request at a time that is one buffer for each; on others, or beside a large
/// body, it would be many.
fn detach_from_connection(read: ReceivedBody, version: Version, headers: &mut HeaderMap) -> Bytes {
    match read {
        ReceivedBody::Shared(piece) if version < Version::HTTP_2 => piece,
        ReceivedBody::Shared(piece) => {
            own_header_values(headers);
            Bytes::copy_from_slice(&piece)
        }
        ReceivedBody::Owned(whole) => {
            own_header_values(headers);
            whole
        }
    }
}

/// Moves the values to memory of their own, which they share.
fn own_header_values(headers: &mut HeaderMap) {
    let mut copy = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    headers
        .values()
        .for_each(|value| copy.extend_from_slice(value.as_bytes()));
    let mut copy = copy.freeze();
    for value in headers.values_mut() {
        let is_sensitive = value.is_sensitive();
        // It was a valid value before, so it is one now.
        if let Ok(mut owned) = HeaderValue::from_maybe_shared(copy.split_to(value.len())) {
            owned.set_sensitive(is_sensitive);
            *value = owned;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_what_they_are_in_other_memory() {
        let read = Bytes::from_static(b"one\xe9three");
        let mut headers = HeaderMap::new();
        for (name, range) in [("a", 0..3), ("b", 3..4), ("a", 4..9), ("c", 9..9)] {
            headers.append(
                name,
                HeaderValue::from_maybe_shared(read.slice(range)).expect("a value"),
            );
        }
        let mut secret = HeaderValue::from_static("secret");
        secret.set_sensitive(true);
        headers.insert("d", secret);
        let before = headers.clone();
        own_header_values(&mut headers);
        assert_eq!(headers, before);
        assert!(headers["d"].is_sensitive() && !headers["a"].is_sensitive());
        assert!(
            headers
                .values()
                .all(|value| !read.as_ptr_range().contains(&value.as_bytes().as_ptr()))
        );
    }
}
