//! Reads the body of a request within limits of size, of time, and of the memory that all bodies
//! together may hold. This is the only place where bodies are collected.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt;

pub(crate) use crate::budget::BudgetShare;
pub use crate::budget::MemoryBudget;
use crate::budget::{BudgetExhausted, LimitExceeded, RequestTooLarge};
use crate::wire_text::WireText;

/// The reason for which a body was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// The body is larger than one body may be.
    #[error("body is larger than {limit} bytes: send less, or raise --max-body-bytes")]
    TooLarge {
        /// The limit in bytes, from `--max-body-bytes`.
        limit: usize,
    },
    /// The body is larger than all events together may be.
    #[error("{0}")]
    TooLargeForMemory(RequestTooLarge),
    /// The body did not arrive in time.
    #[error("body did not arrive within {} s: send it faster, or raise --body-read-timeout", limit.as_secs_f64())]
    Timeout {
        /// The time limit, from `--body-read-timeout`.
        limit: Duration,
    },
    /// All events together hold as much memory as `--max-buffered-bytes` allows.
    #[error("too many events are being held: try again later, or raise --max-buffered-bytes")]
    OverBudget,
    /// The events of the namespace hold as much memory as they may.
    #[error(transparent)]
    OverNamespaceLimit(LimitExceeded),
    /// The body is compressed or otherwise coded, and would be delivered as something that it is
    /// not.
    #[error(
        "events are taken without Content-Encoding only, and this one has {0}: send it as it is"
    )]
    ContentEncoded(WireText),
    /// The peer went away or broke the protocol.
    #[error("body could not be read: {0}")]
    Broken(String),
}

impl BodyError {
    /// Returns the HTTP status of the response to such a request (contract IF-5).
    #[must_use]
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } | Self::TooLargeForMemory(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Timeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::OverBudget | Self::OverNamespaceLimit(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::ContentEncoded(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<BudgetExhausted> for BodyError {
    fn from(exhausted: BudgetExhausted) -> Self {
        match exhausted {
            BudgetExhausted::Process => Self::OverBudget,
            BudgetExhausted::Namespace(exceeded) => Self::OverNamespaceLimit(exceeded),
            BudgetExhausted::Never(too_large) => Self::TooLargeForMemory(too_large),
        }
    }
}

/// Reads bodies of requests within these limits.
#[derive(Clone, Debug)]
pub struct BodyReader {
    /// Longest body, in bytes.
    pub max_bytes: usize,
    /// Longest time from the end of the head to the end of the body.
    pub timeout: Duration,
    /// The memory that all bodies together may hold, with the heads of their requests.
    pub budget: Arc<MemoryBudget>,
}

impl BodyReader {
    /// Reads a body whole and returns it with its share of the memory budget. `head` is the number
    /// of bytes that the event holds besides the body. An announced length takes nothing from the
    /// budget: bytes count as they arrive.
    ///
    /// # Errors
    /// Fails if the body is too large, too slow or broken, or if there is no memory left for it.
    pub(crate) async fn read_body<B>(
        &self,
        head: usize,
        body: &mut B,
    ) -> Result<(ReceivedBody, BudgetShare), BodyError>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > self.max_bytes {
            return Err(BodyError::TooLarge {
                limit: self.max_bytes,
            });
        }
        if let Some(too_large) = self.budget.too_large(announced.saturating_add(head)) {
            return Err(BodyError::TooLargeForMemory(too_large));
        }
        let mut counted = HeldBody {
            share: self.budget.share(),
            head_bytes: head,
            max_bytes: self.max_bytes,
        };
        counted.hold(0)?;
        match tokio::time::timeout(self.timeout, collect_body(body, &mut counted)).await {
            Ok(collected) => collected.map(|read| (read, counted.share)),
            Err(_elapsed) => Err(BodyError::Timeout {
                limit: self.timeout,
            }),
        }
    }
}

/// Reads a body whole, up to `max` bytes, without a time limit or a memory budget.
///
/// # Errors
/// Fails if the body is larger or breaks off.
pub(crate) async fn read_limited<B>(mut body: B, max: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut counted = HeldBody {
        share: MemoryBudget::new(usize::MAX).share(),
        head_bytes: 0,
        max_bytes: max,
    };
    collect_body(&mut body, &mut counted)
        .await
        .map(ReceivedBody::into_bytes)
}

/// A body that was read, by who owns its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReceivedBody {
    /// The body came in one piece, which shares its buffer with what came before and after it.
    Shared(Bytes),
    /// The body came in several pieces, and has a buffer of its own.
    Owned(Bytes),
}

impl ReceivedBody {
    /// Returns the bytes of the body.
    #[must_use]
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Shared(bytes) | Self::Owned(bytes) => bytes,
        }
    }
}

