//! The admin API: `/healthz`, `/readyz`, `/metrics`, the inventory as Knative-shaped objects under
//! `/api/v1/{channels,brokers,triggers,subscriptions,sequences,parallels,requestreplies}` (contract
//! IF-1, IF-6), the status document under `/api/v1/status`, parked events under `/api/v1/parked`,
//! replays under `/api/v1/replay`, and a page that shows the status at `/`. The admin port and the admin socket, which only its
//! owner can open, serve the same.

mod admin_action;
mod answer;
mod audit;
mod authorizer;
mod cross_site;
mod explain;
mod history;
mod metrics;
mod object_trouble;
mod objects;
mod operations;
mod page;
mod parked;
mod replay;
mod status;
mod tap;
mod tap_query;
mod token;
mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use crate::model::ObjectKind;
use crate::scrub;
use crate::server::{RequestBody, RequestContext, RequestHandler};
use crate::supervisor::Readiness;
use crate::telemetry::counters::ProcessCounters;
use admin_action::AdminAction;
use audit::AdminAudit;
use authorizer::{AdminAuthorizer, AdminListener};
use operations::AdminOperations;
use page::StatusPage;
use parked::{ParkedHandler, ParkedRequest};
use replay::{ReplayHandler, ReplayPath};
use tap_query::TapQuery;

pub(crate) use status::{ProcessInfo, StatusSource};
pub(crate) use token::AdminToken;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Lines of JSON, one object each.
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// Answers the requests of operators, whichever listener they come by.
pub(crate) struct AdminApi {
    status_source: StatusSource,
    page: StatusPage,
    parked: ParkedHandler,
    replay: ReplayHandler,
    authorizer: AdminAuthorizer,
}

impl AdminApi {
    /// Makes the API over these sources. Changes need this token; without a token, they need the
    /// admin socket.
    #[must_use]
    pub(crate) fn new(view: StatusSource, token: Option<AdminToken>) -> Arc<Self> {
        let parked = ParkedHandler {
            store: Arc::clone(&view.backends) as _,
            operations: AdminOperations::default(),
        };
        let replay = ReplayHandler {
            store: Arc::clone(&view.backends) as _,
            operations: AdminOperations::default(),
        };
        Arc::new(Self {
            status_source: view,
            page: StatusPage::new(),
            parked,
            replay,
            authorizer: AdminAuthorizer { token },
        })
    }

    /// Returns the handler for requests that come by the admin port, which listens on this address.
    #[must_use]
    pub(crate) fn handler_for_port(self: &Arc<Self>, address: SocketAddr) -> AdminHandler {
        AdminHandler {
            api: Arc::clone(self),
            listener: AdminListener::of_address(address),
        }
    }

    /// Returns the handler for requests that come by the admin socket.
    #[must_use]
    pub(crate) fn handler_for_socket(self: &Arc<Self>) -> AdminHandler {
        AdminHandler {
            api: Arc::clone(self),
            listener: AdminListener::Socket,
        }
    }

    /// Tells the operations that are running to end, and waits for them.
    pub(crate) async fn end_operations(&self) {
        self.parked.operations.end_all().await;
        self.replay.operations.end_all().await;
    }

    /// Answers a request. What it changes, and who reads data, is in the audit log.
    async fn respond(
        &self,
        request: &Request<RequestBody>,
        listener: AdminListener,
        context: &mut RequestContext,
    ) -> Response<Full<Bytes>> {
        let (path, query) = (
            request.uri().path(),
            request.uri().query().unwrap_or_default(),
        );
        let below = path.strip_prefix("/api/v1/");
        let parked = below.and_then(ParkedRequest::of_path);
        let replay = below.and_then(ReplayPath::of_path);
        // Nothing below is reached by a request that may not do what it is about to.
        let action = action_of_path(path, query, OperatorPaths { parked, replay });
        let audit = AdminAudit::begin(action, request.uri(), listener, context);
        if let Some(refusal) = self.refuse(request, listener, action).await {
            return audit.refused(refusal);
        }
        let source = &self.status_source;
        if let Some(response) = health_response(request, &source.readiness, &source.counters) {
            return response;
        }
        let table = || Arc::clone(&self.status_source.served.borrow().resolution.table);
        let answer = match (parked, replay) {
            (Some(parked), _) => self.parked.respond(&table(), parked, query).await,
            (None, Some(replay)) => self.replay.respond(&table(), replay, query).await,
            (None, None) => match path {
                "/api/v1/tap" => self.respond_to_tap(request.method(), query, context),
                "/api/v1/explain" => self.respond_to_explain(query).await,
                _ => self.respond_to_read(path, query),
            },
        };
        audit.answered(answer)
    }

