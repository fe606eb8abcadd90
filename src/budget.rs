//! What events may hold in memory together, in bytes: what senders have sent, refused beyond the limit, and what has come
//! out of queues elsewhere, which is there already when it is counted and so is asked for no sooner than there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// What an event takes beside its head and its body: its attributes, its place in queues, its delivery.
pub const PER_EVENT: usize = 512;

/// What each event of several that came together takes besides.
pub const PER_ONE_OF_MANY: usize = 3 * PER_EVENT;

/// There is no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetExhausted;

/// Memory that events may hold together.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    /// Of both kinds.
    used: AtomicUsize,
    /// Of that, what has come out of queues elsewhere.
    consumed: AtomicUsize,
    /// Told when some of that is given back.
    released: Notify,
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        let (used, consumed, released) = (AtomicUsize::new(0), AtomicUsize::new(0), Notify::new());
        Arc::new(Self { limit, used, consumed, released })
    }

    /// A share that holds nothing yet.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> BudgetShare {
        BudgetShare { budget: Arc::clone(self), bytes: 0 }
    }

    /// A share of so many bytes that have come out of a queue.
    #[must_use]
    pub fn consumed_share(self: &Arc<Self>, bytes: usize) -> ConsumedShare {
        self.consumed.fetch_add(bytes, Ordering::Relaxed);
        ConsumedShare { share: self.share().increased_by(bytes) }
    }

    /// Bytes that may be held.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that are held.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// What may come out of queues together: half, so that senders are not refused for what waits for slow subscribers.
    #[must_use]
    pub fn queue_limit(&self) -> usize {
        self.limit / 2
    }

    /// Whether more may come out of queues. A little of their half is theirs whatever senders hold.
    #[must_use]
    pub fn has_room_for_queues(&self) -> bool {
        let consumed = self.consumed.load(Ordering::Relaxed);
        consumed < self.queue_limit() && (consumed < self.queue_limit() / 4 || self.used() < self.limit)
    }

    /// Whether there is room for a message of a queue of which none is held, so that no queue has to wait for another one
    /// whose subscriber is slow. All of them together may take what senders have left for that.
    #[must_use]
    pub fn has_room_for_one(&self) -> bool {
        self.consumed.load(Ordering::Relaxed) < self.limit
    }

    /// Returns when a share of what came out of queues was given back, which one that waits is told.
    pub async fn until_released(&self) {
        self.released.notified().await;
    }
}

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
pub struct BudgetShare {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl BudgetShare {
    /// Holds so many bytes from now on, if that is more than before.
    ///
    /// # Errors
    /// If there is no room for them. They are counted nevertheless, until the share is dropped.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        let more = bytes.saturating_sub(self.bytes);
        let used = self.budget.used.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
        if used.saturating_add(more) > self.budget.limit { Err(BudgetExhausted) } else { Ok(()) }
    }
}

impl BudgetShare {
    /// Holds so many bytes more, whether there is room for them or not: they are there already.
    #[must_use]
    pub fn increased_by(mut self, bytes: usize) -> Self {
        self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        self
    }

    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A part of a budget that something holds which came out of a queue; given back when it is dropped.
#[derive(Debug)]
pub struct ConsumedShare {
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
        assert_eq!((one.grow_to(60), one.grow_to(50), other.grow_to(40)), (Ok(()), Ok(()), Ok(())));
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
        assert!(budget.has_room_for_queues(), "what senders hold does not starve queues");
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
        tokio::time::timeout(std::time::Duration::from_secs(5), budget.until_released()).await.expect("told");
    }
}
