//! Tests of messages that are held when their channel, their queue or their process goes.

use std::task::Poll;

use futures_util::poll;

use super::*;
use crate::channel::rabbitmq::tests::fake::Refusal;
use crate::channel::{DeferredDelivery, DeliveryOutcome, DeliveryProgress, DeliveryStage};

/// How long it is watched that something does not happen.
const MOMENT: Duration = Duration::from_millis(700);

async fn is_revoked(message: &EventDelivery) -> bool {
    tokio::time::timeout(MOMENT, message.until_revoked())
        .await
        .is_ok()
}

async fn until_revoked(message: &EventDelivery) {
    tokio::time::timeout(PATIENCE, message.until_revoked())
        .await
        .expect("it is somebody else's");
}

/// Somebody else gets the message of a channel that is gone.
#[tokio::test]
async fn a_message_is_revoked_with_its_channel() {
    let mut bench = Bench::start(&["a"]).await;
    assert_eq!(bench.publish("1").await, Ok(()));
    let first = bench.next(0).await;
    assert_eq!(poll!(std::pin::pin!(first.until_revoked())), Poll::Pending);
    bench.server.close_channel(
        bench.server.consumers(&queue("a"))[0],
        &Refusal::new(406, "PRECONDITION_FAILED"),
    );
    until_revoked(&first).await;
    let second = bench.next(0).await;
    bench.server.drop_connections();
    until_revoked(&second).await;
    let third = bench.next(0).await;
    assert_eq!(
        (
            &*third.event.id(),
            poll!(std::pin::pin!(third.until_revoked()))
        ),
        ("1", Poll::Pending)
    );
    first.settle(DeliveryOutcome::Delivered).await;
    second.settle(DeliveryOutcome::Delivered).await;
    assert_eq!(
        bench.server.unacked(&queue("a")),
        1,
        "neither of the others acknowledges it"
    );
    third.settle(DeliveryOutcome::Delivered).await;
    bench
        .server
        .until("it is done", |server| {
            server.unacked(&queue("a")) + server.ready(&queue("a")) == 0
        })
        .await;
}

/// Nobody else has the messages of a queue that was deleted: they are finished here.
#[tokio::test]
async fn a_message_outlives_its_queue() {
    let mut bench = Bench::start(&["a"]).await;
    assert_eq!(bench.publish("1").await, Ok(()));
    let held = bench.next(0).await;
    bench.server.delete_queue(&queue("a"));
    let is_back = |server: &FakeServer| {
        server.consumers(&queue("a")).len() == 1 && server.declares(&queue("a")) == 2
    };
    bench.server.until("it is declared again", is_back).await;
    assert!(!is_revoked(&held).await);
    held.settle(DeliveryOutcome::Delivered).await;
    bench.publish_at_last("2").await;
    let Bench {
        server, consumers, ..
    } = &mut bench;
    let settle = async {
        while let Some(next) = consumers[0].recv().await {
            assert_eq!(next.event.id(), "2", "nobody gets the first one again");
            next.settle(DeliveryOutcome::Delivered).await;
        }
    };
    tokio::select! {
        () = settle => panic!("it is consumed no more"),
        () = server.until("it is done", |server| server.unacked(&queue("a")) + server.ready(&queue("a")) == 0) => {}
    }
}

/// At a stop, what is under way is finished and acknowledged.
#[tokio::test]
async fn a_stop_revokes_nothing_that_is_under_way() {
    let mut bench = Bench::start(&["a"]).await;
    for id in ["1", "2"] {
        assert_eq!(bench.publish(id).await, Ok(()));
    }
    let (first, second) = (bench.next(0).await, bench.next(0).await);
    bench.backend.close();
    let revoked = async { tokio::join!(is_revoked(&first), is_revoked(&second)) };
    assert_eq!(revoked.await, (false, false));
    first.settle(DeliveryOutcome::Delivered).await;
    bench
        .server
        .until("it is acknowledged", |server| {
            server.unacked(&queue("a")) == 1
        })
        .await;
    assert!(!is_revoked(&second).await);
    second.settle(DeliveryOutcome::Delivered).await;
    let Bench {
        server,
        backend,
        consumers,
        ..
    } = bench;
    drop(consumers);
    backend.shut_down().await;
    assert_eq!(
        (server.unacked(&queue("a")), server.ready(&queue("a"))),
        (0, 0)
    );
}

