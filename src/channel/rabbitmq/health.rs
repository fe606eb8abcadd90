//! Health of a queue, as its publishers and its consumer see it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Time for which a queue that was full is assumed to be still full.
const FULL_FOR: Duration = Duration::from_secs(1);

/// Limit of how often the same is logged: once a minute.
pub(super) type OncePerMinute = OncePer<60>;
/// Limit of how often a queue that does not confirm is tried: once a second.
pub(super) type OncePerSecond = OncePer<1>;

/// Limit of how often something is done: once in so many seconds.
#[derive(Debug, Default)]
pub(super) struct OncePer<const SECONDS: u64>(Mutex<Option<Instant>>);

impl<const SECONDS: u64> OncePer<SECONDS> {
    /// True if it should be done now, which then counts as done.
    pub(super) fn is_due(&self) -> bool {
        let mut done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = done.is_none_or(|done| done.elapsed() >= Duration::from_secs(SECONDS));
        if is_due {
            *done = Some(Instant::now());
        }
        is_due
    }
}

/// Time for which a failure counts after the last one: a process that gets no events any more,
/// since it is not ready, would otherwise never try again.
const COUNTS_FOR: Duration = Duration::from_secs(15);

/// Time of the last failure, if there was no success after it.
#[derive(Debug, Default)]
pub(super) struct LastFailure(Mutex<Option<Instant>>);

impl LastFailure {
    /// Records a failure, now.
    pub(super) fn record_failure(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Records a success, which ends the failure.
    pub(super) fn record_success(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// True if the last result was a failure, not longer than [`COUNTS_FOR`] ago.
    pub(super) fn is_failing(&self) -> bool {
        let failed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| failed.elapsed() < COUNTS_FOR)
    }
}

/// State of a queue as this process knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueState {
    /// The queue has not been declared yet, or was deleted.
    Undeclared,
    /// The queue takes messages, and is consumed.
    Served,
    /// The queue takes messages, but RabbitMQ does not answer its consumer.
    Unconsumed,
    /// RabbitMQ does not answer for the queue: most of its members are away, or it has no leader.
    Unavailable,
}

/// Health of a queue, for those who publish to it.
#[derive(Debug)]
pub(super) struct QueueHealth {
    /// The state, and the time since when the queue is in it.
    state: watch::Sender<(QueueState, Instant)>,
    full_until: Mutex<Option<Instant>>,
    /// Limits the log line about a queue for which RabbitMQ does not answer.
    pub(super) log_limit: OncePerMinute,
}

impl Default for QueueHealth {
    /// Makes the health of a queue that has not been declared yet.
    fn default() -> Self {
        let state = watch::Sender::new((QueueState::Undeclared, Instant::now()));
        Self {
            state,
            full_until: Mutex::default(),
            log_limit: OncePerMinute::default(),
        }
    }
}

impl QueueHealth {
    pub(super) fn state(&self) -> QueueState {
        self.state.borrow().0
    }

    /// Time since when RabbitMQ does not answer for the queue; `None` if it does.
    pub(super) fn unavailable_since(&self) -> Option<Instant> {
        let (state, since) = *self.state.borrow();
        (state == QueueState::Unavailable).then_some(since)
    }

    /// Sets a state. Gives the one before.
    pub(super) fn replace_state(&self, state: QueueState) -> QueueState {
        let mut before = state;
        self.state.send_if_modified(|(now, since)| {
            before = std::mem::replace(now, state);
            if before != state {
                *since = Instant::now();
            }
            before != state
        });
        before
    }

    /// Records that the queue takes messages again; its consumer finds out if it is consumed, too.
    pub(super) fn mark_accepting(&self) {
        self.state.send_if_modified(|(now, since)| {
            let is_away = *now == QueueState::Unavailable;
            if is_away {
                (*now, *since) = (QueueState::Unconsumed, Instant::now());
            }
            is_away
        });
    }

    /// Waits until the queue takes messages.
    pub(super) async fn until_served(&self) {
        let takes_messages = |(state, _since): &(QueueState, Instant)| {
            matches!(state, QueueState::Served | QueueState::Unconsumed)
        };
        // The sender is here, so this cannot fail.
        drop(self.state.subscribe().wait_for(takes_messages).await);
    }

    /// Records that a limit of the queue's length refuses messages.
    pub(super) fn mark_full(&self) {
        *self
            .full_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + FULL_FOR);
    }

    /// True if a limit of the queue's length refused a message a moment ago.
    pub(super) fn is_full(&self) -> bool {
        let until = *self
            .full_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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
        health.mark_full();
        assert!(health.is_full());
        tokio::time::advance(FULL_FOR).await;
        assert!(!health.is_full());
    }

    /// Since the first time that it was said, and not when its consumer has begun meanwhile.
    #[tokio::test(start_paused = true)]
    async fn a_queue_that_is_away_takes_messages_again() {
        let (health, since) = (QueueHealth::default(), Instant::now());
        health.replace_state(QueueState::Unavailable);
        tokio::time::advance(FULL_FOR).await;
        health.replace_state(QueueState::Unavailable);
        assert_eq!(health.unavailable_since(), Some(since));
        health.mark_accepting();
        assert_eq!(
            (health.state(), health.unavailable_since()),
            (QueueState::Unconsumed, None)
        );
        health.until_served().await;
        health.replace_state(QueueState::Served);
        health.mark_accepting();
        assert_eq!(health.state(), QueueState::Served);
    }

    #[tokio::test]
    async fn whoever_waits_is_told() {
        let health = QueueHealth::default();
        assert_eq!(health.state(), QueueState::Undeclared);
        let wait = health.until_served();
        tokio::pin!(wait);
        assert!(futures_util::poll!(&mut wait).is_pending());
        assert_eq!(
            health.replace_state(QueueState::Unavailable),
            QueueState::Undeclared
        );
        assert!(futures_util::poll!(&mut wait).is_pending());
        health.replace_state(QueueState::Served);
        wait.await;
    }
}
