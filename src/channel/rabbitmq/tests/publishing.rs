//! Tests of publishing: the answer that a sender gets.

use futures_util::FutureExt;

use super::*;
use crate::channel::DeliveryOutcome;
use crate::channel::rabbitmq::tests::fake::Confirm;

fn is_unavailable(published: &Result<(), PublishError>) -> bool {
    matches!(published, Err(PublishError::Unavailable(_)))
}

#[tokio::test]
async fn an_event_is_accepted_when_every_queue_has_it() {
    let bench = Bench::start(&["a", "b"]).await;
    let late = Duration::from_millis(300);
    bench.server.queue(&queue("a")).confirm_after(late);
    let before = Instant::now();
    assert_eq!(bench.publish("1").await, Ok(()));
    assert!(before.elapsed() >= late, "a confirms later");
    assert_eq!(bench.backend.metrics().confirmed.get(), 2);
    for name in ["a", "b"] {
        let published = bench.server.published(&queue(name));
        assert_eq!(
            published
                .iter()
                .map(|published| published.confirm)
                .collect::<Vec<_>>(),
            [Confirm::Acked]
        );
        assert_eq!(
            published[0].properties.delivery_mode(),
            &Some(2),
            "it outlives the node"
        );
        assert!(published[0].at >= before);
    }
}

/// A channel that looked during an election is refused for the rest of its life: another one is
/// opened.
#[tokio::test]
async fn an_event_that_is_refused_is_published_again() {
    let bench = Bench::start(&["a", "b"]).await;
    bench.server.queue(&queue("a")).nack(2);
    assert_eq!(bench.publish("1").await, Ok(()));
    assert_eq!(
        (
            bench.backend.metrics().nacked.get(),
            bench.server.ready(&queue("a"))
        ),
        (2, 0)
    );
    assert_eq!(
        bench.server.published(&queue("b")).len(),
        1,
        "what was stored is not published again"
    );
}

/// A channel that looked the leader up before an election is refused for its life: it is opened
/// anew.
#[tokio::test]
async fn a_channel_that_is_refused_is_opened_anew() {
    let mut bench = Bench::start(&["a"]).await;
    bench.server.everywhere().nack_old();
    assert_eq!(bench.publish("1").await, Ok(()));
    let published = bench.server.published(&queue("a"));
    let (first, last) = (&published[0], &published[published.len() - 1]);
    assert_eq!(
        (first.confirm, last.confirm, bench.server.ready(&queue("a"))),
        (Confirm::Nacked, Confirm::Acked, 0)
    );
    assert!(first.channel != last.channel);
    assert_eq!(bench.next(0).await.event.id(), "1");
    assert_eq!(bench.publish("2").await, Ok(()), "and stays open");
    assert_eq!(
        bench.server.published(&queue("a")).len(),
        published.len() + 1
    );
}

/// A queue that answers and refuses all the same is full; what the other queue has is not published
/// to it again.
#[tokio::test]
async fn a_queue_that_refuses_for_good_is_full() {
    let bench = Bench::start(&["a", "b"]).await;
    bench.server.queue(&queue("a")).nack_all();
    assert_eq!(
        bench.publish("1").await,
        Err(PublishError::Full {
            subscription: key("a")
        })
    );
    assert_eq!(bench.server.published(&queue("b")).len(), 1);
    assert!(bench.backend.metrics().nacked.get() > 1);
}

/// The others have the event at once, this one gets it when its queue has a leader again; nobody is
/// told 503.
#[tokio::test]
async fn an_event_for_a_queue_without_leader_waits_elsewhere() {
    let mut bench = Bench::start(&["a", "b"]).await;
    bench.server.queue(&queue("a")).lose_leader();
    let before = Instant::now();
    assert_eq!(bench.publish("1").await, Ok(()));
    assert!(before.elapsed() < Duration::from_secs(10));
    assert_eq!(
        (
            bench.next(1).await.event.id().into_owned(),
            bench.backend.metrics().diverted.get()
        ),
        ("1".to_owned(), 1)
    );
    bench.server.queue(&queue("a")).heal();
    assert_eq!(bench.next(0).await.event.id(), "1");
}

/// Nobody waits for longer than the limit, and nobody else waits at all.
#[tokio::test]
async fn a_queue_that_does_not_confirm_holds_up_no_other() {
    let server = FakeServer::start().await;
    let mut bench = Bench::begin(server, &["a"], DeliveryOrder::Unordered);
    let other = bench.backend.open(&Channel {
        key: ChannelKey {
            kind: ChannelKind::Channel,
            namespace: "ns".to_owned(),
            name: "other".to_owned(),
        },
        ..channel(&["b"], DeliveryOrder::Unordered)
    });
    bench.ready(&["a"]).await;
    let b = "sealpost:channel:ns:other:subscription:ns:b";
    bench
        .server
        .until("b is consumed", |server| !server.consumers(b).is_empty())
        .await;
    bench.server.queue(&queue("a")).lose_leader();
    let events = [event("1")];
    let mut waiting = bench.publisher.publish(&events);
    assert!((&mut waiting).now_or_never().is_none());
    bench
        .server
        .until("it has come", |server| {
            server.published(&queue("a")).len() == 1
        })
        .await;
    let before = Instant::now();
    for id in ["2", "3", "4"] {
        assert_eq!(other.publisher.publish(&[event(id)]).await, Ok(()));
    }
    assert!(before.elapsed() < Duration::from_secs(5));
    assert!((&mut waiting).now_or_never().is_none(), "it still waits");
    bench.server.queue(&queue("a")).heal();
    assert_eq!(waiting.await, Ok(()));
    assert_eq!(bench.next(0).await.event.id(), "1");
}

