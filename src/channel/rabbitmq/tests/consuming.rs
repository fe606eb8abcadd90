//! Tests of consuming: the messages that come, and the time when each leaves its queue.

use bytes::Bytes;
use lapin::types::AMQPValue;

use super::*;
use crate::channel::rabbitmq::message::amqp_value;
use crate::channel::{CountedDrop, DeferredDelivery, DeliveryOutcome, DeliveryStage, LostDelivery};
use crate::model::DestinationRole;
use crate::telemetry::series::DropReason;

fn loss() -> DeliveryOutcome {
    DeliveryOutcome::Lost(Box::new(LostDelivery {
        subscription: key("a"),
        destination: "http://a.example/".to_owned(),
        code: 503,
        attempts: 1,
        reason: "it is busy".to_owned(),
        counted_as: CountedDrop {
            destination: DestinationRole::Subscriber,
            reason: DropReason::of_status(503),
        },
    }))
}

/// Waits until so many messages of a's queue are held and ready.
async fn stands(server: &FakeServer, held: usize, ready: usize) {
    let name = queue("a");
    let what = format!("{held} held, {ready} ready");
    server
        .until(&what, |server| {
            (server.unacked(&name), server.ready(&name)) == (held, ready)
        })
        .await;
}

#[tokio::test]
async fn nothing_leaves_its_queue_before_it_is_settled() {
    let mut bench = Bench::start(&["a"]).await;
    for id in ["1", "2", "3"] {
        assert_eq!(bench.publish(id).await, Ok(()));
    }
    let (first, second, third) = (
        bench.next(0).await,
        bench.next(0).await,
        bench.next(0).await,
    );
    assert_eq!(bench.server.unacked(&queue("a")), 3);
    assert_eq!(bench.backend.unfinished(&key("a")), Some(3));
    second.settle(DeliveryOutcome::Delivered).await;
    stands(&bench.server, 2, 0).await;
    first.settle(DeliveryOutcome::DeadLettered).await;
    stands(&bench.server, 1, 0).await;
    drop(third);
    eventually("two are acknowledged", || {
        bench.backend.metrics().acknowledged.get() == 2
    })
    .await;
    assert_eq!(bench.server.unacked(&queue("a")), 1);
}

/// No more than the prefetch are held; fewer are asked for until it is known that more come, and
/// again when none does.
#[tokio::test]
async fn the_prefetch_is_kept() {
    let bench = Bench::start(&["a"]).await;
    assert_eq!(bench.server.prefetches(&queue("a")), [2]);
    for id in 0..25 {
        assert_eq!(bench.publish(&id.to_string()).await, Ok(()));
    }
    // Those two are held yet.
    bench
        .server
        .until("more are asked for", |server| {
            server.prefetches(&queue("a")) == [8]
        })
        .await;
    stands(&bench.server, 10, 15).await;
}

/// What comes out of queues holds no more than its half of what events may hold, however large it
/// is, and all of it comes.
#[tokio::test]
async fn what_is_consumed_is_bounded_in_bytes() {
    let budget = MemoryBudget::new(1 << 20);
    let options = |uri: &str| RabbitmqBackendOptions {
        budget: Arc::clone(&budget),
        prefetch: 200,
        concurrency: 100,
        ..options(uri)
    };
    let server = FakeServer::start().await;
    let options = options(&server.uri());
    let mut bench = Bench::begin_with(server, &["a", "b"], DeliveryOrder::Unordered, options);
    bench.ready(&["a", "b"]).await;
    let large = |id: usize| {
        Event::new(&id.to_string(), "/s", "t").with_data(None, Bytes::from(vec![7; 64 * 1024]))
    };
    for id in 0..40 {
        assert_eq!(
            bench.publisher.publish(&[Arc::new(large(id))]).await,
            Ok(())
        );
    }
    let mut most = 0;
    for _ in 0..40 {
        for subscription in [0, 1] {
            let message = bench.next(subscription).await;
            most = most.max(budget.used());
            assert_eq!(message.event.data().len(), 64 * 1024);
            message.settle(DeliveryOutcome::Delivered).await;
        }
    }
    assert!(most <= (512 + 2 * 2 * 66) * 1024, "{most} bytes were held");
    eventually("all is given back", || budget.used() == 0).await;
    stands(&bench.server, 0, 0).await;
}

