//! Writes objects into the cluster, many at once, but at most one request at a time for each
//! object. A request under way is finished, whatever comes meanwhile, and then the newest task for
//! the object is written, and none of those in between: a request that is given up may be carried
//! out all the same, and has cost the API server and its webhooks as much.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::requests::WriteError;
use crate::control::cluster::backoff::api_retry_backoff;
use crate::control::cluster::reachability;
use crate::telemetry::cluster_metrics::ClusterMetrics;
use crate::telemetry::log_rate_limit::LogRateLimit;

/// The largest number of requests under way at once.
const CONCURRENCY: usize = 16;
/// The time limit of requests under way at a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Writes one task, and compares tasks.
pub(crate) trait WriteHandler: Send + Sync + 'static {
    /// Names the object that a task is for.
    type ObjectKey: Clone + Eq + Hash + Send + Sync + 'static;
    /// The content that is to be written for an object.
    type WriteTask: Clone + Send + Sync + 'static;

    /// Tries once to write the task.
    fn write(
        &self,
        key: &Self::ObjectKey,
        task: &Self::WriteTask,
    ) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Logs that writing has failed and is tried again.
    fn log_failure(&self, key: &Self::ObjectKey, error: &WriteError);

    /// True if `done`, which was written, makes the other task unnecessary.
    fn covers(done: &Self::WriteTask, other: &Self::WriteTask) -> bool;

    /// True if `doing`, which is being written, makes the other task unnecessary, too.
    fn satisfies(doing: &Self::WriteTask, other: &Self::WriteTask) -> bool;
}

/// The newest task for an object; `None` if nothing is to be written any more.
type LatestTask<T> = watch::Sender<Option<T>>;

/// The tasks under way, and those that were written last.
pub(crate) struct WriteQueue<W: WriteHandler> {
    handler: Arc<W>,
    /// One permit for each request under way, [`CONCURRENCY`] in all.
    permits: Arc<Semaphore>,
    /// The newest task of each object that is being written.
    under_way: HashMap<W::ObjectKey, LatestTask<W::WriteTask>>,
    /// The task that was written last for each object, so that it is not written again.
    done: HashMap<W::ObjectKey, W::WriteTask>,
    tasks: JoinSet<(W::ObjectKey, Option<W::WriteTask>)>,
    /// The metrics in which attempts are counted.
    metrics: Arc<ClusterMetrics>,
}

impl<W: WriteHandler> WriteQueue<W> {
    /// A queue that has nothing to do yet, and counts its attempts in these metrics.
    pub(crate) fn new(work: W, metrics: Arc<ClusterMetrics>) -> Self {
        Self {
            handler: Arc::new(work),
            permits: Arc::new(Semaphore::new(CONCURRENCY)),
            under_way: HashMap::new(),
            done: HashMap::new(),
            tasks: JoinSet::new(),
            metrics,
        }
    }

    /// Replaces the plan: begins the tasks that are not written yet, and drops those that are not
    /// in the new plan.
    fn plan(&mut self, tasks: impl Iterator<Item = (W::ObjectKey, W::WriteTask)>) {
        let mut idle: HashSet<W::ObjectKey> = self.under_way.keys().cloned().collect();
        let mut done = std::mem::take(&mut self.done);
        for (key, task) in tasks {
            if let Some(done) = done.remove(&key).filter(|done| W::covers(done, &task)) {
                self.done.insert(key, done);
                continue;
            }
            idle.remove(&key);
            self.enqueue(key, task);
        }
        // An object that is not in the plan is written no more; its request under way still ends.
        for wanted in idle.iter().filter_map(|key| self.under_way.get(key)) {
            wanted.send_replace(None);
        }
    }

    /// Replaces the plan by the one of the leader, the only process that writes. `None` if this
    /// process is not the leader: it forgets what it has planned.
    pub(crate) fn plan_as_leader(
        &mut self,
        tasks: Option<impl IntoIterator<Item = (W::ObjectKey, W::WriteTask)>>,
    ) {
        match tasks {
            Some(tasks) => self.plan(tasks.into_iter()),
            None => self.cancel_pending(),
        }
    }

    fn enqueue(&mut self, key: W::ObjectKey, task: W::WriteTask) {
        let Some(wanted) = self.under_way.get(&key) else {
            return self.start_write(key, task);
        };
        wanted.send_if_modified(|newest| {
            let is_same = newest
                .as_ref()
                .is_some_and(|newest| W::satisfies(newest, &task));
            if !is_same {
                *newest = Some(task);
            }
            !is_same
        });
    }

    fn start_write(&mut self, key: W::ObjectKey, task: W::WriteTask) {
        let (sender, wanted) = watch::channel(Some(task));
        let (work, permits, metrics, of) = (
            Arc::clone(&self.handler),
            Arc::clone(&self.permits),
            Arc::clone(&self.metrics),
            key.clone(),
        );
        self.tasks.spawn(async move {
            let done = write_until_done(&*work, &permits, &metrics, &of, wanted).await;
            (of, done)
        });
        self.under_way.insert(key, sender);
    }

    /// Waits until the writing of one object has ended; for ever if nothing is under way.
    pub(crate) async fn wait_for_write(&mut self) {
        let Some(ended) = self.tasks.join_next().await else {
            return std::future::pending().await;
        };
        let Ok((key, done)) = ended else { return };
        let Some(wanted) = self.under_way.remove(&key) else {
            return;
        };
        let Some(newest) = wanted.borrow().clone() else {
            return;
        };
        match done {
            Some(done) if W::satisfies(&done, &newest) => _ = self.done.insert(key, done),
            // The newest task has come after the last look of the one that has ended.
            Some(_) | None => self.start_write(key, newest),
        }
    }

