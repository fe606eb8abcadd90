//! One connection: its requests are answered until it ends, or until a time limit or the stop of the
//! listener ends it.

use std::convert::Infallible;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::connection_activity::{ConnectionActivity, ConnectionTimeout};
use super::request_body::RequestBody;
use super::request_context::RequestContext;
use super::response_body::ResponseBytes;
use super::watched_stream::{ReleasedStream, WatchedStream, take_released};
use super::{ListenerContext, ListenerLimits, RequestHandler, STOP_GRACE};
use super::{lingering_close, request_target};
use crate::model::UriScheme;

/// Longest time for which a connection stays open after it was asked to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Longest rest of a body that nobody reads, in bytes, with which an HTTP/1.1 connection can be
/// used again: so much is likely to be there already.
const LEFT_OVER: u64 = 64 * 1024;

/// Makes the builder of the connections of a listener, with its limits.
pub(super) fn http_builder(limits: &ListenerLimits) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.max_header_bytes.max(8192));
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(256)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}

/// Serves one connection to its end: its requests first, then a lingering close if the peer may
/// still be sending.
pub(super) async fn serve_connection<H: RequestHandler, S>(
    stream: S,
    scheme: UriScheme,
    activity: ConnectionActivity,
    listener: Arc<ListenerContext<H>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (activity, released) = (Arc::new(activity), ReleasedStream::default());
    serve_requests(
        WatchedStream::new(stream, Arc::clone(&activity), Arc::clone(&released)),
        scheme,
        &activity,
        &listener,
    )
    .await;
    if let Some(stream) = take_released(&released) {
        Box::pin(lingering_close::close_lingering(stream, &listener.stop)).await;
    }
}

/// Answers one request, by the handler unless the listener answers it by itself.
async fn handle_request<H: RequestHandler>(
    request: Request<hyper::body::Incoming>,
    scheme: UriScheme,
    activity: Arc<ConnectionActivity>,
    listener: Arc<ListenerContext<H>>,
) -> Result<Response<ResponseBytes>, Infallible> {
    let version = request.version();
    // The request counts as in flight from here to its response, so that the connection is not idle
    // meanwhile.
    let busy = ConnectionActivity::start_request(&activity, version);
    // A body that is long and was not read costs more than a new connection.
    let length = request.body().size_hint().exact();
    let is_long = length.is_none_or(|bytes| bytes > LEFT_OVER);
    let request = request.map(|body| RequestBody::new(body, version, &activity));
    let mut context = RequestContext::new(scheme, activity.peer());
    context.peer_user = activity.peer_user();
    let mut response = match request_target::respond_without_handler(&request) {
        Some(response) => response,
        None => listener.handler.handle(request, &mut context).await,
    };
    let is_costly = is_long && activity.is_body_unread();
    if version < Version::HTTP_2 && (is_costly || listener.gives_up_connections()) {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    drop(busy);
    let response = response.map(|whole| ResponseBytes::new(whole, context.response_stream));
    if response.body().is_stream() {
        activity.start_streaming();
    }
    Ok(response)
}

/// Answers the requests of one connection until it ends, or a time limit or the stop ends it.
async fn serve_requests<H: RequestHandler, S>(
    stream: WatchedStream<S>,
    scheme: UriScheme,
    activity: &Arc<ConnectionActivity>,
    listener: &Arc<ListenerContext<H>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        handle_request(request, scheme, Arc::clone(activity), Arc::clone(listener))
    });
    let mut connection = std::pin::pin!(
        listener
            .http
            .serve_connection(TokioIo::new(stream), service)
    );
    let interruption = |stop| next_close_reason(stop, activity, &listener.limits);
    // The interruptions are polled when they have woken, not whenever the connection has: the stop
    // that they wait for is shared by all connections.
    let mut interruptions = FuturesUnordered::from_iter([interruption(Some(&listener.stop))]);
    let mut progress = CloseProgress::default();
    // A round ends when a limit has passed or the listener stops. The connection is polled first,
    // so that a response that is ready still goes out.
    loop {
        let reason = tokio::select! {
            biased;
            ended = connection.as_mut() => return note_end(ended, activity),
            Some(reason) = interruptions.next() => reason,
        };
        if progress.advance(reason, activity).is_break() {
            return;
        }
        if progress.is_told {
            connection.as_mut().graceful_shutdown();
        }
        // The stop is waited for only once; later interruptions are time limits.
        interruptions.push(interruption(
            (!progress.is_stopping).then_some(&listener.stop),
        ));
    }
}

/// Notes that a connection has ended by itself.
fn note_end<E: Into<Box<dyn Error + Send + Sync>>>(
    ended: Result<(), E>,
    activity: &ConnectionActivity,
) {
    let Err(error) = ended else {
        return;
    };
    let error: Box<dyn Error + Send + Sync> = error.into();
    tracing::debug!(error, "Connection ended");
    if !activity.is_http2() {
        // The peer may still be sending what was not understood, so that the close has to linger.
        activity.set_body_unread();
    }
}

/// How far this side has come with closing a connection.
#[derive(Clone, Copy, Debug, Default)]
struct CloseProgress {
    /// True if the peer is asked to close.
    is_told: bool,
    /// True if the listener stops.
    is_stopping: bool,
}

impl CloseProgress {
    /// Goes on by a reason to close; breaks if the connection is to be cut off.
    fn advance(
        &mut self,
        reason: ConnectionCloseReason,
        activity: &ConnectionActivity,
    ) -> ControlFlow<()> {
        match reason {
            // A slow head is cut off at once. An idle connection is asked to close, and cut off if
            // it does not.
            ConnectionCloseReason::TimedOut(timeout)
                if timeout == ConnectionTimeout::HeaderRead || self.is_told =>
            {
                return ControlFlow::Break(());
            }
            ConnectionCloseReason::TimedOut(_) => {
                let stopping = self.is_stopping;
                activity.close_by(if stopping { STOP_GRACE } else { CLOSE_LIMIT });
                self.is_told = true;
            }
            ConnectionCloseReason::Stop => {
                activity.start_stopping();
                if self.is_told {
                    activity.close_by(STOP_GRACE);
                }
                // Over HTTP/1.1 the next response asks the peer to close.
                self.is_told |= activity.is_http2();
                self.is_stopping = true;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The reasons for which this side closes a connection.
#[derive(Clone, Copy, Debug)]
enum ConnectionCloseReason {
    /// The listener stops.
    Stop,
    /// The connection has passed a time limit.
    TimedOut(ConnectionTimeout),
}

/// Waits for the next reason to close a connection. `stop` is `None` for a connection that was told
/// of the stop already.
async fn next_close_reason(
    stop: Option<&CancellationToken>,
    activity: &ConnectionActivity,
    limits: &ListenerLimits,
) -> ConnectionCloseReason {
    let stopped = async {
        match stop {
            Some(stop) => stop.cancelled().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = stopped => ConnectionCloseReason::Stop,
        expired = activity.wait_for_timeout(limits) => ConnectionCloseReason::TimedOut(expired),
    }
}
