//! The subscribers and dead letter sinks of a run, on one port, each at a path of its own. They
//! remember as little as the judge needs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::record::{EventCopy, EventPlace, Recorder};
use super::surroundings::{SUBSCRIPTIONS, TRY};

/// The subscribers and sinks; ended when they are dropped.
pub(super) struct EventSinks {
    pub(super) address: SocketAddr,
    _server: JoinSet<()>,
}

impl EventSinks {
    /// Listens on loopback.
    pub(super) async fn start(recorder: Arc<Recorder>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut server = JoinSet::new();
        server.spawn(serve(listener, recorder));
        Self {
            address,
            _server: server,
        }
    }
}

async fn serve(listener: TcpListener, recorder: Arc<Recorder>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("a socket");
        let recorder = Arc::clone(&recorder);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&recorder)));
            // A replica that is killed breaks its connections.
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<Incoming>,
    recorder: Arc<Recorder>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    drop(body.collect().await);
    let number = |name: &str| -> u32 {
        let text = parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        text.and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{name} of {:?}", parts.headers))
    };
    let (event, tried) = (number("ce-id"), number(&format!("ce-{TRY}")));
    let name = parts.uri.path().trim_start_matches('/');
    let (place, name) = match name.strip_prefix("dead/") {
        Some(name) => (EventPlace::DeadLetterSink, name),
        None => (EventPlace::Subscriber, name),
    };
    let subscription = SUBSCRIPTIONS
        .iter()
        .position(|subscription| subscription.name == name)
        .expect("its name");
    let (status, delay) = match place {
        EventPlace::Subscriber => {
            (SUBSCRIPTIONS[subscription].answer)(event, recorder.is_first(subscription, event))
        }
        _ => (200, Duration::ZERO),
    };
    let number = u16::try_from(tried).expect("a small number");
    // What is given up before it is answered was not taken.
    tokio::time::sleep(delay).await;
    recorder.came(EventCopy {
        event,
        number,
        subscription,
        place,
        at: recorder.now(),
        status,
    });
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    Ok(response)
}
