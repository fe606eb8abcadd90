//! Queue of one subscription, as its publishers, its consumer and its worker share it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, SetOnce};
use tokio_util::sync::CancellationToken;

use super::log::{ChannelLog, LogError, LogQueueCounts, QueueId, Sequence, SettledOutcome};
use super::log_access::LogAccess;
use super::names;
use super::trouble::DiskTrouble;
use crate::budget::{MemoryBudget, QueueShare};
use crate::channel::subscription_queues::CountedQueue;
use crate::model::{DeliveryOrder, Subscription};
use crate::observation::EventNote;
use crate::telemetry::series::SubscriptionSeries;

/// Period in which a queue whose log was opened anew looks whether its deliveries have ended.
const LOOK: Duration = Duration::from_millis(50);

/// A queue that its log knows.
#[derive(Clone)]
pub(super) struct DeclaredQueue {
    pub(super) log: ChannelLog,
    pub(super) id: QueueId,
}

impl DeclaredQueue {
    /// The queue in the log as it is open now.
    pub(super) fn pinned(&self) -> Self {
        Self {
            log: self.log.pinned(),
            id: self.id,
        }
    }
}

impl std::fmt::Debug for DeclaredQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.id)
    }
}

/// A delivery that has ended, of which observers are told when the log has its end.
#[derive(Debug)]
pub(super) struct EndedDelivery {
    pub(super) sequence: Sequence,
    pub(super) note: EventNote,
}

/// Deliveries that have ended and that nothing more follows from.
#[derive(Debug, Default)]
pub(super) struct EndedDeliveries {
    delivered: Vec<EndedDelivery>,
    dead_lettered: Vec<EndedDelivery>,
}

impl EndedDeliveries {
    pub(super) fn is_empty(&self) -> bool {
        self.delivered.is_empty() && self.dead_lettered.is_empty()
    }

    /// The deliveries by their outcome.
    pub(super) fn by_outcome(self) -> impl Iterator<Item = (SettledOutcome, Vec<EndedDelivery>)> {
        let outcomes = [
            (SettledOutcome::Delivered, self.delivered),
            (SettledOutcome::DeadLettered, self.dead_lettered),
        ];
        outcomes
            .into_iter()
            .filter(|(_, events)| !events.is_empty())
    }
}

/// The queues of one log that have deliveries to be acknowledged.
#[derive(Default)]
pub(super) struct EndedQueues {
    queues: Mutex<Vec<Arc<DiskQueue>>>,
    /// Deliveries of all queues of the log that have not been settled.
    unsettled: AtomicUsize,
    /// Notified when there is a queue, and when the last delivery has been settled.
    pub(super) changed: Notify,
    /// Notified when there is a queue that waits for it.
    pub(super) is_awaited: Notify,
}

impl EndedQueues {
    fn add(&self, queue: &Arc<DiskQueue>) {
        lock(&self.queues).push(Arc::clone(queue));
        if queue.is_prompt {
            self.is_awaited.notify_one();
        }
        self.changed.notify_one();
    }

    fn count_settled(&self, deliveries: usize) {
        if self.unsettled.fetch_sub(deliveries, Ordering::AcqRel) == deliveries {
            self.changed.notify_one();
        }
    }

    /// Takes the queues.
    pub(super) fn take(&self) -> Vec<Arc<DiskQueue>> {
        std::mem::take(&mut *lock(&self.queues))
    }

    /// True if there is no queue.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.queues).is_empty()
    }

    /// Deliveries of all queues that have not been settled.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled.load(Ordering::Acquire)
    }
}

/// The log of a queue, and what is to be acknowledged in it.
pub(super) struct QueueLog {
    pub(super) access: Arc<LogAccess>,
    pub(super) ends: Arc<EndedQueues>,
}

/// State of one subscription's queue.
pub(super) struct DiskQueue {
    /// Its name in the log.
    pub(super) name: String,
    pub(super) order: DeliveryOrder,
    /// The subscription as it is configured now, shared with its replays.
    subscription: Arc<Mutex<Arc<Subscription>>>,
    pub(super) log: Arc<LogAccess>,
    pub(super) series: Arc<SubscriptionSeries>,
    /// The memory budget of its namespace.
    pub(super) budget: Arc<MemoryBudget>,
    /// Its unfinished events, as they count for the namespace.
    pub(super) places: QueueShare,
    /// Set when the log has the queue.
    pub(super) declared: SetOnce<DeclaredQueue>,
    /// Cancelled when the queue is given up.
    pub(super) stop: CancellationToken,
    /// Deliveries that were handed to the worker and have not been settled.
    unsettled: AtomicUsize,
    /// Deliveries that have ended, and are to be acknowledged.
    ended: Mutex<EndedDeliveries>,
    /// True if the next event waits until one has ended.
    is_prompt: bool,
    /// Queues of the log that have such deliveries.
    ends: Arc<EndedQueues>,
    /// Deliveries that ended without being settled; they are taken again.
    abandoned: Mutex<Vec<Sequence>>,
    /// Notified when there is one.
    pub(super) broken_off: Notify,
    /// Reason for which nothing can be taken out of the queue.
    failure: Mutex<Option<LogError>>,
    /// True if there is one.
    is_failing: AtomicBool,
}

