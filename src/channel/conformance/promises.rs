//! The promises of every backend, each as a test that fails where a backend breaks it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::Instant;

use super::{
    BackendUnderTest, Bench, SubscriptionWish, channel, channel_key, event, eventually, in_order,
    next, of_everything, rest, until_served,
};
use crate::channel::parked::{ParkedAction, ParkedOperation, ParkedStore, ParkingSubscription};
use crate::channel::{
    CountedDrop, DeferredDelivery, DeliveryOutcome, DeliveryStage, LostDelivery, OpenedChannel,
    PublishError,
};
use crate::event::Event;
use crate::filter::Filter;
use crate::model::{AcknowledgeMode, DestinationRole, SubscriptionKey};
use crate::telemetry::series::DropReason;

pub(super) fn loss(subscription: SubscriptionKey) -> DeliveryOutcome {
    DeliveryOutcome::Lost(Box::new(LostDelivery {
        subscription,
        destination: "http://a.example/".to_owned(),
        code: 503,
        attempts: 4,
        reason: "it is busy".to_owned(),
        counted_as: CountedDrop {
            destination: DestinationRole::Subscriber,
            reason: DropReason::of_status(503),
        },
    }))
}

/// Each subscription gets the events that pass its filter, as they are (contract FO-1, FO-2).
pub(crate) async fn events_come_to_whoever_wants_them<B: BackendUnderTest>() {
    let of_orders = Filter::Exact(vec![("type".to_owned(), "order".to_owned())]);
    let wishes = [
        of_everything("all"),
        SubscriptionWish {
            filter: of_orders,
            ..of_everything("orders")
        },
    ];
    let mut bench = Bench::<B>::start(&wishes).await;
    let octets = HeaderValue::from_static("application/octet-stream");
    let mut order = Event::new("1", "/shop", "order")
        .with_data(octets, Bytes::from_static(&[0, 159, 146, 150]));
    order.set("region", "eu");
    bench.publish(&Event::new("0", "/shop", "visit")).await;
    bench.publish(&order).await;
    assert_eq!(bench.deliver("all").await, "0");
    for name in ["all", "orders"] {
        let message = bench.next(name).await;
        assert_eq!(*message.event, order, "{name}");
        message.settle(DeliveryOutcome::Delivered).await;
    }
}

/// A channel without subscriptions accepts events, and drops them (contract FO-3).
pub(crate) async fn a_channel_without_subscriptions_accepts<B: BackendUnderTest>() {
    let bench = Bench::<B>::start(&[]).await;
    bench.publish(&event("1")).await;
}

pub(crate) async fn what_is_settled_does_not_come_again<B: BackendUnderTest>() {
    let wishes = [of_everything("a")];
    let mut bench = Bench::<B>::start(&wishes).await;
    bench.publish_all(["1", "2"]).await;
    let (first, second) = (bench.next("a").await, bench.next("a").await);
    assert_eq!(bench.unfinished("a"), Some(2));
    second.settle(DeliveryOutcome::DeadLettered).await;
    first.settle(DeliveryOutcome::Delivered).await;
    eventually("both have ended", || bench.unfinished("a") == Some(0)).await;
    let mut bench = bench.restart(&wishes).await;
    bench.publish(&event("3")).await;
    assert_eq!(bench.deliver("a").await, "3");
}

/// A delivery that is broken off is not forgotten: a durable event comes again, and a sender who
/// waits for the delivery gets an error.
pub(crate) async fn what_is_dropped_is_not_forgotten<B: BackendUnderTest>() {
    let wishes = [of_everything("a")];
    if B::IS_DURABLE {
        let mut bench = Bench::<B>::start(&wishes).await;
        bench.publish(&event("1")).await;
        drop(bench.next("a").await);
        let mut bench = bench.restart(&wishes).await;
        assert_eq!(bench.deliver("a").await, "1");
        return;
    }
    let mut bench = Bench::on(B::start().await, &wishes, AcknowledgeMode::AfterDelivery).await;
    let publisher = Arc::clone(&bench.opened.publisher);
    let events = [Arc::new(event("1"))];
    let (published, ()) = tokio::join!(publisher.publish(&events), async {
        drop(bench.next("a").await)
    });
    assert_eq!(
        published,
        Err(PublishError::Undelivered {
            failed: 1,
            total: 1
        })
    );
}

