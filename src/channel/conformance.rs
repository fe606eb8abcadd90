//! Conformance of backends: the promises that every one must keep, in one suite, which
//! [`conformance!`] runs on each.

pub(crate) mod promises;
pub(crate) mod told;

use std::sync::Arc;
use std::time::Duration;

use super::{ChannelBackend, DeliveryOutcome, EventDelivery, OpenedChannel, QueueConsumer};
use crate::event::Event;
use crate::filter::Filter;
use crate::model::{
    AcknowledgeMode, BackendKind, Channel, ChannelKey, ChannelKind, DeliveryOrder, DeliverySpec,
    Subscription, SubscriptionKey, SubscriptionKind,
};
use crate::telemetry::counters::ProcessCounters;

/// Longest time that a test waits for a condition.
const PATIENCE: Duration = Duration::from_secs(20);

/// A backend that the suite is run on.
pub(crate) trait BackendUnderTest: Sized {
    /// Kind of the backend.
    const STORAGE: BackendKind;
    /// True if events outlive the process, so that none is lost with it.
    const IS_DURABLE: bool;

    /// Starts a backend that has no queues yet.
    async fn start() -> Self;

    /// Namespace of the channel, which no other test uses.
    fn namespace(&self) -> &str;

    /// The backend of the current process.
    fn backend(&self) -> &dyn ChannelBackend;

    /// What the backend counts in, with the observer that it tells.
    fn counters(&self) -> Arc<ProcessCounters>;

    /// Ends the process in good order, and gives the next one, which finds what this one has left.
    async fn restart(self) -> Self;
}

/// Expands to the suite for a [`BackendUnderTest`]: one test for each promise.
macro_rules! conformance {
    ($backend:ty) => {
        $crate::channel::conformance::conformance!($backend:
            events_come_to_whoever_wants_them,
            a_channel_without_subscriptions_accepts,
            what_is_settled_does_not_come_again,
            what_is_dropped_is_not_forgotten,
            what_nobody_took_is_parked_or_told_to_the_sender,
            what_is_parked_outlives_the_process,
            what_is_put_off_twice_comes_back_as_it_left_last,
            what_is_put_off_comes_back_as_it_left,
            what_is_in_order_stays_in_order,
            queues_are_kept_when_a_channel_is_opened_again,
            a_subscription_that_goes_loses_nothing,
            a_subscription_that_comes_back_gets_what_comes_then,
            a_process_that_ends_loses_nothing,
            senders_in_a_crowd_lose_and_double_nothing,
        );

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn observers_are_told_how_deliveries_end() {
            $crate::channel::conformance::told::observers_are_told_how_deliveries_end::<$backend>()
                .await;
        }
    };
    ($backend:ty: $($name:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $crate::channel::conformance::promises::$name::<$backend>().await;
        }
    )*};
}
pub(crate) use conformance;

/// A channel that is open on the backend under test.
struct Bench<B> {
    under_test: B,
    opened: OpenedChannel,
}

impl<B: BackendUnderTest> Bench<B> {
    async fn start(subscriptions: &[SubscriptionWish]) -> Self {
        Self::on(
            B::start().await,
            subscriptions,
            AcknowledgeMode::AfterEnqueue,
        )
        .await
    }

    async fn on(
        under_test: B,
        subscriptions: &[SubscriptionWish],
        acknowledge: AcknowledgeMode,
    ) -> Self {
        let channel = channel(&under_test, subscriptions, acknowledge);
        let opened = under_test.backend().open(&channel);
        until_served(&under_test, &channel).await;
        Self { under_test, opened }
    }

    /// Opens the same channel in the next process.
    async fn restart(self, subscriptions: &[SubscriptionWish]) -> Self {
        let Self { under_test, opened } = self;
        drop(opened);
        Self::on(
            under_test.restart().await,
            subscriptions,
            AcknowledgeMode::AfterEnqueue,
        )
        .await
    }

    async fn publish(&self, event: &Event) {
        assert_eq!(
            self.opened
                .publisher
                .publish(&[Arc::new(event.clone())])
                .await,
            Ok(())
        );
    }

