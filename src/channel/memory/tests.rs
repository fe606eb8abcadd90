//! Tests of the memory queue's promise: no event is lost or doubled, and a request is enqueued as a
//! whole or not at all.

use super::*;
use crate::channel::conformance::{BackendUnderTest, conformance};
use crate::filter::Filter;
use crate::model::{
    BackendKind, ChannelKey, ChannelKind, DeliverySpec, Subscription, SubscriptionKind,
};
use proptest::prelude::*;

fn subscription(name: &str, filter: Filter) -> Arc<Subscription> {
    Arc::new(Subscription {
        key: SubscriptionKey {
            kind: SubscriptionKind::Subscription,
            namespace: "ns".to_owned(),
            name: name.to_owned(),
        },
        filter,
        subscriber: None,
        reply: None,
        dead_letter_sink: None,
        sender: None,
        event_types: None,
        delivery: DeliverySpec::default(),
        namespace: "ns".to_owned(),
    })
}

fn channel(acknowledge: AcknowledgeMode, subscriptions: Vec<Arc<Subscription>>) -> Channel {
    let key = ChannelKey {
        kind: ChannelKind::Channel,
        namespace: "ns".to_owned(),
        name: "c".to_owned(),
    };
    Channel {
        key,
        backend: BackendKind::Memory,
        acknowledge,
        retain: None,
        authorization: None,
        event_types: None,
        subscriptions,
    }
}

fn events(ids: std::ops::Range<usize>) -> Vec<Arc<Event>> {
    ids.map(|id| Arc::new(Event::new(&id.to_string(), "/s", "t")))
        .collect()
}

fn backend(capacity: usize) -> (MemoryBackend, Arc<ProcessCounters>) {
    let counters = Arc::new(ProcessCounters::default());
    (
        MemoryBackend::new(capacity, Arc::clone(&counters)),
        counters,
    )
}

mod conforms {
    use super::*;

    impl BackendUnderTest for MemoryBackend {
        const STORAGE: BackendKind = BackendKind::Memory;
        const IS_DURABLE: bool = false;

        async fn start() -> Self {
            backend(1000).0
        }

        fn namespace(&self) -> &str {
            "ns"
        }

        fn backend(&self) -> &dyn ChannelBackend {
            self
        }

        fn counters(&self) -> Arc<ProcessCounters> {
            Arc::clone(&self.counters)
        }

        async fn restart(self) -> Self {
            Self::start().await
        }
    }

    conformance!(MemoryBackend);
}

#[tokio::test]
async fn a_full_queue_takes_nothing_anywhere() {
    let (backend, counters) = backend(2);
    let subscriptions = vec![
        subscription("a", Filter::MatchAll),
        subscription("b", Filter::MatchAll),
    ];
    let mut opened = backend.open(&channel(AcknowledgeMode::AfterEnqueue, subscriptions));
    assert_eq!(opened.publisher.publish(&events(0..1)).await, Ok(()));
    let (_, mut first) = opened.consumers.remove(0);
    first
        .recv()
        .await
        .expect("a message")
        .settle(DeliveryOutcome::Delivered)
        .await;
    assert!(
        opened.publisher.publish(&events(1..3)).await.is_err(),
        "b has one place left, the batch needs two"
    );
    assert!(first.try_recv().is_err(), "a got nothing of it");
    assert_eq!(counters.unfinished(), 1);
    assert_eq!(
        opened.publisher.publish(&events(3..4)).await,
        Ok(()),
        "the places were given back"
    );
}

/// Contract FO-4, FO-5.
#[tokio::test]
async fn a_sync_channel_answers_when_all_have_ended() {
    let (backend, counters) = backend(10);
    let subscriptions = vec![
        subscription("a", Filter::MatchAll),
        subscription("b", Filter::MatchAll),
    ];
    let mut opened = backend.open(&channel(AcknowledgeMode::AfterDelivery, subscriptions));
    let events = events(0..1);
    let mut publishing = opened.publisher.publish(&events);
    assert!((&mut publishing).now_or_never().is_none());
    for (index, outcome) in [DeliveryOutcome::Delivered, DeliveryOutcome::DeadLettered]
        .into_iter()
        .enumerate()
    {
        opened.consumers[index]
            .1
            .recv()
            .await
            .expect("a message")
            .settle(outcome)
            .await;
    }
    assert_eq!(publishing.await, Ok(()));
    let mut publishing = opened.publisher.publish(&events);
    assert!((&mut publishing).now_or_never().is_none());
    drop(opened.consumers[0].1.recv().await);
    opened.consumers[1]
        .1
        .recv()
        .await
        .expect("a message")
        .settle(DeliveryOutcome::Delivered)
        .await;
    assert_eq!(
        publishing.await,
        Err(PublishError::Undelivered {
            failed: 1,
            total: 2
        })
    );
    assert_eq!(
        (
            counters.delivered.get(),
            counters.dead_lettered.get(),
            counters.abandoned.get()
        ),
        (2, 1, 1)
    );
}

#[tokio::test]
async fn a_retired_queue_is_drained_and_ends() {
    let (backend, _) = backend(10);
    let mut opened = backend.open(&channel(
        AcknowledgeMode::AfterEnqueue,
        vec![subscription("a", Filter::MatchAll)],
    ));
    opened
        .publisher
        .publish(&events(0..2))
        .await
        .expect("published");
    let (subscription, mut consumer) = opened.consumers.remove(0);
    backend.retire_subscription(&subscription.key);
    drop(opened);
    for _ in 0..2 {
        consumer
            .recv()
            .await
            .expect("a message")
            .settle(DeliveryOutcome::Delivered)
            .await;
    }
    assert!(consumer.recv().await.is_none());
}

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Consume,
    Drop,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0usize..4).prop_map(Step::Publish),
        Just(Step::Consume),
        Just(Step::Drop),
        Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// Against a model of one queue: what is consumed is what was published, in order, each once.
    #[test]
    fn nothing_is_lost_or_doubled(steps in steps(), capacity in 1usize..6) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (backend, counters) = backend(capacity);
            let channel = channel(AcknowledgeMode::AfterEnqueue, vec![subscription("a", Filter::MatchAll)]);
            let OpenedChannel { mut publisher, mut consumers } = backend.open(&channel);
            let (mut model, mut next) = (std::collections::VecDeque::new(), 0);
            for step in steps {
                match step {
                    Step::Publish(n) => {
                        let published = publisher.publish(&events(next..next + n)).await;
                        prop_assert_eq!(published.is_ok(), model.len() + n <= capacity);
                        if published.is_ok() {
                            model.extend(next..next + n);
                        }
                        next += n;
                    }
                    Step::Consume | Step::Drop => {
                        let message = consumers[0].1.try_recv().ok();
                        prop_assert_eq!(message.as_ref().map(|m| m.event.id().into_owned()), model.pop_front().map(|id| id.to_string()));
                        if let (Some(message), Step::Consume) = (message, step) {
                            message.settle(DeliveryOutcome::Delivered).await;
                        }
                    }
                    Step::Reopen => {
                        let opened = backend.open(&channel);
                        prop_assert!(opened.consumers.is_empty(), "the queue is kept");
                        publisher = opened.publisher;
                    }
                }
                prop_assert_eq!(counters.unfinished(), model.len() as u64);
            }
            Ok(())
        })?;
    }
}
