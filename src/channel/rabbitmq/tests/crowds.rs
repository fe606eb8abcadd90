//! Tests of many events at once, and of senders that go away, while a queue does not answer.

use std::collections::HashSet;

use futures_util::future::join_all;

use super::*;
use crate::channel::DeliveryOutcome;
use crate::channel::rabbitmq::queue::WINDOW;
use crate::channel::rabbitmq::tests::fake::Confirm;

const MANY: usize = 1000;
/// How long a sender waits for its answer, and what the machine may add to that.
const LONGEST: Duration = Duration::from_millis(11_500);

/// A channel of its own for a subscription.
fn beside(bench: &Bench, name: &str) -> OpenedChannel {
    let key = ChannelKey {
        kind: ChannelKind::Channel,
        namespace: "ns".to_owned(),
        name: "other".to_owned(),
    };
    bench.backend.open(&Channel {
        key,
        ..channel(&[name], DeliveryOrder::Unordered)
    })
}

async fn send_many(
    publisher: &Arc<dyn ChannelPublisher>,
    prefix: &str,
) -> Vec<Result<(), PublishError>> {
    let events: Vec<[Arc<Event>; 1]> = (0..MANY)
        .map(|number| [event(&format!("{prefix}{number}"))])
        .collect();
    join_all(events.iter().map(|event| publisher.publish(event))).await
}

/// An election takes a moment: its events are stored when it is over, and the other queue has each
/// once.
#[tokio::test]
async fn an_election_delays_and_doubles_nothing() {
    let bench = Bench::start(&["a", "b"]).await;
    let election = bench.server.queue(&queue("a"));
    election.nack_all();
    election.hang();
    let (published, ()) = tokio::join!(bench.publish("1"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.server.queue(&queue("a")).heal();
    });
    assert_eq!(published, Ok(()));
    let stored = |name: &str| {
        let published = bench.server.published(&queue(name));
        published
            .iter()
            .filter(|published| published.confirm == Confirm::Acked)
            .count()
    };
    assert_eq!(
        (
            stored("a"),
            stored("b"),
            bench.server.published(&queue("b")).len()
        ),
        (1, 1, 1)
    );
    assert!(
        bench.backend.metrics().nacked.get() >= 1 && bench.backend.metrics().diverted.get() == 0
    );
}

/// Nobody waits for their answer any more: what they had is given back.
#[tokio::test]
async fn senders_that_go_away_take_nothing_with_them() {
    let bench = Bench::start(&["a", "b"]).await;
    bench.server.queue(&queue("a")).confirm_never();
    for round in 0..4 {
        let events: Vec<[Arc<Event>; 1]> = (0..300)
            .map(|number| [event(&format!("{round}-{number}"))])
            .collect();
        let sending = join_all(events.iter().map(|event| bench.publisher.publish(event)));
        let until_sent = bench
            .server
            .until("as many as may are on their way", |server| {
                server.published(&queue("a")).len() == WINDOW * (round + 1)
            });
        tokio::select! {
            published = sending => panic!("{published:?} before it is stored"),
            () = until_sent => {}
        }
    }
    bench.server.queue(&queue("a")).heal();
    let before = Instant::now();
    assert_eq!(bench.publish("last").await, Ok(()));
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
    assert!(
        send_many(&bench.publisher, "more")
            .await
            .iter()
            .all(Result::is_ok)
    );
}

/// When two want each event, the one has it at once, nobody is answered later than in ten seconds.
#[tokio::test]
async fn a_silent_queue_does_not_keep_events_from_others() {
    let bench = Bench::start(&["a", "b"]).await;
    bench.server.queue(&queue("a")).lose_leader();
    let before = Instant::now();
    let (published, soon) = tokio::join!(send_many(&bench.publisher, ""), async {
        let is_there = |server: &FakeServer| {
            let published = server.published(&queue("b"));
            published
                .iter()
                .filter(|published| published.confirm == Confirm::Acked)
                .count()
                == MANY
        };
        eventually("b has them", || is_there(&bench.server)).await;
        before.elapsed()
    });
    assert!(soon < Duration::from_secs(4), "{soon:?}");
    assert!(
        published.iter().all(Result::is_ok) && before.elapsed() < Duration::from_secs(10),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(bench.server.published(&queue("b")).len(), MANY);
    assert_eq!(bench.backend.metrics().diverted.get(), MANY as u64);
}

/// A queue that is slow and answers takes what it can; the others are told in time.
#[tokio::test]
async fn a_slow_queue_is_answered_for_in_time() {
    let bench = Bench::start(&["a"]).await;
    bench
        .server
        .queue(&queue("a"))
        .confirm_after(Duration::from_secs(4));
    let before = Instant::now();
    let published = send_many(&bench.publisher, "").await;
    assert!(before.elapsed() < LONGEST, "{:?}", before.elapsed());
    let accepted = published
        .iter()
        .filter(|published| published.is_ok())
        .count();
    assert!(
        accepted >= 2 * WINDOW
            && published
                .iter()
                .all(|published| !matches!(published, Err(PublishError::Full { .. })))
    );
    eventually("it counts as served", || {
        bench.backend.trouble(&key("a")).is_none()
    })
    .await;
}

/// Several queues are silent at once: the way out is not full of what is for them.
#[tokio::test]
async fn many_silent_queues_leave_the_way_to_others() {
    let silent: Vec<String> = (0..40).map(|number| format!("s{number}")).collect();
    let silent: Vec<&str> = silent.iter().map(String::as_str).collect();
    let bench = Bench::begin(FakeServer::start().await, &silent, DeliveryOrder::Unordered);
    let other = beside(&bench, "b");
    bench.ready(&silent).await;
    eventually("b is served", || bench.backend.trouble(&key("b")).is_none()).await;
    for name in &silent {
        bench.server.queue(&queue(name)).lose_leader();
    }
    let events: Vec<[Arc<Event>; 1]> = (0..60)
        .map(|number| [event(&format!("a{number}"))])
        .collect();
    let sending = join_all(events.iter().map(|event| bench.publisher.publish(event)));
    let others = async {
        let many = |server: &FakeServer| server.published(&queue("s39")).len() >= WINDOW / 2;
        bench.server.until("many are on their way", many).await;
        let before = Instant::now();
        let published = send_many(&other.publisher, "b").await;
        (published, before.elapsed())
    };
    let (published, took) = tokio::select! {
        published = sending => panic!("{published:?} although nothing answers"),
        others = others => others,
    };
    assert!(
        published.iter().all(Result::is_ok) && took < Duration::from_secs(4),
        "{took:?}"
    );
    assert_eq!(bench.backend.trouble(&key("b")), None);
}

/// Queues that are missing while many events are published side by side on the channels that they
/// share with others.
#[tokio::test]
async fn missing_queues_lose_nothing_in_a_crowd() {
    let names: Vec<String> = (0..8).map(|number| format!("q{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::start(&names).await;
    for name in &names[..4] {
        bench.server.delete_queue(&queue(name));
    }
    let ids: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let published = join_all(ids.iter().map(|id| bench.publish(id))).await;
    assert!(published.iter().all(Result::is_ok), "{published:?}");
    for subscription in 0..names.len() {
        let mut missing: HashSet<&str> = ids.iter().map(String::as_str).collect();
        while !missing.is_empty() {
            let message = bench.next(subscription).await;
            missing.remove(&*message.event.id());
            message.settle(DeliveryOutcome::Delivered).await;
        }
    }
}
