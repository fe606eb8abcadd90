//! When a consumer looks at its queue, and what it concludes: RabbitMQ may send nothing although messages wait. That
//! happens when acknowledgements were lost while the queue got a new leader, and the consumer counts as full.

use crate::model::Order;

/// After how many times of thinking of it a queue is looked at in which messages may wait, and one in which none should.
const BUSY_PERIOD: u32 = 5;
const IDLE_PERIOD: u32 = 30;

/// Whether messages may wait in a queue, by what is known without a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backlog {
    /// Some were published since it was empty, or as many are held as may be.
    Possible,
    /// RabbitMQ would have sent them.
    Unlikely,
}

/// What a consumer remembers of its queue.
#[derive(Debug)]
pub(super) struct QueueWatch {
    order: Order,
    /// Messages since it was thought of the queue.
    received: u64,
    /// Times that it was thought of the queue since the last look.
    times: u32,
    /// Whether messages came until the time before.
    was_busy: bool,
    /// Whether any has come.
    has_received: bool,
    /// Whether messages were ready at the last look, and none came.
    is_doubtful: bool,
}

impl QueueWatch {
    /// Of a consumer that begins. Messages of an ordered queue may go to another process.
    pub(super) fn new(order: Order) -> Self {
        Self { order, received: 0, times: 0, was_busy: false, has_received: false, is_doubtful: false }
    }

    /// A message has come.
    pub(super) fn received(&mut self) {
        self.received += 1;
    }

    /// Whether it is time to look: soon after the last message came, and from time to time; more often if messages may
    /// wait there. To be asked every two seconds.
    pub(super) fn is_due(&mut self, backlog: Backlog) -> bool {
        let is_busy = self.received > 0;
        let fell_silent = self.was_busy && !is_busy;
        self.has_received |= is_busy;
        self.was_busy = is_busy;
        self.times += 1;
        if is_busy {
            self.is_doubtful = false;
        }
        let period = if backlog == Backlog::Possible || is_busy { BUSY_PERIOD } else { IDLE_PERIOD };
        let is_due = self.is_doubtful || fell_silent || self.times >= period;
        if !is_due {
            self.received = 0;
        }
        is_due
    }

    /// Whether nothing comes although `missed` messages should, after a look, and it was so at the look before. Where
    /// others may get the messages, only one who has got some is missing them.
    pub(super) fn is_stuck(&mut self, missed: u32) -> bool {
        self.times = 0;
        let nothing_came = std::mem::take(&mut self.received) == 0;
        let is_its_turn = self.order == Order::Unordered || self.has_received;
        let misses_some = missed > 0 && nothing_came && is_its_turn;
        std::mem::replace(&mut self.is_doubtful, misses_some) && misses_some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(times: u32, backlog: Backlog) -> u32 {
        let mut watch = QueueWatch::new(Order::Unordered);
        (0..times).map(|_| u32::from(watch.is_due(backlog) && !watch.is_stuck(0))).sum()
    }

    #[test]
    fn idle_queues_are_looked_at_once_a_minute_and_others_every_ten_seconds() {
        assert_eq!((looks(60, Backlog::Unlikely), looks(60, Backlog::Possible)), (2, 12));
    }

    #[test]
    fn a_consumer_that_fell_silent_is_noticed_at_the_second_look() {
        for order in [Order::Ordered, Order::Unordered] {
            let mut watch = QueueWatch::new(order);
            watch.received();
            assert!(!watch.is_due(Backlog::Possible), "it is busy");
            assert!(watch.is_due(Backlog::Possible) && !watch.is_stuck(3), "a message may be under way");
            assert!(watch.is_due(Backlog::Possible) && watch.is_stuck(3));
        }
    }

    #[test]
    fn what_comes_in_between_takes_the_doubt_away() {
        let mut watch = QueueWatch::new(Order::Unordered);
        watch.received();
        assert!(!watch.is_due(Backlog::Possible));
        assert!(watch.is_due(Backlog::Possible) && !watch.is_stuck(1));
        watch.received();
        assert!(!watch.is_due(Backlog::Possible));
    }

    #[test]
    fn who_waits_for_its_turn_misses_nothing() {
        let mut watch = QueueWatch::new(Order::Ordered);
        for _ in 0..100 {
            assert!(!watch.is_due(Backlog::Possible) || !watch.is_stuck(1));
        }
    }
}
