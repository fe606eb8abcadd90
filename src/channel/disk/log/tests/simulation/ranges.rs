//! Queues that begin with what is there, and replays: they get a range of sequences.

use std::collections::BTreeMap;

use super::actions::tag_of;
use super::driver::{Simulation, queue_options};
use crate::channel::disk::log::tests::model::{ModelQueue, ModelRange};
use crate::channel::disk::log::{
    LogError, QueueLeftover, QueueOptions, QueueRange, Sequence, SequenceSpan,
};

/// Events that are listed at once.
const PAGE: usize = 7;

impl Simulation {
    /// Declares a queue with a range. What the log holds of the range then, the queue gets.
    pub(super) async fn declare_range(&mut self) {
        let log = self.log();
        let end = log.next_sequence();
        let from = self.chance.below(end + 1);
        let (kind, span) = match self.chance.below(2) {
            0 => {
                let until = from + self.chance.below(end - from + 1);
                (ModelRange::Alone, SequenceSpan { from, until })
            }
            _ => (ModelRange::AndOn, SequenceSpan { from, until: end }),
        };
        let range = match kind {
            ModelRange::Alone => QueueRange::Alone(span),
            _ => QueueRange::AndOn(from),
        };
        let name = format!("range {}", self.chance.next());
        let options = QueueOptions {
            is_ordered: self.chance.below(3) == 0,
            ..queue_options()
        };
        let Ok(id) = log.declare_range(&name, range, options).await else {
            return;
        };
        if let Some(progress) = log.range_progress(id) {
            assert_eq!(progress.range, span, "{name}");
        }
        let Some(held) = self.list_held().await else {
            // Nobody can say what it should get, and so nobody looks at it any more.
            let _retired = log.retire(id, QueueLeftover::GivenUp).await;
            return;
        };
        let mut queue = ModelQueue::new(id, name, options);
        queue.range = kind;
        self.counts.ranges += 1;
        for (sequence, tag) in held.range(span.from..span.until) {
            queue.publish_in_range(*tag, *sequence);
            self.counts.in_ranges += 1;
        }
        self.queues.push(queue);
    }

    /// Tags of the events that the log holds; none if it cannot be read. What a queue has not
    /// finished is among them.
    async fn list_held(&self) -> Option<BTreeMap<Sequence, u64>> {
        let mut held = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = match self.log().history(0, after, PAGE).await {
                Ok(page) => page,
                Err(error @ LogError::Damaged(_)) => panic!("{error}"),
                Err(_failure) => return None,
            };
            let Some(last) = page.last() else {
                break;
            };
            after = last.sequence;
            held.extend(page.iter().map(|it| (it.sequence, tag_of(&it.event))));
        }
        for queue in &self.queues {
            let open = queue.events.iter();
            let mut open = open.filter(|(_, event)| event.is_certainly_open());
            let missing = open.find(|(tag, _)| !held.values().any(|it| it == *tag));
            assert!(missing.is_none(), "{}: {missing:?} is gone", queue.name);
        }
        Some(held)
    }

    /// Cuts a range, as one does who stops a replay.
    pub(super) async fn cut_range(&mut self) {
        let places = 0..self.queues.len();
        let places: Vec<usize> = places
            .filter(|place| self.queues[*place].range == ModelRange::Alone)
            .collect();
        if places.is_empty() {
            return;
        }
        let chosen = self.chance.below(places.len() as u64);
        let place = places[usize::try_from(chosen).unwrap()];
        let cut = self.log().cut_range(self.queues[place].id).await;
        let queue = &mut self.queues[place];
        match cut {
            Ok(until) => {
                self.counts.cuts += 1;
                queue.cut(until);
            }
            Err(LogError::Full { .. }) => self.counts.refused += 1,
            Err(_failure) => queue.may_be_cut(),
        }
    }
}