/// What nobody took is acknowledged when the parking queue has confirmed it (contract G-15).
#[tokio::test]
async fn what_nobody_took_is_parked_first() {
    let mut bench = Bench::start(&["a"]).await;
    assert_eq!(bench.publish("1").await, Ok(()));
    let message = bench.next(0).await;
    bench.server.queue(&parked("a")).confirm_never();
    let settle = message.settle(loss());
    tokio::join!(settle, async {
        bench
            .server
            .until("it is on its way", |server| {
                server.published(&parked("a")).len() == 1
            })
            .await;
        assert_eq!(bench.server.unacked(&queue("a")), 1);
        bench.server.queue(&parked("a")).heal();
    });
    stands(&bench.server, 0, 0).await;
    let messages = bench.server.messages(&parked("a"));
    let headers = messages[0].properties.headers().clone().expect("headers");
    let reason = amqp_value::text_value("it is busy at http://a.example/");
    assert_eq!(
        (messages.len(), headers.inner().get("x-sealpost-reason")),
        (1, Some(&reason))
    );
}

/// The same for what is put off: it is acknowledged when the delay queue has it.
#[tokio::test]
async fn what_is_put_off_is_in_its_delay_queue_first() {
    let mut bench = Bench::start(&["a"]).await;
    assert_eq!(bench.publish("1").await, Ok(()));
    let message = bench.next(0).await;
    let deferral = DeferredDelivery {
        stage: DeliveryStage::Subscriber,
        attempts: 3,
        wait: Duration::from_secs(5),
    };
    bench
        .server
        .everywhere()
        .confirm_after(Duration::from_millis(200));
    let settle = message.settle(DeliveryOutcome::Deferred(deferral));
    tokio::join!(settle, async {
        bench
            .server
            .until("it is on its way", |server| server.history().len() == 2)
            .await;
        assert_eq!(bench.server.unacked(&queue("a")), 1);
    });
    stands(&bench.server, 0, 0).await;
    let again = bench.next(0).await;
    assert_eq!((&*again.event.id(), again.progress.attempts), ("1", 3));
}

#[tokio::test]
async fn what_is_no_event_is_parked() {
    let mut bench = Bench::start(&["a"]).await;
    let connection =
        lapin::Connection::connect(&bench.server.uri(), lapin::ConnectionProperties::default())
            .await;
    let stranger = connection
        .expect("a connection")
        .create_channel()
        .await
        .expect("a channel");
    let (key, options) = (
        amqp_value::short_string(&queue("a")),
        lapin::options::BasicPublishOptions::default(),
    );
    let sent = stranger.basic_publish(
        amqp_value::short_string(""),
        key,
        options,
        b"no event",
        lapin::BasicProperties::default(),
    );
    sent.await.expect("sent");
    bench
        .server
        .until("it is parked", |server| server.ready(&parked("a")) == 1)
        .await;
    stands(&bench.server, 0, 0).await;
    assert_eq!(bench.publish("1").await, Ok(()));
    assert_eq!(bench.next(0).await.event.id(), "1");
}

#[tokio::test]
async fn a_queue_in_order_has_one_consumer_at_a_time() {
    let bench = Bench::begin(FakeServer::start().await, &["a"], DeliveryOrder::Ordered);
    bench.ready(&["a"]).await;
    let arguments = bench.server.arguments(&queue("a"));
    assert_eq!(
        arguments.inner().get("x-single-active-consumer"),
        Some(&AMQPValue::Boolean(true))
    );
    assert_eq!(
        arguments.inner().get("x-queue-type"),
        Some(&amqp_value::text_value("quorum"))
    );
}

/// What has been settled is acknowledged, the rest is given back.
#[tokio::test]
async fn a_stop_gives_back_what_is_left() {
    let mut bench = Bench::start(&["a"]).await;
    for id in ["1", "2", "3"] {
        assert_eq!(bench.publish(id).await, Ok(()));
    }
    bench.next(0).await.settle(DeliveryOutcome::Delivered).await;
    stands(&bench.server, 2, 0).await;
    let Bench {
        server,
        backend,
        publisher,
        consumers,
        ..
    } = bench;
    drop(consumers);
    backend.shut_down().await;
    drop((backend, publisher));
    stands(&server, 0, 2).await;
    server
        .until("connections are closed", |server| {
            server.connections().is_empty()
        })
        .await;
}

/// The queue stays, and gets nothing more.
#[tokio::test]
async fn a_subscription_that_goes_leaves_its_queue() {
    let bench = Bench::start(&["a", "b"]).await;
    bench.backend.retire_subscription(&key("a"));
    bench
        .server
        .until("nobody consumes it", |server| {
            server.consumers(&queue("a")).is_empty()
        })
        .await;
    assert!(bench.server.has_queue(&queue("a")) && bench.backend.unfinished(&key("a")).is_none());
}