    async fn publish_all<'i>(&self, ids: impl IntoIterator<Item = &'i str>) {
        for id in ids {
            self.publish(&event(id)).await;
        }
    }

    async fn next(&mut self, name: &str) -> Box<EventDelivery> {
        next(self.consumer(name)).await
    }

    /// Takes and settles the next event; gives its id.
    async fn deliver(&mut self, name: &str) -> String {
        let message = self.next(name).await;
        let id = message.event.id().into_owned();
        message.settle(DeliveryOutcome::Delivered).await;
        id
    }

    fn consumer(&mut self, name: &str) -> &mut QueueConsumer {
        let mut consumers = self.opened.consumers.iter_mut();
        let (_, consumer) = consumers
            .find(|(subscription, _)| subscription.key.name == name)
            .expect("a consumer");
        consumer
    }

    fn key(&self, name: &str) -> SubscriptionKey {
        key(self.under_test.namespace(), name)
    }

    fn unfinished(&self, name: &str) -> Option<usize> {
        self.under_test.backend().unfinished(&self.key(name))
    }
}

/// Name, filter and order of a subscription that a test asks for.
#[derive(Clone)]
struct SubscriptionWish {
    name: &'static str,
    filter: Filter,
    order: DeliveryOrder,
}

fn of_everything(name: &'static str) -> SubscriptionWish {
    SubscriptionWish {
        name,
        filter: Filter::MatchAll,
        order: DeliveryOrder::Unordered,
    }
}

fn in_order(name: &'static str) -> SubscriptionWish {
    SubscriptionWish {
        order: DeliveryOrder::Ordered,
        ..of_everything(name)
    }
}

fn key(namespace: &str, name: &str) -> SubscriptionKey {
    SubscriptionKey {
        kind: SubscriptionKind::Subscription,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn channel_key(namespace: &str) -> ChannelKey {
    ChannelKey {
        kind: ChannelKind::Channel,
        namespace: namespace.to_owned(),
        name: "c".to_owned(),
    }
}

fn channel<B: BackendUnderTest>(
    under_test: &B,
    wishes: &[SubscriptionWish],
    acknowledge: AcknowledgeMode,
) -> Channel {
    let namespace = under_test.namespace();
    let subscription = |wish: &SubscriptionWish| {
        Arc::new(Subscription {
            key: key(namespace, wish.name),
            filter: wish.filter.clone(),
            subscriber: None,
            reply: None,
            dead_letter_sink: None,
            sender: None,
            event_types: None,
            delivery: DeliverySpec {
                order: wish.order,
                ..DeliverySpec::default()
            },
            namespace: namespace.to_owned(),
        })
    };
    Channel {
        key: channel_key(namespace),
        backend: B::STORAGE,
        acknowledge,
        retain: None,
        authorization: None,
        event_types: None,
        subscriptions: wishes.iter().map(subscription).collect(),
    }
}

fn event(id: &str) -> Event {
    Event::new(id, "/s", "t")
}

async fn until_served<B: BackendUnderTest>(under_test: &B, channel: &Channel) {
    let backend = under_test.backend();
    let is_served = || {
        channel
            .subscriptions
            .iter()
            .all(|it| backend.trouble(&it.key).is_none())
    };
    eventually("queues are served", is_served).await;
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_elapsed| panic!("not within {PATIENCE:?}: {what}"));
}

async fn next(consumer: &mut QueueConsumer) -> Box<EventDelivery> {
    let next = tokio::time::timeout(PATIENCE, consumer.recv()).await;
    next.expect("in time").expect("a message")
}

/// Ids of the events that are left in a queue whose consumer ends.
async fn rest(consumer: &mut QueueConsumer) -> Vec<String> {
    let mut ids = Vec::new();
    while let Some(message) = tokio::time::timeout(PATIENCE, consumer.recv())
        .await
        .expect("it ends in time")
    {
        ids.push(message.event.id().into_owned());
        message.settle(DeliveryOutcome::Delivered).await;
    }
    ids
}
