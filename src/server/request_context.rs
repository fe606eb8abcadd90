//! What is known of a request beside its head and its body, by whoever handles it.

use std::net::IpAddr;

use super::response_body::BodyStream;
use crate::model::UriScheme;
use crate::telemetry::tracer::Span;

/// Context of a request, from the listener to the last handler and back.
#[derive(Debug)]
pub struct RequestContext {
    /// The scheme of the listener that the request came by.
    pub(crate) scheme: UriScheme,
    /// The address of the peer; `None` on a Unix socket.
    pub(crate) peer: Option<IpAddr>,
    /// The user id of the peer on a Unix socket; `None` elsewhere, or if it is not known.
    pub(crate) peer_user: Option<u32>,
    /// The span of the request, whose context goes on with what the request holds; the default
    /// until a handler starts one.
    pub(crate) span: Span,
    /// The length of the body in bytes, as it was read; 0 if it was not.
    pub(crate) body_bytes: usize,
    /// The body of the response, if it goes out in pieces as they come: it stands for the one that
    /// the response has.
    pub(crate) response_stream: Option<BodyStream>,
}

impl RequestContext {
    /// Makes the context of a request that came by `scheme` from `peer`.
    pub(super) fn new(scheme: UriScheme, peer: Option<IpAddr>) -> Self {
        Self {
            scheme,
            peer,
            peer_user: None,
            span: Span::default(),
            body_bytes: 0,
            response_stream: None,
        }
    }
}
