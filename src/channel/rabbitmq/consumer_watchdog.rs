//! Watchdog of a consumer: when it looks at its queue, and what it concludes. RabbitMQ may send
//! nothing although messages wait. That happens when acknowledgements were lost while the queue got
//! a new leader, and the consumer counts as full.
//!
//! Time is counted in periods: calls of [`ConsumerWatchdog::is_inspection_due`], two seconds apart.

use super::queue_inspection::QueueCounts;
use crate::model::DeliveryOrder;

/// Periods between two looks at a queue in which messages may wait, and at one in which none
/// should.
const BUSY_PERIOD: u32 = 5;
const IDLE_PERIOD: u32 = 30;
/// Periods since the last doubt, and at most since the first one, before a consumer that RabbitMQ
/// had not answered begins anew.
const CALM: u32 = 3;
const LONGEST_DOUBT: u32 = 10;
/// The same as [`CALM`] for an ordered queue of which nothing seems to be missing: its consumer
/// would give up its turn to the next one, which may be that of a connection that is gone, for
/// which RabbitMQ takes up to 70 s to find out (3.10.8). Tests of the whole backend, which run by
/// the real clock, do not wait that long.
const ORDERED_CALM: u32 = if cfg!(test) { 6 } else { 40 };

/// Likelihood that messages wait in a queue, by what is known without a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueBacklog {
    /// Messages were published since the queue was empty, or as many are held as the prefetch
    /// allows.
    Possible,
    /// No message is expected: RabbitMQ would have sent it.
    Unlikely,
}

/// Memory of a consumer about its queue.
#[derive(Debug)]
pub(super) struct ConsumerWatchdog {
    order: DeliveryOrder,
    /// Messages received since the last period.
    received: u64,
    /// Periods since the last look at the queue.
    periods_since_look: u32,
    /// True if messages came in the period before the last one.
    was_busy: bool,
    /// True if any message has come.
    has_received: bool,
    /// True if messages were ready at the last look, and none came.
    had_undelivered: bool,
    /// Time since which RabbitMQ does not answer for the queue, if it does not.
    unanswered: Option<UnansweredPeriods>,
}

/// Periods since the first and since the last time that RabbitMQ did not answer for a queue.
#[derive(Clone, Copy, Debug, Default)]
struct UnansweredPeriods {
    since_first: u32,
    since_last: u32,
}

/// Reason for which a consumer should begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StallReason {
    /// Messages wait in the queue, and none is delivered.
    NoDeliveries,
    /// RabbitMQ did not answer for the queue, and does now: messages and acknowledgements of the
    /// meantime may be lost.
    Recovered,
}

impl ConsumerWatchdog {
    /// Makes the watchdog of a consumer that begins. Messages of an ordered queue may go to another
    /// process.
    pub(super) fn new(order: DeliveryOrder) -> Self {
        Self {
            order,
            received: 0,
            periods_since_look: 0,
            was_busy: false,
            has_received: false,
            had_undelivered: false,
            unanswered: None,
        }
    }

    /// Counts a message that has come.
    pub(super) fn record_received(&mut self) {
        self.received += 1;
    }

    /// Records that RabbitMQ does not answer for the queue at the moment.
    pub(super) fn record_unanswered(&mut self) {
        self.unanswered.get_or_insert_default().since_last = 0;
    }

    /// True if it is time to look at the queue: soon after the last message came, and from time to
    /// time; more often if messages may wait there. To be called every two seconds.
    pub(super) fn is_inspection_due(&mut self, backlog: QueueBacklog) -> bool {
        let is_busy = self.received > 0;
        let fell_silent = self.was_busy && !is_busy;
        self.has_received |= is_busy;
        self.was_busy = is_busy;
        self.periods_since_look += 1;
        if is_busy {
            self.had_undelivered = false;
        }
        if let Some(doubt) = &mut self.unanswered {
            (doubt.since_first, doubt.since_last) = (doubt.since_first + 1, doubt.since_last + 1);
        }
        let period = if backlog == QueueBacklog::Possible || is_busy {
            BUSY_PERIOD
        } else {
            IDLE_PERIOD
        };
        let is_due = self.had_undelivered
            || self.unanswered.is_some()
            || fell_silent
            || self.periods_since_look >= period;
        if !is_due {
            self.received = 0;
        }
        is_due
    }

