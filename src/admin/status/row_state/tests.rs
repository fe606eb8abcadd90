//! Tables of rows, and what is said of each.

use tokio::time::Instant;

use super::super::ready_condition::ReadyCondition;
use super::super::subscription_row::FailedAttempt;
use super::*;
use crate::delivery::{NextAttempt, UnfinishedProgress};
use crate::model::{Condition, DestinationRole, SubscriptionKind};

/// What a case sets of a row.
type Change = fn(&mut SubscriptionRow<'static>, SystemTime);

fn counts<'a>(row: &'a mut SubscriptionRow<'static>) -> &'a mut SubscriptionCounts {
    row.counts.get_or_insert_default()
}

fn ago(now: SystemTime, seconds: u64) -> Option<SystemTime> {
    now.checked_sub(Duration::from_secs(seconds))
}

fn ready(status: &str) -> Option<ReadyCondition> {
    let condition = Condition {
        ty: "Ready",
        status,
        reason: Some("R"),
        message: Some("m"),
    };
    Some(condition.into())
}

fn failed(now: SystemTime, seconds: u64) -> Option<FailedAttempt> {
    Some(FailedAttempt {
        time: String::new(),
        leg: "subscriber",
        destination: "http://a/".to_owned(),
        reason: "answered 503".to_owned(),
        at: ago(now, seconds)?,
    })
}

fn unfinished(attempts: u32, next: NextAttempt) -> NotedEvent {
    NotedEvent {
        identity: 1,
        id: "e1".into(),
        source: "/s".into(),
        progress: UnfinishedProgress {
            role: DestinationRole::Subscriber,
            attempts,
            next,
        },
    }
}

fn due(attempts: u32) -> NotedEvent {
    let due = Instant::now() + Duration::from_secs(10_740);
    unfinished(attempts, NextAttempt::Due(due))
}

/// A row of this name with counts, changed, and judged.
fn judged(change: Change) -> SubscriptionRow<'static> {
    judged_with(change)
}

fn judged_with(
    change: impl FnOnce(&mut SubscriptionRow<'static>, SystemTime),
) -> SubscriptionRow<'static> {
    let warned = ObjectPath {
        kind: "Trigger",
        namespace: "n",
        name: "warned",
    };
    let judge = StateJudge {
        clocks: TwoClocks::now(),
        serves_channels: true,
        warnings: [(warned, 2)].into(),
    };
    let mut row = SubscriptionRow::empty(SubscriptionKind::Trigger, "n", "t");
    counts(&mut row);
    change(&mut row, judge.clocks.wall());
    judge.judge(&mut row);
    assert_eq!(row.state, row.reasons[0].word);
    row
}

#[tokio::test(start_paused = true)]
async fn the_worst_comes_first() {
    let cases: [(Change, &[&str]); 16] = [
        (|_, _| {}, &["Idle"]),
        (|row, _| row.counts = None, &["Not served"]),
        (|row, _| row.ready = ready("False"), &["Not ready"]),
        (|row, _| row.ready = ready("Unknown"), &["Not ready yet"]),
        (|row, now| row.last_error = failed(now, 30), &["Failing"]),
        (|row, now| row.last_error = failed(now, 90), &["Idle"]),
        (
            |row, now| {
                (row.last_error, row.last.success_at) = (failed(now, 30), ago(now, 29));
            },
            &["Idle"],
        ),
        (
            |row, now| {
                (row.last_error, row.last.success_at) = (failed(now, 1), ago(now, 2));
            },
            &["Retrying"],
        ),
        (
            |row, now| {
                counts(row).parked = 2;
                row.last_error = failed(now, 1);
            },
            &["Failing", "Parked"],
        ),
        (
            |row, now| row.last.lost_at = ago(now, 1800),
            &["Lost events"],
        ),
        (|row, now| row.last.lost_at = ago(now, 3601), &["Idle"]),
        (
            |row, now| row.last.dead_letter_at = ago(now, 1),
            &["Dead letters"],
        ),
        (|row, _| row.name = "warned", &["Doubtful"]),
        (|row, now| row.last.success_at = ago(now, 14), &["Working"]),
        (|row, now| row.last.success_at = ago(now, 15), &["Idle"]),
        (|row, _| counts(row).in_flight = 1, &["Working"]),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let row = judged(change);
        let words: Vec<_> = row.reasons.iter().map(|reason| reason.word).collect();
        assert_eq!(words, expected, "case {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_never_idle() {
    let cases: [(Change, RowLevel, &str, &str); 6] = [
        (
            |row, _| counts(row).unfinished = Some(3),
            RowLevel::Fine,
            "Waiting",
            "3 events are not finished",
        ),
        (
            |row, _| {
                (counts(row).unfinished, counts(row).in_flight) = (Some(1), 1);
                let since = Instant::now();
                row.unfinished = vec![unfinished(0, NextAttempt::UnderWay(since))];
            },
            RowLevel::Fine,
            "Waiting",
            "1 event is not finished; e1: attempt 1 under way for ",
        ),
        (
            |row, now| {
                counts(row).unfinished = Some(17);
                (row.last_error, row.unfinished) = (failed(now, 3600), vec![due(2)]);
            },
            RowLevel::Doubtful,
            "Retrying",
            "17 events are not finished; e1: attempt 3 in 2 h 59 min (20",
        ),
        (
            |row, _| {
                counts(row).unfinished = Some(2);
                row.until_next_due = Some(Duration::from_secs(3600));
            },
            RowLevel::Doubtful,
            "Retrying",
            "2 events are not finished; the next attempt is in 1 h 0 min (20",
        ),
        (
            |row, now| {
                row.last.success_at = ago(now, 1);
                row.unfinished = vec![due(1)];
            },
            RowLevel::Doubtful,
            "Retrying",
            "e1: attempt 2 in ",
        ),
        (
            |row, now| (row.last_error, row.unfinished) = (failed(now, 1), vec![due(1)]),
            RowLevel::Broken,
            "Failing",
            "subscriber: answered 503 at http://a/",
        ),
    ];
    for (change, level, word, text) in cases {
        let row = judged(change);
        let first = &row.reasons[0];
        assert_eq!((first.level, first.word), (level, word), "{first:?}");
        assert!(first.text.starts_with(text), "{first:?}");
    }
}

#[tokio::test]
async fn certificates_are_told_before_they_end() {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    for (first, last, expected) in [
        (15, 30, ("Idle", RowLevel::Fine)),
        (13, 30, ("Certificate", RowLevel::Doubtful)),
        (2, 30, ("Certificate", RowLevel::Broken)),
        (-1, 30, ("Certificate", RowLevel::Doubtful)),
        (-2, -1, ("Expired", RowLevel::Broken)),
    ] {
        let ends = [first, last].map(|days| now + days * DAY + 60);
        let row = judged_with(|row, _| {
            row.reply = Some(StatusDestination::with_ends(ends[0], ends[1]));
        });
        assert_eq!(
            (row.state, row.reasons[0].level),
            expected,
            "{first} {last}"
        );
    }
}