    /// Opens a tap, whose lines go out as long as its reader is there.
    fn respond_to_tap(
        &self,
        method: &Method,
        query: &str,
        context: &mut RequestContext,
    ) -> Response<Full<Bytes>> {
        let stop = self.parked.operations.stop_signal();
        match tap::open(&self.status_source, query, stop) {
            Ok(lines) => {
                context.response_stream = Some(lines).filter(|_| *method == Method::GET);
                build_response(StatusCode::OK, LINES, "")
            }
            Err(refusal) => refusal.respond(),
        }
    }

    async fn respond_to_explain(&self, query: &str) -> Response<Full<Bytes>> {
        let operations = &self.parked.operations;
        match explain::explain(&self.status_source, operations, query).await {
            Ok(lines) => build_response(StatusCode::OK, LINES, lines),
            Err(refusal) => refusal.respond(),
        }
    }

    /// Returns the response to a request that is not allowed, by its method or by who asks.
    async fn refuse(
        &self,
        request: &Request<RequestBody>,
        listener: AdminListener,
        action: AdminAction,
    ) -> Option<Response<Full<Bytes>>> {
        match method_not_allowed(request.method(), action) {
            Some(refusal) => Some(refusal),
            None => self.authorizer.deny(request, listener, action).await,
        }
    }

    fn respond_to_read(&self, path: &str, query: &str) -> Response<Full<Bytes>> {
        match path {
            "/" => self.page_response(),
            "/api/v1/history" => match history::render_json(&self.status_source.counters, query) {
                Ok(json) => build_response(StatusCode::OK, JSON, json),
                Err(text) => build_response(StatusCode::BAD_REQUEST, TEXT, format!("{text}\n")),
            },
            "/api/v1/status" => {
                build_response(StatusCode::OK, JSON, self.status_source.render_json())
            }
            _ => match path.strip_prefix("/api/v1/").and_then(object_kind) {
                Some(kind) => build_response(
                    StatusCode::OK,
                    JSON,
                    self.list_objects(kind, namespace_of_query(query)),
                ),
                None => build_response(
                    StatusCode::NOT_FOUND,
                    TEXT,
                    "try /, /healthz, /readyz, /metrics or \
                     /api/v1/{status,channels,brokers,triggers,subscriptions,sequences,parallels,requestreplies,parked,replay,tap,explain,history}\n",
                ),
            },
        }
    }

    fn page_response(&self) -> Response<Full<Bytes>> {
        let mut response = build_response(StatusCode::OK, HTML, self.page.html.clone());
        response.headers_mut().insert(
            CONTENT_SECURITY_POLICY,
            self.page.content_security_policy.clone(),
        );
        response
    }

    fn list_objects(&self, kind: ObjectKind, namespace: Option<&str>) -> String {
        objects::list_objects(&self.status_source, kind, namespace)
    }
}

/// The paths of operators below which something can be changed.
#[derive(Clone, Copy)]
struct OperatorPaths<'p> {
    parked: Option<ParkedRequest<'p>>,
    replay: Option<ReplayPath<'p>>,
}

