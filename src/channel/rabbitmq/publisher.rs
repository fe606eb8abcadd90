//! Publishing an event to the queues of a channel's subscriptions. What one queue has taken is not undone by another that
//! does not: the rest is tried until it is stored, for a bounded time, before the sender is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::health::QueueState;
use super::message::{self, Encoded, Note};
use super::outbox::PublishFailure;
use super::topology::look;
use super::{Queue, Shared};
use crate::channel::shift::Shift;
use crate::channel::{PublishError, Publisher};
use crate::event::Event;
use crate::filter::index::Index;
use crate::model::{Order, Subscription};

/// From the request to the answer, at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a queue may refuse what is published before it counts as away: as long as an election may take.
const ELECTION: Duration = Duration::from_secs(4);
/// The wait after the first refusal; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// For a look at a queue; one without a leader does not answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// For a message to be stored where it waits.
const ELSEWHERE_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long events wait elsewhere whose queue is away.
pub(super) const AWAY_WAITS: [Duration; 3] = [Duration::from_secs(4), Duration::from_secs(8), Duration::from_secs(16)];

/// A subscription as a publisher sees it.
pub(super) struct SubscriptionQueue {
    pub(super) subscription: Arc<Subscription>,
    pub(super) queue: Arc<Queue>,
}

/// Publishes to one channel.
pub(super) struct RabbitmqPublisher {
    pub(super) index: Index,
    pub(super) queues: Vec<SubscriptionQueue>,
    pub(super) shared: Arc<Shared>,
}

impl RabbitmqPublisher {
    /// The queues whose subscriptions want the event.
    async fn wanted(&self, event: &Event, shift: &mut Shift) -> Vec<&SubscriptionQueue> {
        let candidates = self.index.candidates(event).filter_map(|place| self.queues.get(place));
        let mut wanted = Vec::new();
        for to in candidates {
            let decision = to.subscription.filter.decide(event);
            if self.shared.counters.filter_of(&to.queue.series, decision) {
                wanted.push(to);
            }
            shift.worked(decision).await;
        }
        wanted
    }

    /// One message for each of these queues.
    async fn publish_one(&self, event: &Event, wanted: &[&SubscriptionQueue]) -> Result<(), PublishError> {
        if wanted.is_empty() {
            self.shared.counters.unrouted.increment();
            return Ok(());
        }
        self.admit(wanted)?;
        let deadline = Instant::now() + PATIENCE;
        declared(wanted, deadline).await?;
        let message = Arc::new(message::encode(event, Note::default()));
        // All of them to their end, also if one fails: what is known to be stored need not be sent again.
        let published = join_all(wanted.iter().map(|to| self.publish_to(to, &message, deadline))).await;
        published.into_iter().collect()
    }

    /// Refuses an event before any queue has it, if it is known that one cannot take it.
    fn admit(&self, wanted: &[&SubscriptionQueue]) -> Result<(), PublishError> {
        let outbox = &self.shared.outbox;
        if !outbox.is_open() {
            return Err(unavailable(PublishFailure::NoConnection));
        }
        if outbox.is_blocked() {
            self.shared.counters.rabbitmq_unconfirmed.increment();
            self.shared.counters.rabbitmq_blocked.increment();
            return Err(unavailable(PublishFailure::Blocked));
        }
        for SubscriptionQueue { subscription, queue } in wanted {
            if queue.health.is_full() {
                return Err(PublishError::Full { subscription: subscription.key.clone() });
            }
        }
        Ok(())
    }

    /// Publishes to one queue until it has the message, or time is up.
    async fn publish_to(
        &self,
        to: &SubscriptionQueue,
        message: &Arc<Encoded>,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let SubscriptionQueue { subscription, queue } = to;
        let mut refusals = Refusals::default();
        loop {
            let Some(turn) = turn(to, deadline).await? else {
                return self.publish_elsewhere(queue, message).await;
            };
            let publish = self.shared.outbox.publish(&queue.place.queue, &queue.way, message);
            let published = tokio::time::timeout_at(deadline, publish).await;
            drop(turn);
            let Err(failure) = published.unwrap_or(Err(PublishFailure::Unconfirmed)) else {
                queue.published.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            };
            let next = self.next_step(queue, failure, &mut refusals);
            match tokio::time::timeout_at(deadline, next).await {
                Ok(Step::Again) => {}
                Ok(Step::Elsewhere) => return self.publish_elsewhere(queue, message).await,
                Ok(Step::Full) => return Err(PublishError::Full { subscription: subscription.key.clone() }),
                Ok(Step::Fail) | Err(_) => {
                    return Err(PublishError::Unavailable(format!("{failure}, for {}", subscription.key)));
                }
            }
        }
    }

    /// What to do after a failure. Returns when it can be done.
    async fn next_step(&self, queue: &Queue, failure: PublishFailure, refusals: &mut Refusals) -> Step {
        match failure {
            PublishFailure::Blocked => Step::Fail,
            PublishFailure::NoConnection | PublishFailure::Interrupted => {
                self.shared.outbox.until_open().await;
                Step::Again
            }
            PublishFailure::Unroutable => {
                self.shared.counters.rabbitmq_unroutable.increment();
                queue.declare_again();
                queue.health.until_served().await;
                Step::Again
            }
            PublishFailure::Unconfirmed => self.without_answer(queue),
            PublishFailure::Nacked => {
                let since = refusals.next().await;
                if refusals.answered.is_none() && self.is_alive(queue).await == Some(true) {
                    refusals.answered = Some(refusals.count);
                }
                // It has a leader, and refuses all the same, on channels that were opened since.
                if refusals.answered.is_some_and(|answered| refusals.count >= answered + 2) {
                    queue.health.set_full();
                    tracing::debug!(queue = queue.place.queue, "A queue is full");
                    return Step::Full;
                }
                if since.elapsed() < ELECTION { Step::Again } else { self.without_answer(queue) }
            }
        }
    }

