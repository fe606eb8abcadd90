//! Tracks what a connection is doing, so that one that sends nothing, or sends a head byte by byte,
//! is closed in time, and none holds up a stop.
//!
//! hyper's own header time limit also ends connections that are merely idle; the two are told apart
//! here. At a stop, hyper closes connections over HTTP/1.1 whose next request is on its way, and
//! waits for peers that answer no `PING` over HTTP/2; neither is done here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::Version;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{ListenerLimits, STOP_GRACE};

/// The time of something that has not happened: no byte of the next request has come, no deadline
/// is set, the listener is not stopping.
const NEVER: u64 = u64::MAX;
/// The bytes with which a connection over HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Marks a connection that has begun with something else than the preface.
const OTHER: usize = usize::MAX;

/// The time limits that a connection can pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionTimeout {
    /// The head of a request took too long.
    HeaderRead,
    /// There was no request for too long, or closing took too long.
    Idle,
}

/// The state of a connection, shared by its stream and its requests. Times are milliseconds since
/// `opened`.
#[derive(Debug)]
pub(super) struct ConnectionActivity {
    opened: Instant,
    /// The address of the peer; `None` on a Unix socket.
    peer: Option<IpAddr>,
    /// The user id of the peer on a Unix socket.
    peer_user: Option<u32>,
    is_http2: AtomicBool,
    /// Number of bytes of the preface that have come, or [`OTHER`].
    preface: AtomicUsize,
    /// Number of requests in flight.
    requests: AtomicU32,
    /// The time at which the last request ended, or the connection was opened.
    idle_since: AtomicU64,
    /// The time at which the head of the next request began, or [`NEVER`].
    head_since: AtomicU64,
    /// The time by which the connection has to be closed, or [`NEVER`].
    close_by: AtomicU64,
    /// The time since which the listener stops, or of the last write since then; [`NEVER`] before.
    stopping_since: AtomicU64,
    /// Notified when the last request in flight has ended while the listener stops.
    last_request_ended: Notify,
    /// True if the body of a response goes out in pieces: each one written shows that the
    /// connection is not idle.
    is_streaming: AtomicBool,
    /// True if a part of a request's body may not have been read.
    is_body_unread: AtomicBool,
    /// True if the peer sends nothing more, or cannot.
    is_peer_gone: AtomicBool,
}

