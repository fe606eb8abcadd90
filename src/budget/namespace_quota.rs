//! What one namespace takes of what all share, and what it may take: an atomic number for each
//! limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::MemoryBudget;
use super::limit_exceeded::LimitExceeded;
use super::limit_set::{LimitKind, NamespaceLimit};
use super::rate_bucket::{RateBucket, nanoseconds};

/// Least time after which a sender that was refused should try again, and the time where nobody
/// knows when there will be room.
const LEAST_WAIT: Duration = Duration::from_secs(1);

/// The quota of a namespace. Bytes in memory are counted by its budget.
#[derive(Debug)]
pub(crate) struct NamespaceQuota {
    namespace: Arc<str>,
    /// The limits in words, for those who are refused.
    limit: ArcSwap<NamespaceLimit>,
    origin: Instant,
    rate: RateBucket,
    /// Unfinished events in the queues of the namespace.
    queued: AtomicUsize,
    queue_capacity: AtomicUsize,
    /// Requests that were refused, by the limit, in the order of [`LimitKind::ALL`].
    refused: [AtomicU64; LimitKind::ALL.len()],
}

impl NamespaceQuota {
    pub(super) fn new(namespace: &str, limit: NamespaceLimit) -> Self {
        let quota = Self {
            namespace: namespace.into(),
            limit: ArcSwap::default(),
            origin: Instant::now(),
            rate: RateBucket::default(),
            queued: AtomicUsize::new(0),
            queue_capacity: AtomicUsize::new(usize::MAX),
            refused: Default::default(),
        };
        quota.set_limit(limit);
        quota
    }

    /// Sets the limits from now on. What is over them stays.
    pub(super) fn set_limit(&self, limit: NamespaceLimit) {
        let capacity = limit.queue_capacity.unwrap_or(usize::MAX);
        self.queue_capacity.store(capacity, Ordering::Relaxed);
        self.rate.set_rate(limit.rate);
        self.limit.store(Arc::new(limit));
    }

    /// Counts events that somebody sends.
    ///
    /// # Errors
    /// If they are more than the rate allows.
    pub(crate) fn take_rate(&self, events: usize) -> Result<(), LimitExceeded> {
        if !self.rate.is_limited() {
            return Ok(());
        }
        let taken = self.rate.take(events, self.now());
        taken.map_err(|wait| self.refuse(LimitKind::Rate, wait))
    }

    /// Refuses who would be refused anyway, before anything of the request is read.
    ///
    /// # Errors
    /// If the rate allows no event now.
    pub(crate) fn check_rate(&self) -> Result<(), LimitExceeded> {
        match self.rate.is_limited().then(|| self.rate.wait(self.now())) {
            Some(Some(wait)) => Err(self.refuse(LimitKind::Rate, wait)),
            _ => Ok(()),
        }
    }

    /// Counts an event from inside the process, which would be lost if it were refused: senders are
    /// refused instead.
    pub(crate) fn charge_rate(&self) {
        if self.rate.is_limited() {
            self.rate.charge(1, self.now());
        }
    }

    /// Part of the events of a burst that are used up, and more for what is owed.
    pub(super) fn used_rate(&self) -> f64 {
        self.rate.used(self.now())
    }

    /// The namespace.
    pub(super) fn namespace(&self) -> Arc<str> {
        Arc::clone(&self.namespace)
    }

    /// Unfinished events in the queues of the namespace.
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(super) fn refused(&self, kind: LimitKind) -> u64 {
        self.refused_counter(kind).load(Ordering::Relaxed)
    }

    /// Counts a request that a limit does not let pass, and makes its error.
    pub(super) fn refuse(&self, kind: LimitKind, wait: Duration) -> LimitExceeded {
        self.refused_counter(kind).fetch_add(1, Ordering::Relaxed);
        let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        LimitExceeded {
            namespace: Arc::clone(&self.namespace),
            kind,
            limit: self.limit.load().text(kind),
            retry_after: Duration::from_secs(whole).max(LEAST_WAIT),
        }
    }

    fn refused_counter(&self, kind: LimitKind) -> &AtomicU64 {
        let [bytes, capacity, rate] = &self.refused;
        match kind {
            LimitKind::BufferedBytes => bytes,
            LimitKind::QueueCapacity => capacity,
            LimitKind::Rate => rate,
        }
    }

    fn now(&self) -> u64 {
        nanoseconds(self.origin.elapsed())
    }

    /// True if the queues hold as many unfinished events as they may.
    fn has_queue_room(&self) -> bool {
        self.queued() < self.queue_capacity.load(Ordering::Relaxed)
    }
}

/// Unfinished events of one queue, as they count for its namespace; they are given back when the
/// queue is gone. Counts nothing where namespaces have no limits.
#[derive(Debug, Default)]
pub(crate) struct QueueShare {
    quota: Option<Arc<NamespaceQuota>>,
    /// The budget that the quota belongs to. Both are there as long as somebody has the budget, and
    /// whoever comes later has to find this one.
    _budget: Option<Arc<MemoryBudget>>,
    counted: AtomicUsize,
}

impl QueueShare {
    /// Makes the share of a queue that holds nothing yet.
    #[cfg(test)]
    fn new(quota: Option<Arc<NamespaceQuota>>) -> Self {
        Self {
            quota,
            _budget: None,
            counted: AtomicUsize::new(0),
        }
    }