pub(crate) async fn what_nobody_took_is_parked_or_told_to_the_sender<B: BackendUnderTest>() {
    let wishes = [of_everything("a")];
    let acknowledge = if B::IS_DURABLE {
        AcknowledgeMode::AfterEnqueue
    } else {
        AcknowledgeMode::AfterDelivery
    };
    let mut bench = Bench::on(B::start().await, &wishes, acknowledge).await;
    let (key, publisher) = (bench.key("a"), Arc::clone(&bench.opened.publisher));
    let events = [Arc::new(event("1"))];
    let lose = async { bench.next("a").await.settle(loss(key.clone())).await };
    let (published, ()) = tokio::join!(publisher.publish(&events), lose);
    let Some(parked) = bench.under_test.backend().parked_store() else {
        assert_eq!(
            published,
            Err(PublishError::Undelivered {
                failed: 1,
                total: 1
            })
        );
        return;
    };
    assert_eq!(published, Ok(()));
    let channel = channel_key(bench.under_test.namespace());
    let owner = ParkingSubscription {
        backend: B::STORAGE,
        channel,
        subscription: key,
    };
    assert_eq!(
        parked.count(std::slice::from_ref(&owner)).await,
        Ok(vec![1])
    );
    is_shown_and_replayed(&*parked, &owner).await;
    assert_eq!(bench.deliver("a").await, "1");
    assert_eq!(
        parked.count(std::slice::from_ref(&owner)).await,
        Ok(vec![0])
    );
}

/// The one event that a subscription has parked is shown, and put back into its queue.
async fn is_shown_and_replayed(parked: &dyn ParkedStore, owner: &ParkingSubscription) {
    let operation = ParkedOperation::default();
    let shown = parked.show(owner, 10, &operation).await.expect("a look");
    assert_eq!(
        shown
            .events
            .iter()
            .map(|it| (it.id.as_deref(), it.attempts))
            .collect::<Vec<_>>(),
        [(Some("1"), Some(4))]
    );
    let replayed = parked.change(owner, ParkedAction::Replay, &operation).await;
    assert_eq!(replayed.map(|change| change.done), Ok(1));
}

/// Parked events are there for the next process, which can put them back; a backend that parks
/// nothing has none to lose.
pub(crate) async fn what_is_parked_outlives_the_process<B: BackendUnderTest>() {
    let wishes = [of_everything("a")];
    let mut bench = Bench::<B>::start(&wishes).await;
    if bench.under_test.backend().parked_store().is_none() {
        return;
    }
    bench.publish(&event("1")).await;
    let key = bench.key("a");
    bench.next("a").await.settle(loss(key.clone())).await;
    let mut bench = bench.restart(&wishes).await;
    let owner = ParkingSubscription {
        backend: B::STORAGE,
        channel: channel_key(bench.under_test.namespace()),
        subscription: key,
    };
    let parked = bench.under_test.backend().parked_store().expect("a store");
    is_shown_and_replayed(&*parked, &owner).await;
    assert_eq!(bench.deliver("a").await, "1");
}

/// The stage and the attempts that were recorded last count, whatever was recorded before.
pub(crate) async fn what_is_put_off_twice_comes_back_as_it_left_last<B: BackendUnderTest>() {
    if !B::IS_DURABLE {
        return;
    }
    let wishes = [of_everything("a")];
    let mut bench = Bench::<B>::start(&wishes).await;
    bench.publish(&event("1")).await;
    let dead = DeliveryStage::DeadLetterSink(Arc::new(event("1")));
    for (stage, attempts) in [(DeliveryStage::Subscriber, 2), (dead.clone(), 1)] {
        let deferral = DeferredDelivery {
            stage,
            attempts,
            wait: Duration::from_millis(10),
        };
        let message = bench.next("a").await;
        message.settle(DeliveryOutcome::Deferred(deferral)).await;
    }
    let mut bench = bench.restart(&wishes).await;
    let progress = std::mem::take(&mut bench.next("a").await.progress);
    assert_eq!((progress.attempts, progress.stage), (1, dead));
}

