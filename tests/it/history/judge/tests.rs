//! Histories written by hand: a good one passes, and each fault of a bad one is found.

use super::*;
use crate::history::record::{
    EventCopy, EventPlace, FaultKind, FaultStrike, NemesisFault, ReadyLook, ReplicaLife, SendTry,
    Wish,
};

const LIMITS: RunLimits = RunLimits {
    outage: Duration::from_secs(5),
    pause_outage: Duration::from_secs(12),
    idle: Duration::from_secs(5),
    doubled_percent: 1.0,
};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn life(replica: usize) -> ReplicaLife {
    ReplicaLife { replica, life: 0 }
}

fn tried(event: u32, number: u16, at: u64, status: u16) -> SendTry {
    SendTry {
        event,
        number,
        sender: 0,
        replica: life(0),
        begun: ms(at),
        ended: ms(at + 10),
        status,
    }
}

fn copy(event: u32, number: u16, subscription: usize, at: u64) -> EventCopy {
    EventCopy {
        event,
        number,
        subscription,
        place: EventPlace::Subscriber,
        at: ms(at),
        status: 200,
    }
}

fn fault(kind: FaultKind, from: u64, until: u64) -> NemesisFault {
    NemesisFault {
        strike: FaultStrike {
            kind,
            from: ms(from),
            made: ms(from + 50),
        },
        until: ms(until),
    }
}

/// A hundred events, one each 100 ms, each of which comes 20 ms later to two subscriptions, the
/// second of which is ordered and wants even ones only; three nodes, two replicas that are ready
/// all the time.
fn good() -> RunHistory {
    let wishes = vec![
        Wish {
            name: "all",
            wants: |_| true,
            ordered: false,
        },
        Wish {
            name: "even",
            wants: |event| event.is_multiple_of(2),
            ordered: true,
        },
    ];
    let mut history = RunHistory {
        wishes,
        replicas: 2,
        nodes: 3,
        prefetch: 2,
        ..RunHistory::default()
    };
    for event in 0..100 {
        let at = u64::from(event) * 100;
        history.tries.push(tried(event, 1, at, 202));
        history.copies.push(copy(event, 1, 0, at + 20));
        history
            .copies
            .extend(event.is_multiple_of(2).then(|| copy(event, 1, 1, at + 30)));
        history.looks.push(ReadyLook {
            replica: life(0),
            at: ms(at),
            ready: true,
        });
    }
    history
}

fn violations(history: &RunHistory) -> Vec<String> {
    judge(history).violations(&LIMITS)
}

