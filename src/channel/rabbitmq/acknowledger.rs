//! Acknowledging in groups what one consumer was given: each acknowledgement of a quorum queue is a write of its own, one
//! for a hundred messages costs as much as one for one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::mpsc;

use crate::telemetry::counters::ProcessCounters;

/// How long settled messages are gathered.
const GATHER: Duration = Duration::from_millis(2);
/// A queue of which so few messages are held is waited for by each of them, so that nothing is gathered.
const FEW: u16 = 4;
/// Settled messages looked at at once.
const GROUP: usize = 1024;

/// What RabbitMQ is to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SettleAction {
    /// Forget it.
    Ack,
    /// Deliver it again.
    Requeue,
}

/// A message is settled: its delivery tag, and what is to be done with it.
pub(super) type SettledDelivery = (u64, SettleAction);

/// Acknowledges what came over one AMQP channel.
pub(super) struct RabbitmqAcknowledger {
    channel: lapin::Channel,
    settlements: mpsc::Receiver<SettledDelivery>,
    ledger: DeliveryTagLedger,
    gather_time: Duration,
    counters: Arc<ProcessCounters>,
}

impl RabbitmqAcknowledger {
    /// An acknowledger, and how it is told. It has room for as many messages as RabbitMQ hands out.
    pub(super) fn new(
        channel: lapin::Channel,
        prefetch: u16,
        counters: Arc<ProcessCounters>,
    ) -> (Self, mpsc::Sender<SettledDelivery>) {
        let (sender, settled) = mpsc::channel(usize::from(prefetch).max(1));
        let gather = if prefetch <= FEW { Duration::ZERO } else { GATHER };
        (
            Self { channel, settlements: settled, ledger: DeliveryTagLedger::default(), gather_time: gather, counters },
            sender,
        )
    }

    /// Acknowledges until nobody has anything left to settle.
    ///
    /// # Errors
    /// If the channel is broken; what was not acknowledged is delivered again.
    pub(super) async fn run(mut self) -> lapin::Result<()> {
        let mut batch = Vec::new();
        loop {
            let open = tokio::select! {
                count = self.settlements.recv_many(&mut batch, GROUP) => count > 0,
                () = tokio::time::sleep(GATHER), if self.ledger.has_unacknowledged() => true,
            };
            if open && !batch.is_empty() && !self.gather_time.is_zero() {
                tokio::time::sleep(self.gather_time).await;
                while batch.len() < GROUP
                    && let Ok(settled) = self.settlements.try_recv()
                {
                    batch.push(settled);
                }
            }
            self.ledger.next_round();
            for (tag, verdict) in batch.drain(..) {
                self.settle_delivery(tag, verdict).await?;
            }
            if !open {
                // Nothing that could still be waited for.
                self.ledger.next_round();
                return self.send_acknowledgements().await;
            }
            self.send_acknowledgements().await?;
        }
    }

    async fn settle_delivery(&mut self, tag: u64, verdict: SettleAction) -> lapin::Result<()> {
        if verdict == SettleAction::Requeue {
            self.channel.basic_nack(tag, BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await?;
        }
        self.ledger.settle(tag, verdict);
        Ok(())
    }

    async fn send_acknowledgements(&mut self) -> lapin::Result<()> {
        let owed = self.ledger.unacknowledged;
        if let Some(tag) = self.ledger.take_multiple_ack() {
            self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
        }
        for tag in self.ledger.take_single_acks() {
            self.channel.basic_ack(tag, BasicAckOptions { multiple: false }).await?;
        }
        self.counters.rabbitmq_acknowledged.add(owed.saturating_sub(self.ledger.unacknowledged));
        Ok(())
    }
}

/// Which delivery tags of a channel, which count from 1, are settled.
#[derive(Debug, Default)]
struct DeliveryTagLedger {
    /// This one and all before it are settled and told.
    settled_up_to: u64,
    /// Settled while one before is not; and if RabbitMQ has not been told, since when.
    settled_out_of_order: BTreeMap<u64, Option<u64>>,
    /// Of how many RabbitMQ has not been told.
    unacknowledged: u64,
    round: u64,
}

impl DeliveryTagLedger {
    fn next_round(&mut self) {
        self.round += 1;
    }

