//! The whole way once: publish, take, settle, defer, park, and open anew.

use std::time::Duration;

use super::*;
use crate::channel::disk::log::{EventDeferral, EventParking, QueueOptions};

#[tokio::test]
async fn what_is_published_comes_until_it_is_settled() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path()).await;
    let a = log.declare("a", QueueOptions::default()).await.expect("a");
    let b = log.declare("b", QueueOptions::default()).await.expect("b");
    for (queues, body) in [(&[a, b][..], "1"), (&[a], "2"), (&[a, b], "3"), (&[b], "4")] {
        let published = log.publish(vec![event(queues, body)]).await;
        published.expect("published");
    }
    assert_eq!(deliver(&log, a).await, "1");
    let second = log.take(a, 5).await.expect("events");
    assert_eq!(second.len(), 2);
    let deferral = EventDeferral {
        stage: 2,
        attempts: 3,
        wait: Duration::from_millis(20),
        body: Some(Bytes::from_static(b"reply")),
    };
    let deferred = log.defer(a, second[0].sequence, deferral).await;
    deferred.expect("deferred");
    assert_eq!(deliver(&log, b).await, "1");
    let parked = log.take(b, 1).await.expect("an event").remove(0);
    let parking = EventParking {
        attempts: 7,
        code: 503,
        reason: "busy".to_owned(),
        destination: "http://x/".to_owned(),
    };
    log.park(b, parked.sequence, parking).await.expect("parked");
    log.close().await;
    drop(log);

    let log = open(directory.path()).await;
    let counts = log.counts(a).expect("counts");
    assert_eq!((counts.depth, counts.parked), (2, 0));
    let counts = log.counts(b).expect("counts");
    assert_eq!((counts.depth, counts.parked), (1, 1));
    // What was in flight comes again, and what was deferred when it is due.
    let mut taken = log.take(a, 1).await.expect("an event");
    taken.extend(log.take(a, 1).await.expect("an event"));
    taken.sort_by_key(|event| event.sequence);
    let seen = taken.iter().map(|it| (&*it.event, it.stage, it.attempts));
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [(b"2".as_slice(), 2, 3), (b"3", 0, 0)]
    );
    assert_eq!(taken[0].body.as_deref(), Some(b"reply".as_slice()));
    for event in taken {
        let settled = log.settle(a, event.sequence, SettledOutcome::Delivered);
        settled.await.expect("settled");
    }
    assert_eq!(deliver(&log, b).await, "4");
    let listed = log.parked(b, 0, 10).await.expect("parked");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].attempts, listed[0].code), (7, 503));
    assert_eq!(listed[0].event, "3");
    let replayed = log.replay_parked(b, &[listed[0].sequence]).await;
    assert_eq!(replayed, Ok(1));
    assert_eq!(deliver(&log, b).await, "3");
    assert_eq!(log.counts(b).expect("counts").depth, 0);
}