    /// Makes the share of a queue that holds nothing yet, and that keeps this budget.
    #[must_use]
    pub(super) fn of_budget(budget: &Arc<MemoryBudget>) -> Self {
        let quota = budget.quota().cloned();
        Self {
            _budget: quota.is_some().then(|| Arc::clone(budget)),
            quota,
            counted: AtomicUsize::new(0),
        }
    }

    /// Takes a place for one event.
    ///
    /// # Errors
    /// If the queues of the namespace are full together.
    pub(crate) fn take_place(&self) -> Result<(), LimitExceeded> {
        let Some(quota) = &self.quota else {
            return Ok(());
        };
        let capacity = quota.queue_capacity.load(Ordering::Relaxed);
        if quota.queued.fetch_add(1, Ordering::Relaxed) >= capacity {
            quota.queued.fetch_sub(1, Ordering::Relaxed);
            return Err(quota.refuse(LimitKind::QueueCapacity, LEAST_WAIT));
        }
        self.counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Checks that there is room for an event, which is counted later.
    ///
    /// # Errors
    /// If the queues of the namespace are full together.
    pub(crate) fn check_room(&self) -> Result<(), LimitExceeded> {
        match &self.quota {
            Some(quota) if !quota.has_queue_room() => {
                Err(quota.refuse(LimitKind::QueueCapacity, LEAST_WAIT))
            }
            _ => Ok(()),
        }
    }

    /// Gives back the place of an event that is finished. Nothing is given back that was not
    /// counted.
    pub(crate) fn remove(&self) {
        let Some(quota) = &self.quota else {
            return;
        };
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        let one_less = |counted: usize| counted.checked_sub(1);
        if self.counted.fetch_update(set, get, one_less).is_ok() {
            quota.queued.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Sets the number of unfinished events to what was found by looking.
    pub(crate) fn set(&self, found: usize) {
        if let Some(quota) = &self.quota {
            let before = self.counted.swap(found, Ordering::Relaxed);
            // The sum wraps where one step is below the other, and is right after both.
            quota.queued.fetch_add(found, Ordering::Relaxed);
            quota.queued.fetch_sub(before, Ordering::Relaxed);
        }
    }
}

impl Drop for QueueShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Places that were taken for events which are not in their queues yet; given back when this is
/// dropped.
#[derive(Debug, Default)]
pub(crate) struct TakenPlaces<'q>(Vec<&'q QueueShare>);

impl<'q> TakenPlaces<'q> {
    /// Takes a place for one event.
    ///
    /// # Errors
    /// If the queues of the namespace are full together.
    pub(crate) fn take(&mut self, share: &'q QueueShare) -> Result<(), LimitExceeded> {
        share.take_place()?;
        if share.quota.is_some() {
            self.0.push(share);
        }
        Ok(())
    }

    /// Leaves the places to the events, which are in their queues now.
    pub(crate) fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for TakenPlaces<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|share| share.remove());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::limit_set::EventRate;

    fn quota(capacity: usize) -> Arc<NamespaceQuota> {
        let limit = NamespaceLimit {
            queue_capacity: Some(capacity),
            ..NamespaceLimit::default()
        };
        Arc::new(NamespaceQuota::new("team", limit))
    }

    #[test]
    fn the_queues_of_a_namespace_share_their_places() {
        let quota = quota(3);
        let [one, other] = [(); 2].map(|()| QueueShare::new(Some(Arc::clone(&quota))));
        assert_eq!((one.take_place(), other.take_place()), (Ok(()), Ok(())));
        let mut taken = TakenPlaces::default();
        assert_eq!(taken.take(&other), Ok(()));
        drop(taken);
        let mut taken = TakenPlaces::default();
        assert_eq!((quota.queued(), taken.take(&other)), (2, Ok(())));
        taken.keep();
        let refused = one.take_place().expect_err("full");
        assert_eq!(
            (refused.kind, refused.limit.as_str(), &*refused.namespace),
            (LimitKind::QueueCapacity, "3", "team")
        );
        assert!(other.check_room().is_err());
        one.remove();
        one.remove();
        assert_eq!((quota.queued(), one.take_place()), (2, Ok(())));
        other.set(1);
        assert_eq!(quota.queued(), 2);
        drop((one, other));
        assert_eq!(
            (quota.queued(), quota.refused(LimitKind::QueueCapacity)),
            (0, 2)
        );
    }

    #[test]
    fn limits_change_at_once_and_are_told() {
        let quota = quota(1);
        let share = QueueShare::new(Some(Arc::clone(&quota)));
        assert_eq!(share.take_place(), Ok(()));
        assert!(share.take_place().is_err());
        quota.set_limit(NamespaceLimit {
            rate: EventRate::parse("1/m"),
            ..NamespaceLimit::default()
        });
        assert_eq!(share.take_place(), Ok(()));
        assert_eq!((quota.check_rate(), quota.take_rate(1)), (Ok(()), Ok(())));
        assert!(quota.check_rate().is_err());
        let refused = quota.take_rate(1).expect_err("too many");
        assert_eq!(refused.retry_after, Duration::from_secs(60));
        let text = refused.to_string();
        for word in ["team", "1/m", "60 s", "rate of team", "--namespace-limits"] {
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let share = QueueShare::default();
        share.set(7);
        assert_eq!((share.take_place(), share.check_room()), (Ok(()), Ok(())));
        assert_eq!(share.counted.load(Ordering::Relaxed), 0);
    }
}
