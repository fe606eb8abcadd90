//! A request that is refused: its response, and what is known of its events, for whoever asks where
//! they are.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Request};

use super::response::IngressResponse;
use crate::event::{Event, UndecodedMessage, announced_event};
use crate::observation::ObservedObject;
use crate::server::RequestBody;
use crate::wire_text::{WireText, truncate};

/// Longest part in bytes of a path that nothing has which is shown.
const LONGEST_PATH: usize = 80;

/// A request that is refused.
pub(super) struct RefusedRequest {
    pub(super) response: IngressResponse,
    /// Its events, as far as they are known; none if observers have been told of them.
    pub(super) events: Vec<Event>,
    /// What it was sent to; `None` if nothing has its address.
    pub(super) target: Option<Arc<ObservedObject>>,
    /// The path that nothing has.
    path: Option<WireText>,
}

impl RefusedRequest {
    /// Makes a request with these events that is refused.
    pub(super) fn new(response: IngressResponse, events: Vec<Event>) -> Box<Self> {
        Box::new(Self {
            response,
            events,
            target: None,
            path: None,
        })
    }

    /// Makes a request that is refused before its body is read: its header fields may name an
    /// event.
    pub(super) fn unread(response: IngressResponse, headers: &HeaderMap) -> Box<Self> {
        Self::new(response, vec![announced_event(headers)])
    }

    /// Makes a request to an address that nothing has, or not now.
    pub(super) fn unaddressed(
        response: IngressResponse,
        request: &Request<RequestBody>,
    ) -> Box<Self> {
        let mut refused = Self::unread(response, request.headers());
        refused.path = Some(WireText::new(truncate(request.uri().path(), LONGEST_PATH)));
        refused
    }

    /// Makes a request that holds no valid events.
    pub(super) fn undecoded(undecoded: UndecodedMessage) -> Box<Self> {
        let UndecodedMessage { error, mut events } = undecoded;
        if events.is_empty() {
            // A tap tells of it all the same.
            events.push(announced_event(&HeaderMap::new()));
        }
        Self::new(IngressResponse::NotAnEvent(error), events)
    }

    /// Makes a request of whose events observers have been told.
    pub(super) fn told(response: IngressResponse) -> Box<Self> {
        Self::new(response, Vec::new())
    }

    /// Sets what the request was sent to.
    pub(super) fn at(mut self: Box<Self>, target: Option<Arc<ObservedObject>>) -> Box<Self> {
        self.target = target;
        self
    }

    /// Why the request was refused, in words, with the path that nothing has.
    pub(super) fn reason(&self) -> String {
        let text = self.response.text();
        match &self.path {
            Some(path) => format!("{path}: {text}"),
            None => text.into_owned(),
        }
    }
}

impl fmt::Display for RefusedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.response.fmt(f)
    }
}
