//! Tests of events that may be held for a limited time: which deliveries are deferred, and how long
//! attempts may take.

use super::*;
use crate::channel::HoldTime;

const SECOND: Duration = Duration::from_secs(1);

fn held(longest: u32, left: u32) -> HoldTime {
    HoldTime {
        until: Instant::now() + SECOND * left,
        longest: SECOND * longest,
    }
}

/// The longest hold and what is left of it, how long an attempt would like to take, and how long it
/// may.
#[tokio::test(start_paused = true)]
async fn the_time_of_an_attempt_is_what_is_left() {
    for (longest, left, timeout, allowed) in [
        // It has just come.
        (100, 100, 10, Some(10)),
        (100, 100, 100, Some(100)),
        // Half of the time is used.
        (100, 50, 10, Some(10)),
        (100, 50, 50, Some(50)),
        (100, 50, 51, None),
        // No hold is long enough: a fresh one is used for what it has, another one is made fresh.
        (100, 100, 900, Some(100)),
        (100, 90, 900, Some(90)),
        (100, 89, 900, None),
        (100, 50, 900, None),
        // Nothing is left.
        (100, 0, 1, None),
    ] {
        let may = held(longest, left).attempt_timeout(SECOND * timeout);
        assert_eq!(
            may,
            allowed.map(|allowed| SECOND * allowed),
            "{left} s of {longest} s left for {timeout} s"
        );
    }
}

fn homeless(spec: DeliverySpec) -> Subscription {
    Subscription {
        dead_letter_sink: None,
        ..subscription(SubscriptionKind::Subscription, spec)
    }
}

/// An event that has waited for its turn for too long is put off as it is: nothing is sent.
#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_too_late_is_no_attempt() {
    let transport = Scripted::new(&[]);
    let progress = DeliveryProgress {
        attempts: 2,
        hold_time: Some(held(3, 1)),
        ..DeliveryProgress::default()
    };
    let outcome = deliver_from(&transport, homeless(retrying(5)), progress).await;
    assert_eq!(
        outcome,
        DeliveryOutcome::Deferred(DeferredDelivery {
            stage: DeliveryStage::Subscriber,
            attempts: 2,
            wait: Duration::ZERO
        })
    );
    assert!(transport.seen(SUBSCRIBER).is_empty());
}

/// A wait that would outlive the hold is waited for elsewhere, with the attempts made.
#[tokio::test(start_paused = true)]
async fn a_wait_that_outlives_the_hold_is_put_off() {
    let spec = DeliverySpec {
        backoff_delay: Some(SECOND * 2),
        ..retrying(5)
    };
    for (longest, deferred) in [(3, true), (30, false)] {
        let transport = Scripted::new(&[(SUBSCRIBER, &[status(503)])]);
        let progress = DeliveryProgress {
            hold_time: Some(held(longest, longest)),
            ..DeliveryProgress::default()
        };
        let timely = DeliverySpec {
            timeout: Some(SECOND * 4),
            ..spec.clone()
        };
        let outcome = deliver_from(&transport, homeless(timely), progress).await;
        let put_off = DeliveryOutcome::Deferred(DeferredDelivery {
            stage: DeliveryStage::Subscriber,
            attempts: 1,
            wait: SECOND * 2,
        });
        assert_eq!(
            outcome,
            if deferred {
                put_off
            } else {
                DeliveryOutcome::Delivered
            },
            "held for {longest} s at most"
        );
        assert_eq!(
            transport.seen(SUBSCRIBER).len(),
            if deferred { 1 } else { 2 }
        );
    }
}

/// At its reply address and its dead letter sink an event is put off in the same way, and does not
/// go back.
#[tokio::test(start_paused = true)]
async fn later_destinations_are_put_off_too() {
    let transport = Scripted::new(&[(SUBSCRIBER, &[status(400)]), (SINK, &[status(503)])]);
    let spec = DeliverySpec {
        backoff_delay: Some(SECOND * 2),
        timeout: Some(SECOND),
        ..retrying(5)
    };
    let progress = DeliveryProgress {
        hold_time: Some(held(2, 2)),
        ..DeliveryProgress::default()
    };
    let outcome = deliver_from(
        &transport,
        subscription(SubscriptionKind::Subscription, spec),
        progress,
    )
    .await;
    let DeliveryOutcome::Deferred(DeferredDelivery {
        stage: DeliveryStage::DeadLetterSink(dead),
        attempts: 1,
        wait,
    }) = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!((&*dead.id(), wait), ("i1", SECOND * 2));
    assert_eq!(
        (transport.seen(SUBSCRIBER).len(), transport.seen(SINK).len()),
        (1, 1)
    );
}

/// What is left of a long wait is put off again: an event that is only held takes the place of
/// others.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_wait_is_put_off_again() {
    let transport = Scripted::new(&[]);
    let (max_wait, hold_time) = (Some(SECOND * 5), Some(held(1350, 1350)));
    for (left, outcome, took) in [
        (
            1552,
            DeliveryOutcome::Deferred(DeferredDelivery {
                stage: DeliveryStage::Subscriber,
                attempts: 3,
                wait: SECOND * 1552,
            }),
            0,
        ),
        (
            6,
            DeliveryOutcome::Deferred(DeferredDelivery {
                stage: DeliveryStage::Subscriber,
                attempts: 3,
                wait: SECOND * 6,
            }),
            0,
        ),
        (5, DeliveryOutcome::Delivered, 5),
    ] {
        let before = Instant::now();
        let progress = DeliveryProgress {
            attempts: 3,
            wait: SECOND * left,
            max_wait,
            hold_time,
            ..DeliveryProgress::default()
        };
        assert_eq!(
            deliver_from(&transport, homeless(retrying(5)), progress).await,
            outcome,
            "{left} s are left"
        );
        assert_eq!(before.elapsed().as_secs(), took);
    }
}

/// Where no other may overtake it, it waits as long as it may be held, and goes on when it comes
/// again.
#[tokio::test(start_paused = true)]
async fn an_ordered_event_waits_as_long_as_it_may_be_held() {
    let transport = Scripted::new(&[]);
    let (mut wait, mut rounds, before) = (SECOND * 3600, 0, Instant::now());
    let spec = DeliverySpec {
        timeout: Some(SECOND * 60),
        ..retrying(5)
    };
    loop {
        let progress = DeliveryProgress {
            attempts: 3,
            wait,
            hold_time: Some(held(1350, 1350)),
            ..DeliveryProgress::default()
        };
        rounds += 1;
        match deliver_from(&transport, homeless(spec.clone()), progress).await {
            DeliveryOutcome::Deferred(deferral) => {
                assert_eq!(
                    (deferral.attempts, deferral.wait),
                    (3, wait - SECOND * 1290)
                );
                wait = deferral.wait;
            }
            outcome => {
                assert_eq!(
                    (outcome, rounds, before.elapsed().as_secs()),
                    (DeliveryOutcome::Delivered, 3, 3600)
                );
                return;
            }
        }
    }
}
