//! Control of a consumer's prefetch. RabbitMQ counts messages, while memory is bytes: few messages
//! are asked for until their size is known, then as many as fit, and none while there is no room.
//! The prefetch can be changed only by another consumer on the same channel, so it is changed in
//! large steps.

use crate::model::DeliveryOrder;

/// Prefetch before the size of any message is known.
const FIRST: u16 = 2;
/// Size in bytes that a message is assumed to have at least, since later messages may be larger
/// than earlier ones.
const SMALLEST: usize = 16 * 1024;
/// Number of periods, two seconds each, without a message after which a queue is idle.
const IDLE: u32 = 5;

/// Step that a consumer should take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrefetchStep {
    /// Keep the prefetch as it is.
    Keep,
    /// Cancel the consumer, so that no messages are asked for.
    Cancel,
    /// Consume anew, with this prefetch.
    Consume(u16),
}

/// Situation outside of the consumer that decides on its prefetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct PrefetchSituation {
    /// Bytes that the messages of this queue may hold.
    pub(super) allowance: usize,
    /// Messages of this queue that are held now.
    pub(super) held: usize,
    /// True if the budget has room for more messages of any queue.
    pub(super) has_room: bool,
    /// True if the budget has room for one message of a queue that holds none.
    pub(super) has_room_for_one: bool,
}

/// Prefetch of one consumer, and what decides on its next change.
#[derive(Debug)]
pub(super) struct PrefetchControl {
    max_prefetch: u16,
    order: DeliveryOrder,
    /// Current prefetch; 0 means that no messages are asked for.
    prefetch: u16,
    /// Approximate size in bytes of the largest message of late.
    largest_message: usize,
    /// Periods in a row without a message.
    quiet_periods: u32,
}

impl PrefetchControl {
    /// Makes the control of a consumer whose prefetch is `max_prefetch` at most. The messages of an
    /// ordered queue, which has a small prefetch, would lose their order if another process asked
    /// for them in between.
    pub(super) fn new(order: DeliveryOrder, max_prefetch: u16) -> Self {
        let prefetch = if order == DeliveryOrder::Ordered {
            max_prefetch
        } else {
            max_prefetch.min(FIRST)
        };
        Self {
            max_prefetch,
            order,
            prefetch,
            largest_message: 0,
            quiet_periods: 0,
        }
    }

    /// Current prefetch; 0 means that no messages are asked for.
    pub(super) fn prefetch(&self) -> u16 {
        self.prefetch
    }

    /// Records a message of this size in bytes.
    pub(super) fn record_received(&mut self, bytes: usize) {
        self.quiet_periods = 0;
        self.largest_message = bytes.max(self.largest_message - self.largest_message / 64);
    }

    /// Records that two seconds have passed.
    pub(super) fn record_period(&mut self) {
        self.quiet_periods = self.quiet_periods.saturating_add(1);
    }

    /// Records the prefetch from now on.
    pub(super) fn set_prefetch(&mut self, window: u16) {
        self.prefetch = window;
    }

    /// Decides on the next step.
    pub(super) fn next_step(&self, situation: PrefetchSituation) -> PrefetchStep {
        if self.order == DeliveryOrder::Ordered {
            return PrefetchStep::Keep;
        }
        let wanted = self.wanted_prefetch(situation.allowance);
        match self.prefetch {
            0 => step_from_none(wanted, situation),
            1 if situation.has_room_for_one => step_from_one(wanted, situation),
            _ if !situation.has_room => PrefetchStep::Cancel,
            prefetch => self.step_with_room(prefetch, wanted, situation.held),
        }
    }

    /// Prefetch that the allowance in bytes lets the consumer have.
    fn wanted_prefetch(&self, allowance: usize) -> u16 {
        // Before any size is known, few messages are asked for.
        let fits = if self.largest_message == 0 {
            FIRST.into()
        } else {
            allowance / self.largest_message.max(SMALLEST)
        };
        u16::try_from(fits)
            .unwrap_or(u16::MAX)
            .clamp(1, self.max_prefetch)
    }

    /// Step of a consumer that asks for messages, while there is room for more.
    fn step_with_room(&self, prefetch: u16, wanted: u16, held: usize) -> PrefetchStep {
        let more = more_messages(wanted, held);
        if wanted < prefetch / 2 {
            PrefetchStep::Cancel
        } else if self.quiet_periods >= IDLE && held == 0 && prefetch > FIRST {
            PrefetchStep::Consume(FIRST)
        } else if held >= prefetch.into() && more >= prefetch.saturating_mul(2) {
            // As many messages as asked for are held, so more would come.
            PrefetchStep::Consume(more)
        } else {
            PrefetchStep::Keep
        }
    }
}

/// Messages that a consumer may ask for anew: those that are held count for one that was cancelled.
fn more_messages(wanted: u16, held: usize) -> u16 {
    wanted.saturating_sub(u16::try_from(held).unwrap_or(u16::MAX))
}