    /// Judges a look at the queue; `room` is the number of messages that the prefetch still allows.
    /// Messages that wait while none comes are suspicious at the second look. Where another
    /// consumer may get them, only one that has got some is missing them.
    pub(super) fn find_stall(
        &mut self,
        counts: QueueCounts,
        remaining_prefetch: usize,
    ) -> Option<StallReason> {
        self.periods_since_look = 0;
        let nothing_came = std::mem::take(&mut self.received) == 0;
        if counts.consumers == 0 {
            self.record_unanswered();
        }
        // An ordered queue has one active consumer, which may be that of another process.
        let is_its_turn = self.order == DeliveryOrder::Unordered || self.has_received;
        let misses_some = counts.ready > 0 && remaining_prefetch > 0 && nothing_came && is_its_turn;
        let has_a_turn_to_lose =
            self.order == DeliveryOrder::Ordered && self.has_received && !misses_some;
        let is_over = |doubt: UnansweredPeriods| match has_a_turn_to_lose {
            true => doubt.since_last >= ORDERED_CALM,
            false => doubt.since_last >= CALM || doubt.since_first >= LONGEST_DOUBT,
        };
        if counts.consumers > 0 && self.unanswered.is_some_and(is_over) {
            return Some(StallReason::Recovered);
        }
        // Remembered for the next look: the first time, a message may still be on its way.
        let is_stuck = std::mem::replace(&mut self.had_undelivered, misses_some) && misses_some;
        is_stuck.then_some(StallReason::NoDeliveries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: QueueCounts = QueueCounts {
        ready: 0,
        consumers: 1,
    };
    const WAITING: QueueCounts = QueueCounts {
        ready: 3,
        consumers: 1,
    };
    const NO_LEADER: QueueCounts = QueueCounts {
        ready: 0,
        consumers: 0,
    };

    fn looks(times: u32, backlog: QueueBacklog) -> u32 {
        let mut watch = ConsumerWatchdog::new(DeliveryOrder::Unordered);
        (0..times)
            .map(|_| {
                u32::from(watch.is_inspection_due(backlog) && watch.find_stall(EMPTY, 1).is_none())
            })
            .sum()
    }

    #[test]
    fn idle_queues_are_looked_at_once_a_minute_and_others_every_ten_seconds() {
        assert_eq!(
            (
                looks(60, QueueBacklog::Unlikely),
                looks(60, QueueBacklog::Possible)
            ),
            (2, 12)
        );
    }

    #[test]
    fn a_consumer_that_fell_silent_is_noticed_at_the_second_look() {
        for order in [DeliveryOrder::Ordered, DeliveryOrder::Unordered] {
            let mut watch = ConsumerWatchdog::new(order);
            watch.record_received();
            assert!(
                !watch.is_inspection_due(QueueBacklog::Possible),
                "it is busy"
            );
            assert!(
                watch.is_inspection_due(QueueBacklog::Possible)
                    && watch.find_stall(WAITING, 1).is_none(),
                "one may be under way"
            );
            assert!(watch.is_inspection_due(QueueBacklog::Possible));
            assert_eq!(
                watch.find_stall(WAITING, 1),
                Some(StallReason::NoDeliveries)
            );
        }
    }

    #[test]
    fn what_comes_in_between_takes_the_suspicion_away() {
        let mut watch = ConsumerWatchdog::new(DeliveryOrder::Unordered);
        watch.record_received();
        assert!(!watch.is_inspection_due(QueueBacklog::Possible));
        assert!(
            watch.is_inspection_due(QueueBacklog::Possible)
                && watch.find_stall(WAITING, 1).is_none()
        );
        watch.record_received();
        assert!(!watch.is_inspection_due(QueueBacklog::Possible));
    }

    #[test]
    fn who_waits_for_its_turn_or_has_no_room_misses_nothing() {
        for (order, remaining_prefetch) in
            [(DeliveryOrder::Ordered, 1), (DeliveryOrder::Unordered, 0)]
        {
            let mut watch = ConsumerWatchdog::new(order);
            for _ in 0..100 {
                assert!(
                    !watch.is_inspection_due(QueueBacklog::Possible)
                        || watch.find_stall(WAITING, remaining_prefetch).is_none()
                );
            }
        }
    }

    #[test]
    fn a_queue_that_had_no_leader_is_consumed_anew_when_it_is_calm() {
        let mut watch = ConsumerWatchdog::new(DeliveryOrder::Unordered);
        watch.record_unanswered();
        for _ in 0..4 {
            assert!(
                watch.is_inspection_due(QueueBacklog::Unlikely)
                    && watch.find_stall(NO_LEADER, 1).is_none()
            );
        }
        let mut times = 0;
        while watch.is_inspection_due(QueueBacklog::Unlikely)
            && watch.find_stall(EMPTY, 1).is_none()
        {
            times += 1;
        }
        assert_eq!(times, CALM - 1);
    }

    #[test]
    fn an_ordered_consumer_that_gets_its_messages_keeps_its_turn_for_long() {
        let mut watch = ConsumerWatchdog::new(DeliveryOrder::Ordered);
        watch.record_unanswered();
        let mut times = 0;
        loop {
            watch.record_received();
            assert!(
                watch.is_inspection_due(QueueBacklog::Possible),
                "it is in doubt"
            );
            if watch.find_stall(WAITING, 1).is_some() {
                break;
            }
            times += 1;
        }
        assert_eq!(times, ORDERED_CALM - 1);
        let mut watch = ConsumerWatchdog::new(DeliveryOrder::Ordered);
        watch.record_received();
        watch.record_unanswered();
        let stuck = (0..ORDERED_CALM).find(|_| {
            watch.is_inspection_due(QueueBacklog::Possible)
                && watch.find_stall(WAITING, 1).is_some()
        });
        assert_eq!(stuck, Some(CALM - 1), "one that misses messages does not");
    }
}