    /// Forgets what was written, so that everything is compared and written again if it differs.
    pub(crate) fn forget_written(&mut self) {
        self.done.clear();
    }

    /// Drops all tasks, since another process is the leader now; requests under way still end.
    fn cancel_pending(&mut self) {
        for wanted in self.under_way.values() {
            wanted.send_replace(None);
        }
        self.forget_written();
    }

    /// Drops all tasks, and waits for the requests under way, with a limit.
    pub(crate) async fn finish_writes(mut self) {
        self.cancel_pending();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::debug!("What was being written at the stop was given up");
        }
    }
}

/// Writes the newest task until that has succeeded: the request passes through webhooks that may be
/// away for long (contract 2.12). `None` if no task is left.
async fn write_until_done<W: WriteHandler>(
    work: &W,
    permits: &Semaphore,
    metrics: &ClusterMetrics,
    key: &W::ObjectKey,
    mut wanted: watch::Receiver<Option<W::WriteTask>>,
) -> Option<W::WriteTask> {
    let (mut waits, mut told) = (api_retry_backoff(), LogRateLimit::default());
    loop {
        // The permit is taken before the task is read, so that the newest one is written after a
        // wait.
        let permit = permits.acquire().await.ok()?;
        let task = wanted.borrow_and_update().clone()?;
        let attempted = work.write(key, &task).await;
        drop(permit);
        metrics.writes.increment();
        let Err(error) = attempted.or_else(WriteError::unless_gone) else {
            waits.reset();
            let newest = wanted.borrow().clone()?;
            if W::satisfies(&task, &newest) {
                return Some(task);
            }
            continue;
        };
        metrics.write_failures.increment();
        // An API server that cannot be reached is logged once by `reachability`, and not by every
        // object.
        let is_told =
            matches!(&error, WriteError::Failed(error) if reachability::is_unreachable(error));
        if !is_told && told.is_due() {
            work.log_failure(key, &error);
        }
        // A newer task is tried at once: the last task itself may have been the cause of the error.
        if let Ok(Err(_closed)) =
            tokio::time::timeout(waits.take_jittered(), wanted.changed()).await
        {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::Semaphore;

    use super::*;

    /// Writes numbers, each when it is let.
    struct Numbers {
        begun: watch::Sender<usize>,
        ended: Mutex<Vec<u32>>,
        gate: Semaphore,
    }

    impl WriteHandler for Arc<Numbers> {
        type ObjectKey = &'static str;
        type WriteTask = u32;

        async fn write(&self, _key: &&'static str, task: &u32) -> Result<(), WriteError> {
            self.begun.send_modify(|begun| *begun += 1);
            self.gate.acquire().await.expect("open").forget();
            self.ended.lock().expect("lock").push(*task);
            Ok(())
        }

        fn log_failure(&self, _key: &&'static str, _error: &WriteError) {}

        fn covers(done: &u32, other: &u32) -> bool {
            done == other
        }

        fn satisfies(doing: &u32, other: &u32) -> bool {
            doing == other
        }
    }

    fn numbers() -> (Arc<Numbers>, WriteQueue<Arc<Numbers>>) {
        let work = Numbers {
            begun: watch::Sender::new(0),
            ended: Mutex::default(),
            gate: Semaphore::new(0),
        };
        let work = Arc::new(work);
        (Arc::clone(&work), WriteQueue::new(work, Arc::default()))
    }

    async fn until_begun(work: &Numbers, count: usize) {
        work.begun
            .subscribe()
            .wait_for(|begun| *begun >= count)
            .await
            .expect("open");
    }

    /// What is under way is finished; of what comes meanwhile the newest is done, and what is done
    /// is not done again.
    #[tokio::test]
    async fn what_is_under_way_is_finished_and_then_the_newest_is_done() {
        let (work, mut writer) = numbers();
        writer.plan([("a", 1)].into_iter());
        until_begun(&work, 1).await;
        for number in 2..100 {
            writer.plan([("a", number)].into_iter());
        }
        work.gate.add_permits(2);
        writer.wait_for_write().await;
        writer.plan([("a", 99)].into_iter());
        assert!(writer.under_way.is_empty(), "it is done");
        assert_eq!(*work.ended.lock().expect("lock"), [1, 99]);
    }

    /// What comes when the last has just been done is not lost.
    #[tokio::test]
    async fn what_comes_at_the_end_is_done_as_well() {
        let (work, mut writer) = numbers();
        writer.plan([("a", 1)].into_iter());
        work.gate.add_permits(2);
        until_begun(&work, 1).await;
        writer.plan([("a", 2)].into_iter());
        writer.wait_for_write().await;
        while !writer.under_way.is_empty() {
            writer.wait_for_write().await;
        }
        assert_eq!(*work.ended.lock().expect("lock"), [1, 2]);
    }

    /// What is not wanted any more is finished, and not begun.
    #[tokio::test]
    async fn a_rest_and_a_stop_finish_what_is_under_way() {
        let (work, mut writer) = numbers();
        writer.plan([("a", 1), ("b", 1)].into_iter());
        until_begun(&work, 2).await;
        writer.plan([("a", 2), ("b", 1)].into_iter());
        work.gate.add_permits(2);
        writer.finish_writes().await;
        assert_eq!(*work.ended.lock().expect("lock"), [1, 1]);
    }
}
