//! Writes the head of a request (RFC 9112, 3).

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method};

/// Bytes of a head besides its path, its host and the fields of the request: more than enough, so
/// that the buffer never grows.
const OTHER: usize = 64;

/// Returns the head of a request to this host, with a body of `body` bytes.
pub(super) fn encode_request_head(parts: &Parts, body: usize, host: &HeaderValue) -> Vec<u8> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut head = Vec::with_capacity(head_capacity(parts, path, host));
    write_request_line(&mut head, &parts.method, path);
    write_field(&mut head, &HOST, host.as_bytes());
    // Fields about host and framing are written here only, so that those of the request cannot
    // contradict them.
    for (name, value) in parts
        .headers
        .iter()
        .filter(|(name, _)| !is_framing_field(name))
    {
        write_field(&mut head, name, value.as_bytes());
    }
    if body > 0 || parts.method == Method::POST {
        write_field(&mut head, &CONTENT_LENGTH, body.to_string().as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn head_capacity(parts: &Parts, path: &str, host: &HeaderValue) -> usize {
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + 4);
    parts.method.as_str().len() + path.len() + host.len() + fields.sum::<usize>() + OTHER
}

fn write_request_line(head: &mut Vec<u8>, method: &Method, path: &str) {
    head.extend_from_slice(method.as_str().as_bytes());
    head.push(b' ');
    if path.starts_with('?') {
        head.push(b'/');
    }
    head.extend_from_slice(path.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Returns true for the fields that say where the request goes and how it is framed; those of the
/// request are replaced by our own.
fn is_framing_field(name: &HeaderName) -> bool {
    [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name)
}

fn write_field(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_head_says_where_it_goes_and_how_long_its_body_is() {
        let host = HeaderValue::from_static("sink.ns:8080");
        let request = Request::post("http://sink.ns:8080/a%20b?c=d")
            .header("ce-id", "1")
            .header("host", "other");
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let posted = b"POST /a%20b?c=d HTTP/1.1\r\nhost: sink.ns:8080\r\nce-id: 1\r\ncontent-length: 3\r\n\r\n";
        assert_eq!(encode_request_head(&parts, 3, &host), posted);
        let (parts, ()) = Request::get("http://sink.ns:8080?a")
            .body(())
            .expect("a request")
            .into_parts();
        assert_eq!(
            encode_request_head(&parts, 0, &host),
            b"GET /?a HTTP/1.1\r\nhost: sink.ns:8080\r\n\r\n"
        );
    }
}
