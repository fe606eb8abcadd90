//! Decides which redirects are followed, and where they lead.

use http::header::{AUTHORIZATION, COOKIE, LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, Response, StatusCode};
use url::Url;

/// Number of redirects that are followed for one request, with method and body kept (contract
///
pub(super) const MAX_REDIRECTS: usize = 10;

/// Returns the URL at which the request is repeated. 307 and 308 repeat it where that is as safe as
/// before: at the same origin, or encrypted at the same host where it was in the clear. Every other
/// redirect is returned as the response, and never becomes a request without body (contract G-12,
/// G-58).
pub(super) fn redirect_target<B>(from: &Url, response: &Response<B>) -> Option<Url> {
    if !matches!(
        response.status(),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
    ) {
        return None;
    }
    let to = from
        .join(response.headers().get(LOCATION)?.to_str().ok()?)
        .ok()?;
    let encrypts = from.scheme() == "http" && to.scheme() == "https" && from.host() == to.host();
    (from.origin() == to.origin() || encrypts).then_some(to)
}

/// Removes the fields that prove who sends: they are meant for one origin only.
pub(super) fn remove_credentials(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_where_it_is_as_safe() {
        for (from, status, location, to) in [
            ("http://a/b?c", 307, "d", Some("http://a/d")),
            ("http://a/b", 308, "http://a:80/c", Some("http://a/c")),
            (
                "http://a/b",
                307,
                "https://a:8443/c",
                Some("https://a:8443/c"),
            ),
            ("http://a/b", 307, "http://a:81/c", None),
            ("https://a/b", 307, "http://a/b", None),
            ("https://a/b", 307, "https://other/b", None),
            ("http://a/b", 307, "https://other/b", None),
            ("http://a/b", 302, "/c", None),
            ("http://a/b", 303, "/c", None),
            ("http://a/b", 307, "http://[", None),
        ] {
            let from = Url::parse(from).expect("a URL");
            let response = Response::builder()
                .status(status)
                .header(LOCATION, location)
                .body(())
                .expect("a response");
            assert_eq!(
                redirect_target(&from, &response).as_ref().map(Url::as_str),
                to,
                "{from} {status} {location}"
            );
        }
        let from = Url::parse("http://a").expect("a URL");
        let bare = Response::builder()
            .status(307)
            .body(())
            .expect("a response");
        assert_eq!(redirect_target(&from, &bare), None);
    }
}