/// Step of a consumer that asks for no messages.
fn step_from_none(wanted: u16, situation: PrefetchSituation) -> PrefetchStep {
    let held = situation.held;
    if situation.has_room && held <= usize::from(wanted) / 4 {
        PrefetchStep::Consume(more_messages(wanted, held))
    } else if situation.has_room_for_one && held == 0 {
        PrefetchStep::Consume(1)
    } else {
        PrefetchStep::Keep
    }
}

/// Step of a consumer that asks for one message at a time, while there is room for one.
fn step_from_one(wanted: u16, situation: PrefetchSituation) -> PrefetchStep {
    let more = more_messages(wanted, situation.held);
    if situation.has_room && situation.held >= 1 && more >= 2 {
        PrefetchStep::Consume(more)
    } else {
        PrefetchStep::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roomy(allowance: usize, held: usize) -> PrefetchSituation {
        PrefetchSituation {
            allowance,
            held,
            has_room: true,
            has_room_for_one: true,
        }
    }

    fn full(allowance: usize, held: usize) -> PrefetchSituation {
        PrefetchSituation {
            allowance,
            held,
            has_room: false,
            has_room_for_one: false,
        }
    }

    #[test]
    fn small_messages_are_asked_for_by_the_hundred() {
        let mut pace = PrefetchControl::new(DeliveryOrder::Unordered, 256);
        let mut windows = vec![pace.prefetch()];
        for _ in 0..10 {
            (0..pace.prefetch()).for_each(|_| pace.record_received(1024));
            if let PrefetchStep::Consume(window) =
                pace.next_step(roomy(16 << 20, pace.prefetch().into()))
            {
                pace.set_prefetch(window);
                windows.push(window);
            }
        }
        assert_eq!(windows, [2, 254]);
        assert_eq!(pace.next_step(roomy(16 << 20, 100)), PrefetchStep::Keep);
    }

    #[test]
    fn of_large_ones_as_many_as_fit() {
        let mut pace = PrefetchControl::new(DeliveryOrder::Unordered, 256);
        pace.record_received(1 << 20);
        assert_eq!(pace.next_step(roomy(10 << 20, 2)), PrefetchStep::Consume(8));
        pace.set_prefetch(8);
        pace.record_received(10 << 20);
        assert_eq!(pace.next_step(roomy(10 << 20, 5)), PrefetchStep::Cancel);
        pace.set_prefetch(0);
        assert_eq!(
            pace.next_step(roomy(10 << 20, 5)),
            PrefetchStep::Keep,
            "until what is held is little"
        );
        assert_eq!(pace.next_step(roomy(10 << 20, 0)), PrefetchStep::Consume(1));
    }

    #[test]
    fn without_room_nothing_is_asked_for() {
        let mut pace = PrefetchControl::new(DeliveryOrder::Unordered, 256);
        pace.record_received(1024);
        assert_eq!(pace.next_step(full(1 << 20, 1)), PrefetchStep::Cancel);
        pace.set_prefetch(0);
        assert_eq!(pace.next_step(full(1 << 20, 0)), PrefetchStep::Keep);
        assert_eq!(
            pace.next_step(roomy(4 << 20, 1)),
            PrefetchStep::Consume(255)
        );
        let slow_others = PrefetchSituation {
            has_room_for_one: true,
            ..full(1 << 20, 0)
        };
        pace.set_prefetch(0);
        assert_eq!(
            pace.next_step(slow_others),
            PrefetchStep::Consume(1),
            "no queue waits for another"
        );
        pace.set_prefetch(1);
        assert_eq!(
            pace.next_step(PrefetchSituation {
                held: 1,
                ..slow_others
            }),
            PrefetchStep::Keep
        );
        let ordered = PrefetchControl::new(DeliveryOrder::Ordered, 2);
        assert_eq!(
            (ordered.prefetch(), ordered.next_step(full(0, 2))),
            (2, PrefetchStep::Keep)
        );
    }

    #[test]
    fn an_idle_queue_is_asked_for_few_again() {
        let mut pace = PrefetchControl::new(DeliveryOrder::Unordered, 256);
        pace.record_received(10);
        pace.set_prefetch(256);
        (0..IDLE).for_each(|_| pace.record_period());
        assert_eq!(pace.next_step(roomy(16 << 20, 1)), PrefetchStep::Keep);
        assert_eq!(
            pace.next_step(roomy(16 << 20, 0)),
            PrefetchStep::Consume(FIRST)
        );
        pace.set_prefetch(FIRST);
        assert_eq!(pace.next_step(roomy(16 << 20, 0)), PrefetchStep::Keep);
    }

    #[test]
    fn few_that_come_now_and_then_change_nothing() {
        let mut pace = PrefetchControl::new(DeliveryOrder::Unordered, 256);
        pace.record_received(10);
        assert_eq!(pace.next_step(roomy(1 << 20, 1)), PrefetchStep::Keep);
    }
}