/// Returns what a request is about to do. It follows from what it asks for alone, before the method
/// is looked at: so a change is never taken for a read.
fn action_of_path(path: &str, query: &str, operators: OperatorPaths<'_>) -> AdminAction {
    let is_change = operators.parked.is_some_and(ParkedRequest::is_change)
        || operators.replay.is_some_and(ReplayPath::is_change);
    let has_data = path == "/api/v1/tap" || operators.parked.is_some();
    let asks_for_data = has_data && TapQuery::asks_for_data(query);
    match is_change {
        true => AdminAction::Change,
        false if is_public(path) => AdminAction::Probe,
        false if asks_for_data => AdminAction::ReadData,
        false => AdminAction::Read,
    }
}

/// The handler of one listener of an [`AdminApi`].
pub(crate) struct AdminHandler {
    api: Arc<AdminApi>,
    listener: AdminListener,
}

impl RequestHandler for AdminHandler {
    async fn handle(
        &self,
        request: Request<RequestBody>,
        context: &mut RequestContext,
    ) -> Response<Full<Bytes>> {
        // On the heap, since a request to change something holds much more than one that reads.
        Box::pin(self.api.respond(&request, self.listener, context)).await
    }
}

/// The admin port of a role that serves no events: health and metrics, which are public.
pub(crate) struct HealthHandler {
    listener: AdminListener,
    readiness: Readiness,
    counters: Arc<ProcessCounters>,
}

impl HealthHandler {
    /// Makes the handler for requests that come by the port that listens on this address.
    #[must_use]
    pub(crate) fn new(
        address: SocketAddr,
        readiness: Readiness,
        counters: Arc<ProcessCounters>,
    ) -> Self {
        Self {
            listener: AdminListener::of_address(address),
            readiness,
            counters,
        }
    }
}

impl RequestHandler for HealthHandler {
    async fn handle(
        &self,
        request: Request<RequestBody>,
        _context: &mut RequestContext,
    ) -> Response<Full<Bytes>> {
        if let Some(refusal) = method_not_allowed(request.method(), AdminAction::Probe) {
            return refusal;
        }
        if let Some(refusal) = AdminAuthorizer::default()
            .deny(&request, self.listener, AdminAction::Probe)
            .await
        {
            return refusal;
        }
        let unknown = || {
            build_response(
                StatusCode::NOT_FOUND,
                TEXT,
                "try /healthz, /readyz or /metrics\n",
            )
        };
        health_response(&request, &self.readiness, &self.counters).unwrap_or_else(unknown)
    }
}

/// Returns true for the paths that everybody may ask for: those that [`health_response`] answers.
fn is_public(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
}

fn health_response(
    request: &Request<RequestBody>,
    readiness: &Readiness,
    counters: &ProcessCounters,
) -> Option<Response<Full<Bytes>>> {
    match request.uri().path() {
        "/healthz" => Some(build_response(StatusCode::OK, TEXT, "ok\n")),
        "/readyz" => Some(match readiness.missing() {
            None => build_response(
                StatusCode::OK,
                TEXT,
                objects::readyz_text(readiness.remark()),
            ),
            Some(missing) => build_response(
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                format!("{}\n", scrub::text(&missing)),
            ),
        }),
        "/metrics" => Some(metrics::metrics_response(request.headers(), counters)),
        _ => None,
    }
}

fn method_not_allowed(method: &Method, action: AdminAction) -> Option<Response<Full<Bytes>>> {
    let (is_fine, allowed, remedy) = match action {
        AdminAction::Probe | AdminAction::Read | AdminAction::ReadData => (
            matches!(*method, Method::GET | Method::HEAD),
            "GET, HEAD",
            "use GET\n",
        ),
        AdminAction::Change => (*method == Method::POST, "POST", "use POST\n"),
    };
    let mut response = build_response(StatusCode::METHOD_NOT_ALLOWED, TEXT, remedy);
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    (!is_fine).then_some(response)
}

fn object_kind(name: &str) -> Option<ObjectKind> {
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

/// Returns the `namespace` of a query; names of namespaces need no decoding.
fn namespace_of_query(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("namespace="))
        .filter(|namespace| !namespace.is_empty())
}

fn build_response(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
