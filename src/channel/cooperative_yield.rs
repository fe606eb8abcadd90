//! Fairness between events: a task that asks many filters, or expensive ones, lets other tasks run
//! in between.

use crate::filter::FilterDecision;
use crate::filter::cesql::MAX_STEPS;

/// Steps of filters after which other tasks have their turn. A thread is held for these and for one
/// more decision at most; an ordinary expression takes a hundred steps.
const TURN: u32 = MAX_STEPS / 4;

/// Steps of work since other tasks had their turn.
#[derive(Debug, Default)]
pub(super) struct CooperativeYield {
    steps: u32,
}

impl CooperativeYield {
    /// Adds the steps of a decision, and yields to other tasks if there have been enough of them.
    pub(super) async fn yield_if_due(&mut self, decision: FilterDecision) {
        self.steps = self.steps.saturating_add(decision.steps);
        if self.steps >= TURN {
            self.steps = 0;
            tokio::task::yield_now().await;
        }
    }
}