/// An event whose wait outlives the process comes back with the progress of its delivery; a backend
/// that lets an event be held for as long as it may take defers none.
pub(crate) async fn what_is_put_off_comes_back_as_it_left<B: BackendUnderTest>() {
    let mut bench = Bench::<B>::start(&[of_everything("a")]).await;
    bench.publish(&event("1")).await;
    let message = bench.next("a").await;
    if !B::IS_DURABLE {
        assert_eq!(
            (message.progress.max_wait, message.progress.hold_time),
            (None, None)
        );
        return;
    }
    assert!(message.progress.max_wait.is_some());
    let stage = DeliveryStage::Reply(Arc::new(event("an answer")));
    let deferral = DeferredDelivery {
        stage: stage.clone(),
        attempts: 3,
        wait: Duration::from_secs(1),
    };
    let before = Instant::now();
    message.settle(DeliveryOutcome::Deferred(deferral)).await;
    let mut bench = bench.restart(&[of_everything("a")]).await;
    let message = bench.next("a").await;
    assert!(before.elapsed() + message.progress.wait >= Duration::from_secs(1));
    assert_eq!(
        (
            &*message.event.id(),
            message.progress.attempts,
            &message.progress.stage
        ),
        ("1", 3, &stage)
    );
    message.settle(DeliveryOutcome::Delivered).await;
}

pub(crate) async fn what_is_in_order_stays_in_order<B: BackendUnderTest>() {
    let mut bench = Bench::<B>::start(&[in_order("a")]).await;
    let ids: Vec<String> = (0..60).map(|id| id.to_string()).collect();
    let events: Vec<Arc<Event>> = ids.iter().map(|id| Arc::new(event(id))).collect();
    assert_eq!(bench.opened.publisher.publish(&events[..40]).await, Ok(()));
    bench
        .publish_all(ids[40..].iter().map(String::as_str))
        .await;
    for id in &ids[..20] {
        assert_eq!(bench.deliver("a").await, *id);
    }
    if B::IS_DURABLE {
        // The next delivery has begun, and comes again first.
        drop(bench.next("a").await);
        bench = bench.restart(&[in_order("a")]).await;
    }
    for id in &ids[20..] {
        assert_eq!(bench.deliver("a").await, *id);
    }
}

