//! The header fields of requests to destinations: there is one list, and a field that is not on it
//! does not leave this process, wherever it came from (a request, a response, a message that
//! somebody else has put into RabbitMQ).
//!
//! The list is applied when a request is prepared, before it is known by which version of HTTP it
//! is sent.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderName, Request};

use crate::event::{PREFIX, TraceContext, http as binding, knative};

/// Marks a request of the role `filter`, which keeps the header fields that it came with, whether
/// or not they are on the list (contract BF-16). Fields about the connection are removed all the
/// same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForwardAllFields;

/// The fields that may leave besides the attributes of an event: those of the HTTP protocol
/// binding, those that Knative adds (contract DP-5), the authorization of the sender, and what the
/// client says of itself. `Authorization` is set by this process only: events have no such field.
const LISTED: [HeaderName; 6] = [
    CONTENT_TYPE,
    knative::PREFER_HEADER,
    knative::NAMESPACE_HEADER,
    AUTHORIZATION,
    USER_AGENT,
    ACCEPT_ENCODING,
];

/// The fields that are about one connection, or that say how a message is framed or where it goes
/// (RFC 9110, 7.6.1; RFC 9113, 8.2.2). Every field that begins with `proxy-` is one of them, too.
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

/// Removes the header fields that may not leave with a request.
pub(super) fn remove_unlisted_fields(request: &mut Request<Bytes>) {
    let is_passed_on = request.extensions().get::<ForwardAllFields>().is_some();
    let headers = request.headers_mut();
    // No field of the list is about a connection, so that the two tests need not be combined.
    let stays_back = |name: &HeaderName| {
        if is_passed_on {
            is_connection_field(name)
        } else {
            !is_listed(name)
        }
    };
    // Nearly every request has nothing to remove, and is left as it is without an allocation.
    if !headers.keys().any(stays_back) {
        return;
    }
    binding::drop_connection_fields(headers);
    let back: Vec<HeaderName> = headers
        .keys()
        .filter(|name| stays_back(name))
        .cloned()
        .collect();
    for name in back {
        headers.remove(name);
    }
}

/// Returns true if an event may have this field, or the request that carries it: contract CR-29 to
/// CR-31, DP-5, OB-14.
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
        let request = fields.iter().fold(Request::post("/"), |request, name| {
            request.header(*name, "1")
        });
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
        let mut sent =
            request(&[&["ce-id", "x-request-id"], &others.collect::<Vec<_>>()[..]].concat());
        remove_unlisted_fields(&mut sent);
        assert_eq!(names(&sent), ["ce-id", "x-request-id"]);
    }

    /// Contract BF-16, but for what is about the connection that a request came by.
    #[test]
    fn what_is_passed_on_is_not_about_a_connection() {
        let mut sent = request(&[
            "ce-id",
            "x-custom",
            "x-hop",
            "te",
            "proxy-connection",
            "expect",
        ]);
        sent.headers_mut()
            .insert(CONNECTION, "close, X-Hop".parse().expect("a value"));
        sent.extensions_mut().insert(ForwardAllFields);
        remove_unlisted_fields(&mut sent);
        assert_eq!(names(&sent), ["ce-id", "x-custom"]);
    }

    /// An event has no other fields beside it, whoever makes it.
    #[test]
    fn an_event_forwards_what_knative_forwards() {
        let value = || http::HeaderValue::from_static("1");
        let beside = OTHERS.iter().chain(&[
            "prefer",
            "kn-namespace",
            "user-agent",
            "content-type",
            "x-b3-a",
            "knative-b",
        ]);
        let event = Event::new("1", "/s", "t").with_forwarded(
            beside
                .map(|name| (HeaderName::from_static(name), value()))
                .collect(),
        );
        let request =
            crate::client::event_request(&event, crate::model::DeliveryFormat::Binary, None);
        assert_eq!(
            names(&request),
            [
                "ce-id",
                "ce-source",
                "ce-specversion",
                "ce-type",
                "knative-b",
                "x-b3-a"
            ]
        );
    }
}
