//! Decides which requests are allowed. Health and metrics are public. Everything else that reads is
//! public where the admin port listens on loopback, and needs the token where it listens on any
//! other address; a change always needs the token. The socket, which only its owner can open, needs
//! no token (contract IF-7).
//!
//! The address that the port listens on decides, not the one that a connection came to: the sidecar
//! of a mesh and `kubectl port-forward` reach a pod's loopback for others, and a port that listens
//! on every address would take all of them for neighbours.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;

use super::admin_action::AdminAction;
use super::cross_site::{RequestedHost, is_cross_site};
use super::token::AdminToken;
use super::{TEXT, build_response};

/// The listener by which a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdminListener {
    /// The admin port, which listens on an address of loopback.
    Loopback,
    /// The admin port, which listens on any other address.
    Network,
    /// The admin socket, which only its owner can open.
    Socket,
}

impl AdminListener {
    /// Returns the kind of an admin port that listens on this address.
    pub(super) fn of_address(address: SocketAddr) -> Self {
        if address.ip().to_canonical().is_loopback() {
            Self::Loopback
        } else {
            Self::Network
        }
    }
}

/// What is asked of the admin API: by which listener, for what, and under which host name.
#[derive(Clone, Copy, Debug)]
struct AdminAccess {
    listener: AdminListener,
    action: AdminAction,
    host: RequestedHost,
}

/// What follows from an access before credentials are looked at.
enum AccessVerdict {
    /// The access needs no token.
    Allowed,
    /// The access is for those who show the token.
    TokenNeeded,
    /// Nobody may do this.
    Refused(Response<Full<Bytes>>),
}

impl AdminAccess {
    /// Decides without credentials. On loopback a page of a browser may mean this port by its own
    /// host name (DNS rebinding), and behind the socket, too, if somebody forwards a port to it.
    /// Elsewhere, a request without the token gets only what is public.
    fn verdict(self) -> AccessVerdict {
        match (self.listener, self.action, self.host) {
            (AdminListener::Socket, _, RequestedHost::Loopback | RequestedHost::Missing)
            | (AdminListener::Network, AdminAction::Probe, _)
            | (
                AdminListener::Loopback,
                AdminAction::Probe | AdminAction::Read,
                RequestedHost::Loopback,
            ) => AccessVerdict::Allowed,
            (AdminListener::Socket, _, RequestedHost::Other) => AccessVerdict::Refused(forbidden(
                "the socket is asked for as localhost: http://localhost/…",
            )),
            (_, _, RequestedHost::Missing) => AccessVerdict::Refused(build_response(
                StatusCode::BAD_REQUEST,
                TEXT,
                "the Host header is missing: send one\n",
            )),
            (_, _, _) => AccessVerdict::TokenNeeded,
        }
    }
}

/// The credentials of a request, not compared with the token yet.
enum AdminCredentials {
    Missing,
    /// A text after `Bearer`, which may be the token.
    Bearer(String),
    /// The password after `Basic`, which may be the token. A browser remembers it, and sends it
    /// with every request.
    Basic(String),
}

/// Decides which requests are allowed.
#[derive(Clone, Debug, Default)]
pub(super) struct AdminAuthorizer {
    /// The token that is asked for; without one, nobody can show it.
    pub(super) token: Option<AdminToken>,
}

impl AdminAuthorizer {
    /// Returns the response to a request that is not allowed; `None` if it is allowed.
    pub(super) async fn deny<B>(
        &self,
        request: &Request<B>,
        listener: AdminListener,
        action: AdminAction,
    ) -> Option<Response<Full<Bytes>>> {
        // A page of another origin is refused before everything else: the browser may add
        // credentials.
        if is_cross_site(request, action) {
            return Some(forbidden("a page of another origin may ask nothing here"));
        }
        let access = AdminAccess {
            listener,
            action,
            host: RequestedHost::of_request(request),
        };
        match access.verdict() {
            AccessVerdict::Allowed => None,
            AccessVerdict::Refused(response) => Some(response),
            AccessVerdict::TokenNeeded => {
                let credentials = read_credentials(request.headers());
                self.deny_without_token(credentials, access).await
            }
        }
    }

    /// Returns the response to a request that needs the token, if it does not show it.
    async fn deny_without_token(
        &self,
        shown: AdminCredentials,
        access: AdminAccess,
    ) -> Option<Response<Full<Bytes>>> {
        let is_password = matches!(shown, AdminCredentials::Basic(_));
        let (token, text) = match (&self.token, shown) {
            (Some(token), AdminCredentials::Bearer(text) | AdminCredentials::Basic(text)) => {
                (token, text)
            }
            (None, _) | (_, AdminCredentials::Missing) => return Some(self.token_required(access)),
        };
        let is_change = access.action == AdminAction::Change;
        match token.matches(&text).await {
            Ok(true) if is_password && is_change => Some(forbidden(NO_PASSWORD)),
            Ok(true) => None,
            // The browser asks its user again.
            Ok(false) if is_password && !is_change => Some(unauthorized(WRONG)),
            Ok(false) => Some(forbidden(WRONG)),
            Err(error) => Some(token_unreadable(&error)),
        }
    }