    /// RabbitMQ does not answer for one queue. The others get the event; this one gets it later.
    fn without_answer(&self, queue: &Queue) -> Step {
        if !self.shared.outbox.is_open() {
            return Step::Fail;
        }
        queue.does_not_confirm();
        if queue.place.order == Order::Ordered { Step::Fail } else { Step::Elsewhere }
    }

    /// Whether somebody answers for a queue; `None` if another one is asking.
    async fn is_alive(&self, queue: &Queue) -> Option<bool> {
        let asking = queue.asked.swap(true, Ordering::AcqRel);
        if asking {
            return None;
        }
        let _asked = Asked(&queue.asked);
        let connection = self.shared.pool.any()?;
        let look = look(&connection.connection, &queue.place.queue);
        Some(connection.run_within(LOOK_TIMEOUT, look).await.is_ok())
    }

    /// Puts a message where it waits for its queue: there are several such places, since the one may have its leader where
    /// the queue has it.
    async fn publish_elsewhere(&self, queue: &Queue, message: &Encoded) -> Result<(), PublishError> {
        let message = message::to_queue(Encoded::clone(message), &queue.place.queue);
        for wait in AWAY_WAITS {
            let put = self.shared.put_into_wait(wait, &message);
            if tokio::time::timeout(ELSEWHERE_TIMEOUT, put).await == Ok(true) {
                self.shared.counters.rabbitmq_diverted.increment();
                self.shared.elsewhere.clear();
                return Ok(());
            }
        }
        self.shared.elsewhere.set();
        Err(PublishError::Unavailable(format!("RabbitMQ does not answer for the queue {}", queue.place.queue)))
    }
}

/// Waits until all of these queues have been declared. At a start, what waits in one queue may have a reply into another.
async fn declared(wanted: &[&SubscriptionQueue], deadline: Instant) -> Result<(), PublishError> {
    for SubscriptionQueue { subscription, queue } in wanted {
        let is_new = queue.health.state() == QueueState::Undeclared && queue.begun.load(Ordering::Acquire) == 0;
        if is_new && tokio::time::timeout_at(deadline, queue.health.until_served()).await.is_err() {
            let key = &subscription.key;
            return Err(PublishError::Unavailable(format!("the queue of {key} is not declared yet")));
        }
    }
    Ok(())
}

/// Waits until a message may be on its way to a queue; `None` if it is to wait elsewhere, since RabbitMQ does not answer
/// for the queue. That may be found out during the wait.
async fn turn(to: &SubscriptionQueue, deadline: Instant) -> Result<Option<SemaphorePermit<'_>>, PublishError> {
    let SubscriptionQueue { subscription, queue } = to;
    let unavailable = |what: &str| PublishError::Unavailable(format!("{what} the queue of {}", subscription.key));
    let wait = async {
        loop {
            let turn = queue.window.acquire().await;
            match (queue.is_away(), queue.place.order) {
                (true, Order::Unordered) => return Ok(None),
                (true, Order::Ordered) if !queue.trial.is_due() => {}
                _ => return turn.map(Some).map_err(|_closed| unavailable("the process does not publish any more to")),
            }
            drop(turn);
            queue.health.until_served().await;
        }
    };
    if queue.is_away() && queue.place.order == Order::Unordered {
        return Ok(None);
    }
    let turn = tokio::time::timeout_at(deadline, wait).await;
    turn.unwrap_or_else(|_elapsed| match queue.health.state() {
        QueueState::Away => Err(unavailable("RabbitMQ does not answer for")),
        _ => Err(unavailable("too many events wait for")),
    })
}

fn unavailable(failure: PublishFailure) -> PublishError {
    PublishError::Unavailable(failure.to_string())
}

/// What to do with a message that one queue has not taken.
enum Step {
    /// Publish it again.
    Again,
    /// Let it wait elsewhere.
    Elsewhere,
    /// Tell the sender that the queue is full.
    Full,
    /// Tell the sender.
    Fail,
}

/// Notes that a queue is asked about no more when it is dropped.
struct Asked<'a>(&'a AtomicBool);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// How often, and since when, a queue refuses a message.
#[derive(Default)]
struct Refusals {
    since: Option<Instant>,
    count: u32,
    /// After how many of them it answered when it was asked for.
    answered: Option<u32>,
}

impl Refusals {
    /// Counts another one, and waits a little. Gives when the first one was.
    async fn next(&mut self) -> Instant {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.count += 1;
        let pause = PAUSE.saturating_mul(1 << self.count.min(8)).min(LONGEST_PAUSE);
        tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
        since
    }
}

impl Publisher for RabbitmqPublisher {
    fn publish<'a>(&'a self, events: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let (mut all, mut shift) = (Vec::with_capacity(events.len()), Shift::default());
            // One after the other: side by side in one task, they would have their turns before anybody else.
            for event in events {
                all.push((event, self.wanted(event, &mut shift).await));
            }
            let published = join_all(all.iter().map(|(event, wanted)| self.publish_one(event, wanted))).await;
            published.into_iter().collect()
        }
        .boxed()
    }
}