/// The part of the memory budget that a body holds, together with its head.
struct HeldBody {
    share: BudgetShare,
    head_bytes: usize,
    max_bytes: usize,
}

impl HeldBody {
    /// Grows the share to a body of so many bytes; fails if that is over the size limit or the
    /// budget.
    fn hold(&mut self, bytes: usize) -> Result<(), BodyError> {
        if bytes > self.max_bytes {
            return Err(BodyError::TooLarge {
                limit: self.max_bytes,
            });
        }
        self.share.grow_to(bytes.saturating_add(self.head_bytes))?;
        Ok(())
    }
}

async fn collect_body<B>(body: &mut B, counted: &mut HeldBody) -> Result<ReceivedBody, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    // A body that came in one piece is not copied; only a second piece makes a buffer necessary.
    let Some(first) = next_data(body).await? else {
        return Ok(ReceivedBody::Shared(Bytes::new()));
    };
    counted.hold(first.len())?;
    let Some(second) = next_data(body).await? else {
        return Ok(ReceivedBody::Shared(first));
    };
    join_pieces(body, first, second, counted).await
}

/// Joins the pieces of a body that came in more than one.
async fn join_pieces<B>(
    body: &mut B,
    first: Bytes,
    second: Bytes,
    counted: &mut HeldBody,
) -> Result<ReceivedBody, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut whole = Vec::new();
    append(&mut whole, &first, second.len());
    drop(first);
    let mut piece = Some(second);
    while let Some(data) = piece {
        // The budget is asked before the piece is appended, so that nothing is copied that may not
        // be held.
        counted.hold(whole.len() + data.len())?;
        append(
            &mut whole,
            &data,
            usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX),
        );
        piece = next_data(body).await?;
    }
    whole.shrink_to_fit();
    Ok(ReceivedBody::Owned(Bytes::from(whole)))
}

/// Appends a piece. The buffer has room for at most twice as much as has come, and for no more than
/// the `announced` bytes to follow, so that a body which is announced and does not come takes
/// nothing.
fn append(whole: &mut Vec<u8>, piece: &[u8], announced: usize) {
    let needed = whole.len() + piece.len();
    if needed > whole.capacity() {
        let room = needed
            .saturating_add(announced)
            .min(needed.saturating_mul(2))
            .max(needed);
        whole.reserve_exact(room - whole.len());
    }
    whole.extend_from_slice(piece);
}

