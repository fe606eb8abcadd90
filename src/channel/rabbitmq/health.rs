//! Whether a queue takes messages, as its publishers and its consumer see it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// For how long a queue that was full is taken to be full.
const FULL_FOR: Duration = Duration::from_secs(1);

/// How often the same is said.
const TELL_PERIOD: Duration = Duration::from_secs(60);

/// Limits how often something is said.
#[derive(Debug, Default)]
pub(super) struct TellLimit(Mutex<Option<Instant>>);

impl TellLimit {
    /// Whether it should be said now; not more than once a minute.
    pub(super) fn is_due(&self) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told.is_none_or(|told| told.elapsed() >= TELL_PERIOD);
        if is_due {
            *told = Some(Instant::now());
        }
        is_due
    }
}

/// What is known of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueState {
    /// It has not been declared yet.
    Undeclared,
    /// It takes messages.
    Served,
    /// RabbitMQ does not answer for it: most of its members are away, or it has no leader.
    Away,
}

/// What is known of a queue, for those who publish to it.
#[derive(Debug)]
pub(super) struct QueueHealth {
    state: watch::Sender<QueueState>,
    full_until: Mutex<Option<Instant>>,
    /// Limits how often it is said that RabbitMQ does not answer for the queue.
    pub(super) telling: TellLimit,
}

impl Default for QueueHealth {
    /// Of a queue that has not been declared yet.
    fn default() -> Self {
        let state = watch::Sender::new(QueueState::Undeclared);
        Self { state, full_until: Mutex::default(), telling: TellLimit::default() }
    }
}

impl QueueHealth {
    pub(super) fn state(&self) -> QueueState {
        *self.state.borrow()
    }

    /// Notes a state. Gives the one before.
    pub(super) fn set(&self, state: QueueState) -> QueueState {
        self.state.send_replace(state)
    }

    /// Waits until the queue is served.
    pub(super) async fn until_served(&self) {
        // The sender is here, so this cannot fail.
        drop(self.state.subscribe().wait_for(|state| *state == QueueState::Served).await);
    }

    /// A limit of its length refuses messages.
    pub(super) fn set_full(&self) {
        *self.full_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + FULL_FOR);
    }

    /// Whether a limit of its length refused a message a moment ago.
    pub(super) fn is_full(&self) -> bool {
        let until = *self.full_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_full_for_a_moment() {
        let health = QueueHealth::default();
        assert!(!health.is_full());
        health.set_full();
        assert!(health.is_full());
        tokio::time::advance(FULL_FOR).await;
        assert!(!health.is_full());
    }

    #[tokio::test]
    async fn whoever_waits_is_told() {
        let health = QueueHealth::default();
        assert_eq!(health.state(), QueueState::Undeclared);
        let wait = health.until_served();
        tokio::pin!(wait);
        assert!(futures_util::poll!(&mut wait).is_pending());
        assert_eq!(health.set(QueueState::Away), QueueState::Undeclared);
        assert!(futures_util::poll!(&mut wait).is_pending());
        health.set(QueueState::Served);
        wait.await;
    }
}
