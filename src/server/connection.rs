//! What a connection is doing, so that one that sends nothing, or sends a head byte by byte, is closed in time, and none
//! holds up a stop.
//!
//! hyper's own header time limit also ends connections that are merely idle; the two are told apart here. At a stop it
//! closes connections over HTTP/1.1 whose next request is on its way, and waits for peers that answer no `PING` over
//! HTTP/2; neither is done here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Limits, STOP_GRACE};

/// No byte of a next request has come; it is not being stopped.
const NEVER: u64 = u64::MAX;
/// Bytes that are read at once. hyper doubles its buffer when a read has filled it, and keeps it as long as the connection
/// lives: what is less than 16 KiB leaves it at that.
const READ_AT_ONCE: usize = 16 * 1024 - 1;
/// How a connection over HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// It began in another way.
const OTHER: usize = usize::MAX;

/// Which time limit a connection has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// A request's head took too long.
    Head,
    /// There was no request for too long, or closing took too long.
    Idle,
}

/// Times are milliseconds since `opened`.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    multiplexed: AtomicBool,
    /// How many bytes of the preface have come, or [`OTHER`].
    preface: AtomicUsize,
    requests: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    close_by: AtomicU64,
    /// Since when the listener stops, or bytes were written last since then.
    stopping_since: AtomicU64,
    /// Told when the last request under way has ended while it stops.
    quiet: Notify,
    /// Whether a part of a request's body may not have been read.
    unread: AtomicBool,
    /// Whether the peer sends nothing more, or cannot.
    is_over: AtomicBool,
}

impl Activity {
    /// A connection that was opened now.
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            multiplexed: AtomicBool::new(false),
            preface: AtomicUsize::new(0),
            requests: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(NEVER),
            close_by: AtomicU64::new(NEVER),
            stopping_since: AtomicU64::new(NEVER),
            quiet: Notify::new(),
            unread: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// The connection speaks HTTP/2, whose frames between requests are not the start of one.
    pub(super) fn multiplexed(self) -> Self {
        self.multiplexed.store(true, Ordering::Relaxed);
        self
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NEVER)
    }

    /// A request's head is complete; it runs until the guard is dropped.
    pub(super) fn begin(this: &Arc<Self>, version: Version) -> Busy {
        if version == Version::HTTP_2 {
            this.multiplexed.store(true, Ordering::Relaxed);
        }
        this.requests.fetch_add(1, Ordering::Relaxed);
        this.head_since.store(NEVER, Ordering::Relaxed);
        Busy(Arc::clone(this))
    }

    /// Whether it speaks HTTP/2, as far as is known.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    /// Notes bytes that came. Empty lines before a request are none of its head (RFC 9112, 2.2), nor is a preface.
    fn received(&self, bytes: &[u8]) {
        if self.is_multiplexed() {
            return;
        }
        if self.completes_preface(bytes) {
            self.multiplexed.store(true, Ordering::Relaxed);
            self.head_since.store(NEVER, Ordering::Relaxed);
            return;
        }
        let waiting = self.head_since.load(Ordering::Relaxed) == NEVER && self.requests.load(Ordering::Relaxed) == 0;
        if waiting && !bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Whether a preface ends in these bytes. It is the first thing that comes, in however many pieces.
    fn completes_preface(&self, bytes: &[u8]) -> bool {
        let Some(rest) = PREFACE.get(self.preface.load(Ordering::Relaxed)..).filter(|rest| !rest.is_empty()) else {
            return false;
        };
        let came = bytes.get(..rest.len()).unwrap_or(bytes);
        let fits = rest.starts_with(came);
        let seen = if fits { PREFACE.len() - rest.len() + came.len() } else { OTHER };
        self.preface.store(seen, Ordering::Relaxed);
        fits && came.len() == rest.len()
    }

    /// The listener stops: from now on, a connection without a request under way ends soon.
    pub(super) fn stop(&self) {
        self.stopping_since.store(self.now(), Ordering::Relaxed);
    }

    fn wrote(&self) {
        if self.stopping_since.load(Ordering::Relaxed) != NEVER {
            self.stop();
        }
    }

    /// The body of a request is not read to its end yet.
    pub(super) fn set_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// It is now.
    pub(super) fn set_read(&self) {
        self.unread.store(false, Ordering::Relaxed);
    }

    /// Whether a part of a request's body may not have been read.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Whether the peer sends nothing more, or cannot.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// From now on, not being closed within `limit` counts as idle for too long.
    pub(super) fn close_by(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(NEVER);
        self.close_by.store(self.now().saturating_add(limit), Ordering::Relaxed);
    }

    /// Ends when a time limit has passed. Cancel-safe.
    pub(super) async fn expired(&self, limits: &Limits) -> Expired {
        loop {
            let (due, expired) = self.due(limits);
            if self.now() >= due {
                return expired;
            }
            tokio::select! {
                () = tokio::time::sleep_until(self.opened + Duration::from_millis(due)) => {}
                () = self.quiet.notified() => {}
            }
        }
    }

    /// The next moment at which a limit may have passed, and which one.
    fn due(&self, limits: &Limits) -> (u64, Expired) {
        let millis = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(NEVER);
        let close_by = self.close_by.load(Ordering::Relaxed);
        if close_by != NEVER {
            return (close_by, Expired::Idle);
        }
        if self.requests.load(Ordering::Relaxed) > 0 {
            return (self.now().saturating_add(millis(limits.idle_timeout).max(1)), Expired::Idle);
        }
        let stopping_since = self.stopping_since.load(Ordering::Relaxed);
        match self.head_since.load(Ordering::Relaxed) {
            NEVER if stopping_since != NEVER => {
                let since = stopping_since.max(self.idle_since.load(Ordering::Relaxed));
                (since.saturating_add(millis(STOP_GRACE)), Expired::Idle)
            }
            // A head may begin at any time: look again when it could be overdue at the earliest.
            NEVER => {
                let idle = self.idle_since.load(Ordering::Relaxed).saturating_add(millis(limits.idle_timeout));
                let head = self.now().saturating_add(millis(limits.header_read_timeout).max(1));
                (idle.min(head), Expired::Idle)
            }
            since => (since.saturating_add(millis(limits.header_read_timeout)), Expired::Head),
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        let was_last = self.0.requests.fetch_sub(1, Ordering::Relaxed) == 1;
        if was_last && self.0.stopping_since.load(Ordering::Relaxed) != NEVER {
            self.0.quiet.notify_one();
        }
    }
}

/// Where a stream is when its protocol has ended with it.
pub(super) type Left<S> = Arc<Mutex<Option<Box<S>>>>;

/// Takes the stream, if its protocol has ended with it.
pub(super) fn take<S>(left: &Left<S>) -> Option<Box<S>> {
    left.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A stream that reports what it receives. It leaves the stream when it is dropped.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: Option<S>,
    activity: Arc<Activity>,
    left: Left<S>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>, left: Left<S>) -> Self {
        Self { stream: Some(stream), activity, left }
    }

    /// Notes what a read or a write has come to: there is nothing to wait for from a peer that is gone.
    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = &polled {
            self.activity.is_over.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        let is_wanted = self.activity.is_unread() && !self.activity.is_over();
        if let Some(stream) = self.stream.take().filter(|_| is_wanted) {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stream));
        }
    }
}

