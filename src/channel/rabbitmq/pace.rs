//! How many messages of a queue are asked for at once. RabbitMQ counts messages, memory is bytes: it is asked for few until
//! it is known how large they are, then for as many as fit, and for none while there is no room. What is asked for can be
//! changed only by another consumer on the same channel, so it is changed in large steps.

use crate::model::Order;

/// Messages that are asked for before any is known.
const FIRST: u16 = 2;
/// Bytes that a message is thought to have at least, since those to come may be larger than those that came.
const SMALLEST: usize = 16 * 1024;
/// How often in a row nothing must have come, when it is asked every two seconds, for a queue to be idle.
const IDLE: u32 = 5;

/// What a consumer should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// What it does.
    Stay,
    /// Ask for nothing.
    Stop,
    /// Ask for so many.
    Ask(u16),
}

/// What else decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    /// Bytes that the messages of this queue may hold.
    pub(super) allowance: usize,
    /// Messages of it that are held.
    pub(super) held: usize,
    /// Whether there is room for more messages, of whichever queue.
    pub(super) has_room: bool,
    /// Whether there is room for one of a queue that holds none.
    pub(super) has_room_for_one: bool,
}

/// The pace of one consumer.
#[derive(Debug)]
pub(super) struct Pace {
    most: u16,
    order: Order,
    /// What is asked for now; 0 is nothing.
    window: u16,
    /// About how many bytes the largest message has that came of late.
    largest: usize,
    /// How often in a row nothing has come.
    quiet: u32,
}

impl Pace {
    /// Of a consumer that asks for no more than `most`. The messages of an ordered queue, of which few are asked for, would
    /// lose their order if another process asked in between.
    pub(super) fn new(order: Order, most: u16) -> Self {
        let window = if order == Order::Ordered { most } else { most.min(FIRST) };
        Self { most, order, window, largest: 0, quiet: 0 }
    }

    /// What is asked for now; 0 is nothing.
    pub(super) fn window(&self) -> u16 {
        self.window
    }

    /// A message of so many bytes has come.
    pub(super) fn received(&mut self, bytes: usize) {
        self.quiet = 0;
        self.largest = bytes.max(self.largest - self.largest / 64);
    }

    /// Two seconds have passed.
    pub(super) fn pass(&mut self) {
        self.quiet = self.quiet.saturating_add(1);
    }

    /// It is asked for so many from now on.
    pub(super) fn set(&mut self, window: u16) {
        self.window = window;
    }

    /// What to do next.
    pub(super) fn step(&self, Situation { allowance, held, has_room, has_room_for_one }: Situation) -> Step {
        if self.order == Order::Ordered {
            return Step::Stay;
        }
        let fits = if self.largest == 0 { FIRST.into() } else { allowance / self.largest.max(SMALLEST) };
        let wanted = u16::try_from(fits).unwrap_or(u16::MAX).clamp(1, self.most);
        // What is held now counts for a consumer that is gone.
        let more = wanted.saturating_sub(u16::try_from(held).unwrap_or(u16::MAX));
        match self.window {
            0 if has_room && held <= usize::from(wanted) / 4 => Step::Ask(more),
            0 if has_room_for_one && held == 0 => Step::Ask(1),
            0 => Step::Stay,
            1 if has_room_for_one => {
                if has_room && held >= 1 && more >= 2 {
                    Step::Ask(more)
                } else {
                    Step::Stay
                }
            }
            _ if !has_room => Step::Stop,
            window if wanted < window / 2 => Step::Stop,
            window if self.quiet >= IDLE && held == 0 && window > FIRST => Step::Ask(FIRST),
            // More would come if it were asked for.
            window if held >= window.into() && more >= window.saturating_mul(2) => Step::Ask(more),
            _ => Step::Stay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roomy(allowance: usize, held: usize) -> Situation {
        Situation { allowance, held, has_room: true, has_room_for_one: true }
    }

    fn full(allowance: usize, held: usize) -> Situation {
        Situation { allowance, held, has_room: false, has_room_for_one: false }
    }

    #[test]
    fn small_messages_are_asked_for_by_the_hundred() {
        let mut pace = Pace::new(Order::Unordered, 256);
        let mut windows = vec![pace.window()];
        for _ in 0..10 {
            (0..pace.window()).for_each(|_| pace.received(1024));
            if let Step::Ask(window) = pace.step(roomy(16 << 20, pace.window().into())) {
                pace.set(window);
                windows.push(window);
            }
        }
        assert_eq!(windows, [2, 254]);
        assert_eq!(pace.step(roomy(16 << 20, 100)), Step::Stay);
    }

    #[test]
    fn of_large_ones_as_many_as_fit() {
        let mut pace = Pace::new(Order::Unordered, 256);
        pace.received(1 << 20);
        assert_eq!(pace.step(roomy(10 << 20, 2)), Step::Ask(8));
        pace.set(8);
        pace.received(10 << 20);
        assert_eq!(pace.step(roomy(10 << 20, 5)), Step::Stop);
        pace.set(0);
        assert_eq!(pace.step(roomy(10 << 20, 5)), Step::Stay, "until what is held is little");
        assert_eq!(pace.step(roomy(10 << 20, 0)), Step::Ask(1));
    }

    #[test]
    fn without_room_nothing_is_asked_for() {
        let mut pace = Pace::new(Order::Unordered, 256);
        pace.received(1024);
        assert_eq!(pace.step(full(1 << 20, 1)), Step::Stop);
        pace.set(0);
        assert_eq!(pace.step(full(1 << 20, 0)), Step::Stay);
        assert_eq!(pace.step(roomy(4 << 20, 1)), Step::Ask(255));
        let slow_others = Situation { has_room_for_one: true, ..full(1 << 20, 0) };
        pace.set(0);
        assert_eq!(pace.step(slow_others), Step::Ask(1), "no queue waits for another");
        pace.set(1);
        assert_eq!(pace.step(Situation { held: 1, ..slow_others }), Step::Stay);
        let ordered = Pace::new(Order::Ordered, 2);
        assert_eq!((ordered.window(), ordered.step(full(0, 2))), (2, Step::Stay));
    }

    #[test]
    fn an_idle_queue_is_asked_for_few_again() {
        let mut pace = Pace::new(Order::Unordered, 256);
        pace.received(10);
        pace.set(256);
        (0..IDLE).for_each(|_| pace.pass());
        assert_eq!(pace.step(roomy(16 << 20, 1)), Step::Stay);
        assert_eq!(pace.step(roomy(16 << 20, 0)), Step::Ask(FIRST));
        pace.set(FIRST);
        assert_eq!(pace.step(roomy(16 << 20, 0)), Step::Stay);
    }

    #[test]
    fn few_that_come_now_and_then_change_nothing() {
        let mut pace = Pace::new(Order::Unordered, 256);
        pace.received(10);
        assert_eq!(pace.step(roomy(1 << 20, 1)), Step::Stay);
    }
}
