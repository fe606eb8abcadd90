//! Which fields a request to a destination has: one list, and what is not on it does not leave, wherever it came from (a
//! request, an answer, a message on RabbitMQ that somebody else has put there).
//!
//! It is applied where a request sets out, before it is known by which version of HTTP it goes.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderName, Request};

use crate::event::{PREFIX, TraceContext, http as binding, knative};

/// Marks a request of the role `filter` that goes on with the fields that it came with, on the list or not (contract
/// BF-16). What is about a connection stays back all the same.
#[derive(Clone, Copy, Debug)]
pub struct ForwardAllFields;

/// What an event has beside its attributes (the HTTP protocol binding), what Knative adds (contract DP-5), who sends,
/// and what the client says of itself. What proves who sends is put there by this process only: events have no such field.
const LISTED: [HeaderName; 6] =
    [CONTENT_TYPE, knative::PREFER_HEADER, knative::NAMESPACE_HEADER, AUTHORIZATION, USER_AGENT, ACCEPT_ENCODING];

/// What is about one connection, or says how a message is framed or where it goes (RFC 9110, 7.6.1; RFC 9113, 8.2.2).
/// `proxy-` stands before further ones.
const OF_CONNECTION: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Leaves a request what may leave with it.
pub(super) fn remove_unlisted_fields(request: &mut Request<Bytes>) {
    let is_passed_on = request.extensions().get::<ForwardAllFields>().is_some();
    let headers = request.headers_mut();
    // Nothing on the list is about a connection.
    let stays_back = |name: &HeaderName| if is_passed_on { is_connection_field(name) } else { !is_listed(name) };
    // Of nearly every request nothing has to be taken out.
    if !headers.keys().any(stays_back) {
        return;
    }
    binding::drop_connection_fields(headers);
    let back: Vec<HeaderName> = headers.keys().filter(|name| stays_back(name)).cloned().collect();
    for name in back {
        headers.remove(name);
    }
}

/// Whether an event may have such a field, or a request with it: contract CR-29 to CR-31, DP-5, OB-14.
fn is_listed(name: &HeaderName) -> bool {
    name.as_str().starts_with(PREFIX)
        || LISTED.contains(name)
        || knative::is_forwarded(name)
        || TraceContext::is_header(name)
}

fn is_connection_field(name: &HeaderName) -> bool {
    OF_CONNECTION.contains(name) || name.as_str().starts_with("proxy-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    /// Fields as somebody might like to have them in a request that is not theirs.
    const OTHERS: [&str; 20] = [
        "authorization",
        "cookie",
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "origin",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-original-url",
        "b3",
    ];

    fn names(request: &Request<Bytes>) -> Vec<&str> {
        let mut names: Vec<&str> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    fn request(fields: &[&str]) -> Request<Bytes> {
        let request = fields.iter().fold(Request::post("/"), |request, name| request.header(*name, "1"));
        request.body(Bytes::new()).expect("a request")
    }

    #[test]
    fn what_is_listed_leaves() {
        let all = [
            "accept-encoding",
            "authorization",
            "baggage",
            "ce-id",
            "ce-x",
            "content-type",
            "kn-namespace",
            "knative-own",
            "prefer",
            "retry-after",
            "traceparent",
            "tracestate",
            "user-agent",
            "x-b3-traceid",
            "x-request-id",
        ];
        let mut sent = request(&all);
        remove_unlisted_fields(&mut sent);
        assert_eq!(names(&sent), all);
        assert!(OF_CONNECTION.iter().all(|name| !is_listed(name)));
    }

    #[test]
    fn nothing_else_does() {
        let others = OTHERS.into_iter().filter(|name| *name != "authorization");
        let mut sent = request(&[&["ce-id", "x-request-id"], &others.collect::<Vec<_>>()[..]].concat());
        remove_unlisted_fields(&mut sent);
        assert_eq!(names(&sent), ["ce-id", "x-request-id"]);
    }

    /// Contract BF-16, but for what is about the connection that a request came by.
    #[test]
    fn what_is_passed_on_is_not_about_a_connection() {
        let mut sent = request(&["ce-id", "x-custom", "x-hop", "te", "proxy-connection", "expect"]);
        sent.headers_mut().insert(CONNECTION, "close, X-Hop".parse().expect("a value"));
        sent.extensions_mut().insert(ForwardAllFields);
        remove_unlisted_fields(&mut sent);
        assert_eq!(names(&sent), ["ce-id", "x-custom"]);
    }

    /// An event has no other fields beside it, whoever makes it.
    #[test]
    fn an_event_forwards_what_knative_forwards() {
        let value = || http::HeaderValue::from_static("1");
        let beside =
            OTHERS.iter().chain(&["prefer", "kn-namespace", "user-agent", "content-type", "x-b3-a", "knative-b"]);
        let event = Event::new("1", "/s", "t")
            .with_forwarded(beside.map(|name| (HeaderName::from_static(name), value())).collect());
        let request = crate::client::event_request(&event, crate::model::DeliveryFormat::Binary);
        assert_eq!(names(&request), ["ce-id", "ce-source", "ce-specversion", "ce-type", "knative-b", "x-b3-a"]);
    }
}
