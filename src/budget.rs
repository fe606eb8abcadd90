//! Memory budget of events, in bytes. Requests of senders are refused beyond the limit. Messages
//! that come out of queues elsewhere are in memory already when they are charged, so they are only
//! asked for while there is room.
//!
//! Where namespaces have limits, each has a budget within that of the process, and a quota beside
//! it.

mod limit_exceeded;
mod limit_set;
mod namespace_quota;
mod namespace_table;
mod rate_bucket;
mod request_too_large;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

pub use limit_exceeded::LimitExceeded;
pub(crate) use request_too_large::RequestTooLarge;

pub(crate) use limit_set::{EventRate, LimitKind, NamespaceLimit, NamespaceLimitSet};
pub(crate) use namespace_quota::{NamespaceQuota, QueueShare, TakenPlaces};
use namespace_table::NamespaceTable;

/// Bytes that are charged for an event beside its head and its body: attributes, places in queues,
/// delivery.
pub(crate) const PER_EVENT: usize = 512;

/// Bytes that are charged besides for each event of several that came together.
pub(crate) const PER_ONE_OF_MANY: usize = 3 * PER_EVENT;

/// Error: the budget has no room left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BudgetExhausted {
    /// The events of the process hold all that they may.
    Process,
    /// The events of one namespace do.
    Namespace(LimitExceeded),
    /// What is asked for has no room however little others hold.
    Never(RequestTooLarge),
}

/// Memory that all events of the process, or of a namespace, may hold together.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: AtomicUsize,
    /// Bytes that are held in all, by requests and by messages of queues.
    used: AtomicUsize,
    /// Part of `used` that is held by messages of queues.
    consumed: AtomicUsize,
    /// Notified when such a part is given back.
    released: Notify,
    scope: BudgetScope,
}

/// Whose events a budget is for.
#[derive(Debug)]
enum BudgetScope {
    /// Those of the process, whose namespaces have budgets of their own if there is a table.
    Process(Option<NamespaceTable>),
    /// Those of one namespace, which count for the process, too.
    Namespace {
        process: Arc<MemoryBudget>,
        quota: Arc<NamespaceQuota>,
    },
}

/// What a namespace takes now, and what it may take.
#[derive(Clone, Debug)]
pub(crate) struct NamespaceUsage {
    pub(crate) namespace: Arc<str>,
    pub(crate) limit: NamespaceLimit,
    pub(crate) buffered_bytes: usize,
    pub(crate) queued: usize,
    /// Part of the events of a burst that are used up.
    pub(crate) rate_used: f64,
    pub(crate) refused: [(LimitKind, u64); LimitKind::ALL.len()],
}

