//! Acknowledges in groups the messages that one consumer was given: each acknowledgement of a
//! quorum queue is a write of its own, and one for a hundred messages costs as much as one for one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::mpsc;

use super::metrics::RabbitmqMetrics;

/// Time for which settled messages are gathered before they are acknowledged together.
const GATHER: Duration = Duration::from_millis(2);
/// Prefetch up to which nothing is gathered: with so few messages held, the queue waits for each
/// acknowledgement.
const FEW: u16 = 4;
/// Largest number of settled messages that are handled at once.
const GROUP: usize = 1024;

/// Action by which RabbitMQ is told of a settled message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SettleAction {
    /// Acknowledges the message, so that RabbitMQ forgets it.
    Ack,
    /// Gives the message back to its queue, so that it is delivered again.
    Requeue,
}

/// A message that is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SettledDelivery {
    /// Delivery tag of the message.
    pub(super) tag: u64,
    /// Action by which RabbitMQ is told.
    pub(super) action: SettleAction,
}

/// Way back to the acknowledger for one message that is not settled yet.
#[derive(Debug)]
pub(super) struct UnsettledTag {
    /// Delivery tag of the message.
    pub(super) tag: u64,
    /// Sender by which the acknowledger is told of settled messages.
    pub(super) settlements: mpsc::Sender<SettledDelivery>,
}

impl UnsettledTag {
    /// Tells the acknowledger what to do. True if it still acknowledges.
    pub(super) async fn settle(self, action: SettleAction) -> bool {
        let settled = SettledDelivery {
            tag: self.tag,
            action,
        };
        self.settlements.send(settled).await.is_ok()
    }
}

/// Acknowledges the messages that came over one AMQP channel.
pub(super) struct RabbitmqAcknowledger {
    channel: lapin::Channel,
    settlements: mpsc::Receiver<SettledDelivery>,
    ledger: DeliveryTagLedger,
    gather_time: Duration,
    metrics: Arc<RabbitmqMetrics>,
}

impl RabbitmqAcknowledger {
    /// Makes an acknowledger, and the sender by which it is told of settled messages. That has room
    /// for as many messages as the prefetch lets RabbitMQ deliver.
    pub(super) fn new(
        channel: lapin::Channel,
        prefetch: u16,
        metrics: Arc<RabbitmqMetrics>,
    ) -> (Self, mpsc::Sender<SettledDelivery>) {
        let (sender, settlements) = mpsc::channel(usize::from(prefetch).max(1));
        let gather_time = if prefetch <= FEW {
            Duration::ZERO
        } else {
            GATHER
        };
        let acknowledger = Self {
            channel,
            settlements,
            ledger: DeliveryTagLedger::default(),
            gather_time,
            metrics,
        };
        (acknowledger, sender)
    }

    /// Acknowledges until nobody is left who could settle a message.
    ///
    /// # Errors
    /// If the channel is broken; messages that were not acknowledged are delivered again.
    pub(super) async fn run(mut self) -> lapin::Result<()> {
        let mut batch = Vec::new();
        loop {
            // The timer lets messages that are settled out of order be acknowledged though no other
            // one comes.
            let is_open = tokio::select! {
                count = self.settlements.recv_many(&mut batch, GROUP) => count > 0,
                () = tokio::time::sleep(GATHER), if self.ledger.has_unacknowledged() => true,
            };
            // Gathering comes before the round is counted, so that one acknowledgement covers what
            // it brings.
            if is_open && !batch.is_empty() {
                self.gather(&mut batch).await;
            }
            self.ledger.next_round();
            for settled in batch.drain(..) {
                self.settle_delivery(settled).await?;
            }
            if !is_open {
                // Nobody is left to settle an earlier message, so everything is acknowledged at
                // once.
                self.ledger.next_round();
                return self.send_acknowledgements().await;
            }
            self.send_acknowledgements().await?;
        }
    }

    /// Waits a little for more settled messages.
    async fn gather(&mut self, batch: &mut Vec<SettledDelivery>) {
        if self.gather_time.is_zero() {
            return;
        }
        tokio::time::sleep(self.gather_time).await;
        while batch.len() < GROUP
            && let Ok(settled) = self.settlements.try_recv()
        {
            batch.push(settled);
        }
    }

