//! Compares what the log has with what it should have.

use std::collections::BTreeMap;
use std::time::Duration;

use super::actions::{EventEnd, end_event, tag_of};
use super::driver::Simulation;
use crate::channel::disk::log::files::simulated::DiskFaults;
use crate::channel::disk::log::tests::model::EventState;
use crate::channel::disk::log::{LogError, SettledOutcome};

impl Simulation {
    pub(super) async fn list_parked(&mut self, place: usize) -> Option<BTreeMap<u64, (u64, u32)>> {
        let mut parked = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = self.log().parked(self.queues[place].id, after, 3).await;
            let page = match page {
                Ok(page) => page,
                Err(error @ LogError::Damaged(_)) => panic!("{error}"),
                Err(_) => return None,
            };
            let Some(last) = page.last() else {
                return Some(parked);
            };
            after = last.sequence;
            for event in page {
                let tag = tag_of(&event.event);
                parked.insert(tag, (event.sequence, event.attempts));
            }
        }
    }

    pub(super) async fn check_parked(&mut self, place: usize) -> BTreeMap<u64, (u64, u32)> {
        let Some(parked) = self.list_parked(place).await else {
            return BTreeMap::new();
        };
        let listed = parked.iter().map(|(tag, (_, attempts))| (*tag, *attempts));
        self.queues[place].check_parked(&listed.collect());
        parked
    }

    pub(super) async fn change_parked(&mut self) {
        let place = self.any_queue();
        let parked = self.check_parked(place).await;
        let mut chosen: Vec<(u64, u64)> = parked.iter().map(|(tag, it)| (*tag, it.0)).collect();
        chosen.retain(|_| self.chance.below(3) > 0);
        let sequences: Vec<u64> = chosen.iter().map(|(_, sequence)| *sequence).collect();
        let (log, id) = (self.log(), self.queues[place].id);
        let is_replay = self.chance.below(2) == 0;
        let (result, state) = if is_replay {
            (log.replay_parked(id, &sequences).await, EventState::fresh())
        } else {
            (log.discard_parked(id, &sequences).await, EventState::Done)
        };
        let queue = &mut self.queues[place];
        for (tag, _) in &chosen {
            let event = queue.events.get_mut(tag).expect("an event");
            match &result {
                Ok(count) => {
                    assert_eq!(*count, chosen.len() as u64);
                    event.become_state(state.clone());
                }
                Err(LogError::Full { .. }) => continue,
                Err(_) => event.may_become(state.clone()),
            }
            if is_replay {
                queue.comes_back(*tag);
            }
        }
    }

    /// Takes everything that there is, without faults, and compares.
    pub(super) async fn drain(&mut self) {
        self.disk.crash_after(u64::from(u32::MAX));
        self.reopen().await;
        self.disk.set_faults(DiskFaults::default());
        tokio::time::sleep(Duration::from_secs(40)).await;
        for place in 0..self.queues.len() {
            while self.take(place, 50).await {
                let queue = &self.queues[place];
                let events = queue.events.iter();
                let taken: Vec<(u64, u64)> = events
                    .filter_map(|(tag, event)| Some((*tag, event.in_flight?)))
                    .collect();
                for (tag, sequence) in taken {
                    let settled = EventEnd::Settle(SettledOutcome::Delivered);
                    let end = end_event(self.log(), self.queues[place].id, sequence, settled);
                    end.await.expect("settled");
                    let event = self.queues[place].events.get_mut(&tag);
                    event.expect("an event").become_state(EventState::Done);
                }
            }
            self.queues[place].check_drained();
            self.check_parked(place).await;
            self.queues[place].forget_finished();
            let counts = self.log().counts(self.queues[place].id);
            let queue = &self.queues[place].name;
            assert_eq!(counts.expect("counts").depth, 0, "depth of {queue}");
        }
        self.counts.drained += 1;
        self.check_counts();
    }
}