impl MemoryBudget {
    /// Makes a budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Self::scoped(limit, BudgetScope::Process(None))
    }

    /// Makes a budget of `limit` bytes, of which namespaces may have no more than this allows each.
    #[must_use]
    pub(crate) fn with_namespaces(limit: usize, limits: NamespaceLimitSet) -> Arc<Self> {
        let table = NamespaceTable::new(limits);
        Self::scoped(limit, BudgetScope::Process(Some(table)))
    }

    fn scoped(limit: usize, scope: BudgetScope) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit),
            used: AtomicUsize::new(0),
            consumed: AtomicUsize::new(0),
            released: Notify::new(),
            scope,
        })
    }

    /// The budget of a namespace within this one; this one itself, if namespaces have no limits.
    /// Takes a lock: it is for applying configuration, not for each event.
    #[must_use]
    pub(crate) fn of_namespace(self: &Arc<Self>, namespace: &str) -> Arc<Self> {
        let BudgetScope::Process(Some(table)) = &self.scope else {
            return Arc::clone(self);
        };
        table.find_or_make(namespace, |limit| {
            let scope = BudgetScope::Namespace {
                process: Arc::clone(self),
                quota: Arc::new(NamespaceQuota::new(namespace, limit)),
            };
            Self::scoped(limit.buffered_bytes.unwrap_or(usize::MAX), scope)
        })
    }

    /// Sets the limits of namespaces from now on, if namespaces have limits.
    pub(crate) fn set_namespace_limits(&self, limits: NamespaceLimitSet) {
        if let BudgetScope::Process(Some(table)) = &self.scope {
            table.replace_limits(limits, |budget, limit| {
                let bytes = limit.buffered_bytes.unwrap_or(usize::MAX);
                budget.limit.store(bytes, Ordering::Relaxed);
                if let Some(quota) = budget.quota() {
                    quota.set_limit(limit);
                }
                budget.released.notify_waiters();
            });
        }
    }

    /// The quota of the namespace; `None` if this is the budget of the process.
    #[must_use]
    pub(crate) fn quota(&self) -> Option<&Arc<NamespaceQuota>> {
        match &self.scope {
            BudgetScope::Process(_) => None,
            BudgetScope::Namespace { quota, .. } => Some(quota),
        }
    }

    /// The share of a queue of this namespace in the places of its queues.
    #[must_use]
    pub(crate) fn queue_share(self: &Arc<Self>) -> QueueShare {
        QueueShare::of_budget(self)
    }

    /// What each namespace takes that has channels or queues; empty if namespaces have no limits.
    #[must_use]
    pub(crate) fn namespaces(&self) -> Vec<NamespaceUsage> {
        let BudgetScope::Process(Some(table)) = &self.scope else {
            return Vec::new();
        };
        let usage = |(namespace, limit, budget): (Arc<str>, NamespaceLimit, Arc<Self>)| {
            let quota = budget.quota()?;
            Some(NamespaceUsage {
                namespace,
                limit,
                buffered_bytes: budget.used(),
                queued: quota.queued(),
                rate_used: quota.used_rate(),
                refused: LimitKind::ALL.map(|kind| (kind, quota.refused(kind))),
            })
        };
        table.entries().into_iter().filter_map(usage).collect()
    }

    /// The budget that this one is within.
    fn parent(&self) -> Option<&Arc<Self>> {
        match &self.scope {
            BudgetScope::Process(_) => None,
            BudgetScope::Namespace { process, .. } => Some(process),
        }
    }

    /// Charges bytes, whether there is room for them or not.
    ///
    /// # Errors
    /// If there is no room for them.
    fn charge(&self, bytes: usize) -> Result<(), BudgetExhausted> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        let has_room = used.saturating_add(bytes) <= self.limit();
        match &self.scope {
            BudgetScope::Process(_) if has_room => Ok(()),
            BudgetScope::Process(_) => Err(BudgetExhausted::Process),
            BudgetScope::Namespace { process, quota } => {
                let charged = process.charge(bytes);
                if has_room {
                    return charged;
                }
                let wait = Duration::ZERO;
                let exceeded = quota.refuse(LimitKind::BufferedBytes, wait);
                Err(BudgetExhausted::Namespace(exceeded))
            }
        }
    }

    /// The limit that a request of so many bytes is over by itself, this one's or that of the budget
    /// around it; `None` if the request fits as soon as others have ended.
    #[must_use]
    pub(crate) fn too_large(&self, bytes: usize) -> Option<RequestTooLarge> {
        let limit = self.limit();
        if bytes > limit {
            let namespace = self.quota().map(|it| it.namespace());
            return Some(RequestTooLarge { limit, namespace });
        }
        self.parent().and_then(|it| it.too_large(bytes))
    }

    /// Charges bytes that are in memory already.
    fn charge_existing(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(parent) = self.parent() {
            parent.charge_existing(bytes);
        }
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = self.parent() {
            parent.release(bytes);
        }
    }

    fn count_consumed(&self, bytes: usize) {
        self.consumed.fetch_add(bytes, Ordering::Relaxed);
        if let Some(parent) = self.parent() {
            parent.count_consumed(bytes);
        }
    }

    fn release_consumed(&self, bytes: usize) {
        self.consumed.fetch_sub(bytes, Ordering::Relaxed);
        self.released.notify_one();
        if let Some(parent) = self.parent() {
            parent.release_consumed(bytes);
        }
    }
}

impl MemoryBudget {
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
        self.count_consumed(bytes);
        ConsumedShare {
            share: self.share().increased_by(bytes),
        }
    }

    /// Bytes that may be held in all.
    #[must_use]
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
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
        let own = self.limit() / 2;
        self.parent().map_or(own, |it| it.queue_limit().min(own))
    }

    /// True if more messages may come out of queues. A quarter of their half is theirs, however
    /// much senders hold.
    #[must_use]
    pub(crate) fn has_room_for_queues(&self) -> bool {
        let (consumed, limit) = (self.consumed.load(Ordering::Relaxed), self.queue_limit());
        consumed < limit
            && (consumed < limit / 4 || self.used() < self.limit())
            && self.parent().is_none_or(|it| it.has_room_for_queues())
    }

    /// True if there is room for a message of a queue that holds none, so that no queue has to wait
    /// for another one whose subscriber is slow. All of these together may take what senders have
    /// left.
    #[must_use]
    pub(crate) fn has_room_for_one(&self) -> bool {
        self.consumed.load(Ordering::Relaxed) < self.limit()
            && self.parent().is_none_or(|it| it.has_room_for_one())
    }

    /// Returns when a share of a message was given back; only one of those who wait is notified.
    pub(crate) async fn until_released(&self) {
        match self.parent() {
            None => self.released.notified().await,
            Some(process) => tokio::select! {
                () = self.released.notified() => {}
                () = process.released.notified() => {}
            },
        }
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
        self.bytes += more;
        let charged = self.budget.charge(more);
        charged.map_err(|exhausted| match self.budget.too_large(self.bytes) {
            Some(too_large) => BudgetExhausted::Never(too_large),
            None => exhausted,
        })
    }
}

