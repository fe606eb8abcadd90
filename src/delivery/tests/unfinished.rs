//! Tests of which events are noted as unfinished, and until when.

use super::*;
use crate::delivery::{NextAttempt, NotedEvent};

const MINUTE: Duration = Duration::from_secs(60);

fn lane_of(spec: DeliverySpec) -> Subscription {
    subscription(SubscriptionKind::Subscription, spec)
}

/// What is noted 30 s after the delivery has begun, and when it has ended.
async fn noted(steps: &[Step], spec: DeliverySpec, from: DeliveryProgress) -> [Vec<NotedEvent>; 2] {
    let transport = Scripted::new(&[(SUBSCRIBER, steps)]);
    let (delivery, lane) = over(&transport, lane_of(spec));
    let permit = lane.acquire_permit().await.expect("a permit");
    let event = event();
    let look = async {
        tokio::time::sleep(MINUTE / 2).await;
        lane.unfinished().list()
    };
    let (_outcome, during) = tokio::join!(delivery.deliver(&event, &lane, permit, from), look);
    [during, lane.unfinished().list()]
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_retry_is_noted_until_it_is_delivered() {
    let began = Instant::now();
    let steps = [status(503), status(200)];
    let [during, after] = noted(&steps, retrying(2), DeliveryProgress::default()).await;
    assert_eq!(during.len(), 1);
    let event = &during[0];
    assert_eq!((&*event.id, &*event.source), ("i1", "/s"));
    assert_eq!(event.progress.attempts, 1);
    assert_eq!(event.progress.next, NextAttempt::Due(began + MINUTE));
    assert_eq!(after, []);
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_at_once_is_never_noted() {
    let transport = Scripted::new(&[]);
    let (delivery, lane) = over(&transport, lane_of(DeliverySpec::default()));
    let permit = lane.acquire_permit().await.expect("a permit");
    let (event, progress) = (event(), DeliveryProgress::default());
    delivery.deliver(&event, &lane, permit, progress).await;
    assert_eq!(lane.unfinished().list(), []);
}

/// A queue of this process has an event again that is put off: it is known until it comes back and
/// ends, or until it should have come.
#[tokio::test(start_paused = true)]
async fn what_is_put_off_is_noted_until_it_comes_back_and_ends() {
    let transport = Scripted::new(&[(SUBSCRIBER, &[status(503)])]);
    let (delivery, lane) = over(&transport, lane_of(retrying(2)));
    let recorded = || DeliveryProgress {
        max_wait: Some(Duration::ZERO),
        ..DeliveryProgress::default()
    };
    let permit = lane.acquire_permit().await.expect("a permit");
    let outcome = delivery.deliver(&event(), &lane, permit, recorded()).await;
    assert!(
        matches!(outcome, DeliveryOutcome::Deferred(_)),
        "{outcome:?}"
    );
    let listed = lane.unfinished().list();
    let due = listed[0].progress.next.due();
    assert_eq!((listed.len(), due), (1, Some(Instant::now() + MINUTE)));
    tokio::time::advance(MINUTE).await;
    let again = DeliveryProgress {
        attempts: 1,
        ..recorded()
    };
    let permit = lane.acquire_permit().await.expect("a permit");
    let outcome = delivery.deliver(&event(), &lane, permit, again).await;
    assert_eq!(outcome, DeliveryOutcome::Delivered);
    assert_eq!(lane.unfinished().list(), []);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_is_given_up_is_forgotten() {
    let transport = Scripted::new(&[(SUBSCRIBER, &[status(503)])]);
    let (delivery, lane) = over(&transport, lane_of(retrying(2)));
    let permit = lane.acquire_permit().await.expect("a permit");
    let (event, progress) = (event(), DeliveryProgress::default());
    let delivering = delivery.deliver(&event, &lane, permit, progress);
    let given_up = tokio::time::timeout(MINUTE / 2, delivering).await;
    assert!(given_up.is_err());
    assert_eq!(lane.unfinished().list(), []);
}
