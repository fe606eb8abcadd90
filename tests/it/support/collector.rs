//! A collector of OpenTelemetry's: it takes OTLP over HTTP and gRPC, and reads it by
//! OpenTelemetry's own definitions.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::eventually_some;
use super::pki::Identity;
use super::subscriber::Stream;

#[derive(Default)]
struct Got {
    spans: Vec<Span>,
    metrics: Vec<Metric>,
    resource: HashMap<String, String>,
    /// Path and headers of each request.
    requests: Vec<(String, HeaderMap)>,
}

/// How a collector takes a request that it does not take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    /// It answers this status, and `Retry-After` with so many seconds.
    Status(u16, Option<u32>),
    /// It answers 503, and `Retry-After` with a date that is so many seconds away.
    Later(u64),
    /// It answers this status of gRPC.
    Grpc(u32),
    /// It answers this status of gRPC, with this `grpc-status-details-bin`.
    GrpcWith(u32, &'static str),
    /// It took all but so many, and says why.
    Partial(i64, &'static str),
    /// It answers 200 with this body.
    Body(&'static [u8]),
    /// It does not answer.
    Silent,
    /// It closes the connection instead of an answer.
    Cut,
}

/// A collector on loopback; ended when it is dropped.
pub(crate) struct Collector {
    address: SocketAddr,
    scheme: &'static str,
    moods: Arc<Mutex<VecDeque<Mood>>>,
    got: Arc<Mutex<Got>>,
    _server: JoinSet<()>,
}

/// The stream of a connection, with TLS if that is asked for; `None` if the handshake fails.
async fn accept_tls(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Pin<Box<dyn Stream>>> {
    match tls {
        None => Some(Box::pin(stream)),
        Some(tls) => Some(Box::pin(tls.accept(stream).await.ok()?)),
    }
}

async fn serve_connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    got: Arc<Mutex<Got>>,
    moods: Arc<Mutex<VecDeque<Mood>>>,
) {
    if let Some(stream) = accept_tls(stream, tls).await {
        let service =
            service_fn(move |request| answer(request, Arc::clone(&got), Arc::clone(&moods)));
        let http = Builder::new(TokioExecutor::new());
        drop(http.serve_connection(TokioIo::new(stream), service).await);
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::serve(None).await
    }

    /// One over TLS.
    pub(crate) async fn secure(identity: &Identity) -> Self {
        Self::serve(Some(identity.acceptor())).await
    }

    /// Does this with the next requests, in that order.
    pub(crate) fn will(&self, moods: &[Mood]) {
        self.moods.lock().expect("lock").extend(moods);
    }

    /// How much of that it has not done yet.
    pub(crate) fn moods_left(&self) -> usize {
        self.moods.lock().expect("lock").len()
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let moods: Arc<Mutex<VecDeque<Mood>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let got: Arc<Mutex<Got>> = Arc::default();
        let mut server = JoinSet::new();
        let shared = (Arc::clone(&got), Arc::clone(&moods));
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (got, moods, tls) = (Arc::clone(&shared.0), Arc::clone(&shared.1), tls.clone());
                connections.spawn(serve_connection(stream, tls, got, moods));
            }
        });
        Self {
            address,
            scheme,
            moods,
            got,
            _server: server,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port())
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.got.lock().expect("lock").spans.clone()
    }

    pub(crate) fn requests(&self) -> Vec<(String, HeaderMap)> {
        self.got.lock().expect("lock").requests.clone()
    }

    pub(crate) fn resource(&self, key: &str) -> Option<String> {
        self.got.lock().expect("lock").resource.get(key).cloned()
    }

    /// The newest form of a metric, once there is one.
    pub(crate) async fn metric(&self, name: &str) -> Metric {
        eventually_some(&format!("the metric {name}"), || self.newest_metric(name)).await
    }

    /// The newest form of a metric, if there is one.
    pub(crate) fn newest_metric(&self, name: &str) -> Option<Metric> {
        let got = self.got.lock().expect("lock");
        let mut newest = got.metrics.iter().rev();
        newest.find(|metric| metric.name == name).cloned()
    }

    /// The spans of a trace, once `whole` says so.
    pub(crate) async fn trace(&self, trace_id: &str, whole: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let of = |spans: Vec<Span>| -> Vec<Span> {
            spans
                .into_iter()
                .filter(|span| hex(&span.trace_id) == trace_id)
                .collect()
        };
        let deadline = std::time::Instant::now() + super::SOON;
        loop {
            let spans = of(self.spans());
            if whole(&spans) {
                return spans;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "the trace stays\n{}",
                tree(&self.spans())
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

/// The error of a connection that is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the collector goes away")]
struct ConnectionCut;

async fn answer(
    request: Request<Incoming>,
    got: Arc<Mutex<Got>>,
    moods: Arc<Mutex<VecDeque<Mood>>>,
) -> Result<Response<Trailing>, ConnectionCut> {
    let mood = moods.lock().expect("lock").pop_front();
    let mut response = Response::new(Trailing(Vec::new()));
    match mood {
        None => return take(request, got).await,
        Some(Mood::Silent) => std::future::pending().await,
        Some(Mood::Cut) => return Err(ConnectionCut),
        Some(Mood::Status(status, after)) => {
            *response.status_mut() = status.try_into().expect("a status");
            if let Some(seconds) = after {
                response.headers_mut().insert("retry-after", seconds.into());
            }
        }
        Some(Mood::Later(seconds)) => {
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            let date = std::time::SystemTime::now() + std::time::Duration::from_secs(seconds);
            let date = httpdate::fmt_http_date(date).parse().expect("a date");
            response.headers_mut().insert("retry-after", date);
        }
        Some(Mood::Partial(rejected, why)) => {
            let asked = request.headers()["content-type"].clone();
            return Ok(partial_success(asked, rejected, why));
        }
        Some(Mood::Body(body)) => {
            response = Response::new(Trailing(vec![Frame::data(Bytes::from_static(body))]));
        }
        Some(Mood::GrpcWith(status, details)) => {
            let headers = response.headers_mut();
            headers.insert("content-type", HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", status.into());
            headers.insert("grpc-status-details-bin", HeaderValue::from_static(details));
        }
        Some(Mood::Grpc(status)) => {
            response
                .headers_mut()
                .insert("content-type", HeaderValue::from_static("application/grpc"));
            response.headers_mut().insert("grpc-status", status.into());
        }
    }
    Ok(response)
}

/// The answer, of this content type, of a collector that did not take so many. Those about spans
/// and about metrics have the same form.
fn partial_success(
    content_type: HeaderValue,
    rejected_spans: i64,
    why: &str,
) -> Response<Trailing> {
    let message = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: why.to_owned(),
        }),
    };
    let message = message.encode_to_vec();
    let frames = if content_type == "application/grpc" {
        let length = u32::try_from(message.len()).expect("a length");
        let framed = [&[0], &length.to_be_bytes()[..], &message].concat();
        vec![trailers(), Frame::data(framed.into())]
    } else {
        vec![Frame::data(message.into())]
    };
    let mut response = Response::new(Trailing(frames));
    response.headers_mut().insert("content-type", content_type);
    response
}

async fn take(
    request: Request<Incoming>,
    got: Arc<Mutex<Got>>,
) -> Result<Response<Trailing>, ConnectionCut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let grpc = parts
        .headers
        .get("content-type")
        .is_some_and(|value| value == "application/grpc");
    let message = if grpc { framed(&body) } else { body };
    let path = parts.uri.path().to_owned();
    let mut got = got.lock().expect("lock");
    match path.as_str() {
        "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
            let export = ExportTraceServiceRequest::decode(message).expect("traces");
            for resource in export.resource_spans {
                let who = resource.resource.expect("a resource").attributes;
                got.resource
                    .extend(who.iter().map(|pair| (pair.key.clone(), text(pair))));
                got.spans.extend(
                    resource
                        .scope_spans
                        .into_iter()
                        .flat_map(|scope| scope.spans),
                );
            }
        }
        "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
            let export = ExportMetricsServiceRequest::decode(message).expect("metrics");
            let scopes = export
                .resource_metrics
                .into_iter()
                .flat_map(|resource| resource.scope_metrics);
            got.metrics.extend(scopes.flat_map(|scope| scope.metrics));
        }
        other => panic!("nothing is to come to {other}"),
    }
    got.requests.push((path, parts.headers));
    let mut response = Response::new(Trailing(if grpc {
        vec![trailers(), data()]
    } else {
        Vec::new()
    }));
    let content_type = if grpc {
        "application/grpc"
    } else {
        "application/x-protobuf"
    };
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static(content_type));
    Ok(response)
}

