//! Acknowledging in groups what one consumer was given: each acknowledgement of a quorum queue is a write of its own, one
//! for a hundred messages costs as much as one for one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::mpsc;

use crate::telemetry::counters::Counters;

/// How long settled messages are gathered.
const GATHER: Duration = Duration::from_millis(2);
/// A queue of which so few messages are held is waited for by each of them, so that nothing is gathered.
const FEW: u16 = 4;
/// Settled messages looked at at once.
const GROUP: usize = 1024;

/// What RabbitMQ is to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Forget it.
    Done,
    /// Deliver it again.
    Return,
}

/// A message is settled: its delivery tag, and what is to be done with it.
pub(super) type Settled = (u64, Verdict);

/// Acknowledges what came over one AMQP channel.
pub(super) struct Acknowledger {
    channel: lapin::Channel,
    settled: mpsc::Receiver<Settled>,
    ledger: Ledger,
    gather: Duration,
    counters: Arc<Counters>,
}

impl Acknowledger {
    /// An acknowledger, and how it is told. It has room for as many messages as RabbitMQ hands out.
    pub(super) fn new(
        channel: lapin::Channel,
        prefetch: u16,
        counters: Arc<Counters>,
    ) -> (Self, mpsc::Sender<Settled>) {
        let (sender, settled) = mpsc::channel(usize::from(prefetch).max(1));
        let gather = if prefetch <= FEW { Duration::ZERO } else { GATHER };
        (Self { channel, settled, ledger: Ledger::default(), gather, counters }, sender)
    }

    /// Acknowledges until nobody has anything left to settle.
    ///
    /// # Errors
    /// If the channel is broken; what was not acknowledged is delivered again.
    pub(super) async fn run(mut self) -> lapin::Result<()> {
        let mut batch = Vec::new();
        loop {
            let open = tokio::select! {
                count = self.settled.recv_many(&mut batch, GROUP) => count > 0,
                () = tokio::time::sleep(GATHER), if self.ledger.owes() => true,
            };
            if open && !batch.is_empty() && !self.gather.is_zero() {
                tokio::time::sleep(self.gather).await;
                while batch.len() < GROUP
                    && let Ok(settled) = self.settled.try_recv()
                {
                    batch.push(settled);
                }
            }
            self.ledger.next_round();
            for (tag, verdict) in batch.drain(..) {
                self.note(tag, verdict).await?;
            }
            if !open {
                // Nothing that could still be waited for.
                self.ledger.next_round();
                return self.acknowledge().await;
            }
            self.acknowledge().await?;
        }
    }

    async fn note(&mut self, tag: u64, verdict: Verdict) -> lapin::Result<()> {
        if verdict == Verdict::Return {
            self.channel.basic_nack(tag, BasicNackOptions { requeue: true, ..BasicNackOptions::default() }).await?;
        }
        self.ledger.settle(tag, verdict);
        Ok(())
    }

    async fn acknowledge(&mut self) -> lapin::Result<()> {
        let owed = self.ledger.owed;
        if let Some(tag) = self.ledger.group() {
            self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
        }
        for tag in self.ledger.stragglers() {
            self.channel.basic_ack(tag, BasicAckOptions { multiple: false }).await?;
        }
        self.counters.rabbitmq_acknowledged.add(owed.saturating_sub(self.ledger.owed));
        Ok(())
    }
}

/// Which delivery tags of a channel, which count from 1, are settled.
#[derive(Debug, Default)]
struct Ledger {
    /// This one and all before it are settled and told.
    head: u64,
    /// Settled while one before is not; and if RabbitMQ has not been told, since when.
    behind: BTreeMap<u64, Option<u64>>,
    /// Of how many RabbitMQ has not been told.
    owed: u64,
    round: u64,
}

impl Ledger {
    fn next_round(&mut self) {
        self.round += 1;
    }

    fn settle(&mut self, tag: u64, verdict: Verdict) {
        let untold = (verdict == Verdict::Done).then_some(self.round);
        self.owed += u64::from(untold.is_some());
        self.behind.insert(tag, untold);
    }

    /// Whether RabbitMQ has not been told of all that is settled.
    fn owes(&self) -> bool {
        self.owed > 0
    }

    /// All up to this one can be acknowledged at once. It is one that has not been told, as RabbitMQ demands.
    fn group(&mut self) -> Option<u64> {
        let mut last = None;
        while let Some(first) = self.behind.first_entry()
            && *first.key() == self.head + 1
        {
            self.head += 1;
            if first.remove().is_some() {
                self.owed -= 1;
                last = Some(self.head);
            }
        }
        last
    }

    /// What has waited for one before it for a round: to be acknowledged one by one.
    fn stragglers(&mut self) -> Vec<u64> {
        let round = self.round;
        let waited = self.behind.iter_mut().filter(|(_, untold)| untold.is_some_and(|since| since < round));
        let stragglers: Vec<u64> = waited
            .map(|(tag, untold)| {
                *untold = None;
                *tag
            })
            .collect();
        self.owed -= stragglers.len() as u64;
        stragglers
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ledger(settled: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        settled.iter().for_each(|tag| ledger.settle(*tag, Verdict::Done));
        ledger
    }

    #[test]
    fn what_is_settled_in_order_is_one_group() {
        let mut ledger = ledger(&[2, 1, 3]);
        assert_eq!((ledger.group(), ledger.stragglers(), ledger.owes()), (Some(3), vec![], false));
    }

    #[test]
    fn a_slow_one_holds_up_the_others_for_a_round() {
        let mut ledger = ledger(&[1, 3, 4]);
        assert_eq!((ledger.group(), ledger.stragglers()), (Some(1), vec![]));
        ledger.next_round();
        assert_eq!((ledger.group(), ledger.stragglers()), (None, vec![3, 4]));
        ledger.settle(2, Verdict::Done);
        assert_eq!((ledger.group(), ledger.head, ledger.owes()), (Some(2), 4, false));
    }

    #[test]
    fn what_is_given_back_is_not_acknowledged() {
        let mut ledger = Ledger::default();
        ledger.settle(1, Verdict::Done);
        ledger.settle(2, Verdict::Return);
        assert_eq!((ledger.group(), ledger.head), (Some(1), 2));
    }

    proptest! {
        /// RabbitMQ refuses a tag that is not outstanding, and closes the channel.
        #[test]
        fn each_is_acknowledged_once(
            order in Just((1..60u64).collect::<Vec<_>>()).prop_shuffle(),
            rounds in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let (mut ledger, mut outstanding) = (Ledger::default(), (1..60u64).collect::<std::collections::BTreeSet<_>>());
            let mut settled = std::collections::BTreeSet::new();
            for (place, tag) in order.iter().enumerate() {
                ledger.settle(*tag, Verdict::Done);
                settled.insert(*tag);
                if !rounds[place] && place + 1 < order.len() {
                    continue;
                }
                if let Some(group) = ledger.group() {
                    prop_assert!(outstanding.contains(&group));
                    outstanding = outstanding.split_off(&(group + 1));
                    prop_assert!((1..=group).all(|tag| settled.contains(&tag)));
                }
                for tag in ledger.stragglers() {
                    prop_assert!(settled.contains(&tag) && outstanding.remove(&tag));
                }
                ledger.next_round();
            }
            prop_assert!(outstanding.is_empty() && !ledger.owes());
        }
    }
}