/// A node that is cut off from the others answers everything, and confirms nothing: the other
/// connection leads to one that is not. When the first comes back, what waited there is delivered
/// as well.
#[tokio::test]
async fn what_one_connection_does_not_confirm_is_published_on_the_other() {
    let mut bench = Bench::start(&["a"]).await;
    let channel = known_to_both(&bench, &queue("a")).await;
    let known = bench.server.published(&queue("a")).len();
    for _ in 0..known {
        bench.next(0).await.settle(DeliveryOutcome::Delivered).await;
    }
    bench.server.channel(channel).confirm_never();
    let before = Instant::now();
    assert_eq!(bench.publish("1").await, Ok(()));
    assert!(
        before.elapsed() < Duration::from_millis(4500),
        "{:?}",
        before.elapsed()
    );
    let published = bench.server.published(&queue("a"));
    assert_eq!(
        published.iter().map(|it| it.confirm).collect::<Vec<_>>()[known..],
        [Confirm::Pending, Confirm::Acked]
    );
    let before = Instant::now();
    assert_eq!(bench.publish("2").await, Ok(()));
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "nobody asks the first any more"
    );
    assert_eq!(
        (
            bench.server.published(&queue("a")).len(),
            bench.backend.metrics().published_twice.get()
        ),
        (known + 3, 1)
    );
    bench.server.channel(channel).heal();
    for id in ["1", "2", "1"] {
        let message = bench.next(0).await;
        assert_eq!(message.event.id(), id);
        message.settle(DeliveryOutcome::Delivered).await;
    }
}

/// Publishes to a queue until it was published to on both connections. Gives the channel on which
/// it is from now on.
async fn known_to_both(bench: &Bench, queue: &str) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert_eq!(bench.publish("0").await, Ok(()));
        let channels: Vec<u64> = bench
            .server
            .published(queue)
            .iter()
            .map(|published| published.channel)
            .collect();
        if let [.., before, last] = channels[..]
            && before != last
        {
            return last;
        }
        assert!(
            Instant::now() < deadline,
            "on one connection only: {:?}",
            channels.last()
        );
    }
}

/// RabbitMQ tells a new leader only to channels that have published to the queue before.
#[tokio::test]
async fn each_connection_knows_the_queue_before_it_is_needed() {
    for order in [DeliveryOrder::Unordered, DeliveryOrder::Ordered] {
        let bench = Bench::begin(FakeServer::start().await, &["a"], order);
        bench.ready(&["a"]).await;
        let last = known_to_both(&bench, &queue("a")).await;
        for id in ["1", "2", "3"] {
            assert_eq!(bench.publish(id).await, Ok(()));
        }
        let channels = bench
            .server
            .published(&queue("a"))
            .into_iter()
            .rev()
            .map(|published| published.channel);
        assert_eq!(channels.take(4).collect::<Vec<_>>(), [last; 4]);
    }
}

/// In a batch for an ordered queue, no event overtakes another on the other connection.
#[tokio::test]
async fn a_batch_stays_in_order() {
    let mut bench = Bench::begin(FakeServer::start().await, &["a"], DeliveryOrder::Ordered);
    bench.ready(&["a"]).await;
    let ids: Vec<String> = (0..50).map(|id| id.to_string()).collect();
    let events: Vec<Arc<Event>> = ids.iter().map(|id| event(id)).collect();
    assert_eq!(bench.publisher.publish(&events).await, Ok(()));
    for id in ids {
        let message = bench.next(0).await;
        assert_eq!(message.event.id(), id);
        message.settle(DeliveryOutcome::Delivered).await;
    }
}

#[tokio::test]
async fn a_server_that_is_silent_is_unavailable_in_time() {
    let bench = Bench::start(&["a"]).await;
    bench.server.fall_silent();
    let before = Instant::now();
    assert!(is_unavailable(&bench.publish("1").await));
    assert!(before.elapsed() < Duration::from_secs(12));
    bench.server.speak();
    bench.publish_at_last("2").await;
}

#[tokio::test]
async fn an_alarm_is_told_to_senders_at_once() {
    let bench = Bench::start(&["a"]).await;
    bench.server.block("low on disk");
    eventually("each connection is told", || {
        bench.backend.metrics().link.blocked.get() == 3
    })
    .await;
    let before = Instant::now();
    assert!(is_unavailable(&bench.publish("1").await));
    assert!(before.elapsed() < Duration::from_secs(1));
    assert!(bench.server.history().is_empty() && bench.backend.metrics().blocked.get() == 1);
    bench.server.unblock();
    bench.publish_at_last("1").await;
}

/// The event that finds out that a queue is missing waits until it is there again.
#[tokio::test]
async fn a_queue_that_is_missing_is_declared_again() {
    let mut bench = Bench::start(&["a"]).await;
    bench.server.delete_queue(&queue("a"));
    assert_eq!(bench.publish("1").await, Ok(()));
    assert_eq!(bench.next(0).await.event.id(), "1");
    assert!(bench.server.declares(&queue("a")) >= 2);
}