fn framed(body: &Bytes) -> Bytes {
    let length = u32::from_be_bytes(body[1..5].try_into().expect("four bytes"));
    assert_eq!(
        (body[0], length as usize),
        (0, body.len() - 5),
        "one message, not compressed"
    );
    body.slice(5..)
}

fn data() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(&[0, 0, 0, 0, 0]))
}

fn trailers() -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([(
        "grpc-status".parse().expect("a name"),
        HeaderValue::from_static("0"),
    )]))
}

/// Frames, the last one first.
struct Trailing(Vec<Frame<Bytes>>);

impl Body for Trailing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(pair: &KeyValue) -> String {
    match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// An attribute of a span.
pub(crate) fn attribute(span: &Span, key: &str) -> Option<String> {
    span.attributes
        .iter()
        .find(|pair| pair.key == key)
        .map(text)
}

/// An attribute of something that happened during a span.
pub(crate) fn of_event(
    event: &opentelemetry_proto::tonic::trace::v1::span::Event,
    key: &str,
) -> Option<String> {
    event
        .attributes
        .iter()
        .find(|pair| pair.key == key)
        .map(text)
}

/// Spans as a tree, for people: parents before children, each with what tells it apart.
pub(crate) fn tree(spans: &[Span]) -> String {
    let mut out = String::new();
    let known = |id: &[u8]| spans.iter().any(|span| span.span_id == id);
    let mut roots: Vec<&Span> = spans
        .iter()
        .filter(|span| !known(&span.parent_span_id))
        .collect();
    roots.sort_by_key(|span| span.start_time_unix_nano);
    roots
        .iter()
        .for_each(|root| branch(&mut out, spans, root, 0));
    out
}

fn branch(out: &mut String, spans: &[Span], span: &Span, depth: usize) {
    let keys = [
        "messaging.destination.name",
        "server.port",
        "http.response.status_code",
        "http.request.resend_count",
        "sealpost.outcome",
        "error.type",
    ];
    let told: Vec<String> = keys
        .iter()
        .filter_map(|key| Some(format!("{key}={}", attribute(span, key)?)))
        .collect();
    let micros = (span.end_time_unix_nano - span.start_time_unix_nano) / 1000;
    let failed = failure(span).map_or_else(String::new, |message| format!(" ERROR: {message}"));
    writeln!(
        out,
        "{:indent$}{} [{:?}] {micros}us {}{failed}",
        "",
        span.name,
        span.kind(),
        told.join(" "),
        indent = depth * 2
    )
    .expect("written");
    for event in &span.events {
        let told: Vec<String> = event
            .attributes
            .iter()
            .map(|pair| format!("{}={}", pair.key, text(pair)))
            .collect();
        writeln!(
            out,
            "{:indent$}* {} {}",
            "",
            event.name,
            told.join(" "),
            indent = depth * 2 + 2
        )
        .expect("written");
    }
    children(spans, span)
        .iter()
        .for_each(|child| branch(out, spans, child, depth + 1));
}

/// The children of a span, in the order in which they began.
fn children<'s>(spans: &'s [Span], span: &Span) -> Vec<&'s Span> {
    let of_span = |child: &&Span| child.parent_span_id == span.span_id;
    let mut children: Vec<&Span> = spans.iter().filter(of_span).collect();
    children.sort_by_key(|child| child.start_time_unix_nano);
    children
}

