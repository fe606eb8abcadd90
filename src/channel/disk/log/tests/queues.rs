//! What queues give, in which order, and when.

use super::simulation::{JumpingClock, run_paused};
use super::*;
use crate::channel::disk::log::{EndedEvents, EventDeferral, EventParking};

fn deferral(millis: u64) -> EventDeferral {
    EventDeferral {
        stage: 1,
        attempts: 2,
        wait: Duration::from_millis(millis),
        body: None,
    }
}

fn bodies(taken: &[TakenEvent]) -> Vec<String> {
    taken.iter().map(text).collect()
}

#[test]
fn an_ordered_queue_waits_for_each_event() {
    run_paused(async {
        let bench = Bench::new();
        let (log, _) = bench.open().await;
        let options = QueueOptions {
            is_ordered: true,
            ..QueueOptions::default()
        };
        let queue = log.declare("a", options).await.expect("a queue");
        for body in ["1", "2", "3"] {
            publish(&log, &[queue], body).await;
        }
        let first = take_now(&log, queue, 5).await;
        assert_eq!(bodies(&first), ["1"]);
        assert!(take_now(&log, queue, 5).await.is_empty());
        let deferred = log.defer(queue, first[0].sequence, deferral(3000)).await;
        deferred.expect("deferred");
        assert!(take_now(&log, queue, 5).await.is_empty());
        tokio::time::sleep(Duration::from_secs(3)).await;
        let again = take_now(&log, queue, 5).await;
        assert_eq!(
            (bodies(&again), again[0].attempts),
            (vec!["1".to_owned()], 2)
        );
        let parked = log
            .park(queue, again[0].sequence, EventParking::default())
            .await;
        parked.expect("parked");
        assert_eq!(deliver(&log, queue).await, "2");
        assert_eq!(deliver(&log, queue).await, "3");
    });
}

#[test]
fn ends_of_several_queues_are_one_frame() {
    run_paused(async {
        let bench = Bench::new();
        let (log, _) = bench.open().await;
        let queues = [declare(&log, "a").await, declare(&log, "b").await];
        for body in ["1", "2"] {
            publish(&log, &queues, body).await;
        }
        let mut ended = Vec::new();
        for queue in queues {
            let taken = take_now(&log, queue, 5).await;
            ended.push(EndedEvents {
                queue,
                events: taken.iter().map(|event| event.sequence).collect(),
                outcome: SettledOutcome::Delivered,
            });
        }
        let unknown = EndedEvents {
            queue: QueueId(7),
            ..ended[0].clone()
        };
        ended.insert(1, unknown);
        let frames = log.statistics().frames;
        let results = log.settle_each(&ended).await;
        assert!(matches!(
            results[..],
            [Ok(()), Err(LogError::UnknownQueue(QueueId(7))), Ok(())]
        ));
        assert_eq!(log.statistics().frames, frames + 1);
        for queue in queues {
            assert_eq!(log.counts(queue).expect("counts").depth, 0);
        }
        // They are not in flight any more.
        let again = log.settle_each(&ended).await;
        assert!(again.iter().all(Result::is_err));
    });
}

#[test]
fn windows_and_bounds_hold() {
    run_paused(async {
        let bench = Bench::new();
        let (log, _) = bench.open().await;
        let options = QueueOptions {
            window: 4,
            max_deferred: 3,
            ..QueueOptions::default()
        };
        let queue = log.declare("a", options).await.expect("a queue");
        for body in 0..20 {
            publish(&log, &[queue], &body.to_string()).await;
        }
        let taken = take_now(&log, queue, 10).await;
        assert_eq!(bodies(&taken), ["0", "1", "2", "3"]);
        assert!(take_now(&log, queue, 10).await.is_empty());
        for event in &taken {
            let deferred = log.defer(queue, event.sequence, deferral(5000)).await;
            deferred.expect("deferred");
        }
        // More wait than may: nothing new is given until one of them has ended.
        assert!(take_now(&log, queue, 10).await.is_empty());
        tokio::time::sleep(Duration::from_secs(6)).await;
        let again = take_now(&log, queue, 10).await;
        assert_eq!(bodies(&again), ["0", "1", "2", "3"]);
        settle(&log, queue, &again).await;
        assert_eq!(bodies(&take_now(&log, queue, 1).await), ["4"]);
    });
}

