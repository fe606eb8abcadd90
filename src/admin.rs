//! The admin port: `/healthz`, `/readyz`, `/metrics`, and what is served as Knative-shaped objects under
//! `/api/v1/{channels,brokers,triggers,subscriptions}` (interface.md §1). Read-only.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::model::{Inventory, Object, ObjectKind, Scheme};
use crate::server::Handler;
use crate::supervisor::Readiness;
use crate::telemetry::counters::Counters;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers operators.
pub struct Admin {
    readiness: Readiness,
    counters: Arc<Counters>,
    inventory: watch::Receiver<Arc<Inventory>>,
}

impl Admin {
    /// An admin port that shows these.
    #[must_use]
    pub fn new(readiness: Readiness, counters: Arc<Counters>, inventory: watch::Receiver<Arc<Inventory>>) -> Self {
        Self { readiness, counters, inventory }
    }

    fn answer(&self, path: &str, query: &str) -> Response<Full<Bytes>> {
        match path {
            "/healthz" => respond(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => match self.readiness.missing() {
                None => respond(StatusCode::OK, TEXT, "ok\n"),
                Some(missing) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{missing}\n")),
            },
            "/metrics" => respond(StatusCode::OK, METRICS, self.counters.render()),
            _ => match path.strip_prefix("/api/v1/").and_then(kind) {
                Some(kind) => respond(StatusCode::OK, JSON, self.list(kind, namespace(query)).to_string()),
                None => respond(
                    StatusCode::NOT_FOUND,
                    TEXT,
                    "try /healthz, /readyz, /metrics or /api/v1/{channels,brokers,triggers,subscriptions}\n",
                ),
            },
        }
    }

    fn list(&self, kind: ObjectKind, namespace: Option<&str>) -> Value {
        let inventory = Arc::clone(&self.inventory.borrow());
        let wanted = |object: &&Arc<Object>| {
            object.kind == kind && namespace.is_none_or(|namespace| object.namespace == namespace)
        };
        let items: Vec<&Value> = inventory.objects.iter().filter(wanted).map(|object| &object.value).collect();
        json!({ "apiVersion": "v1", "kind": "List", "items": items })
    }
}

impl Handler for Admin {
    async fn handle(&self, request: Request<Incoming>, _scheme: Scheme) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        self.answer(request.uri().path(), request.uri().query().unwrap_or_default())
    }
}

fn kind(name: &str) -> Option<ObjectKind> {
    match name {
        "channels" => Some(ObjectKind::Channel),
        "brokers" => Some(ObjectKind::Broker),
        "triggers" => Some(ObjectKind::Trigger),
        "subscriptions" => Some(ObjectKind::Subscription),
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
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
