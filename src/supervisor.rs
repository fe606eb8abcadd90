//! Named tasks with an owner, and the readiness of the process. Nothing is detached: a task that is
//! spawned here is awaited or aborted here.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::task::{Id, JoinSet};
use tracing::Instrument;

/// Owns tasks. Dropping it aborts them.
#[derive(Debug, Default)]
pub(crate) struct TaskSupervisor {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A task that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndedTask {
    /// The name that the task was spawned by.
    pub(crate) name: &'static str,
    /// True if the task panicked.
    pub(crate) panicked: bool,
}

impl TaskSupervisor {
    /// Starts a task. Its name is also a field of its span in the log.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let span = tracing::debug_span!("task", name);
        let handle = self.tasks.spawn(task.instrument(span));
        self.names.insert(handle.id(), name);
    }

    /// Waits for the next task to end; `None` if there is none.
    pub(crate) async fn next_ended(&mut self) -> Option<EndedTask> {
        let (id, panicked) = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let name = self.names.remove(&id).unwrap_or("unknown");
        Some(EndedTask { name, panicked })
    }

    /// Waits for all tasks to end.
    pub(crate) async fn all_ended(&mut self) {
        while self.next_ended().await.is_some() {}
    }

    /// Aborts all tasks and waits until they are gone.
    pub(crate) async fn abort(&mut self) {
        self.tasks.shutdown().await;
        self.names.clear();
    }
}

/// The readiness of the process for traffic: not before everything is started, and not from the
/// first moment of a stop. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Readiness(Arc<ReadinessState>);

#[derive(Default)]
struct ReadinessState {
    started: AtomicBool,
    was_ready: AtomicBool,
    stopping: AtomicBool,
    is_ended: AtomicBool,
    requirements: RwLock<Vec<ReadinessQuestion>>,
    remarks: RwLock<Vec<ReadinessQuestion>>,
}

/// A question that is asked whenever somebody wants to know the readiness; the answer is in words,
/// and `None` if there is nothing to say.
type ReadinessQuestion = Box<dyn Fn() -> Option<String> + Send + Sync>;

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Readiness({:?})", self.missing())
    }
}

impl Readiness {
    /// Records that the listeners are bound and the configuration has been applied; returns true
    /// for the first time.
    pub(crate) fn set_started(&self) -> bool {
        !self.0.started.swap(true, Ordering::AcqRel)
    }

    /// Adds a requirement that has to be met all the time: the closure returns what is missing.
    /// Every requirement counts.
    pub(crate) fn add_requirement(
        &self,
        missing: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) {
        push_question(&self.0.requirements, missing);
    }

    /// Adds a remark of a ready process: the closure returns what is not served.
    pub(crate) fn add_remark(&self, remark: impl Fn() -> Option<String> + Send + Sync + 'static) {
        push_question(&self.0.remarks, remark);
    }

    /// Records that the process is about to stop.
    pub(crate) fn set_stopping(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    /// Records that the process ends now: nobody waits for what would come.
    pub(crate) fn set_ended(&self) {
        self.0.is_ended.store(true, Ordering::Release);
    }

    /// Returns true if the process ends now.
    #[must_use]
    pub(crate) fn is_ended(&self) -> bool {
        self.0.is_ended.load(Ordering::Acquire)
    }

    /// Returns true if no configuration has been applied yet.
    #[must_use]
    pub(crate) fn is_starting(&self) -> bool {
        !self.0.started.load(Ordering::Acquire)
    }

    /// Returns true if the process is about to stop.
    #[must_use]
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    /// Returns all that is missing, in words; `None` if the process is ready.
    #[must_use]
    pub(crate) fn missing(&self) -> Option<String> {
        if self.is_stopping() {
            Some("stopping".to_owned())
        } else if self.is_starting() {
            Some("starting".to_owned())
        } else {
            join_answers(&self.0.requirements)
        }
    }

    /// Returns true if nothing is missing, for the first time.
    #[must_use]
    pub(crate) fn is_newly_ready(&self) -> bool {
        self.missing().is_none() && !self.0.was_ready.swap(true, Ordering::AcqRel)
    }

    /// Returns what is not served although the process is ready; `None` if everything is.
    #[must_use]
    pub(crate) fn remark(&self) -> Option<String> {
        join_answers(&self.0.remarks)
    }
}

fn push_question(
    questions: &RwLock<Vec<ReadinessQuestion>>,
    question: impl Fn() -> Option<String> + Send + Sync + 'static,
) {
    questions
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Box::new(question));
}

fn join_answers(questions: &RwLock<Vec<ReadinessQuestion>>) -> Option<String> {
    let questions = questions.read().unwrap_or_else(PoisonError::into_inner);
    let answers: Vec<String> = questions.iter().filter_map(|question| question()).collect();
    Some(answers.join("; ")).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_are_reported_by_name() {
        let mut supervisor = TaskSupervisor::default();
        supervisor.spawn("orderly", async {});
        assert_eq!(
            supervisor.next_ended().await,
            Some(EndedTask {
                name: "orderly",
                panicked: false
            })
        );
        supervisor.spawn("panicking", async { panic!("as the test wants") });
        assert_eq!(
            supervisor.next_ended().await,
            Some(EndedTask {
                name: "panicking",
                panicked: true
            })
        );
        supervisor.spawn("endless", std::future::pending());
        supervisor.abort().await;
        assert_eq!(supervisor.next_ended().await, None);
    }

    #[test]
    fn readiness_ends_at_the_stop() {
        let readiness = Readiness::default();
        assert_eq!(readiness.missing().as_deref(), Some("starting"));
        assert!(readiness.set_started() && !readiness.set_started());
        assert_eq!(readiness.missing(), None);
        assert!(readiness.is_newly_ready() && !readiness.is_newly_ready());
        readiness.set_stopping();
        assert_eq!(readiness.missing().as_deref(), Some("stopping"));
    }

    /// Every need is asked each time, not only the first one that was told.
    #[test]
    fn each_need_counts() {
        let (readiness, away) = (Readiness::default(), Arc::new(AtomicBool::new(true)));
        let asked = Arc::clone(&away);
        readiness.add_requirement(|| None);
        readiness.add_requirement(move || {
            asked
                .load(Ordering::Relaxed)
                .then(|| "RabbitMQ is away".to_owned())
        });
        readiness.add_requirement(|| Some("the disk is full".to_owned()));
        readiness.add_remark(|| Some("1 of 2 channels is not served".to_owned()));
        assert_eq!(
            readiness.missing().as_deref(),
            Some("starting"),
            "needs are asked once there is a configuration"
        );
        readiness.set_started();
        assert_eq!(
            readiness.missing().as_deref(),
            Some("RabbitMQ is away; the disk is full")
        );
        away.store(false, Ordering::Relaxed);
        assert_eq!(readiness.missing().as_deref(), Some("the disk is full"));
        assert!(!readiness.is_newly_ready());
        assert_eq!(
            readiness.remark().as_deref(),
            Some("1 of 2 channels is not served")
        );
    }
}
