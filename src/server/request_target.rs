//! Checks what a request is for before any handler is asked: its host, which must be given once and
//! be valid (RFC 9112, 3.2), and the server as a whole, which `OPTIONS *` asks for.

use std::net::Ipv6Addr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;

/// Returns the response to a request that needs no handler; `None` if the handler has to answer.
pub(super) fn respond_without_handler<B>(request: &Request<B>) -> Option<Response<Full<Bytes>>> {
    if let Err(reason) = check_host(request) {
        return Some(bad_request(reason));
    }
    match (request.uri().path(), request.method()) {
        ("*", &Method::OPTIONS) => Some(Response::new(Full::default())),
        ("*", _) => Some(bad_request(
            "the target * is for OPTIONS only: name a path\n",
        )),
        _ => None,
    }
}

fn bad_request(reason: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(reason.as_bytes())));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// Checks that the request says which host it is for, once and in a form that a host has. Over
/// HTTP/2 `:authority` says so, and a `Host` beside it has to say the same (RFC 9113, 8.3.1).
fn check_host<B>(request: &Request<B>) -> Result<(), &'static str> {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    if authority.is_some_and(|authority| !is_uri_host(authority.as_bytes())) {
        return Err("the target has no valid host: send HOST or HOST:PORT\n");
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, version) = (hosts.next().map(HeaderValue::as_bytes), request.version());
    match host {
        Some(_) if hosts.next().is_some() => Err("more than one Host header: send one\n"),
        Some(host) if !is_uri_host(host) => {
            Err("the Host header is not valid: send HOST or HOST:PORT\n")
        }
        Some(host)
            if version == Version::HTTP_2
                && authority.is_some_and(|authority| !is_same_host(host, authority)) =>
        {
            Err("the Host header and :authority differ: send :authority only\n")
        }
        None if version == Version::HTTP_11 => Err("the Host header is missing: send one\n"),
        None if version == Version::HTTP_2 && authority.is_none() => {
            Err(":authority is missing: send it\n")
        }
        _ => Ok(()),
    }
}

/// Returns true if both name one host, whatever their ports, which one of them may leave out.
fn is_same_host(host: &[u8], authority: &str) -> bool {
    split_host_port(host)
        .0
        .eq_ignore_ascii_case(split_host_port(authority.as_bytes()).0)
}

/// Splits into the host and the rest, which is the port with its colon, or empty.
fn split_host_port(text: &[u8]) -> (&[u8], &[u8]) {
    let end = match text.first() {
        Some(b'[') => text
            .iter()
            .position(|byte| *byte == b']')
            .map_or(text.len(), |at| at + 1),
        _ => text
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(text.len()),
    };
    text.split_at_checked(end).unwrap_or((text, b""))
}

/// Returns true for `uri-host [ ":" port ]` (RFC 9110, 7.2; RFC 3986, 3.2.2), where the host of
/// `http` and `https` is not empty.
fn is_uri_host(text: &[u8]) -> bool {
    let (name, port) = split_host_port(text);
    let is_name = match name {
        [] => false,
        [b'[', literal @ .., b']'] => is_ip_literal(literal),
        name => is_registered_name(name),
    };
    is_name && is_port(port)
}

/// Returns true for nothing, or for a colon and a port number, which may be left out.
fn is_port(port: &[u8]) -> bool {
    let Some((colon, digits)) = port.split_first() else {
        return true;
    };
    let number = str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    *colon == b':'
        && number.is_some_and(|number| number.is_empty() || number.parse::<u16>().is_ok())
}

/// Returns true if the text between the brackets is an IPv6 address, or one of a future version.
fn is_ip_literal(literal: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(literal) else {
        return false;
    };
    let future = || {
        let (version, address) = text.strip_prefix(['v', 'V'])?.split_once('.')?;
        let is_version =
            !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_address = !address.is_empty()
            && address
                .bytes()
                .all(|byte| byte == b':' || is_unreserved_or_sub_delim(byte));
        Some(is_version && is_address)
    };
    text.parse::<Ipv6Addr>().is_ok() || future().unwrap_or(false)
}

/// Returns true for letters, digits, some marks, and anything written as `%` and two hexadecimal
/// digits.
fn is_registered_name(name: &[u8]) -> bool {
    let mut rest = name;
    loop {
        rest = match rest {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..] if is_unreserved_or_sub_delim(*byte) => rest,
            _ => return false,
        };
    }
}

/// Returns true for `unreserved` and `sub-delims` of RFC 3986.
fn is_unreserved_or_sub_delim(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_as_rfc_3986_writes_them() {
        for host in [
            "a",
            "a.b:80",
            "a:",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:1",
            "[v1.a:b]",
            "a_b",
            "%41",
            "a,b",
            "1",
        ] {
            assert!(is_uri_host(host.as_bytes()), "{host}");
        }
        let wrong = [
            "",
            ":80",
            "a b",
            "a:b",
            "a:65536",
            "a:-1",
            "a:+1",
            "a/b",
            "u@a",
            "a@",
            "[::1",
            "::1",
            "[::1]x",
            "[]",
            "[a]",
            "%4",
            "%zz",
            "a\"",
            "a?b",
            "a#b",
            "é",
            "[::1%25lo]",
            "a:1:2",
            "http://a",
            "[v.a]",
            "[v1.]",
            "a\\b",
            "<a>",
            "{a}",
        ];
        for host in wrong {
            assert!(!is_uri_host(host.as_bytes()), "{host}");
        }
    }

    fn status(version: Version, uri: &str, hosts: &[&str]) -> Option<u16> {
        let mut request = Request::post(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        respond_without_handler(&request.body(()).expect("a request"))
            .map(|answer| answer.status().as_u16())
    }

    #[test]
    fn a_host_is_said_once() {
        let (old, new, h2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        for (version, uri, hosts, wanted) in [
            (new, "/a/b", &["h"][..], None),
            (new, "/a/b", &[], Some(400)),
            (new, "/a/b", &["h", "h"], Some(400)),
            (new, "/a/b", &[""], Some(400)),
            (new, "/a/b", &["a b"], Some(400)),
            (new, "http://h/a/b", &["h"], None),
            (new, "http://h/a/b", &[], Some(400)),
            (new, "http://u:p@h/a/b", &["h"], Some(400)),
            (old, "/a/b", &[], None),
            (old, "/a/b", &["h", "i"], Some(400)),
            (old, "/a/b", &["a/b"], Some(400)),
            (h2, "http://h/a/b", &[], None),
            (h2, "http://h:80/a/b", &["H"], None),
            (h2, "http://h/a/b", &["i"], Some(400)),
            (h2, "/a/b", &["h"], None),
            (h2, "/a/b", &[], Some(400)),
        ] {
            assert_eq!(
                status(version, uri, hosts),
                wanted,
                "{version:?} {uri} {hosts:?}"
            );
        }
    }

    #[test]
    fn the_server_as_a_whole_has_options_only() {
        for (method, status) in [
            (Method::OPTIONS, 200),
            (Method::POST, 400),
            (Method::GET, 400),
        ] {
            let request = Request::builder()
                .method(method)
                .uri("*")
                .header(HOST, "h")
                .body(())
                .expect("a request");
            assert_eq!(
                respond_without_handler(&request).map(|answer| answer.status().as_u16()),
                Some(status)
            );
        }
    }
}