    /// Returns the response to a request that shows no token, or when there is no token to compare
    /// with.
    fn token_required(&self, access: AdminAccess) -> Response<Full<Bytes>> {
        if access.listener == AdminListener::Loopback && access.host == RequestedHost::Other {
            return forbidden(MISNAMED);
        }
        match (access.action, &self.token) {
            (AdminAction::ReadData, Some(_)) => unauthorized(
                "the data of events need the token, --admin-token-file FILE, or the socket, \
                 --admin-socket PATH",
            ),
            (AdminAction::ReadData, None) => forbidden(
                "the data of events need the socket, --admin-socket PATH; or run sealpost with \
                 --admin-token-file FILE and show that token",
            ),
            (AdminAction::Change, Some(_)) => forbidden(
                "changes need the token, --admin-token-file FILE, or the socket, \
                 --admin-socket PATH",
            ),
            (AdminAction::Change, None) => forbidden(
                "changes need the socket, --admin-socket PATH; or run sealpost with \
                 --admin-token-file FILE and show that token",
            ),
            (AdminAction::Probe | AdminAction::Read, Some(_)) => unauthorized(
                "this port is not on loopback: show the token, --admin-token-file FILE, or \
                 use the socket, --admin-socket PATH",
            ),
            (AdminAction::Probe | AdminAction::Read, None) => forbidden(
                "this port is not on loopback: use the socket, --admin-socket PATH; or run \
                 sealpost with --admin-token-file FILE and show that token",
            ),
        }
    }
}

const NO_PASSWORD: &str = "changes take the token, --admin-token-file FILE, as Bearer only, or the \
     socket, --admin-socket PATH";
const UNREADABLE: &str =
    "the process cannot read its --admin-token-file: see its log, or use --admin-socket";
const WRONG: &str = "this is not the token of --admin-token-file, which this process was given: show that, \
     or use the socket, --admin-socket PATH";
const MISNAMED: &str = "this port is on loopback and Host names something else: ask for localhost or 127.0.0.1, \
     or show the token, --admin-token-file FILE, or use the socket, --admin-socket PATH";

fn forbidden(text: &str) -> Response<Full<Bytes>> {
    build_response(StatusCode::FORBIDDEN, TEXT, format!("{text}\n"))
}

fn token_unreadable(error: &anyhow::Error) -> Response<Full<Bytes>> {
    let error = format!("{error:#}");
    tracing::warn!(
        error,
        "A token was shown, and there is none to compare it with"
    );
    forbidden(UNREADABLE)
}

/// Returns a 401, for which browsers ask their user for a password, which is the token; programs
/// send the token as it is.
fn unauthorized(text: &str) -> Response<Full<Bytes>> {
    let mut response = build_response(StatusCode::UNAUTHORIZED, TEXT, format!("{text}\n"));
    let headers = response.headers_mut();
    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    headers.append(
        WWW_AUTHENTICATE,
        HeaderValue::from_static(r#"Basic realm="sealpost, the token as password""#),
    );
    response
}

/// Reads the credentials of a request. Several fields, or another scheme, count as an empty token:
/// nothing that is compared is equal to the empty text.
fn read_credentials(headers: &HeaderMap) -> AdminCredentials {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return AdminCredentials::Missing;
    };
    let text = value
        .to_str()
        .ok()
        .filter(|_| values.next().is_none())
        .unwrap_or_default();
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => AdminCredentials::Bearer(rest.trim().to_owned()),
        "basic" => AdminCredentials::Basic(basic_password(rest.trim()).unwrap_or_default()),
        _ => AdminCredentials::Bearer(String::new()),
    }
}

