//! Refuses cross-site requests, so that pages that somebody reads in a browser cannot use the admin
//! port, which the browser reaches and they do not.
//!
//! A page from elsewhere may give its own host name an address of loopback (DNS rebinding); then
//! the browser takes the port for the page's own origin, and only `Host` shows the difference. Or
//! the page sends a form or a script's request straight here; then `Origin` and `Sec-Fetch-Site`
//! show it, which no script can set (Fetch, 3.2; Fetch Metadata Request Headers, 2).

use std::net::IpAddr;

use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue, Request};

use super::admin_action::AdminAction;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The host that a request says it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestedHost {
    /// Loopback, as `localhost` or as an address.
    Loopback,
    /// Another host, at least in one place.
    Other,
    /// No host, as HTTP/1.0 allows.
    Missing,
}

impl RequestedHost {
    /// Reads the target, `:authority` and `Host`, which may differ. Ports do not matter, since
    /// everybody who forwards a port chooses one.
    pub(super) fn of_request<B>(request: &Request<B>) -> Self {
        let mut named = Self::Missing;
        for host in requested_hosts(request) {
            named = if host.is_some_and(is_loopback) {
                Self::Loopback
            } else {
                return Self::Other;
            };
        }
        named
    }
}

/// Returns true if a browser sent the request for a page from elsewhere. Links and addresses that
/// lead here may be followed from everywhere, as long as nothing changes.
pub(super) fn is_cross_site<B>(request: &Request<B>, intent: AdminAction) -> bool {
    let headers = request.headers();
    let is_from_elsewhere = headers
        .get_all(ORIGIN)
        .iter()
        .any(|origin| !is_same_origin(origin, request));
    let is_other_site = headers
        .get_all(SITE)
        .iter()
        .any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    is_from_elsewhere || is_other_site && !(intent <= AdminAction::Read && is_navigation(headers))
}

/// Returns true if an origin is the one that the request is for. Its scheme does not matter: a
/// proxy may add TLS.
fn is_same_origin<B>(origin: &HeaderValue, request: &Request<B>) -> bool {
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_scheme, host)| host);
    let mut hosts = requested_hosts(request).peekable();
    let is_named = hosts.peek().is_some();
    is_named
        && hosts.all(|host| {
            host.zip(origin)
                .is_some_and(|(host, origin)| host.eq_ignore_ascii_case(origin))
        })
}

fn is_navigation(headers: &HeaderMap) -> bool {
    let mut modes = headers.get_all(MODE).iter();
    modes.next().is_some_and(|mode| mode == "navigate") && modes.next().is_none()
}

/// Returns every host that a request names, with its port; `None` for one that is no text.
fn requested_hosts<B>(request: &Request<B>) -> impl Iterator<Item = Option<&str>> {
    let authority = request
        .uri()
        .authority()
        .map(|authority| Some(authority.as_str()));
    authority.into_iter().chain(
        request
            .headers()
            .get_all(HOST)
            .iter()
            .map(|host| host.to_str().ok()),
    )
}

fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some(literal) => literal,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    let is_address = || {
        name.parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
    };
    is_port && (name.eq_ignore_ascii_case("localhost") || is_address())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, headers: &[(&str, &str)]) -> Request<()> {
        let request = Request::get(target);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.body(()).expect("a request")
    }

    #[test]
    fn hosts_of_loopback() {
        for host in [
            "localhost",
            "LocalHost:9090",
            "localhost:",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.8.9.10:9090",
            "[::1]",
            "[::1]:9090",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(
                RequestedHost::of_request(&request("/", &[("host", host)])),
                RequestedHost::Loopback,
                "{host}"
            );
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "evil.localhost",
            "localhost:x",
            "127.0.0.1.evil.example",
            "127.1",
            "2130706433",
            "0.0.0.0:9090",
            "10.0.0.1",
            "[::]:9090",
            "[::2]",
            "::1",
            "[::1",
            "[::1]x",
        ] {
            assert_eq!(
                RequestedHost::of_request(&request("/", &[("host", host)])),
                RequestedHost::Other,
                "{host}"
            );
        }
        assert_eq!(
            RequestedHost::of_request(&request("/", &[])),
            RequestedHost::Missing
        );
    }

    #[test]
    fn each_host_that_is_named_counts() {
        for (target, hosts, named) in [
            ("http://localhost/", &[][..], RequestedHost::Loopback),
            ("http://localhost/", &["127.0.0.1"], RequestedHost::Loopback),
            ("http://evil.example/", &["localhost"], RequestedHost::Other),
            ("http://localhost/", &["evil.example"], RequestedHost::Other),
            ("/", &["localhost", "evil.example"], RequestedHost::Other),
        ] {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            assert_eq!(
                RequestedHost::of_request(&request(target, &headers)),
                named,
                "{target} {hosts:?}"
            );
        }
    }

    #[test]
    fn pages_from_elsewhere() {
        let (read, change) = (AdminAction::Read, AdminAction::Change);
        for (headers, foreign) in [
            (&[][..], [false, false]),
            (&[("origin", "http://a:1")], [false, false]),
            (&[("origin", "https://A:1")], [false, false]),
            (&[("origin", "http://a:2")], [true, true]),
            (&[("origin", "http://a")], [true, true]),
            (&[("origin", "null")], [true, true]),
            (&[("origin", "")], [true, true]),
            (
                &[("origin", "http://a:1"), ("origin", "http://b")],
                [true, true],
            ),
            (&[("sec-fetch-site", "same-origin")], [false, false]),
            (
                &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
                [false, false],
            ),
            (&[("sec-fetch-site", "same-site")], [true, true]),
            (&[("sec-fetch-site", "cross-site")], [true, true]),
            (&[("sec-fetch-site", "of another kind")], [true, true]),
            (
                &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
                [true, true],
            ),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "no-cors"),
                ],
                [true, true],
            ),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                [false, true],
            ),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-mode", "cors"),
                ],
                [true, true],
            ),
            (
                &[
                    ("origin", "http://b"),
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                [true, true],
            ),
        ] {
            let request = request("/", &[&[("host", "a:1")], headers].concat());
            assert_eq!(
                [read, change].map(|intent| is_cross_site(&request, intent)),
                foreign,
                "{headers:?}"
            );
        }
        assert!(
            is_cross_site(&request("/", &[("origin", "http://a")]), read),
            "there is no host that it could be"
        );
        assert!(is_cross_site(
            &request("http://b:1/", &[("host", "a:1"), ("origin", "http://a:1")]),
            read
        ));
    }
}
