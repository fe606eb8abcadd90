//! What a connection is doing, so that one that sends nothing, or sends a head byte by byte, is closed in time.
//!
//! hyper's own header time limit also ends connections that are merely idle; the two are told apart here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Limits;

/// No byte of a next request has come.
const NOT_READING: u64 = u64::MAX;

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
    requests: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    close_by: AtomicU64,
}

impl Activity {
    /// A connection that was opened now.
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            multiplexed: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(NOT_READING),
            close_by: AtomicU64::new(NOT_READING),
        }
    }

    /// The connection speaks HTTP/2, whose frames between requests are not the start of one.
    pub(super) fn multiplexed(self) -> Self {
        self.multiplexed.store(true, Ordering::Relaxed);
        self
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NOT_READING)
    }

    /// A request's head is complete; it runs until the guard is dropped.
    pub(super) fn begin(this: &Arc<Self>, version: Version) -> Busy {
        if version == Version::HTTP_2 {
            this.multiplexed.store(true, Ordering::Relaxed);
        }
        this.requests.fetch_add(1, Ordering::Relaxed);
        this.head_since.store(NOT_READING, Ordering::Relaxed);
        Busy(Arc::clone(this))
    }

    fn received(&self) {
        let waiting = self.head_since.load(Ordering::Relaxed) == NOT_READING
            && self.requests.load(Ordering::Relaxed) == 0
            && !self.multiplexed.load(Ordering::Relaxed);
        if waiting {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// From now on, not being closed within `limit` counts as idle for too long.
    pub(super) fn close_by(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(NOT_READING);
        self.close_by.store(self.now().saturating_add(limit), Ordering::Relaxed);
    }

    /// Ends when a time limit has passed. Cancel-safe.
    pub(super) async fn expired(&self, limits: &Limits) -> Expired {
        loop {
            let (due, expired) = self.due(limits);
            if self.now() >= due {
                return expired;
            }
            tokio::time::sleep_until(self.opened + Duration::from_millis(due)).await;
        }
    }

    /// The next moment at which a limit may have passed, and which one.
    fn due(&self, limits: &Limits) -> (u64, Expired) {
        let millis = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(NOT_READING);
        let close_by = self.close_by.load(Ordering::Relaxed);
        if close_by != NOT_READING {
            return (close_by, Expired::Idle);
        }
        if self.requests.load(Ordering::Relaxed) > 0 {
            return (self.now().saturating_add(millis(limits.idle_timeout).max(1)), Expired::Idle);
        }
        match self.head_since.load(Ordering::Relaxed) {
            // A head may begin at any time: look again when it could be overdue at the earliest.
            NOT_READING => {
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
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that reports what it receives.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.received();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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
        activity.received();
        activity.received();
        assert_eq!(expiry(&activity).await, (Expired::Head, 40));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_between_http2_requests_are_no_head() {
        let activity = Activity::new().multiplexed();
        activity.received();
        assert_eq!(expiry(&activity).await, (Expired::Idle, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_request_is_not_idle_and_idling_starts_at_its_end() {
        let activity = Arc::new(Activity::new());
        activity.received();
        let busy = Activity::begin(&activity, Version::HTTP_11);
        tokio::time::advance(Duration::from_secs(100)).await;
        let waited = tokio::time::timeout(Duration::from_secs(1000), activity.expired(&limits())).await;
        assert!(waited.is_err(), "no limit while a request runs");
        drop(busy);
        assert_eq!(expiry(&activity).await, (Expired::Idle, 1160));
    }
}