impl ConnectionActivity {
    /// Makes the state of a connection that was opened now.
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            peer: None,
            peer_user: None,
            is_http2: AtomicBool::new(false),
            preface: AtomicUsize::new(0),
            requests: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(NEVER),
            close_by: AtomicU64::new(NEVER),
            stopping_since: AtomicU64::new(NEVER),
            last_request_ended: Notify::new(),
            is_streaming: AtomicBool::new(false),
            is_body_unread: AtomicBool::new(false),
            is_peer_gone: AtomicBool::new(false),
        }
    }

    /// Marks the connection as HTTP/2, whose frames between requests are not the start of a
    /// request.
    pub(super) fn with_http2(self) -> Self {
        self.is_http2.store(true, Ordering::Relaxed);
        self
    }

    /// Sets the address of the peer.
    pub(super) fn with_peer(self, peer: Option<SocketAddr>) -> Self {
        Self {
            peer: peer.map(|peer| peer.ip().to_canonical()),
            ..self
        }
    }

    /// Sets the user id of the peer on a Unix socket.
    pub(super) fn with_peer_user(self, peer_user: Option<u32>) -> Self {
        Self { peer_user, ..self }
    }

    /// Returns the user id of the peer on a Unix socket.
    pub(super) fn peer_user(&self) -> Option<u32> {
        self.peer_user
    }

    /// Returns the address of the peer; `None` on a Unix socket.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NEVER)
    }

    /// Counts a request whose head is complete; it is in flight until the guard is dropped.
    pub(super) fn start_request(this: &Arc<Self>, version: Version) -> ActiveRequest {
        if version == Version::HTTP_2 {
            this.is_http2.store(true, Ordering::Relaxed);
        }
        this.requests.fetch_add(1, Ordering::Relaxed);
        this.head_since.store(NEVER, Ordering::Relaxed);
        ActiveRequest(Arc::clone(this))
    }

    /// Returns true if the connection is known to speak HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    /// Records bytes that came. Empty lines before a request do not start its head (RFC 9112, 2.2),
    /// nor does a preface.
    pub(super) fn note_received(&self, bytes: &[u8]) {
        if self.is_http2() {
            return;
        }
        if self.completes_preface(bytes) {
            self.is_http2.store(true, Ordering::Relaxed);
            self.head_since.store(NEVER, Ordering::Relaxed);
            return;
        }
        let waiting = self.head_since.load(Ordering::Relaxed) == NEVER
            && self.requests.load(Ordering::Relaxed) == 0;
        if waiting && !bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Returns true if the preface ends in these bytes. The preface is the first thing that comes,
    /// in however many pieces.
    fn completes_preface(&self, bytes: &[u8]) -> bool {
        let Some(rest) = PREFACE
            .get(self.preface.load(Ordering::Relaxed)..)
            .filter(|rest| !rest.is_empty())
        else {
            return false;
        };
        let came = bytes.get(..rest.len()).unwrap_or(bytes);
        let fits = rest.starts_with(came);
        let seen = if fits {
            PREFACE.len() - rest.len() + came.len()
        } else {
            OTHER
        };
        self.preface.store(seen, Ordering::Relaxed);
        fits && came.len() == rest.len()
    }

    /// Records that the listener stops: from now on, a connection without a request in flight ends
    /// soon.
    pub(super) fn start_stopping(&self) {
        self.stopping_since.store(self.now(), Ordering::Relaxed);
    }

    /// Records that a response goes out in pieces from now on. A peer that does not read them for
    /// as long as a connection may be idle is given up.
    pub(super) fn start_streaming(&self) {
        self.is_streaming.store(true, Ordering::Relaxed);
    }

    /// Records what was written. A stream goes on after it.
    pub(super) fn note_streamed(&self) {
        if self.is_streaming.load(Ordering::Relaxed) {
            self.idle_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Records a write, after which a connection that is stopping has its grace anew.
    pub(super) fn note_written(&self) {
        if self.stopping_since.load(Ordering::Relaxed) != NEVER {
            self.start_stopping();
        }
    }

    /// Records that the body of a request is not read to its end yet.
    pub(super) fn set_body_unread(&self) {
        self.is_body_unread.store(true, Ordering::Relaxed);
    }

    /// Records that the body of the request was read to its end.
    pub(super) fn set_body_read(&self) {
        self.is_body_unread.store(false, Ordering::Relaxed);
    }

    /// Returns true if a part of a request's body may not have been read.
    pub(super) fn is_body_unread(&self) -> bool {
        self.is_body_unread.load(Ordering::Relaxed)
    }

    /// Records that the peer sends nothing more, or cannot.
    pub(super) fn set_peer_gone(&self) {
        self.is_peer_gone.store(true, Ordering::Relaxed);
    }

    /// Returns true if the peer sends nothing more, or cannot.
    pub(super) fn is_peer_gone(&self) -> bool {
        self.is_peer_gone.load(Ordering::Relaxed)
    }

    /// Sets a deadline: a connection that is not closed within `limit` counts as idle for too long.
    pub(super) fn close_by(&self, limit: Duration) {
        self.close_by
            .store(self.now().saturating_add(millis(limit)), Ordering::Relaxed);
    }

    /// Returns when a time limit has passed. It is safe to drop the future at any time.
    pub(super) async fn wait_for_timeout(&self, limits: &ListenerLimits) -> ConnectionTimeout {
        loop {
            let (due, expired) = self.next_deadline(limits);
            if self.now() >= due {
                return expired;
            }
            tokio::select! {
                () = tokio::time::sleep_until(self.opened + Duration::from_millis(due)) => {}
                () = self.last_request_ended.notified() => {}
            }
        }
    }

    /// Returns the next time at which a limit may have passed, and the limit.
    fn next_deadline(&self, limits: &ListenerLimits) -> (u64, ConnectionTimeout) {
        // A deadline for closing counts before everything else, a request in flight before
        // idleness.
        let close_by = self.close_by.load(Ordering::Relaxed);
        if close_by != NEVER {
            return (close_by, ConnectionTimeout::Idle);
        }
        if self.requests.load(Ordering::Relaxed) > 0 {
            let next_look = self.after_now(limits.idle_timeout);
            return (next_look, ConnectionTimeout::Idle);
        }
        match self.head_since.load(Ordering::Relaxed) {
            NEVER => (self.idle_deadline(limits), ConnectionTimeout::Idle),
            since => (
                since.saturating_add(millis(limits.header_read_timeout)),
                ConnectionTimeout::HeaderRead,
            ),
        }
    }

    /// Returns the next time at which a connection without a request may have been idle too long.
    fn idle_deadline(&self, limits: &ListenerLimits) -> u64 {
        let idle_since = self.idle_since.load(Ordering::Relaxed);
        let stopping_since = self.stopping_since.load(Ordering::Relaxed);
        if stopping_since != NEVER {
            let since = stopping_since.max(idle_since);
            return since.saturating_add(millis(STOP_GRACE));
        }
        // A head may begin at any time, so that the next look is when it could be overdue at the
        // earliest.
        let idle = idle_since.saturating_add(millis(limits.idle_timeout));
        idle.min(self.after_now(limits.header_read_timeout))
    }

    /// Returns the time after so long from now, which is later than now in any case.
    fn after_now(&self, limit: Duration) -> u64 {
        self.now().saturating_add(millis(limit).max(1))
    }
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(NEVER)
}

/// A request in flight; dropping it ends the request.
#[derive(Debug)]
pub(super) struct ActiveRequest(Arc<ConnectionActivity>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        let was_last = self.0.requests.fetch_sub(1, Ordering::Relaxed) == 1;
        if was_last && self.0.stopping_since.load(Ordering::Relaxed) != NEVER {
            self.0.last_request_ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> ListenerLimits {
        ListenerLimits {
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            ..ListenerLimits::default()
        }
    }

    async fn expiry(activity: &ConnectionActivity) -> (ConnectionTimeout, u64) {
        let expired = activity.wait_for_timeout(&limits()).await;
        (expired, activity.now() / 1000)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_idle() {
        assert_eq!(
            expiry(&ConnectionActivity::new()).await,
            (ConnectionTimeout::Idle, 60)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_own_limit_from_its_first_byte() {
        let activity = ConnectionActivity::new();
        tokio::time::advance(Duration::from_secs(30)).await;
        activity.note_received(b"P");
        activity.note_received(b"O");
        assert_eq!(expiry(&activity).await, (ConnectionTimeout::HeaderRead, 40));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_between_http2_requests_are_no_head() {
        let activity = ConnectionActivity::new().with_http2();
        activity.note_received(b"P");
        assert_eq!(expiry(&activity).await, (ConnectionTimeout::Idle, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_preface_and_empty_lines_are_no_head() {
        for pieces in [
            &[PREFACE][..],
            &[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n\0\0"],
            &[b"\r\n", b"\r\n"],
        ] {
            let activity = ConnectionActivity::new();
            pieces
                .iter()
                .for_each(|piece| activity.note_received(piece));
            assert_eq!(
                expiry(&activity).await,
                (ConnectionTimeout::Idle, 60),
                "{pieces:?}"
            );
        }
        for pieces in [
            &[&b"PRI * HT"[..]][..],
            &[b"\r\nPRI"],
            &[b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"],
        ] {
            let activity = ConnectionActivity::new();
            pieces
                .iter()
                .for_each(|piece| activity.note_received(piece));
            assert_eq!(
                expiry(&activity).await,
                (ConnectionTimeout::HeaderRead, 10),
                "{pieces:?}"
            );
        }
    }

    /// A stop waits for a request that is under way, and for one that has begun; for nothing else.
    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_what_does_nothing() {
        let activity = Arc::new(ConnectionActivity::new().with_http2());
        tokio::time::advance(Duration::from_secs(5)).await;
        let busy = ConnectionActivity::start_request(&activity, Version::HTTP_2);
        activity.start_stopping();
        let waited = tokio::time::timeout(
            Duration::from_secs(1000),
            activity.wait_for_timeout(&limits()),
        )
        .await;
        assert!(waited.is_err(), "no limit while a request runs");
        drop(busy);
        assert_eq!(expiry(&activity).await, (ConnectionTimeout::Idle, 1005));
        let half = ConnectionActivity::new();
        half.note_received(b"POST /");
        half.start_stopping();
        assert_eq!(expiry(&half).await, (ConnectionTimeout::HeaderRead, 10));
    }

    /// A stream is not idle as long as its peer takes what is written.
    #[tokio::test(start_paused = true)]
    async fn a_stream_is_idle_when_nothing_is_taken() {
        let activity = ConnectionActivity::new();
        activity.start_streaming();
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(30)).await;
            activity.note_streamed();
        }
        assert_eq!(expiry(&activity).await, (ConnectionTimeout::Idle, 360));
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_request_is_not_idle_and_idling_starts_at_its_end() {
        let activity = Arc::new(ConnectionActivity::new());
        activity.note_received(b"P");
        let busy = ConnectionActivity::start_request(&activity, Version::HTTP_11);
        tokio::time::advance(Duration::from_secs(100)).await;
        let waited = tokio::time::timeout(
            Duration::from_secs(1000),
            activity.wait_for_timeout(&limits()),
        )
        .await;
        assert!(waited.is_err(), "no limit while a request runs");
        drop(busy);
        assert_eq!(expiry(&activity).await, (ConnectionTimeout::Idle, 1160));
    }
}