pub(crate) async fn queues_are_kept_when_a_channel_is_opened_again<B: BackendUnderTest>() {
    let mut bench = Bench::<B>::start(&[of_everything("a")]).await;
    bench.publish(&event("1")).await;
    let wider = channel(
        &bench.under_test,
        &[of_everything("a"), of_everything("b")],
        AcknowledgeMode::AfterEnqueue,
    );
    let OpenedChannel {
        publisher,
        mut consumers,
    } = bench.under_test.backend().open(&wider);
    until_served(&bench.under_test, &wider).await;
    assert_eq!(
        consumers
            .iter()
            .map(|(it, _)| it.key.name.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(publisher.publish(&[Arc::new(event("2"))]).await, Ok(()));
    assert_eq!(
        (bench.deliver("a").await, bench.deliver("a").await),
        ("1".to_owned(), "2".to_owned())
    );
    let message = next(&mut consumers[0].1).await;
    assert_eq!(message.event.id(), "2");
    message.settle(DeliveryOutcome::Delivered).await;
}

/// Events in the queue of a retired subscription come before its consumer ends, or when the
/// subscription comes back.
pub(crate) async fn a_subscription_that_goes_loses_nothing<B: BackendUnderTest>() {
    let mut bench = Bench::<B>::start(&[of_everything("a"), of_everything("b")]).await;
    bench.publish_all(["1", "2", "3"]).await;
    let under_way = bench.next("a").await;
    bench
        .under_test
        .backend()
        .retire_subscription(&bench.key("a"));
    assert_eq!(bench.unfinished("a"), None);
    let narrower = channel(
        &bench.under_test,
        &[of_everything("b")],
        AcknowledgeMode::AfterEnqueue,
    );
    bench.opened.publisher = bench.under_test.backend().open(&narrower).publisher;
    bench.publish(&event("4")).await;
    let mut seen: BTreeSet<String> = [under_way.event.id().into_owned()].into();
    under_way.settle(DeliveryOutcome::Delivered).await;
    seen.extend(rest(bench.consumer("a")).await);
    for id in ["1", "2", "3", "4"] {
        assert_eq!(bench.deliver("b").await, id);
    }
    if B::IS_DURABLE {
        let mut bench = bench.restart(&[of_everything("a")]).await;
        bench.publish(&event("5")).await;
        while !seen.contains("5") {
            seen.insert(bench.deliver("a").await);
        }
        seen.remove("5");
    }
    assert_eq!(
        seen.iter().map(String::as_str).collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
}

pub(crate) async fn a_subscription_that_comes_back_gets_what_comes_then<B: BackendUnderTest>() {
    let wishes = [of_everything("a")];
    let mut bench = Bench::<B>::start(&wishes).await;
    bench.publish(&event("1")).await;
    assert_eq!(bench.deliver("a").await, "1");
    eventually("it has ended", || bench.unfinished("a") == Some(0)).await;
    bench
        .under_test
        .backend()
        .retire_subscription(&bench.key("a"));
    let channel = channel(&bench.under_test, &wishes, AcknowledgeMode::AfterEnqueue);
    bench.opened = bench.under_test.backend().open(&channel);
    until_served(&bench.under_test, &channel).await;
    bench.publish(&event("2")).await;
    assert_eq!(bench.deliver("a").await, "2");
}

/// Every accepted event comes before the process ends, or in the next one.
pub(crate) async fn a_process_that_ends_loses_nothing<B: BackendUnderTest>() {
    let wishes = [of_everything("a")];
    let mut bench = Bench::<B>::start(&wishes).await;
    let ids: Vec<String> = (0..100).map(|id| id.to_string()).collect();
    bench.publish_all(ids.iter().map(String::as_str)).await;
    let mut seen = BTreeSet::from([bench.deliver("a").await]);
    bench.under_test.backend().close();
    if B::IS_DURABLE {
        seen.extend(rest(bench.consumer("a")).await);
        let mut bench = bench.restart(&wishes).await;
        while seen.len() < ids.len() {
            assert!(
                seen.insert(bench.deliver("a").await),
                "what was settled does not come again"
            );
        }
        return;
    }
    for id in &ids[1..] {
        assert_eq!(bench.deliver("a").await, *id);
    }
}

pub(crate) async fn senders_in_a_crowd_lose_and_double_nothing<B: BackendUnderTest>() {
    let mut bench = Bench::<B>::start(&[of_everything("a")]).await;
    let publisher = Arc::clone(&bench.opened.publisher);
    let send = |sender: usize| {
        let publisher = Arc::clone(&publisher);
        async move {
            for id in 0..40 {
                let events = [Arc::new(event(&format!("{sender}-{id}")))];
                assert_eq!(publisher.publish(&events).await, Ok(()));
            }
        }
    };
    let receive = async {
        let mut seen = BTreeSet::new();
        while seen.len() < 8 * 40 {
            assert!(seen.insert(bench.deliver("a").await));
        }
    };
    tokio::join!(futures_util::future::join_all((0..8).map(send)), receive);
    eventually("all have ended", || bench.unfinished("a") == Some(0)).await;
}
