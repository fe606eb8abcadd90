//! `sealpost display`: a sink that prints the events that arrive.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{DisplayOptions, LineOutput};
use crate::display::EventDisplay;
use crate::event::{AttributeLimit, Event, http as binding};
use crate::server::{self, ListenerLimits, RequestBody, RequestContext, RequestHandler, body};
use crate::tls::MinTlsVersion;
use crate::tls::server_identity::ServerIdentity;

const MAX_BODY: usize = 10 * 1024 * 1024;

/// Listens until the process is interrupted or terminated.
///
/// # Errors
/// Fails if the address is taken or the certificate cannot be used.
pub async fn run(options: DisplayOptions) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(&options.addr)
        .await
        .with_context(|| format!("--addr {}", options.addr))?;
    let tls = tls_config(&options)?;
    // Signals are listened for before the log says that it runs: as the first process of a
    // container, nothing else would end it.
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("Listening on {scheme}://{}/", listener.local_addr()?);
    let handler = Arc::new(DisplaySink::new(options)?);
    let stop = CancellationToken::new();
    let limits = ListenerLimits::default();
    let serving = server::serve(listener, tls, limits, handler, stop.clone());
    tokio::select! {
        () = serving => {}
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn tls_config(options: &DisplayOptions) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
    let (Some(certificate), Some(key)) = (&options.tls_cert, &options.tls_key) else {
        return Ok(None);
    };
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).with_context(|| path.display().to_string())
    };
    let identity = ServerIdentity::default();
    identity.replace(&read(certificate)?, &read(key)?, 0)?;
    Ok(Some(identity.server_config(MinTlsVersion::default())?))
}

/// Prints each event, and responds as the options say.
struct DisplaySink {
    display: EventDisplay,
    output: LineOutput,
    /// The type of the event that each event is replied with; no reply if `None`.
    reply: Option<String>,
    /// The status of each response.
    status: StatusCode,
}

impl DisplaySink {
    fn new(options: DisplayOptions) -> anyhow::Result<Self> {
        Ok(Self {
            display: EventDisplay::default(),
            output: options.lines.output,
            reply: options.reply,
            status: StatusCode::from_u16(options.status)?,
        })
    }

    async fn receive_events(
        &self,
        request: Request<RequestBody>,
    ) -> Result<Response<Full<Bytes>>, (StatusCode, String)> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST {
            let text = "send events by POST".to_owned();
            return Err((StatusCode::METHOD_NOT_ALLOWED, text));
        }
        let data = body::read_limited(body, MAX_BODY)
            .await
            .map_err(|error| (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?;
        let limit = AttributeLimit::default().for_stored_events();
        let events = binding::decode(parts.headers, data, limit)
            .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
        for event in &events {
            let shown = match self.output {
                LineOutput::Text => self.display.show(event).await,
                LineOutput::Json => self.display.show_json(event).await,
            };
            shown.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        }
        Ok(self.respond(&events))
    }

    fn respond(&self, events: &[Event]) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        if let (Some(ty), Some(event)) = (&self.reply, events.first()) {
            let mut reply = Event::new(&uuid::Uuid::new_v4().to_string(), "/sealpost/display", ty);
            if let Some(content_type) = event.content_type() {
                reply = reply.with_data(content_type.clone(), event.data().clone());
            }
            response = binding::binary_response(&reply).map(Full::new);
        }
        *response.status_mut() = self.status;
        response
    }
}

impl RequestHandler for DisplaySink {
    async fn handle(
        &self,
        request: Request<RequestBody>,
        _context: &mut RequestContext,
    ) -> Response<Full<Bytes>> {
        self.receive_events(request)
            .await
            .unwrap_or_else(|(status, text)| {
                let mut response = Response::new(Full::new(Bytes::from(format!("{text}\n"))));
                *response.status_mut() = status;
                response
            })
    }
}
