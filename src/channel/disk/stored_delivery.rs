//! A delivery as it was read from the log: decoded once, then handed to the worker or finished.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::context::DiskContext;
use super::log::{EventParking, Sequence, TakenEvent};
use super::queue::{DeclaredQueue, DiskQueue};
use super::recent_events::RecentEvents;
use super::settlement::{DiskSettlement, stage_of};
use crate::budget::{MemoryBudget, PER_EVENT};
use crate::channel::{DeliveryProgress, DeliveryStage, EventDelivery};
use crate::event::Event;
use crate::event::stored::{self, StoredEventError};
use crate::observation::ObservedFact;

/// A delivery that was read from the log.
pub(super) struct StoredDelivery {
    pub(super) sequence: Sequence,
    pub(super) event: Arc<Event>,
    progress: DeliveryProgress,
}

impl StoredDelivery {
    /// Decodes what was taken, unless another queue of the log has done so. It counts in the memory
    /// budget as long as it is there.
    ///
    /// # Errors
    /// If it is no event.
    pub(super) fn share(
        taken: TakenEvent,
        budget: &Arc<MemoryBudget>,
        recent: &RecentEvents,
    ) -> Result<Self, StoredEventError> {
        let sequence = taken.sequence;
        if taken.body.is_none()
            && let Some(event) = recent.find(sequence)
        {
            return Self::of(event, taken);
        }
        let decoded = Self::decode(taken, budget)?;
        recent.remember(sequence, &decoded.event);
        Ok(decoded)
    }

    /// Decodes what was taken, which counts in the memory budget as long as it is there.
    ///
    /// # Errors
    /// If it is no event.
    pub(super) fn decode(
        taken: TakenEvent,
        budget: &Arc<MemoryBudget>,
    ) -> Result<Self, StoredEventError> {
        let bytes = taken.event.len() + taken.body.as_ref().map_or(0, Bytes::len) + PER_EVENT;
        let share = budget.consumed_share(bytes);
        let event = stored::decode(taken.event.clone())?.with_guard(Arc::new(share));
        Self::of(Arc::new(event), taken)
    }

    /// The delivery of an event.
    fn of(event: Arc<Event>, taken: TakenEvent) -> Result<Self, StoredEventError> {
        let progress = DeliveryProgress {
            stage: decode_stage(taken.stage, taken.body)?,
            attempts: taken.attempts,
            // No wait is held: each is in the log, however short it is.
            max_wait: Some(Duration::ZERO),
            ..DeliveryProgress::default()
        };
        Ok(Self {
            sequence: taken.sequence,
            event,
            progress,
        })
    }

    /// True if no attempt has been made at it that the log knows of.
    pub(super) fn is_fresh(&self) -> bool {
        self.progress.attempts == 0 && self.progress.stage == DeliveryStage::Subscriber
    }

    /// Makes the delivery for the worker.
    pub(super) fn into_message(
        self,
        declared: &DeclaredQueue,
        queue: &Arc<DiskQueue>,
        context: &Arc<DiskContext>,
    ) -> Box<EventDelivery> {
        let settlement = DiskSettlement::new(self.sequence, declared.clone(), queue, context);
        settlement.observe(&self.event, &ObservedFact::Received);
        EventDelivery::new(self.event, self.progress, settlement)
    }
}

fn decode_stage(stage: u8, body: Option<Bytes>) -> Result<DeliveryStage, StoredEventError> {
    let Some(body) = body else {
        return Ok(DeliveryStage::Subscriber);
    };
    let second = Arc::new(stored::decode(body)?);
    stage_of(stage, second).ok_or(StoredEventError::Malformed("stage"))
}

/// Parks what was stored and is no event.
pub(super) async fn park_unreadable(
    sequence: Sequence,
    declared: &DeclaredQueue,
    context: &DiskContext,
    error: &StoredEventError,
) {
    tracing::error!(
        queue = %declared.id,
        sequence,
        %error,
        "What was stored cannot be delivered, and is parked"
    );
    let parking = EventParking {
        reason: error.to_string(),
        ..EventParking::default()
    };
    match declared.log.park(declared.id, sequence, parking).await {
        Ok(()) => context.counters.parked_messages.increment(),
        Err(error) => tracing::debug!(%error, "Not parked"),
    }
}
