//! Questions to RabbitMQ whose answer is awaited, even if nobody needs it any more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

/// A future that is not cancelled: if it is dropped before its end, it goes on in the background,
/// and its result is handed to the function for late results.
pub(super) struct UncancelledFuture<T: Send + 'static>(Option<UncancelledWork<T>>);

struct UncancelledWork<T> {
    future: BoxFuture<'static, T>,
    on_late_result: Box<dyn FnOnce(T) -> BoxFuture<'static, ()> + Send>,
}

impl<T: Send + 'static> UncancelledFuture<T> {
    /// Wraps `future`; `too_late` gets the result if nobody waits for it any more.
    pub(super) fn new(
        future: impl Future<Output = T> + Send + 'static,
        too_late: impl FnOnce(T) -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Self {
        Self(Some(UncancelledWork {
            future: future.boxed(),
            on_late_result: Box::new(too_late),
        }))
    }
}

impl<T: Send + 'static> Future for UncancelledFuture<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(doing) = &mut self.0 else {
            return Poll::Pending;
        };
        let done = ready!(doing.future.poll_unpin(context));
        self.0 = None;
        Poll::Ready(done)
    }
}

impl<T: Send + 'static> Drop for UncancelledFuture<T> {
    fn drop(&mut self) {
        // There is no runtime when the process ends, and no connection soon.
        if let (
            Some(UncancelledWork {
                future,
                on_late_result: too_late,
            }),
            Ok(runtime),
        ) = (self.0.take(), Handle::try_current())
        {
            runtime.spawn(async move { too_late(future.await).await });
        }
    }
}
