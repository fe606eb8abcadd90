//! The admin port: `/healthz`, `/readyz`, `/metrics`, what is served as Knative-shaped objects under
//! `/api/v1/{channels,brokers,triggers,subscriptions,sequences,parallels,requestreplies}` (contract IF-1, IF-6), what
//! happens there under `/api/v1/status`, parked events under `/api/v1/parked`, and a page that shows what happens at
//! `/`. The admin socket is the same for whoever owns it.

mod browser;
mod errands;
mod metrics;
mod page;
mod parked;
mod present;
mod rights;
mod status;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use crate::model::{ObjectKind, Scheme};
use crate::scrub;
use crate::server::{Handler, Incoming};
use crate::supervisor::Readiness;
use crate::telemetry::counters::Counters;
use errands::Errands;
use page::Page;
use parked::{ParkedDesk, ParkedRequest};
use rights::{Door, Intent, Rights};

pub use status::{Process, View};
pub use token::AdminToken;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers operators.
pub struct Admin {
    view: View,
    page: Page,
    parked: ParkedDesk,
    rights: Rights,
}

impl Admin {
    /// What shows this, and lets whoever has this token change something. Without a token, that is who has the socket.
    #[must_use]
    pub fn new(view: View, token: Option<AdminToken>) -> Arc<Self> {
        let parked = ParkedDesk { store: Arc::clone(&view.storages) as _, errands: Errands::default() };
        Arc::new(Self { view, page: Page::new(), parked, rights: Rights { token } })
    }

    /// The same, for requests that come by the port that listens on this address.
    #[must_use]
    pub fn port(self: &Arc<Self>, address: SocketAddr) -> AdminDoor {
        AdminDoor { admin: Arc::clone(self), door: Door::of(address) }
    }

    /// The same, for requests that come by the socket.
    #[must_use]
    pub fn socket(self: &Arc<Self>) -> AdminDoor {
        AdminDoor { admin: Arc::clone(self), door: Door::Socket }
    }

    /// Brings what it does to an end.
    pub async fn end(&self) {
        self.parked.errands.end().await;
    }

    async fn serve(&self, request: &Request<Incoming>, door: Door) -> Response<Full<Bytes>> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let parked = path.strip_prefix("/api/v1/").and_then(ParkedRequest::at);
        let intent = match parked {
            Some(parked) if parked.is_change() => Intent::Change,
            None if is_public(path) => Intent::Probe,
            _ => Intent::Read,
        };
        if let Some(refusal) = refused(request.method(), intent) {
            return refusal;
        }
        if let Some(refusal) = self.rights.refuse(request, door, intent).await {
            return refusal;
        }
        if let Some(response) = health(request, &self.view.readiness, &self.view.counters) {
            return response;
        }
        match parked {
            Some(parked) => {
                let table = Arc::clone(&self.view.shown.borrow().table);
                self.parked.answer(&table, parked, query).await
            }
            None => self.answer(path, query),
        }
    }

    fn answer(&self, path: &str, query: &str) -> Response<Full<Bytes>> {
        match path {
            "/" => self.page(),
            "/api/v1/status" => respond(StatusCode::OK, JSON, self.view.render()),
            _ => match path.strip_prefix("/api/v1/").and_then(kind) {
                Some(kind) => respond(StatusCode::OK, JSON, self.list(kind, namespace(query))),
                None => respond(
                    StatusCode::NOT_FOUND,
                    TEXT,
                    "try /, /healthz, /readyz, /metrics or /api/v1/{status,channels,brokers,triggers,subscriptions,sequences,parallels,requestreplies,parked}\n",
                ),
            },
        }
    }

    fn page(&self) -> Response<Full<Bytes>> {
        let mut response = respond(StatusCode::OK, HTML, self.page.html.clone());
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, self.page.policy.clone());
        response
    }

    fn list(&self, kind: ObjectKind, namespace: Option<&str>) -> String {
        present::list(&self.view, kind, namespace)
    }
}

/// A way to an [`Admin`].
pub struct AdminDoor {
    admin: Arc<Admin>,
    door: Door,
}

impl Handler for AdminDoor {
    async fn handle(&self, request: Request<Incoming>, _scheme: Scheme) -> Response<Full<Bytes>> {
        // Boxed, since a request to change something holds much more than one that reads.
        Box::pin(self.admin.serve(&request, self.door)).await
    }
}

/// The admin port of a role that serves nothing: health and metrics, which are public.
pub struct Health {
    door: Door,
    readiness: Readiness,
    counters: Arc<Counters>,
}

impl Health {
    /// That of a process, for requests that come by the port that listens on this address.
    #[must_use]
    pub fn new(address: SocketAddr, readiness: Readiness, counters: Arc<Counters>) -> Self {
        Self { door: Door::of(address), readiness, counters }
    }
}

impl Handler for Health {
    async fn handle(&self, request: Request<Incoming>, _scheme: Scheme) -> Response<Full<Bytes>> {
        if let Some(refusal) = refused(request.method(), Intent::Probe) {
            return refusal;
        }
        if let Some(refusal) = Rights::default().refuse(&request, self.door, Intent::Probe).await {
            return refusal;
        }
        let unknown = || respond(StatusCode::NOT_FOUND, TEXT, "try /healthz, /readyz or /metrics\n");
        health(&request, &self.readiness, &self.counters).unwrap_or_else(unknown)
    }
}

/// Whether everybody may ask for it: what [`health`] answers.
fn is_public(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
}

fn health(request: &Request<Incoming>, readiness: &Readiness, counters: &Counters) -> Option<Response<Full<Bytes>>> {
    match request.uri().path() {
        "/healthz" => Some(respond(StatusCode::OK, TEXT, "ok\n")),
        "/readyz" => Some(match readiness.missing() {
            None => respond(StatusCode::OK, TEXT, present::ready(readiness.remark())),
            Some(missing) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{}\n", scrub::text(&missing))),
        }),
        "/metrics" => Some(metrics::answer(request.headers(), counters)),
        _ => None,
    }
}

fn refused(method: &Method, intent: Intent) -> Option<Response<Full<Bytes>>> {
    let (is_fine, allowed, remedy) = match intent {
        Intent::Probe | Intent::Read => (matches!(*method, Method::GET | Method::HEAD), "GET, HEAD", "use GET\n"),
        Intent::Change => (*method == Method::POST, "POST", "use POST\n"),
    };
    let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, remedy);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    (!is_fine).then_some(response)
}

fn kind(name: &str) -> Option<ObjectKind> {
    match name {
        "channels" => Some(ObjectKind::Channel),
        "brokers" => Some(ObjectKind::Broker),
        "triggers" => Some(ObjectKind::Trigger),
        "subscriptions" => Some(ObjectKind::Subscription),
        "sequences" => Some(ObjectKind::Sequence),
        "parallels" => Some(ObjectKind::Parallel),
        "requestreplies" => Some(ObjectKind::RequestReply),
        _ => None,
    }
}

/// The `namespace` of a query; namespaces need no decoding.
fn namespace(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("namespace=")).filter(|namespace| !namespace.is_empty())
}

fn respond(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