/// Four messages in an ordered queue that one process consumes, which has two of them, and another
/// one waits for.
struct InTurn {
    bench: Bench,
    /// The message that is under way.
    first: Box<EventDelivery>,
    /// Of the other process.
    others: QueueConsumer,
    other: RabbitmqBackend,
}

impl InTurn {
    async fn start() -> Self {
        let mut bench = Bench::begin(FakeServer::start().await, &["a"], DeliveryOrder::Ordered);
        bench.ready(&["a"]).await;
        for id in ["1", "2", "3", "4"] {
            assert_eq!(bench.publish(id).await, Ok(()));
        }
        let other = RabbitmqBackend::new(options(&bench.server.uri()), Arc::default());
        let (_, others) = other
            .open(&channel(&["a"], DeliveryOrder::Ordered))
            .consumers
            .remove(0);
        bench
            .server
            .until("both consume", |server| {
                server.prefetches(&queue("a")) == [2, 2]
            })
            .await;
        let first = bench.next(0).await;
        eventually("the second is handed over", || {
            bench.backend.unfinished(&key("a")) == Some(2)
        })
        .await;
        Self {
            bench,
            first,
            others,
            other,
        }
    }
}

/// At a stop, the next process gets an ordered queue only when what is under way here has ended.
#[tokio::test]
async fn an_ordered_queue_is_given_up_when_all_has_ended() {
    let InTurn {
        mut bench,
        first,
        mut others,
        other: _other,
    } = InTurn::start().await;
    bench.backend.close();
    let next = others.recv();
    let mut next = std::pin::pin!(next);
    let early = tokio::time::timeout(MOMENT, &mut next).await;
    assert!(
        early.is_err(),
        "{early:?} has come before the one that is under way has ended"
    );
    first.settle(DeliveryOutcome::Delivered).await;
    // It was handed over, and is this process's to deliver.
    let second = bench.next(0).await;
    assert_eq!(
        (&*second.event.id(), is_revoked(&second).await),
        ("2", false)
    );
    assert!(poll!(&mut next).is_pending());
    second.settle(DeliveryOutcome::Delivered).await;
    assert_eq!(next.await.expect("a message").event.id(), "3");
    assert!(bench.consumers[0].recv().await.is_none());
}

/// A consumer of the old channel that is closed acknowledges nothing of the new one, although the
/// tags are the same.
#[tokio::test]
async fn nothing_is_acknowledged_on_another_channel() {
    let mut bench = Bench::start(&["a"]).await;
    for id in ["1", "2", "3"] {
        assert_eq!(bench.publish(id).await, Ok(()));
    }
    let old = [
        bench.next(0).await,
        bench.next(0).await,
        bench.next(0).await,
    ];
    bench.server.close_channel(
        bench.server.consumers(&queue("a"))[0],
        &Refusal::new(406, "PRECONDITION_FAILED"),
    );
    let new = [
        bench.next(0).await,
        bench.next(0).await,
        bench.next(0).await,
    ];
    for message in old {
        message.settle(DeliveryOutcome::Delivered).await;
    }
    let [first, second, _third] = new;
    second.settle(DeliveryOutcome::Delivered).await;
    bench
        .server
        .until("one is acknowledged", |server| {
            server.unacked(&queue("a")) == 2
        })
        .await;
    first.settle(DeliveryOutcome::Delivered).await;
    bench
        .server
        .until("two are", |server| server.unacked(&queue("a")) == 1)
        .await;
    eventually("two are counted", || {
        bench.backend.metrics().acknowledged.get() == 2
    })
    .await;
}