/// Returns the next piece of data that is not empty; `None` at the end. Trailers are skipped.
async fn next_data<B>(body: &mut B) -> Result<Option<Bytes>, BodyError>
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
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    fn pieces(pieces: &[&'static str]) -> impl Body<Data = Bytes, Error = String> + Unpin + use<> {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
            .collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    fn intake(max_bytes: usize, budget: usize) -> BodyReader {
        BodyReader {
            max_bytes,
            timeout: Duration::from_secs(1),
            budget: MemoryBudget::new(budget),
        }
    }

    #[tokio::test]
    async fn one_piece_is_not_copied() {
        let sent = Bytes::from(vec![7u8; 100]);
        let (read, _share) = intake(100, 100)
            .read_body(0, &mut Full::new(sent.clone()))
            .await
            .expect("read");
        assert!(
            matches!(&read, ReceivedBody::Shared(piece) if piece.as_ptr() == sent.as_ptr()),
            "{read:?}"
        );
    }

    #[tokio::test]
    async fn pieces_are_joined_and_limited() {
        let (read, _share) = intake(4, 100)
            .read_body(0, &mut pieces(&["ab", "", "cd"]))
            .await
            .expect("read");
        assert_eq!(read, ReceivedBody::Owned(Bytes::from_static(b"abcd")));
        let error = intake(3, 100)
            .read_body(0, &mut pieces(&["ab", "cd"]))
            .await
            .expect_err("too large");
        assert_eq!(error, BodyError::TooLarge { limit: 3 });
        let error = intake(3, 100)
            .read_body(0, &mut Full::new(Bytes::from_static(b"abcd")))
            .await
            .expect_err("too large");
        assert_eq!(error, BodyError::TooLarge { limit: 3 });
    }

    #[tokio::test]
    async fn the_budget_is_shared_and_given_back() {
        let intake = intake(10, 15);
        let (_, share) = intake
            .read_body(0, &mut pieces(&["0123456789"]))
            .await
            .expect("read");
        let error = intake
            .read_body(0, &mut pieces(&["0123", "456789"]))
            .await
            .expect_err("over budget");
        assert_eq!(error, BodyError::OverBudget);
        drop(share);
        assert_eq!(intake.budget.used(), 0);
        assert!(
            intake
                .read_body(0, &mut pieces(&["0123456789"]))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn what_never_fits_is_not_waited_for() {
        let intake = intake(1_000_000, 100);
        let announced = intake.read_body(10, &mut Announcing(None)).await;
        let error = announced.expect_err("larger than the budget");
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let mut body = pieces(&["0123456789"; 11]);
        let error = intake.read_body(0, &mut body).await;
        let error = error.expect_err("larger than the budget");
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(intake.budget.used(), 0);
    }

    /// A body that announces a million bytes, of which one piece comes.
    struct Announcing(Option<Bytes>);

    impl Body for Announcing {
        type Data = Bytes;
        type Error = String;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
            let piece = self.0.take();
            piece.map_or(Poll::Pending, |piece| {
                Poll::Ready(Some(Ok(Frame::data(piece))))
            })
        }

        fn size_hint(&self) -> http_body::SizeHint {
            http_body::SizeHint::with_exact(1_000_000)
        }
    }

    /// A body that announces much takes what has come of it.
    #[tokio::test(start_paused = true)]
    async fn what_is_announced_takes_nothing() {
        let intake = intake(1_000_000, 2_000_000);
        let mut body = Announcing(Some(Bytes::from_static(b"abc")));
        let reading = async { intake.read_body(10, &mut body).await.map(drop) };
        let watching = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            intake.budget.used()
        };
        let (read, used) = tokio::join!(reading, watching);
        assert_eq!(
            (read, used),
            (
                Err(BodyError::Timeout {
                    limit: Duration::from_secs(1)
                }),
                13
            )
        );
        let mut whole = Vec::new();
        append(&mut whole, &[7; 100], 1_000_000);
        assert!(whole.capacity() <= 200, "{}", whole.capacity());
    }

    #[tokio::test]
    async fn heads_count_too() {
        let intake = intake(10, 15);
        let (_, share) = intake
            .read_body(10, &mut pieces(&["01", "234"]))
            .await
            .expect("read");
        assert_eq!(
            intake
                .read_body(1, &mut pieces(&[]))
                .await
                .expect_err("over budget"),
            BodyError::OverBudget
        );
        drop(share);
        assert!(intake.read_body(1, &mut pieces(&[])).await.is_ok());
        assert_eq!(intake.budget.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_body_ends() {
        let frames = futures_util::stream::once(async {
            Ok::<_, String>(Frame::data(Bytes::from_static(b"a")))
        });
        let mut body = StreamBody::new(Box::pin(futures_util::StreamExt::chain(
            frames,
            futures_util::stream::pending(),
        )));
        let error = intake(10, 10)
            .read_body(0, &mut body)
            .await
            .expect_err("stalled");
        assert_eq!(
            error,
            BodyError::Timeout {
                limit: Duration::from_secs(1)
            }
        );
    }
}