/// While a process runs its waits do not follow the wall clock; over a restart they are shorter by
/// what it jumped forward, and never longer than they were.
#[test]
fn a_clock_that_jumps_moves_waits_by_no_more_than_it_jumped() {
    run_paused(async {
        let clock = JumpingClock::new();
        let bench = Bench {
            clock: clock.clone(),
            ..Bench::new()
        };
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        publish(&log, &[queue], "1").await;
        let taken = log.take(queue, 1).await.expect("an event");
        let deferred = log.defer(queue, taken[0].sequence, deferral(10_000)).await;
        deferred.expect("deferred");
        clock.jump(9_000_000);
        assert!(take_now(&log, queue, 1).await.is_empty());
        clock.jump(-9_000_000);
        // An hour back, and a restart.
        clock.jump(-3_600_000);
        log.close().await;
        drop(log);
        let (log, _) = bench.open().await;
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(take_now(&log, queue, 1).await.is_empty());
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(bodies(&take_now(&log, queue, 1).await), ["1"]);
    });
}

#[test]
fn a_retired_queue_keeps_or_loses_what_is_left() {
    run_paused(async {
        let bench = Bench::new();
        let (log, _) = bench.open().await;
        let (a, b) = (declare(&log, "a").await, declare(&log, "b").await);
        publish(&log, &[a, b], "1").await;
        log.retire(a, QueueLeftover::Kept).await.expect("retired");
        log.retire(b, QueueLeftover::GivenUp)
            .await
            .expect("retired");
        assert_eq!(log.take(b, 1).await, Err(LogError::UnknownQueue(b)));
        log.close().await;
        drop(log);
        let (log, _) = bench.open().await;
        assert_eq!(declare(&log, "a").await, a);
        assert_ne!(declare(&log, "b").await, b);
        assert_eq!(deliver(&log, a).await, "1");
        publish(&log, &[a], "2").await;
        log.retire(a, QueueLeftover::Kept).await.expect("retired");
        assert_eq!(deliver(&log, a).await, "2");
        // It is empty, and nothing comes into it any more.
        assert_eq!(log.take(a, 1).await, Ok(Vec::new()));
    });
}

#[test]
fn what_is_released_comes_again_at_once() {
    run_paused(async {
        let bench = Bench::new();
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        publish(&log, &[queue], "1").await;
        let taken = log.take(queue, 1).await.expect("an event");
        log.release(queue, taken[0].sequence).expect("released");
        let sequence = taken[0].sequence;
        let again = log.take(queue, 1).await.expect("an event");
        assert_eq!(again[0].sequence, sequence);
        settle(&log, queue, &again).await;
        let settled = log.settle(queue, sequence, SettledOutcome::Lost).await;
        assert_eq!(settled, Err(LogError::NotInFlight { queue, sequence }));
    });
}

/// What is retained can be read again from a time on, and goes when it is old.
#[test]
fn history_is_kept_for_as_long_as_it_should() {
    run_paused(async {
        let clock = JumpingClock::new();
        let mut bench = Bench {
            clock: clock.clone(),
            ..Bench::new()
        };
        bench.options.retain = Some(Duration::from_secs(100));
        let (log, _) = bench.open().await;
        let queue = declare(&log, "a").await;
        let fill = "x".repeat(500);
        for number in 0..100 {
            publish(&log, &[queue], &format!("{number} {fill}")).await;
            deliver(&log, queue).await;
            // Nobody wants this one, and it is kept as well.
            publish(&log, &[], &format!("{number} nobody")).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let from = clock.wall() - 50_000;
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let page = log.history(from, after, 7).await.expect("history");
            let Some(last) = page.last() else {
                break;
            };
            after = last.sequence;
            events.extend(page);
        }
        assert_eq!(events.len(), 100);
        assert!(events.iter().all(|event| event.received_at >= from));
        let all = log.history(0, 0, 1000).await.expect("history");
        assert!(all.len() >= 198, "{}", all.len());
        tokio::time::sleep(Duration::from_secs(500)).await;
        for _ in 0..40 {
            publish(&log, &[queue], &fill).await;
            deliver(&log, queue).await;
        }
        let left = log.history(0, 0, 1000).await.expect("history");
        assert!(left.len() < 80, "{}", left.len());
    });
}

#[test]
fn a_queue_far_behind_reads_what_it_wants() {
    run_paused(async {
        let bench = Bench::new();
        let (log, _) = bench.open().await;
        let (a, b) = (declare(&log, "a").await, declare(&log, "b").await);
        for number in 0..2000 {
            let queues = if number % 100 == 0 {
                vec![a, b]
            } else {
                vec![a]
            };
            publish(&log, &queues, &format!("{number}")).await;
        }
        for number in (0..2000).step_by(100) {
            assert_eq!(deliver(&log, b).await, number.to_string());
        }
        for number in 0..2000 {
            assert_eq!(deliver(&log, a).await, number.to_string());
        }
        let counts = log.counts(a).expect("counts");
        assert_eq!((counts.depth, counts.bytes, counts.oldest), (0, 0, None));
    });
}