    fn settle(&mut self, tag: u64, verdict: SettleAction) {
        let untold = (verdict == SettleAction::Ack).then_some(self.round);
        self.unacknowledged += u64::from(untold.is_some());
        self.settled_out_of_order.insert(tag, untold);
    }

    /// Whether RabbitMQ has not been told of all that is settled.
    fn has_unacknowledged(&self) -> bool {
        self.unacknowledged > 0
    }

    /// All up to this one can be acknowledged at once. It is one that has not been told, as RabbitMQ demands.
    fn take_multiple_ack(&mut self) -> Option<u64> {
        let mut last = None;
        while let Some(first) = self.settled_out_of_order.first_entry()
            && *first.key() == self.settled_up_to + 1
        {
            self.settled_up_to += 1;
            if first.remove().is_some() {
                self.unacknowledged -= 1;
                last = Some(self.settled_up_to);
            }
        }
        last
    }

    /// What has waited for one before it for a round: to be acknowledged one by one.
    fn take_single_acks(&mut self) -> Vec<u64> {
        let round = self.round;
        let waited =
            self.settled_out_of_order.iter_mut().filter(|(_, untold)| untold.is_some_and(|since| since < round));
        let stragglers: Vec<u64> = waited
            .map(|(tag, untold)| {
                *untold = None;
                *tag
            })
            .collect();
        self.unacknowledged -= stragglers.len() as u64;
        stragglers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ledger(settled: &[u64]) -> DeliveryTagLedger {
        let mut ledger = DeliveryTagLedger::default();
        settled.iter().for_each(|tag| ledger.settle(*tag, SettleAction::Ack));
        ledger
    }

    #[test]
    fn what_is_settled_in_order_is_one_group() {
        let mut ledger = ledger(&[2, 1, 3]);
        assert_eq!(
            (ledger.take_multiple_ack(), ledger.take_single_acks(), ledger.has_unacknowledged()),
            (Some(3), vec![], false)
        );
    }

    #[test]
    fn a_slow_one_holds_up_the_others_for_a_round() {
        let mut ledger = ledger(&[1, 3, 4]);
        assert_eq!((ledger.take_multiple_ack(), ledger.take_single_acks()), (Some(1), vec![]));
        ledger.next_round();
        assert_eq!((ledger.take_multiple_ack(), ledger.take_single_acks()), (None, vec![3, 4]));
        ledger.settle(2, SettleAction::Ack);
        assert_eq!(
            (ledger.take_multiple_ack(), ledger.settled_up_to, ledger.has_unacknowledged()),
            (Some(2), 4, false)
        );
    }

    #[test]
    fn what_is_given_back_is_not_acknowledged() {
        let mut ledger = DeliveryTagLedger::default();
        ledger.settle(1, SettleAction::Ack);
        ledger.settle(2, SettleAction::Requeue);
        assert_eq!((ledger.take_multiple_ack(), ledger.settled_up_to), (Some(1), 2));
    }

    proptest! {
        /// RabbitMQ refuses a tag that is not outstanding, and closes the channel.
        #[test]
        fn each_is_acknowledged_once(
            order in Just((1..60u64).collect::<Vec<_>>()).prop_shuffle(),
            rounds in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let (mut ledger, mut outstanding) = (DeliveryTagLedger::default(), (1..60u64).collect::<std::collections::BTreeSet<_>>());
            let mut settled = std::collections::BTreeSet::new();
            for (place, tag) in order.iter().enumerate() {
                ledger.settle(*tag, SettleAction::Ack);
                settled.insert(*tag);
                if !rounds[place] && place + 1 < order.len() {
                    continue;
                }
                if let Some(group) = ledger.take_multiple_ack() {
                    prop_assert!(outstanding.contains(&group));
                    outstanding = outstanding.split_off(&(group + 1));
                    prop_assert!((1..=group).all(|tag| settled.contains(&tag)));
                }
                for tag in ledger.take_single_acks() {
                    prop_assert!(settled.contains(&tag) && outstanding.remove(&tag));
                }
                ledger.next_round();
            }
            prop_assert!(outstanding.is_empty() && !ledger.has_unacknowledged());
        }
    }
}