/// Returns the password of `Basic` credentials (RFC 7617), whatever the user name is.
fn basic_password(credentials: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    text.split_once(':')
        .map(|(_user, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let request = Request::builder();
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.body(()).expect("a request")
    }

    /// The statuses, 200 if it is not refused: to probe, to read and to change, on loopback and
    /// then over the network.
    async fn statuses(rights: &AdminAuthorizer, headers: &[(&str, &str)]) -> [u16; 6] {
        let mut statuses = [200; 6];
        let asked = [AdminListener::Loopback, AdminListener::Network]
            .into_iter()
            .flat_map(|door| {
                [AdminAction::Probe, AdminAction::Read, AdminAction::Change]
                    .map(|intent| (door, intent))
            });
        for (status, (door, intent)) in statuses.iter_mut().zip(asked) {
            if let Some(refusal) = rights.deny(&request(headers), door, intent).await {
                *status = refusal.status().as_u16();
                assert_eq!(
                    refusal.headers().contains_key(WWW_AUTHENTICATE),
                    *status == 401
                );
                let frame = refusal
                    .into_body()
                    .frame()
                    .await
                    .expect("a body")
                    .expect("a frame");
                let text = String::from_utf8_lossy(frame.data_ref().expect("text")).into_owned();
                let names_remedy =
                    text.contains("--admin-token-file") && text.contains("--admin-socket");
                let is_about_rights =
                    *status == 401 || (*status == 403 && !text.contains("another origin"));
                assert!(
                    text.lines().count() == 1 && (names_remedy || !is_about_rights),
                    "{text}"
                );
            }
        }
        statuses
    }

    fn with_token() -> (tempfile::NamedTempFile, AdminAuthorizer) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), TOKEN).expect("written");
        let token = Some(AdminToken::new(file.path()).expect("a token"));
        (file, AdminAuthorizer { token })
    }

    #[tokio::test]
    async fn who_may_do_what() {
        let (_file, with) = with_token();
        let bearer = format!("bearer {TOKEN}");
        let [browser, other] =
            [TOKEN, "wrong"].map(|text| format!("Basic {}", STANDARD.encode(format!("me:{text}"))));
        for (shown, expected) in [
            ("", [200, 200, 403, 200, 401, 403]),
            (bearer.as_str(), [200, 200, 200, 200, 200, 200]),
            ("Bearer wrong", [200, 200, 403, 200, 403, 403]),
            ("Bearer", [200, 200, 403, 200, 403, 403]),
            ("Digest x", [200, 200, 403, 200, 403, 403]),
            (TOKEN, [200, 200, 403, 200, 403, 403]),
            (&browser, [200, 200, 403, 200, 200, 403]),
            (&other, [200, 200, 403, 200, 401, 403]),
            ("Basic x", [200, 200, 403, 200, 401, 403]),
        ] {
            let headers = [("host", "127.0.0.1:9090"), ("authorization", shown)];
            let headers = if shown.is_empty() {
                headers.get(..1).unwrap_or_default()
            } else {
                &headers
            };
            assert_eq!(statuses(&with, headers).await, expected, "{shown}");
        }
        let twice = [
            ("host", "127.0.0.1:9090"),
            ("authorization", &bearer),
            ("authorization", &bearer),
        ];
        assert_eq!(
            statuses(&with, &twice).await,
            [200, 200, 403, 200, 403, 403]
        );
    }

    #[tokio::test]
    async fn without_a_token_nobody_has_it() {
        for headers in [&[][..], &[("authorization", "Bearer 0123456789abcdef")]] {
            let headers = [&[("host", "localhost")], headers].concat();
            assert_eq!(
                statuses(&AdminAuthorizer::default(), &headers).await,
                [200, 200, 403, 200, 403, 403]
            );
        }
    }

    /// It needs no token; but pages have no business there, whatever leads them to it.
    #[tokio::test]
    async fn the_socket_is_its_owners() {
        for (headers, allowed) in [
            (&[][..], true),
            (&[("host", "localhost")], true),
            (
                &[("host", "localhost"), ("authorization", "Bearer wrong")],
                true,
            ),
            (
                &[
                    ("host", "rebound.example:9090"),
                    ("origin", "http://rebound.example:9090"),
                ],
                false,
            ),
            (
                &[
                    ("host", "localhost:9090"),
                    ("origin", "http://elsewhere.example"),
                ],
                false,
            ),
        ] {
            for action in [AdminAction::Probe, AdminAction::Read, AdminAction::Change] {
                let refusal = AdminAuthorizer::default()
                    .deny(&request(headers), AdminListener::Socket, action)
                    .await;
                assert_eq!(refusal.is_none(), allowed, "{headers:?}");
            }
        }
    }

    #[tokio::test]
    async fn whom_it_is_for() {
        let (_file, with) = with_token();
        let bearer = format!("Bearer {TOKEN}");
        for (host, bare, proven) in [
            ("localhost:1", [200, 200, 403, 200, 401, 403], [200; 6]),
            // A page whose name has become an address of loopback has no token, and is not asked
            // for one.
            ("evil.example", [403, 403, 403, 200, 401, 403], [200; 6]),
            (
                "",
                [400, 400, 400, 200, 400, 400],
                [400, 400, 400, 200, 400, 400],
            ),
        ] {
            let host = [("host", host)];
            let host = if host[0].1.is_empty() {
                &[]
            } else {
                host.as_slice()
            };
            assert_eq!(statuses(&with, host).await, bare, "{host:?}");
            let shown = [host, &[("authorization", &bearer)]].concat();
            assert_eq!(statuses(&with, &shown).await, proven, "{host:?}");
            let foreign = [
                host,
                &[
                    ("authorization", &bearer),
                    ("origin", "http://other.example"),
                ],
            ]
            .concat();
            assert_eq!(statuses(&with, &foreign).await, [403; 6], "{host:?}");
        }
    }
}