impl BudgetShare {
    /// Adds bytes to the share, even if there is no room for them: they are in memory already.
    #[must_use]
    pub(crate) fn increased_by(mut self, bytes: usize) -> Self {
        self.budget.charge_existing(bytes);
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
        self.budget.release(self.bytes);
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
        budget.release_consumed(*bytes);
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
        assert_eq!(other.grow_to(41), Err(BudgetExhausted::Process));
        drop(other);
        assert_eq!((budget.used(), one.grow_to(100)), (60, Ok(())));
        drop(one);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_never_fits_is_told_apart() {
        let budget = MemoryBudget::with_namespaces(100, limits(Some(40), None));
        let too_large = |namespace: &str, bytes| {
            let share = budget.of_namespace(namespace).share().grow_to(bytes);
            match share {
                Err(BudgetExhausted::Never(too_large)) => Some(too_large.to_string()),
                _ => None,
            }
        };
        assert_eq!(
            (too_large("team", 40), too_large("other", 100)),
            (None, None)
        );
        let team = too_large("team", 41).expect("over the limit of its namespace");
        assert!(team.contains("bufferedBytes of team"), "{team}");
        let other = too_large("other", 101).expect("over that of the process");
        assert!(other.contains("--max-buffered-bytes"), "{other}");
        let held = budget.of_namespace("other").consumed_share(90);
        assert_eq!(
            too_large("other", 20),
            None,
            "it fits when others have ended"
        );
        drop(held);
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

    fn limits(team: Option<usize>, others: Option<usize>) -> NamespaceLimitSet {
        let bytes = |buffered_bytes| NamespaceLimit {
            buffered_bytes,
            ..NamespaceLimit::default()
        };
        NamespaceLimitSet {
            named: [("team".to_owned(), bytes(team))].into(),
            others: bytes(others),
        }
    }

    #[test]
    fn a_namespace_has_its_part_and_no_more() {
        let budget = MemoryBudget::with_namespaces(100, limits(Some(40), Some(70)));
        let (team, other) = (budget.of_namespace("team"), budget.of_namespace("other"));
        let (mut one, mut two) = (team.share(), other.share());
        assert_eq!((one.grow_to(40), two.grow_to(60)), (Ok(()), Ok(())));
        let more = team.share().grow_to(1);
        let refused = more.expect_err("over its limit");
        let BudgetExhausted::Namespace(exceeded) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((&*exceeded.namespace, &*exceeded.limit), ("team", "40"));
        assert_eq!(two.grow_to(61), Err(BudgetExhausted::Process));
        drop((one, two));
        assert_eq!((budget.used(), team.used(), other.used()), (0, 0, 0));
        assert_eq!(budget.namespaces().len(), 2);
    }

    #[test]
    fn a_namespace_that_is_full_takes_nothing_out_of_queues() {
        let budget = MemoryBudget::with_namespaces(1000, limits(Some(40), None));
        let (team, other) = (budget.of_namespace("team"), budget.of_namespace("other"));
        let held = team.consumed_share(20);
        assert!(!team.has_room_for_queues() && team.has_room_for_one());
        assert!(other.has_room_for_queues());
        assert_eq!(budget.used(), 20);
        budget.set_namespace_limits(limits(Some(80), None));
        assert!(team.has_room_for_queues());
        drop(held);
        assert_eq!((budget.used(), team.used()), (0, 0));
    }

    #[test]
    fn without_limits_there_is_one_budget() {
        let budget = MemoryBudget::new(10);
        assert!(Arc::ptr_eq(&budget, &budget.of_namespace("team")));
        assert!(budget.quota().is_none() && budget.namespaces().is_empty());
    }

    #[test]
    fn a_budget_lives_as_long_as_somebody_has_it() {
        let budget = MemoryBudget::with_namespaces(10, limits(None, None));
        let team = budget.of_namespace("team");
        assert!(Arc::ptr_eq(&team, &budget.of_namespace("team")));
        let share = team.queue_share();
        drop(team);
        assert_eq!(budget.namespaces().len(), 1, "a queue keeps it");
        drop(share);
        assert!(budget.namespaces().is_empty());
    }
}
