//! Who may do what: reading needs nothing on a loopback address, and the token on any other; changing needs the token, or
//! the socket, which only its owner can open.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;

use super::token::AdminToken;
use super::{TEXT, respond};

/// The way by which a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The admin port, bound to an address of this machine alone.
    Loopback,
    /// The admin port, bound to any other address.
    Network,
    /// The admin socket.
    Socket,
}

/// What a request is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Read,
    Change,
}

/// What a request shows of who sent it.
enum Shown {
    Nothing,
    /// What may be the token; a browser remembers that of `Basic`, and sends it with whatever it sends.
    Token {
        text: String,
        by_browser: bool,
    },
}

/// Decides who may do what.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    /// The token that is asked for; without one nobody has it.
    pub(super) token: Option<AdminToken>,
}

impl Rights {
    /// The answer to a request that may not do what it is about to; `None` if it may.
    pub(super) async fn refuse<B>(
        &self,
        request: &Request<B>,
        door: Door,
        intent: Intent,
    ) -> Option<Response<Full<Bytes>>> {
        if door == Door::Socket {
            return None;
        }
        if is_foreign(request) {
            return Some(respond(StatusCode::FORBIDDEN, TEXT, "a page of another origin may ask nothing here\n"));
        }
        let shown = shown(request.headers());
        match (&self.token, shown) {
            (Some(token), Shown::Token { text, by_browser }) => match token.is(&text).await {
                Ok(true) if by_browser && intent == Intent::Change => {
                    Some(forbidden("changes take the token as Bearer only"))
                }
                Ok(true) => None,
                Ok(false) => {
                    Some(unauthorized("this is not the token of --admin-token-file, which this process was given"))
                }
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "A token was shown, and there is none to compare it with"
                    );
                    Some(forbidden(
                        "the process cannot read its --admin-token-file: see its log, or use --admin-socket",
                    ))
                }
            },
            (_, _) if intent == Intent::Change => Some(self.unproven_change()),
            (_, _) if door == Door::Network => Some(self.unproven_read()),
            (_, _) => None,
        }
    }

    fn unproven_change(&self) -> Response<Full<Bytes>> {
        forbidden(match self.token {
            Some(_) => "changes need the token, --admin-token-file FILE, or the socket, --admin-socket PATH",
            None => {
                "changes need the socket, --admin-socket PATH; or run sealpost with --admin-token-file FILE and show that token"
            }
        })
    }

    fn unproven_read(&self) -> Response<Full<Bytes>> {
        unauthorized(match self.token {
            Some(_) => {
                "this port is not on loopback: show the token, --admin-token-file FILE, or use the socket, --admin-socket PATH"
            }
            None => {
                "this port is not on loopback: use the socket, --admin-socket PATH; or run sealpost with --admin-token-file FILE and show that token"
            }
        })
    }
}

fn forbidden(text: &str) -> Response<Full<Bytes>> {
    respond(StatusCode::FORBIDDEN, TEXT, format!("{text}\n"))
}

/// Browsers ask their user for a password, which is the token; programs send it as it is.
fn unauthorized(text: &str) -> Response<Full<Bytes>> {
    let mut response = respond(StatusCode::UNAUTHORIZED, TEXT, format!("{text}\n"));
    let headers = response.headers_mut();
    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(r#"Basic realm="sealpost, the token as password""#));
    response
}

/// Whether a browser sent it for a page from elsewhere.
fn is_foreign<B>(request: &Request<B>) -> bool {
    let Some(origin) = request.headers().get(ORIGIN) else { return false };
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_scheme, host)| host);
    origin.zip(host).is_none_or(|(origin, host)| !origin.eq_ignore_ascii_case(host))
}

fn shown(headers: &HeaderMap) -> Shown {
    let Some(value) = headers.get(AUTHORIZATION) else { return Shown::Nothing };
    let text = value.to_str().unwrap_or_default();
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        // Of another scheme it is no token: nothing that is compared is equal to it.
        let text = if scheme.eq_ignore_ascii_case("bearer") { rest.trim().to_owned() } else { String::new() };
        return Shown::Token { text, by_browser: false };
    }
    let decoded = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let password = decoded.split_once(':').map_or("", |(_user, password)| password);
    Shown::Token { text: password.to_owned(), by_browser: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().header("host", "127.0.0.1:9090");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    async fn status(rights: &Rights, headers: &[(&str, &str)], door: Door, intent: Intent) -> u16 {
        let refusal = rights.refuse(&request(headers), door, intent).await;
        refusal.map_or(200, |refusal| refusal.status().as_u16())
    }

    #[tokio::test]
    async fn who_may_do_what() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), TOKEN).expect("written");
        let with = Rights { token: Some(AdminToken::new(file.path()).expect("a token")) };
        let bearer = format!("bearer {TOKEN}");
        let [browser, other] = [TOKEN, "wrong"].map(|text| format!("Basic {}", STANDARD.encode(format!("me:{text}"))));
        let shown = |value| [("authorization", value)];
        for (headers, statuses) in [
            // Reading and changing on loopback, reading and changing over the network.
            (&[][..], [200, 403, 401, 403]),
            (&shown(bearer.as_str()), [200, 200, 200, 200]),
            (&shown("Bearer wrong"), [401, 401, 401, 401]),
            (&shown("Bearer"), [401, 401, 401, 401]),
            (&shown("Digest x"), [401, 401, 401, 401]),
            (&shown(browser.as_str()), [200, 403, 200, 403]),
            (&shown(other.as_str()), [401, 401, 401, 401]),
            (&[("origin", "http://127.0.0.1:9090"), ("authorization", &bearer)], [200, 200, 200, 200]),
            (&[("origin", "http://127.0.0.1:9091"), ("authorization", &bearer)], [403, 403, 403, 403]),
            (&[("origin", "null"), ("authorization", &bearer)], [403, 403, 403, 403]),
        ] {
            let mut found = Vec::new();
            let [read, change] = [Intent::Read, Intent::Change];
            for (door, intent) in
                [(Door::Loopback, read), (Door::Loopback, change), (Door::Network, read), (Door::Network, change)]
            {
                found.push(status(&with, headers, door, intent).await);
                assert_eq!(status(&with, headers, Door::Socket, intent).await, 200);
            }
            assert_eq!(found, statuses, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn without_a_token_nobody_has_it() {
        let without = Rights::default();
        for headers in [&[][..], &[("authorization", "Bearer 0123456789abcdef")]] {
            assert_eq!(status(&without, headers, Door::Loopback, Intent::Read).await, 200);
            assert_eq!(status(&without, headers, Door::Loopback, Intent::Change).await, 403);
            assert_eq!(status(&without, headers, Door::Network, Intent::Read).await, 401);
        }
    }
}
