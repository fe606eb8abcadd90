//! Fairness between events: whoever asks many filters, or such as are much work, lets others have the thread in between.

use crate::filter::FilterDecision;
use crate::filter::cesql::MAX_STEPS;

/// Steps after which others have their turn. A thread is held for these and one decision more, at most; what is usual is a
/// hundred steps.
const TURN: u32 = MAX_STEPS / 4;

/// The work since others had their turn.
#[derive(Debug, Default)]
pub(super) struct CooperativeYield {
    steps: u32,
}

impl CooperativeYield {
    /// A decision was made. Lets others have their turn, if it is theirs.
    pub(super) async fn yield_if_due(&mut self, decision: FilterDecision) {
        self.steps = self.steps.saturating_add(decision.steps);
        if self.steps >= TURN {
            self.steps = 0;
            tokio::task::yield_now().await;
        }
    }
}
