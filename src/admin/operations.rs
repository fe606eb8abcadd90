//! Runs admin operations, which must not be cut off in their middle: when the client of one goes
//! away, the operation is told, and comes to an orderly end.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answer::AdminRefusal;

/// Number of operations that may run at once.
const MAX_CONCURRENT: usize = 8;
/// Time after which an operation is told to end.
const LONGEST: Duration = Duration::from_mins(10);

/// The operations that are running.
#[derive(Debug)]
pub(super) struct AdminOperations {
    tasks: Mutex<JoinSet<()>>,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Default for AdminOperations {
    fn default() -> Self {
        Self {
            tasks: Mutex::default(),
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            stop: CancellationToken::new(),
        }
    }
}

impl AdminOperations {
    /// Runs an operation; `None` if too many others are running, or if the process stops. The token
    /// that `work` gets is cancelled when the operation should end: its client is gone, it takes
    /// too long, or the process stops.
    pub(super) async fn run<T, F>(&self, work: impl FnOnce(CancellationToken) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        // The permit goes into the task, so that it is held until the operation has ended, not
        // until its client is gone.
        let place = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        let stop = self.stop.child_token();
        let (done, result) = oneshot::channel();
        let work = run_until_told(work(stop.clone()), stop.clone());
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            while tasks.try_join_next().is_some() {}
            // The operation is a task of its own: dropping this future must not drop it.
            tasks.spawn(async move {
                let ended = work.await;
                drop(place);
                if done.send(ended).is_err() {
                    tracing::debug!("Nobody waits for this answer any more");
                }
            });
        }
        // If this future is dropped from here on, the guard tells the operation to end.
        let nobody_waits = stop.drop_guard();
        let ended = result.await.ok();
        nobody_waits.disarm();
        ended
    }

    /// Runs an operation on a store of something, such as `parked events`, which may fail; too many
    /// at once are refused.
    pub(super) async fn run_on<S, T, E, F>(
        &self,
        something: &str,
        store: &Arc<S>,
        work: impl FnOnce(Arc<S>, CancellationToken) -> F,
    ) -> Result<T, AdminRefusal>
    where
        S: ?Sized,
        T: Send + 'static,
        E: Into<AdminRefusal> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let store = Arc::clone(store);
        let ended = self.run(|stop| work(store, stop)).await.ok_or_else(|| {
            let text = format!("too many look after {something} now: try again");
            AdminRefusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
        })?;
        ended.map_err(E::into)
    }

    /// Returns the signal by which operations are told to end when the process stops.
    pub(super) fn stop_signal(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells all operations to end, and waits until they have.
    pub(super) async fn end_all(&self) {
        self.stop.cancel();
        self.permits.close();
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}

/// Runs an operation; when it takes too long, `late` is cancelled and its end is waited for.
async fn run_until_told<F: Future>(work: F, late: CancellationToken) -> F::Output {
    let mut work = std::pin::pin!(work);
    match tokio::time::timeout(LONGEST, work.as_mut()).await {
        Ok(ended) => ended,
        Err(_elapsed) => {
            late.cancel();
            work.await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One whose asker goes away, one that takes too long, and one at the stop: each is told, none
    /// is cut off.
    #[tokio::test(start_paused = true)]
    async fn errands_are_told_to_end_and_do() {
        let errands = Arc::new(AdminOperations::default());
        let ended = Arc::new(Semaphore::new(0));
        let until_told = |ended: &Arc<Semaphore>| {
            let ended = Arc::clone(ended);
            async move |stop: CancellationToken| {
                stop.cancelled().await;
                tokio::task::yield_now().await;
                ended.add_permits(1);
                7
            }
        };
        let gone =
            tokio::time::timeout(Duration::from_secs(1), errands.run(until_told(&ended))).await;
        assert!(gone.is_err());
        tokio::time::timeout(Duration::from_secs(1), ended.acquire())
            .await
            .expect("told")
            .expect("open")
            .forget();
        assert_eq!(
            errands.run(until_told(&ended)).await,
            Some(7),
            "it was told after its time"
        );
        ended.acquire().await.expect("open").forget();
        let asked = errands.run(until_told(&ended));
        let stop = async {
            tokio::task::yield_now().await;
            errands.end_all().await;
        };
        assert_eq!(tokio::join!(asked, stop).0, Some(7));
        assert_eq!(errands.run(async |_stop| 7).await, None, "it stops");
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_not_too_many() {
        let errands = AdminOperations::default();
        let waiting: Vec<_> = (0..MAX_CONCURRENT)
            .map(|_| Box::pin(errands.run(async |stop| stop.cancelled().await)))
            .collect();
        let all = futures_util::future::join_all(waiting);
        let (_all, further) = tokio::join!(all, async {
            tokio::task::yield_now().await;
            errands.run(async |_stop| 7).await
        });
        assert_eq!(further, None);
    }
}