/// The same tree with nothing in it that differs from one run to the next, so that it can be
/// compared as text.
/// Below each span are the lines of a log in JSON that carry its ids.
pub(crate) fn outline(spans: &[Span], log: &str) -> String {
    let lines = log.lines();
    let lines = lines.filter_map(|line| serde_json::from_str(line).ok());
    let of = OutlinedTrace {
        spans,
        log: lines.collect(),
    };
    let mut out = String::new();
    let known = |id: &[u8]| spans.iter().any(|span| span.span_id == id);
    let mut roots: Vec<&Span> = spans
        .iter()
        .filter(|span| !known(&span.parent_span_id))
        .collect();
    roots.sort_by_key(|span| span.start_time_unix_nano);
    roots
        .iter()
        .for_each(|root| outline_of(&mut out, &of, root, 0));
    out
}

/// Spans, and the lines that are theirs.
struct OutlinedTrace<'t> {
    spans: &'t [Span],
    log: Vec<Value>,
}

fn outline_of(out: &mut String, of: &OutlinedTrace<'_>, span: &Span, depth: usize) {
    let keys = [
        "http.response.status_code",
        "http.request.resend_count",
        "error.type",
        "sealpost.outcome",
    ];
    let told = keys
        .iter()
        .filter_map(|key| Some(format!(" {key}={}", attribute(span, key)?)));
    let failed = failure(span).map_or("", |_| " ERROR");
    let told: String = told.collect();
    writeln!(
        out,
        "{:indent$}{} [{:?}]{told}{failed}",
        "",
        span.name,
        span.kind(),
        indent = depth * 2
    )
    .expect("written");
    for event in &span.events {
        let told = ["sealpost.attempts", "sealpost.backoff"].iter();
        let told: String = told
            .filter_map(|key| Some(format!(" {key}={}", of_event(event, key)?)))
            .collect();
        writeln!(
            out,
            "{:indent$}* {}{told}",
            "",
            event.name,
            indent = depth * 2 + 2
        )
        .expect("written");
    }
    let is_of_span = |line: &&Value| {
        line["trace_id"] == hex(&span.trace_id) && line["span_id"] == hex(&span.span_id)
    };
    for line in of.log.iter().filter(is_of_span) {
        let (level, message) = (line["level"].as_str(), line["message"].as_str());
        let (level, message) = (level.expect("a level"), message.expect("a message"));
        let indent = depth * 2 + 2;
        writeln!(out, "{:indent$}> {level} {message}", "").expect("written");
    }
    children(of.spans, span)
        .iter()
        .for_each(|child| outline_of(out, of, child, depth + 1));
}

/// Why a span failed; `None` if it did not. A status may be there and not be set.
fn failure(span: &Span) -> Option<&str> {
    let status = span.status.as_ref()?;
    (status.code() == StatusCode::Error).then_some(&*status.message)
}
