//! Named tasks with an owner, and whether the process is ready. Nothing is detached: what is spawned here is awaited
//! or aborted here.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::task::{Id, JoinSet};
use tracing::Instrument;

/// Owns tasks. Dropping it aborts them.
#[derive(Debug, Default)]
pub struct Supervisor {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A task that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub name: &'static str,
    /// Whether it panicked.
    pub panicked: bool,
}

impl Supervisor {
    /// Starts a task. Its name is the name of its span.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let span = tracing::debug_span!("task", name);
        let handle = self.tasks.spawn(task.instrument(span));
        self.names.insert(handle.id(), name);
    }

    /// Waits for the next task to end; `None` if there is none.
    pub async fn next_ended(&mut self) -> Option<Ended> {
        let (id, panicked) = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let name = self.names.remove(&id).unwrap_or("unknown");
        Some(Ended { name, panicked })
    }

    /// Waits for all tasks to end.
    pub async fn all_ended(&mut self) {
        while self.next_ended().await.is_some() {}
    }

    /// Aborts all tasks and waits until they are gone.
    pub async fn abort(&mut self) {
        self.tasks.shutdown().await;
        self.names.clear();
    }
}

/// Whether the process should get traffic: not before everything is up, not from the first moment of a stop.
#[derive(Clone, Default)]
pub struct Readiness(Arc<State>);

#[derive(Default)]
struct State {
    started: AtomicBool,
    stopping: AtomicBool,
    needs: OnceLock<Need>,
}

/// What has to be there, and how to ask for it.
struct Need {
    missing: &'static str,
    is_there: Box<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Readiness({:?})", self.missing())
    }
}

impl Readiness {
    /// Listeners are bound and the configuration has been applied. Gives whether that is new.
    pub fn started(&self) -> bool {
        !self.0.started.swap(true, Ordering::AcqRel)
    }

    /// Something that has to be there all the time; `missing` is said while it is not. Only the first one counts.
    pub fn needs(&self, missing: &'static str, is_there: impl Fn() -> bool + Send + Sync + 'static) {
        self.0.needs.get_or_init(|| Need { missing, is_there: Box::new(is_there) });
    }

    /// The process is about to stop.
    pub fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    /// Whether there is no configuration yet.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        !self.0.started.load(Ordering::Acquire)
    }

    /// Whether the process is about to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    /// What is missing; `None` if nothing is.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        if self.is_stopping() {
            Some("stopping")
        } else if self.is_starting() {
            Some("starting")
        } else {
            self.0.needs.get().filter(|need| !(need.is_there)()).map(|need| need.missing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ends_are_reported_by_name() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("orderly", async {});
        assert_eq!(supervisor.next_ended().await, Some(Ended { name: "orderly", panicked: false }));
        supervisor.spawn("panicking", async { panic!("as the test wants") });
        assert_eq!(supervisor.next_ended().await, Some(Ended { name: "panicking", panicked: true }));
        supervisor.spawn("endless", std::future::pending());
        supervisor.abort().await;
        assert_eq!(supervisor.next_ended().await, None);
    }

    #[test]
    fn readiness_ends_at_the_stop() {
        let readiness = Readiness::default();
        assert_eq!(readiness.missing(), Some("starting"));
        assert!(readiness.started() && !readiness.started());
        assert_eq!(readiness.missing(), None);
        readiness.stopping();
        assert_eq!(readiness.missing(), Some("stopping"));
    }
}