    async fn settle_delivery(&mut self, settled: SettledDelivery) -> lapin::Result<()> {
        let SettledDelivery { tag, action } = settled;
        if action == SettleAction::Requeue {
            self.channel
                .basic_nack(
                    tag,
                    BasicNackOptions {
                        requeue: true,
                        ..BasicNackOptions::default()
                    },
                )
                .await?;
        }
        self.ledger.settle(tag, action);
        Ok(())
    }

    async fn send_acknowledgements(&mut self) -> lapin::Result<()> {
        let owed = self.ledger.unacknowledged;
        if let Some(tag) = self.ledger.take_multiple_ack() {
            self.channel
                .basic_ack(tag, BasicAckOptions { multiple: true })
                .await?;
        }
        for tag in self.ledger.take_single_acks() {
            self.channel
                .basic_ack(tag, BasicAckOptions { multiple: false })
                .await?;
        }
        self.metrics
            .acknowledged
            .add(owed.saturating_sub(self.ledger.unacknowledged));
        Ok(())
    }
}

/// Record of the settled delivery tags of one channel; RabbitMQ counts tags from 1.
#[derive(Debug, Default)]
struct DeliveryTagLedger {
    /// This tag and all before it are settled and acknowledged.
    settled_up_to: u64,
    /// Tags that are settled while an earlier one is not. `Some(round)`: settled in that round,
    /// and not acknowledged yet.
    settled_out_of_order: BTreeMap<u64, Option<u64>>,
    /// Number of settled tags that are not acknowledged yet.
    unacknowledged: u64,
    round: u64,
}

impl DeliveryTagLedger {
    fn next_round(&mut self) {
        self.round += 1;
    }

    fn settle(&mut self, tag: u64, action: SettleAction) {
        let unacknowledged_since = (action == SettleAction::Ack).then_some(self.round);
        self.unacknowledged += u64::from(unacknowledged_since.is_some());
        self.settled_out_of_order.insert(tag, unacknowledged_since);
    }

    /// True if some settled tag is not acknowledged yet.
    fn has_unacknowledged(&self) -> bool {
        self.unacknowledged > 0
    }

    /// Gives the tag up to which all can be acknowledged at once. It is one that has not been
    /// acknowledged yet, as RabbitMQ demands.
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

    /// Takes the tags that have waited for an earlier one for a round, to be acknowledged one by
    /// one.
    fn take_single_acks(&mut self) -> Vec<u64> {
        let round = self.round;
        let waited = self
            .settled_out_of_order
            .iter_mut()
            .filter(|(_, unacknowledged_since)| {
                unacknowledged_since.is_some_and(|since| since < round)
            });
        let stragglers: Vec<u64> = waited
            .map(|(tag, unacknowledged_since)| {
                *unacknowledged_since = None;
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
        settled
            .iter()
            .for_each(|tag| ledger.settle(*tag, SettleAction::Ack));
        ledger
    }

    #[test]
    fn what_is_settled_in_order_is_one_group() {
        let mut ledger = ledger(&[2, 1, 3]);
        assert_eq!(
            (
                ledger.take_multiple_ack(),
                ledger.take_single_acks(),
                ledger.has_unacknowledged()
            ),
            (Some(3), vec![], false)
        );
    }

    #[test]
    fn a_slow_one_holds_up_the_others_for_a_round() {
        let mut ledger = ledger(&[1, 3, 4]);
        assert_eq!(
            (ledger.take_multiple_ack(), ledger.take_single_acks()),
            (Some(1), vec![])
        );
        ledger.next_round();
        assert_eq!(
            (ledger.take_multiple_ack(), ledger.take_single_acks()),
            (None, vec![3, 4])
        );
        ledger.settle(2, SettleAction::Ack);
        assert_eq!(
            (
                ledger.take_multiple_ack(),
                ledger.settled_up_to,
                ledger.has_unacknowledged()
            ),
            (Some(2), 4, false)
        );
    }

    #[test]
    fn what_is_given_back_is_not_acknowledged() {
        let mut ledger = DeliveryTagLedger::default();
        ledger.settle(1, SettleAction::Ack);
        ledger.settle(2, SettleAction::Requeue);
        assert_eq!(
            (ledger.take_multiple_ack(), ledger.settled_up_to),
            (Some(1), 2)
        );
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
