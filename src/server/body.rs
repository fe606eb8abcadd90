//! Reading a request's body: bounded in size, in time, and in what all bodies together may hold. The only place that
//! collects one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt;

/// Why a body was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Larger than one body may be.
    #[error("body is larger than {limit} bytes: send less, or raise --max-body-bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It did not arrive in time.
    #[error("body did not arrive within {} s: send it faster, or raise --body-read-timeout", limit.as_secs_f64())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// All events together hold as much memory as they may.
    #[error("too many events are being held: try again later, or raise --max-buffered-bytes")]
    OverBudget,
    /// The peer went away or broke the protocol.
    #[error("body could not be read: {0}")]
    Broken(String),
}

impl BodyError {
    /// The status that says so by HTTP (interface.md §5).
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::OverBudget => StatusCode::TOO_MANY_REQUESTS,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Memory that events may hold together, heads and bodies, in bytes.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit })
    }

    fn take(self: &Arc<Self>, head: usize) -> Share {
        Share { budget: Arc::clone(self), head, bytes: 0 }
    }
}

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    head: usize,
    bytes: usize,
}

impl Share {
    /// Counts a body of so many bytes.
    fn grow_to(&mut self, body: usize) -> Result<(), BodyError> {
        let more = body.saturating_add(self.head).saturating_sub(self.bytes);
        let used = self.budget.used.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        if used.saturating_add(more) > self.budget.limit {
            return Err(BodyError::OverBudget);
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How long a body turned out to be that did not announce its length: an extension of its request. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Measure(Arc<AtomicUsize>);

impl Measure {
    /// It was so long.
    pub fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// In bytes; 0 if it was not read.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// How bodies are read.
#[derive(Clone, Debug)]
pub struct Intake {
    /// Size of one body in bytes.
    pub max_bytes: usize,
    /// From the head to the end of the body.
    pub timeout: Duration,
    /// What all of them may hold, with the heads of their requests.
    pub budget: Arc<Budget>,
}

impl Intake {
    /// Reads a body whole. One that arrives in one piece is not copied. `head` is what the event holds beside it, in bytes.
    ///
    /// # Errors
    /// If it is too large, too slow, broken, or there is no memory left for it.
    pub async fn read<B>(&self, head: usize, body: &mut B) -> Result<(Bytes, Share), BodyError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let mut share = self.budget.take(head);
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.max_bytes {
            return Err(BodyError::TooLarge { limit: self.max_bytes });
        }
        share.grow_to(announced)?;
        match tokio::time::timeout(self.timeout, collect(body, self.max_bytes, &mut share)).await {
            Ok(collected) => collected.map(|bytes| (bytes, share)),
            Err(_elapsed) => Err(BodyError::Timeout { limit: self.timeout }),
        }
    }

    /// Reads and forgets what is left of a body that was too large, up to sixteen times the limit and no longer than
    /// the time limit, so that a peer that sends before it listens gets to see its answer.
    pub async fn discard<B: Body<Data = Bytes> + Unpin>(&self, body: &mut B) {
        let most = self.max_bytes.saturating_mul(16);
        let discard = async {
            let mut seen = 0usize;
            while let Some(Ok(frame)) = body.frame().await {
                seen = seen.saturating_add(frame.data_ref().map_or(0, Bytes::len));
                if seen > most {
                    return;
                }
            }
        };
        if tokio::time::timeout(self.timeout, discard).await.is_err() {
            tracing::debug!("Gave up reading a body that was refused");
        }
    }
}

/// Reads a body whole, up to `max` bytes, without limits of time and memory other than that.
///
/// # Errors
/// If it is larger or breaks off.
pub async fn read_limited<B>(mut body: B, max: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut share = Budget::new(usize::MAX).take(0);
    collect(&mut body, max, &mut share).await
}

async fn collect<B>(body: &mut B, max: usize, share: &mut Share) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let Some(first) = next(body).await? else { return Ok(Bytes::new()) };
    check(first.len(), max, share)?;
    let Some(second) = next(body).await? else { return Ok(first) };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(max);
    let mut whole = BytesMut::with_capacity(first.len() + second.len() + announced);
    whole.extend_from_slice(&first);
    let mut piece = Some(second);
    while let Some(data) = piece {
        check(whole.len() + data.len(), max, share)?;
        whole.extend_from_slice(&data);
        piece = next(body).await?;
    }
    Ok(whole.freeze())
}

fn check(bytes: usize, max: usize, share: &mut Share) -> Result<(), BodyError> {
    if bytes > max {
        return Err(BodyError::TooLarge { limit: max });
    }
    share.grow_to(bytes)
}

/// The next piece of data that is not empty; `None` at the end.
async fn next<B>(body: &mut B) -> Result<Option<Bytes>, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    fn pieces(pieces: &[&'static str]) -> impl Body<Data = Bytes, Error = String> + Unpin + use<> {
        let frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    fn intake(max_bytes: usize, budget: usize) -> Intake {
        Intake { max_bytes, timeout: Duration::from_secs(1), budget: Budget::new(budget) }
    }

    #[tokio::test]
    async fn one_piece_is_not_copied() {
        let sent = Bytes::from(vec![7u8; 100]);
        let (read, _share) = intake(100, 100).read(0, &mut Full::new(sent.clone())).await.expect("read");
        assert_eq!(read.as_ptr(), sent.as_ptr());
    }

    #[tokio::test]
    async fn pieces_are_joined_and_limited() {
        let (read, _share) = intake(4, 100).read(0, &mut pieces(&["ab", "", "cd"])).await.expect("read");
        assert_eq!(read, "abcd");
        let error = intake(3, 100).read(0, &mut pieces(&["ab", "cd"])).await.expect_err("too large");
        assert_eq!(error, BodyError::TooLarge { limit: 3 });
        let error = intake(3, 100).read(0, &mut Full::new(Bytes::from_static(b"abcd"))).await.expect_err("too large");
        assert_eq!(error, BodyError::TooLarge { limit: 3 });
    }

    #[tokio::test]
    async fn the_budget_is_shared_and_given_back() {
        let intake = intake(10, 15);
        let (_, share) = intake.read(0, &mut pieces(&["0123456789"])).await.expect("read");
        let error = intake.read(0, &mut pieces(&["0123", "456789"])).await.expect_err("over budget");
        assert_eq!(error, BodyError::OverBudget);
        drop(share);
        assert_eq!(intake.budget.used.load(Ordering::Relaxed), 0);
        assert!(intake.read(0, &mut pieces(&["0123456789"])).await.is_ok());
    }

    #[tokio::test]
    async fn heads_count_too() {
        let intake = intake(10, 15);
        let (_, share) = intake.read(10, &mut pieces(&["01", "234"])).await.expect("read");
        assert_eq!(intake.read(1, &mut pieces(&[])).await.expect_err("over budget"), BodyError::OverBudget);
        drop(share);
        assert!(intake.read(1, &mut pieces(&[])).await.is_ok());
        assert_eq!(intake.budget.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_body_ends() {
        let frames = futures_util::stream::once(async { Ok::<_, String>(Frame::data(Bytes::from_static(b"a"))) });
        let mut body =
            StreamBody::new(Box::pin(futures_util::StreamExt::chain(frames, futures_util::stream::pending())));
        let error = intake(10, 10).read(0, &mut body).await.expect_err("stalled");
        assert_eq!(error, BodyError::Timeout { limit: Duration::from_secs(1) });
    }
}
