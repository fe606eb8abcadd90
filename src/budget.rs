//! Memory budget of events, in bytes. Requests of senders are refused beyond the limit. Messages
//! that come out of queues elsewhere are in memory already when they are charged, so they are only
//! asked for while there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Bytes that are charged for an event beside its head and its body: attributes, places in queues,
/// delivery.
pub(crate) const PER_EVENT: usize = 512;

/// Bytes that are charged besides for each event of several that came together.
pub(crate) const PER_ONE_OF_MANY: usize = 3 * PER_EVENT;

/// Error: the budget has no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetExhausted;

/// Memory that all events of the process may hold together.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    /// Bytes that are held in all, by requests and by messages of queues.
    used: AtomicUsize,
    /// Part of `used` that is held by messages of queues.
    consumed: AtomicUsize,
    /// Notified when such a part is given back.
    released: Notify,
}

impl MemoryBudget {
    /// Makes a budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        let (used, consumed, released) = (AtomicUsize::new(0), AtomicUsize::new(0), Notify::new());
        Arc::new(Self {
            limit,
            used,
            consumed,
            released,
        })
    }

    /// Makes a share that holds nothing yet.
    #[must_use]
    pub(crate) fn share(self: &Arc<Self>) -> BudgetShare {
        BudgetShare {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }

    /// Makes a share of this many bytes for a message that has come out of a queue.
    #[must_use]
    pub(crate) fn consumed_share(self: &Arc<Self>, bytes: usize) -> ConsumedShare {
        self.consumed.fetch_add(bytes, Ordering::Relaxed);
        ConsumedShare {
            share: self.share().increased_by(bytes),
        }
    }

    /// Bytes that may be held in all.
    #[must_use]
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that are held now.
    #[must_use]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes that messages of queues may hold together: half, so that senders are not refused
    /// because of events that wait for slow subscribers.
    #[must_use]
    pub(crate) fn queue_limit(&self) -> usize {
        self.limit / 2
    }

    /// True if more messages may come out of queues. A quarter of their half is theirs, however
    /// much senders hold.
    #[must_use]
    pub(crate) fn has_room_for_queues(&self) -> bool {
        let consumed = self.consumed.load(Ordering::Relaxed);
        consumed < self.queue_limit()
            && (consumed < self.queue_limit() / 4 || self.used() < self.limit)
    }

    /// True if there is room for a message of a queue that holds none, so that no queue has to wait
    /// for another one whose subscriber is slow. All of these together may take what senders have
    /// left.
    #[must_use]
    pub(crate) fn has_room_for_one(&self) -> bool {
        self.consumed.load(Ordering::Relaxed) < self.limit
    }

    /// Returns when a share of a message was given back; only one of those who wait is notified.
    pub(crate) async fn until_released(&self) {
        self.released.notified().await;
    }
}

/// Part of a budget that is held, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct BudgetShare {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl BudgetShare {
    /// Grows the share to this many bytes, if that is more than before.
    ///
    /// # Errors
    /// If there is no room for them. They are charged nevertheless, until the share is dropped.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        let more = bytes.saturating_sub(self.bytes);
        let used = self.budget.used.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        if used.saturating_add(more) > self.budget.limit {
            Err(BudgetExhausted)
        } else {
            Ok(())
        }
    }
}

impl BudgetShare {
    /// Adds bytes to the share, even if there is no room for them: they are in memory already.
    #[must_use]
    pub(crate) fn increased_by(mut self, bytes: usize) -> Self {
        self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        self
    }

    /// Bytes that the share holds.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Part of a budget that is held by a message of a queue; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct ConsumedShare {
    share: BudgetShare,
}

impl Drop for ConsumedShare {
    fn drop(&mut self) {
        let BudgetShare { budget, bytes } = &self.share;
        budget.consumed.fetch_sub(*bytes, Ordering::Relaxed);
        budget.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_and_given_back() {
        let budget = MemoryBudget::new(100);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert_eq!(
            (one.grow_to(60), one.grow_to(50), other.grow_to(40)),
            (Ok(()), Ok(()), Ok(()))
        );
        assert_eq!(other.grow_to(41), Err(BudgetExhausted));
        drop(other);
        assert_eq!((budget.used(), one.grow_to(100)), (60, Ok(())));
        drop(one);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn queues_have_half_and_some_of_it_always() {
        let budget = MemoryBudget::new(80);
        let mut senders = budget.share();
        assert_eq!(senders.grow_to(80), Ok(()));
        assert!(
            budget.has_room_for_queues(),
            "what senders hold does not starve queues"
        );
        let some = budget.consumed_share(10);
        assert!(!budget.has_room_for_queues());
        drop(senders);
        assert!(budget.has_room_for_queues());
        let rest = budget.consumed_share(30);
        assert!(!budget.has_room_for_queues() && budget.has_room_for_one());
        drop((some, rest));
        assert_eq!((budget.used(), budget.has_room_for_queues()), (0, true));
    }

    #[tokio::test]
    async fn one_that_waits_is_told_of_room() {
        let budget = MemoryBudget::new(10);
        drop(budget.consumed_share(10));
        tokio::time::timeout(std::time::Duration::from_secs(5), budget.until_released())
            .await
            .expect("told");
    }
}
