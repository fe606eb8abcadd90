//! Queues with a range: they get what is in the log already, whoever has finished it.

use super::*;
use crate::channel::disk::log::{QueueRange, SequenceSpan};

/// Events with these numbers for a queue that has delivered all of them, in a log that keeps them.
async fn delivered(numbers: std::ops::Range<u32>) -> (Bench, ChannelLog, QueueId) {
    let mut bench = Bench::new();
    bench.options.retain = Some(Duration::from_hours(1));
    let (log, _) = bench.open().await;
    let a = declare(&log, "a").await;
    for number in numbers {
        publish(&log, &[a], &format!("{number}{:>200}", "")).await;
        deliver(&log, a).await;
    }
    (bench, log, a)
}

async fn replay(log: &ChannelLog, name: &str, from: u64, until: u64) -> QueueId {
    let range = QueueRange::Alone(SequenceSpan { from, until });
    let options = QueueOptions::default();
    let declared = log.declare_range(name, range, options).await;
    declared.expect("a queue")
}

/// Takes up to `most` events; gives their numbers.
async fn numbers(log: &ChannelLog, queue: QueueId, most: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.len() < most {
        let taken = log.take(queue, most - numbers.len()).await.expect("events");
        if taken.is_empty() {
            break;
        }
        settle(log, queue, &taken).await;
        let each = taken.iter().map(|it| text(it).trim_end().parse::<u32>());
        numbers.extend(each.map(|number| number.expect("a number")));
    }
    numbers
}

#[tokio::test]
async fn a_range_is_delivered_again_and_ends() {
    let (_bench, log, a) = delivered(0..300).await;
    let first = log.first_since(0, 0).await.expect("a sequence");
    let again = replay(&log, "again", first + 10, first + 250).await;
    publish(&log, &[a], "300").await;
    assert_eq!(
        numbers(&log, again, 1000).await,
        (10..250).collect::<Vec<_>>()
    );
    assert_eq!(log.counts(again).expect("counts").depth, 0);
    assert_eq!(deliver(&log, a).await, "300");
    let left = log.retire(again, QueueLeftover::GivenUp).await;
    left.expect("retired");
}

#[tokio::test]
async fn a_range_goes_on_in_the_next_process() {
    let (bench, log, a) = delivered(0..200).await;
    let first = log.first_since(0, 0).await.expect("a sequence");
    let again = replay(&log, "again", first, first + 200).await;
    assert_eq!(numbers(&log, again, 80).await, (0..80).collect::<Vec<_>>());
    let in_flight = log.take(again, 3).await.expect("events");
    assert_eq!(in_flight.len(), 3);
    for next in 0..300 {
        publish(&log, &[a], &format!("{next}{:>200}", "")).await;
        deliver(&log, a).await;
    }
    log.close().await;
    drop(log);

    let (log, _) = bench.open().await;
    let same = replay(&log, "again", 5, 6).await;
    assert_eq!(same, again, "it goes on where it was");
    let progress = log.range_progress(again).expect("a range");
    assert_eq!(progress.range.until, first + 200);
    assert_eq!(
        numbers(&log, again, 1000).await,
        (80..200).collect::<Vec<_>>()
    );
    assert!(numbers(&log, again, 1).await.is_empty(), "it has ended");
}

#[tokio::test]
async fn a_range_that_is_cut_ends_where_it_was() {
    for reopens in [false, true] {
        let (bench, mut log, _a) = delivered(0..100).await;
        let first = log.first_since(0, 0).await.expect("a sequence");
        let again = replay(&log, "again", first, first + 100).await;
        numbers(&log, again, 20).await;
        let in_flight = log.take(again, 2).await.expect("events");
        let until = log.cut_range(again).await.expect("cut");
        assert_eq!(until, in_flight[1].sequence + 1);
        if reopens {
            log.close().await;
            drop(log);
            log = bench.open().await.0;
        } else {
            settle(&log, again, &in_flight).await;
        }
        let rest = numbers(&log, again, 10).await;
        assert_eq!(rest, if reopens { vec![20, 21] } else { vec![] });
        let more = replay(&log, "more", until, first + 100).await;
        assert_eq!(
            numbers(&log, more, 1000).await,
            (22..100).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn a_queue_may_begin_with_what_is_there() {
    let (bench, log, a) = delivered(0..50).await;
    let first = log.first_since(0, 0).await.expect("a sequence");
    let options = QueueOptions::default();
    let begin = QueueRange::AndOn(first + 20);
    let b = log.declare_range("b", begin, options).await.expect("b");
    publish(&log, &[a, b], "50").await;
    publish(&log, &[a], "51").await;
    assert_eq!(numbers(&log, b, 10).await, (20..30).collect::<Vec<_>>());
    log.close().await;
    drop(log);
    let (log, _) = bench.open().await;
    let same = log.declare_range("b", begin, options).await.expect("b");
    assert_eq!(same, b);
    publish(&log, &[a, b], "52").await;
    let mut expected: Vec<u32> = (30..51).collect();
    expected.push(52);
    assert_eq!(numbers(&log, b, expected.len()).await, expected);
    assert_eq!(take_now(&log, b, 1).await, []);
    assert_eq!(log.counts(b).expect("counts").depth, 0);
}

/// What a range needs is kept, however short the retention is from then on.
#[tokio::test]
async fn nothing_of_a_range_is_given_up() {
    let (_bench, log, a) = delivered(0..200).await;
    let first = log.first_since(0, 0).await.expect("a sequence");
    let again = replay(&log, "again", first, first + 200).await;
    log.set_retention(None);
    for number in 0..500 {
        publish(&log, &[a], &format!("{number}{:>200}", "")).await;
        deliver(&log, a).await;
    }
    assert_eq!(
        numbers(&log, again, 1000).await,
        (0..200).collect::<Vec<_>>()
    );
}

/// What a replay has parked stays though the replay is cut before it: after a restart, a queue may
/// be behind what it has parked.
#[tokio::test]
async fn what_is_parked_outlives_a_cut_before_it() {
    let (mut bench, log, a) = delivered(0..200).await;
    let first = log.first_since(0, 0).await.expect("a sequence");
    let again = replay(&log, "again", first, first + 200).await;
    let taken = log.take(again, 3).await.expect("events");
    let parking = crate::channel::disk::log::EventParking::default();
    let parked = log.park(again, taken[2].sequence, parking).await;
    parked.expect("parked");
    log.close().await;
    drop(log);
    bench.options.retain = None;
    let (log, _) = bench.open().await;
    let until = log.cut_range(again).await.expect("cut");
    assert!(until <= taken[2].sequence, "{until}");
    for number in 0..2000 {
        publish(&log, &[a], &format!("{number}{:>200}", "")).await;
        deliver(&log, a).await;
    }
    assert!(log.statistics().gathered > 0, "segments are written anew");
    let listed = log.parked(again, 0, 9).await.expect("events");
    assert_eq!(listed.len(), 1);
}