/// What it has until it is dropped.
fn open<S: Unpin>(stream: &mut Option<S>) -> io::Result<Pin<&mut S>> {
    stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
}

/// Reads [`READ_AT_ONCE`] at most.
fn read_some<S: AsyncRead>(stream: Pin<&mut S>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    let mut some = ReadBuf::new(buf.initialize_unfilled_to(READ_AT_ONCE));
    ready!(stream.poll_read(cx, &mut some))?;
    let came = some.filled().len();
    buf.advance(came);
    Poll::Ready(Ok(()))
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let stream = open(&mut self.stream)?;
        let polled =
            if buf.remaining() > READ_AT_ONCE { read_some(stream, cx, buf) } else { stream.poll_read(cx, buf) };
        let came = buf.filled().get(before..).unwrap_or_default();
        if !came.is_empty() {
            self.activity.received(came);
        } else if matches!(polled, Poll::Ready(Ok(()))) {
            self.activity.is_over.store(true, Ordering::Relaxed);
        }
        self.note(polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.wrote();
        let polled = open(&mut self.stream)?.poll_write(cx, buf);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        open(&mut self.stream)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        open(&mut self.stream)?.poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.wrote();
        let polled = open(&mut self.stream)?.poll_write_vectored(cx, bufs);
        self.note(polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            ..Limits::default()
        }
    }

    async fn expiry(activity: &Activity) -> (Expired, u64) {
        let expired = activity.expired(&limits()).await;
        (expired, activity.now() / 1000)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_idle() {
        assert_eq!(expiry(&Activity::new()).await, (Expired::Idle, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_own_limit_from_its_first_byte() {
        let activity = Activity::new();
        tokio::time::advance(Duration::from_secs(30)).await;
        activity.received(b"P");
        activity.received(b"O");
        assert_eq!(expiry(&activity).await, (Expired::Head, 40));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_between_http2_requests_are_no_head() {
        let activity = Activity::new().multiplexed();
        activity.received(b"P");
        assert_eq!(expiry(&activity).await, (Expired::Idle, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_preface_and_empty_lines_are_no_head() {
        for pieces in [&[PREFACE][..], &[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n\0\0"], &[b"\r\n", b"\r\n"]] {
            let activity = Activity::new();
            pieces.iter().for_each(|piece| activity.received(piece));
            assert_eq!(expiry(&activity).await, (Expired::Idle, 60), "{pieces:?}");
        }
        for pieces in [&[&b"PRI * HT"[..]][..], &[b"\r\nPRI"], &[b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"]] {
            let activity = Activity::new();
            pieces.iter().for_each(|piece| activity.received(piece));
            assert_eq!(expiry(&activity).await, (Expired::Head, 10), "{pieces:?}");
        }
    }

    /// A stop waits for a request that is under way, and for one that has begun; for nothing else.
    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_what_does_nothing() {
        let activity = Arc::new(Activity::new().multiplexed());
        tokio::time::advance(Duration::from_secs(5)).await;
        let busy = Activity::begin(&activity, Version::HTTP_2);
        activity.stop();
        let waited = tokio::time::timeout(Duration::from_secs(1000), activity.expired(&limits())).await;
        assert!(waited.is_err(), "no limit while a request runs");
        drop(busy);
        assert_eq!(expiry(&activity).await, (Expired::Idle, 1005));
        let half = Activity::new();
        half.received(b"POST /");
        half.stop();
        assert_eq!(expiry(&half).await, (Expired::Head, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_request_is_not_idle_and_idling_starts_at_its_end() {
        let activity = Arc::new(Activity::new());
        activity.received(b"P");
        let busy = Activity::begin(&activity, Version::HTTP_11);
        tokio::time::advance(Duration::from_secs(100)).await;
        let waited = tokio::time::timeout(Duration::from_secs(1000), activity.expired(&limits())).await;
        assert!(waited.is_err(), "no limit while a request runs");
        drop(busy);
        assert_eq!(expiry(&activity).await, (Expired::Idle, 1160));
    }
}