/// The only thing that is wrong with a history.
fn violation(history: &RunHistory) -> String {
    let found = violations(history);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn a_good_history_passes() {
    let verdict = judge(&good());
    assert_eq!(verdict.violations(&LIMITS), Vec::<String>::new());
    assert_eq!(
        (verdict.accepted, verdict.tries, verdict.lost()),
        (100, 100, 0)
    );
    assert_eq!(
        (verdict.tallies[0].delivered, verdict.tallies[1].delivered),
        (100, 50)
    );
    assert_eq!(verdict.outage.length(), ms(100));
    assert_eq!(
        (verdict.idle.length(), verdict.excused),
        (Duration::ZERO, Duration::ZERO)
    );
}

#[test]
fn what_came_nowhere_is_lost() {
    let mut history = good();
    history
        .copies
        .retain(|copy| copy.event != 7 && (copy.event, copy.subscription) != (8, 1));
    let found = violations(&history);
    assert_eq!(
        found,
        [
            "all: 1 events lost, such as [7]",
            "even: 1 events lost, such as [8]"
        ]
    );
}

/// A refusal ends nothing: the event has to come to the dead letter sink, or be parked.
#[test]
fn a_refused_event_is_lost_unless_it_is_dead_lettered_or_parked() {
    let mut history = good();
    let index = history
        .copies
        .iter()
        .position(|copy| copy.event == 7)
        .expect("it came");
    history.copies[index].status = 422;
    assert_eq!(violation(&history), "all: 1 events lost, such as [7]");
    for place in [EventPlace::DeadLetterSink, EventPlace::ParkingQueue] {
        let mut saved = history.clone();
        saved.copies.push(EventCopy {
            place,
            ..copy(7, 1, 0, 800)
        });
        assert_eq!(violations(&saved), Vec::<String>::new());
        let tally = &judge(&saved).tallies[0];
        assert_eq!(tally.dead_lettered + tally.parked, 1);
    }
}

/// An event that was answered 503 and nothing else was promised to nobody.
#[test]
fn what_was_not_accepted_is_not_lost() {
    let mut history = good();
    history.copies.retain(|copy| copy.event != 7);
    history.tries[7].status = 503;
    assert_eq!(violations(&history), Vec::<String>::new());
}

#[test]
fn the_content_of_a_deleted_queue_is_excused_until_it_was_deleted() {
    let mut history = good();
    history
        .copies
        .retain(|copy| copy.subscription != 0 || !(40..60).contains(&copy.event));
    history.faults = vec![fault(FaultKind::QueueDeleted(0), 4900, 9000)];
    let tally = &judge(&history).tallies[0];
    assert_eq!(
        (tally.excused, tally.lost.as_slice()),
        (10, [50, 51, 52, 53, 54, 55, 56, 57, 58, 59].as_slice())
    );
    history.faults = vec![fault(FaultKind::QueueDeleted(1), 4900, 9000)];
    assert_eq!(judge(&history).lost(), 20, "another queue");
}

#[test]
fn copies_too_many_are_doubled_wherever_they_came() {
    let mut history = good();
    history
        .copies
        .extend([copy(10, 1, 0, 3000), copy(11, 1, 0, 3000)]);
    history.copies.push(EventCopy {
        place: EventPlace::ParkingQueue,
        ..copy(12, 1, 0, 3000)
    });
    let verdict = judge(&history);
    assert_eq!(
        (
            verdict.tallies[0].redelivered,
            verdict.tallies[0].needless()
        ),
        (3, 3)
    );
    assert_eq!(
        violation(&history),
        "2.00 % doubled beyond what was under way"
    );
}

/// Of a killed replica, what came within the second before may come again, but no more than it may
/// hold.
#[test]
fn what_was_under_way_at_a_fault_may_come_twice() {
    let mut history = good();
    history.faults = vec![fault(FaultKind::ReplicaKilled(0), 5000, 5500)];
    history
        .copies
        .extend([45, 46, 47].map(|event| copy(event, 1, 0, 5600)));
    let tally = &judge(&history).tallies[0];
    assert_eq!(
        (tally.redelivered, tally.under_way, tally.needless()),
        (3, 2, 1)
    );
    history.copies.retain(|copy| copy.at != ms(5600));
    history
        .copies
        .extend([20, 21].map(|event| copy(event, 1, 0, 5600)));
    assert_eq!(
        judge(&history).tallies[0].needless(),
        2,
        "acknowledged long before"
    );
    history.faults[0].strike.kind = FaultKind::ReplicaStopped(0);
    history.copies.push(copy(46, 1, 0, 5600));
    assert_eq!(
        judge(&history).tallies[0].needless(),
        3,
        "a stop doubles nothing"
    );
}

/// A sender that is told 503 sends again: what came of both is doubled, unless the fault fell into
/// its first try.
#[test]
fn what_is_stored_and_refused_is_doubled() {
    let mut history = good();
    history.tries[50].status = 503;
    history.tries.push(tried(50, 2, 5030, 202));
    history.copies.push(copy(50, 2, 0, 5060));
    history.faults = vec![fault(FaultKind::NodeDown(0), 3000, 9000)];
    let tally = &judge(&history).tallies[0];
    assert_eq!(
        (tally.resent, tally.redelivered, tally.needless()),
        (1, 0, 1)
    );
    history.faults = vec![fault(FaultKind::NodeDown(0), 5005, 9000)];
    assert_eq!(judge(&history).tallies[0].needless(), 0);
}

#[test]
fn order_is_that_of_acceptance() {
    let mut history = good();
    let at = |history: &RunHistory, event: u32| {
        history
            .copies
            .iter()
            .position(|copy| (copy.event, copy.subscription) == (event, 1))
            .expect("it came")
    };
    let late = at(&history, 20);
    history.copies[late].at = ms(3000);
    assert_eq!(
        violation(&history),
        "even: 1 events out of order, such as [20]"
    );
    // Another sender's events may overtake it.
    for tried in &mut history.tries {
        tried.sender = u16::from(tried.event == 20);
    }
    assert_eq!(violations(&history), Vec::<String>::new());
}

/// A copy that comes again later does not change the order of the first ones.
#[test]
fn a_second_copy_is_not_out_of_order() {
    let mut history = good();
    history.copies.push(copy(20, 1, 1, 3000));
    assert_eq!(violations(&history), Vec::<String>::new());
}

/// Refuses everything from 3 s to 9 s.
fn outage() -> RunHistory {
    let mut history = good();
    history.tries[30..90]
        .iter_mut()
        .for_each(|tried| tried.status = 503);
    history
        .looks
        .retain(|look| !(3000..9000).contains(&look.at.as_millis()));
    history.looks.push(ReadyLook {
        replica: life(0),
        at: ms(3000),
        ready: false,
    });
    history
}

#[test]
fn an_outage_is_found_while_two_nodes_are_up() {
    let mut history = outage();
    let expected = "no event was accepted for 6.1s, from 2.9s";
    assert_eq!(violation(&history), expected);
    history.faults = vec![
        fault(FaultKind::NodeDown(0), 3000, 9000),
        fault(FaultKind::ReplicaKilled(0), 3000, 9000),
    ];
    assert_eq!(
        violation(&history),
        expected,
        "two nodes and a replica were there"
    );
}

#[test]
fn an_outage_is_excused_while_there_is_no_majority_no_replica_or_an_alarm() {
    use FaultKind::{MemoryAlarm, NodeDown, NodeParted, ReplicaKilled, ReplicaStopped};
    let excuses = [
        vec![MemoryAlarm],
        vec![NodeDown(0), NodeParted(1)],
        vec![ReplicaKilled(0), ReplicaStopped(1)],
    ];
    for kinds in excuses {
        let mut history = outage();
        history.faults = kinds
            .into_iter()
            .map(|kind| fault(kind, 3000, 8000))
            .collect();
        let verdict = judge(&history);
        assert_eq!(verdict.violations(&LIMITS), Vec::<String>::new());
        assert_eq!(
            (verdict.outage.length(), verdict.excused),
            (ms(1010), ms(5000)),
            "from its end to the next 202"
        );
    }
}

#[test]
fn a_pause_has_a_limit_of_its_own() {
    let mut history = outage();
    history.faults = vec![fault(FaultKind::NodePaused(2), 3000, 9000)];
    let verdict = judge(&history);
    assert_eq!(
        (
            verdict.pause_outage.length(),
            verdict.violations(&LIMITS).len()
        ),
        (ms(6100), 0)
    );
    let short = RunLimits {
        pause_outage: ms(6000),
        ..LIMITS
    };
    assert_eq!(verdict.violations(&short).len(), 1);
}

#[test]
fn accepted_events_that_do_not_come_for_long_are_found() {
    let mut history = good();
    for copy in history
        .copies
        .iter_mut()
        .filter(|copy| (30..90).contains(&copy.event) && copy.subscription == 0)
    {
        copy.at += ms(8000) - ms(copy.at.subsec_millis().into());
    }
    history
        .copies
        .retain(|copy| copy.subscription == 1 || !(90..100).contains(&copy.event));
    history.tries.truncate(90);
    assert_eq!(
        violation(&history),
        "no event was delivered to all for 5.9s, from 3.0s"
    );
}

/// An ordered subscription is due nothing while a node hangs, and everything as soon as it does
/// not.
#[test]
fn what_is_in_order_may_wait_for_the_end_of_a_pause() {
    let mut history = good();
    for copy in history
        .copies
        .iter_mut()
        .filter(|copy| (30..90).contains(&copy.event) && copy.subscription == 1)
    {
        copy.at = ms(8950) + ms(u64::from(copy.event / 2));
    }
    history.faults = vec![fault(FaultKind::NodePaused(2), 3000, 8500)];
    let short = RunLimits {
        pause_outage: ms(1000),
        ..LIMITS
    };
    assert_eq!(judge(&history).violations(&short), Vec::<String>::new());
    history.faults = vec![fault(FaultKind::NodePaused(2), 3000, 7500)];
    assert_eq!(judge(&history).violations(&short).len(), 1);
    history.wishes[1].ordered = false;
    assert!(judge(&history).pause_stillness.0.length() > ms(5000));
}

#[test]
fn ready_and_refusing_is_found() {
    let mut history = outage();
    history.looks.iter_mut().for_each(|look| look.ready = true);
    history.looks.push(ReadyLook {
        replica: life(0),
        at: ms(9000),
        ready: true,
    });
    let found = violations(&history);
    assert!(
        found
            .contains(&"a replica was ready and refused everything for 5.9s, from 3.0s".to_owned()),
        "{found:?}"
    );
    // Another life of the same replica is another one.
    history
        .looks
        .iter_mut()
        .for_each(|look| look.replica.life = 1);
    assert_eq!(judge(&history).idle.length(), Duration::ZERO);
}

#[test]
fn what_is_left_in_a_queue_is_found() {
    let history = RunHistory {
        unfinished: vec![("q".to_owned(), 3)],
        ..good()
    };
    assert_eq!(violation(&history), "q still has 3 messages");
}