impl CountedQueue for DiskQueue {
    fn series(&self) -> &SubscriptionSeries {
        &self.series
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DiskQueue {
    /// Makes the state of a queue that is not declared yet. It is given up when `stop` is
    /// cancelled.
    pub(super) fn new(
        subscription: &Arc<Subscription>,
        log: QueueLog,
        series: Arc<SubscriptionSeries>,
        budget: &Arc<MemoryBudget>,
        stop: CancellationToken,
    ) -> Self {
        let budget = budget.of_namespace(&subscription.key.namespace);
        let order = subscription.delivery.order;
        Self {
            places: budget.queue_share(),
            budget,
            name: names::queue_name(&subscription.key),
            order,
            subscription: Arc::new(Mutex::new(Arc::clone(subscription))),
            log: log.access,
            series,
            declared: SetOnce::new(),
            stop,
            unsettled: AtomicUsize::new(0),
            ended: Mutex::default(),
            is_prompt: order == DeliveryOrder::Ordered,
            ends: log.ends,
            abandoned: Mutex::default(),
            broken_off: Notify::new(),
            failure: Mutex::default(),
            is_failing: AtomicBool::new(false),
        }
    }

    /// What the queue holds; `None` if its log does not know it.
    pub(super) fn counts(&self) -> Option<LogQueueCounts> {
        let DeclaredQueue { log, id } = self.declared.get()?;
        log.counts(*id).ok()
    }

    /// Time until the first event is due that waits for another attempt.
    pub(super) fn until_next_due(&self) -> Option<Duration> {
        let DeclaredQueue { log, id } = self.declared.get()?;
        log.until_next_due(*id)
    }

    /// Deliveries that were handed to the worker and have not been settled.
    pub(super) fn unsettled(&self) -> usize {
        self.unsettled.load(Ordering::Acquire)
    }

    pub(super) fn count_handed_over(&self) {
        self.ends.unsettled.fetch_add(1, Ordering::AcqRel);
        self.unsettled.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn count_settled(&self, deliveries: usize) {
        self.unsettled.fetch_sub(deliveries, Ordering::AcqRel);
        self.ends.count_settled(deliveries);
    }

    /// Has a delivery acknowledged that has ended with the subscriber or the dead letter sink.
    pub(super) fn acknowledge(self: &Arc<Self>, event: EndedDelivery, outcome: SettledOutcome) {
        self.places.remove();
        let mut ended = lock(&self.ended);
        let is_first = ended.is_empty();
        match outcome {
            SettledOutcome::DeadLettered => ended.dead_lettered.push(event),
            SettledOutcome::Delivered | SettledOutcome::Lost => ended.delivered.push(event),
        }
        drop(ended);
        if is_first {
            self.ends.add(self);
        }
    }

    /// Takes the deliveries that are to be acknowledged.
    pub(super) fn take_ended(&self) -> EndedDeliveries {
        std::mem::take(&mut *lock(&self.ended))
    }

    /// Notes deliveries that ended without being settled.
    pub(super) fn abandon(&self, events: &[Sequence]) {
        lock(&self.abandoned).extend_from_slice(events);
        self.broken_off.notify_one();
    }

    /// Gives the deliveries back that ended without being settled.
    pub(super) fn release_abandoned(&self) {
        let Some(declared) = self.declared.get() else {
            return;
        };
        for event in std::mem::take(&mut *lock(&self.abandoned)) {
            if let Err(error) = declared.log.release(declared.id, event) {
                tracing::debug!(queue = self.name, %error, "Not given back");
            }
        }
    }

    /// Waits until the deliveries have ended that were taken before the log was opened anew: none is
    /// to be under way twice, nor taken for one that has its sequence now.
    pub(super) async fn until_settled(&self) {
        while self.unsettled() > 0 {
            tokio::time::sleep(LOOK).await;
        }
        lock(&self.abandoned).clear();
    }

    /// The subscription as it is configured now.
    pub(super) fn subscription(&self) -> Arc<Subscription> {
        Arc::clone(&lock(&self.subscription))
    }

    /// Sets what the subscription is from now on.
    pub(super) fn set_subscription(&self, subscription: &Arc<Subscription>) {
        *lock(&self.subscription) = Arc::clone(subscription);
    }

    /// State of another queue of the same subscription in the same log: that of a replay.
    pub(super) fn for_replay(&self, name: String, declared: DeclaredQueue) -> Self {
        Self {
            name,
            order: self.order,
            subscription: Arc::clone(&self.subscription),
            log: Arc::clone(&self.log),
            series: Arc::clone(&self.series),
            budget: Arc::clone(&self.budget),
            places: QueueShare::default(),
            declared: SetOnce::new_with(Some(declared)),
            stop: self.stop.child_token(),
            unsettled: AtomicUsize::new(0),
            ended: Mutex::default(),
            // It sends few at once.
            is_prompt: true,
            ends: Arc::clone(&self.ends),
            abandoned: Mutex::default(),
            broken_off: Notify::new(),
            failure: Mutex::default(),
            is_failing: AtomicBool::new(false),
        }
    }

    /// True if nothing can be taken out of the queue.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Acquire)
    }

    /// Notes whether events can be taken out of the queue. True if that was not known before.
    pub(super) fn set_failure(&self, failure: Option<LogError>) -> bool {
        let mut known = lock(&self.failure);
        let is_news = known.is_some() != failure.is_some();
        self.is_failing.store(failure.is_some(), Ordering::Release);
        *known = failure;
        is_news
    }

    /// Reason for which the queue cannot be published to, or consumed; `None` if it can.
    pub(super) fn trouble(&self) -> Option<DiskTrouble> {
        if let Some(error) = self.log.open_error() {
            return Some(DiskTrouble::of_error(&error));
        }
        let Some(declared) = self.declared.get() else {
            return Some(DiskTrouble::NotDeclared);
        };
        if let Some(failure) = declared.log.failure() {
            return Some(DiskTrouble::of_error(&failure));
        }
        lock(&self.failure).as_ref().map(DiskTrouble::of_error)
    }
}