/// RabbitMQ's consumer timeout is learnt when it is met: what comes after that is held for less
/// time.
#[tokio::test]
async fn the_consumer_timeout_is_learnt() {
    let server = FakeServer::start().await;
    server.set(|settings| settings.consumer_timeout = Some(Duration::from_secs(1)));
    let mut bench = Bench::begin(server, &["a"], DeliveryOrder::Unordered);
    bench.ready(&["a"]).await;
    assert_eq!(bench.publish("1").await, Ok(()));
    let longest = |message: &EventDelivery| message.progress.hold_time.expect("a limit").longest;
    let held = bench.next(0).await;
    assert_eq!(longest(&held), Duration::from_secs(1350));
    until_revoked(&held).await;
    let again = bench.next(0).await;
    assert_eq!(
        (&*again.event.id(), longest(&again)),
        ("1", Duration::from_millis(750))
    );
    let left = again
        .progress
        .hold_time
        .expect("a limit")
        .until
        .saturating_duration_since(Instant::now());
    assert!(left <= Duration::from_millis(750), "{left:?}");
    again.settle(DeliveryOutcome::Delivered).await;
    bench
        .server
        .until("it is done", |server| server.unacked(&queue("a")) == 0)
        .await;
}

/// A consumer that begins anew, since it may miss messages, gives back what it holds before another
/// one gets anything.
#[tokio::test]
async fn an_ordered_queue_keeps_its_order_when_its_consumer_begins_anew() {
    let InTurn {
        bench,
        first,
        mut others,
        other: _other,
    } = InTurn::start().await;
    let doubted = bench
        .backend
        .subscriptions()
        .find(&key("a"))
        .cloned()
        .expect("a queue");
    doubted.mark_unavailable();
    tokio::time::timeout(PATIENCE, first.until_revoked())
        .await
        .expect("its consumer begins anew");
    for id in ["1", "2", "3", "4"] {
        let next = tokio::time::timeout(PATIENCE, others.recv())
            .await
            .expect("in time")
            .expect("a message");
        assert_eq!(next.event.id(), id);
        next.settle(DeliveryOutcome::Delivered).await;
    }
}

/// An event of an ordered queue is not put elsewhere, where others would overtake it, nor behind
/// those that came after it; it goes on where it was.
#[tokio::test]
async fn an_ordered_event_that_is_put_off_keeps_its_place() {
    let mut bench = Bench::begin(FakeServer::start().await, &["a"], DeliveryOrder::Ordered);
    bench.ready(&["a"]).await;
    for id in ["1", "2", "3"] {
        assert_eq!(bench.publish(id).await, Ok(()));
    }
    let wait = Duration::from_secs(100);
    let dead = DeliveryStage::DeadLetterSink(event("dead"));
    let first = bench.next(0).await;
    assert_eq!((&*first.event.id(), first.progress.attempts), ("1", 0));
    first
        .settle(DeliveryOutcome::Deferred(DeferredDelivery {
            stage: DeliveryStage::Subscriber,
            attempts: 3,
            wait,
        }))
        .await;
    let again = still_ours(&mut bench).await;
    assert_eq!((&*again.event.id(), again.progress.attempts), ("1", 3));
    assert!(
        again.progress.wait <= wait && again.progress.wait > wait * 9 / 10,
        "{:?}",
        again.progress.wait
    );
    again
        .settle(DeliveryOutcome::Deferred(DeferredDelivery {
            stage: dead.clone(),
            attempts: 1,
            wait: Duration::ZERO,
        }))
        .await;
    let last = still_ours(&mut bench).await;
    let DeliveryProgress {
        stage,
        attempts,
        wait,
        ..
    } = last.progress.clone();
    assert_eq!(
        (&*last.event.id(), stage, attempts, wait),
        ("1", dead, 1, Duration::ZERO)
    );
    last.settle(DeliveryOutcome::DeadLettered).await;
    for id in ["2", "3"] {
        let message = still_ours(&mut bench).await;
        assert_eq!((&*message.event.id(), message.progress.attempts), (id, 0));
        message.settle(DeliveryOutcome::Delivered).await;
    }
    bench
        .server
        .until("it is done", |server| {
            server.unacked(&queue("a")) + server.ready(&queue("a")) == 0
        })
        .await;
    assert_eq!(
        (
            bench.server.history().len(),
            bench.backend.metrics().consumers_restarted.get()
        ),
        (3, 0)
    );
}

/// The next message that nobody else has.
async fn still_ours(bench: &mut Bench) -> Box<EventDelivery> {
    loop {
        let message = bench.next(0).await;
        if poll!(std::pin::pin!(message.until_revoked())).is_pending() {
            return message;
        }
    }
}
