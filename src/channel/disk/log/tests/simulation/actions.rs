//! What is done with events: published, taken, and ended in all ways.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::driver::Simulation;
use crate::channel::disk::log::tests::model::{EventState, ModelRange};
use crate::channel::disk::log::{
    ChannelLog, EventDeferral, EventParking, LogError, NewEvent, QueueId, SettledOutcome,
};

/// How an event in flight is to end.
#[derive(Clone, Debug)]
pub(super) enum EventEnd {
    Settle(SettledOutcome),
    Defer(EventDeferral),
    Park(EventParking),
    Release,
}

/// A body that tells which event it is, and whether it is whole.
fn body_of(tag: u64, length: u64) -> Bytes {
    let fill = "x".repeat(usize::try_from(length).unwrap());
    let checksum = crc32fast::hash(format!("{tag}|{fill}").as_bytes());
    format!("{tag}|{checksum}|{fill}").into()
}

pub(super) fn tag_of(body: &Bytes) -> u64 {
    let text = std::str::from_utf8(body).expect("a body");
    let mut parts = text.splitn(3, '|');
    let (tag, checksum, fill) = (parts.next(), parts.next(), parts.next());
    let (tag, checksum, fill) = (tag.unwrap(), checksum.unwrap(), fill.unwrap());
    let expected = crc32fast::hash(format!("{tag}|{fill}").as_bytes());
    assert_eq!(checksum.parse(), Ok(expected), "the body of {tag}");
    tag.parse().expect("a tag")
}

impl Simulation {
    /// Publishes several times at once, so that frames hold more than one operation.
    pub(super) async fn publish_some(&mut self) {
        let mut tasks = Vec::new();
        for _ in 0..=self.chance.below(5) {
            let mut events = Vec::new();
            for _ in 0..=self.chance.below(3) {
                let tag = self.next_tag;
                self.next_tag += 1;
                let chosen = self.chance.next();
                let queues = self.queues.iter().enumerate();
                let queues = queues.filter(|(place, queue)| {
                    chosen >> place & 1 == 1 && queue.range != ModelRange::Alone
                });
                let queues: Vec<QueueId> = queues.map(|(_, queue)| queue.id).collect();
                let length = match self.chance.below(20) {
                    0 => self.chance.below(9000),
                    _ => self.chance.below(300),
                };
                events.push((tag, queues, body_of(tag, length)));
            }
            let new = events.iter().map(|(_, queues, body)| NewEvent {
                queues: queues.iter().copied().collect(),
                event: body.clone(),
            });
            let (log, new): (_, Vec<NewEvent>) = (self.log(), new.collect());
            tasks.push(async move { (events, log.publish(new).await) });
        }
        for (events, result) in join_all(tasks).await {
            let states = match result {
                Ok(_first) => vec![EventState::fresh()],
                Err(LogError::Full { .. }) => {
                    self.counts.refused += 1;
                    vec![EventState::Absent]
                }
                Err(_failure) => {
                    self.counts.failed += 1;
                    vec![EventState::Absent, EventState::fresh()]
                }
            };
            for (tag, queues, _) in events {
                self.counts.published += 1;
                for queue in self.queues.iter_mut().filter(|it| queues.contains(&it.id)) {
                    queue.publish(tag, states.clone());
                }
            }
        }
    }

    /// Takes from a queue; gives false if nothing came in time, and if the log fails.
    pub(super) async fn take(&mut self, place: usize, most: usize) -> bool {
        let (log, queue) = (self.log(), self.queues[place].id);
        let taken = tokio::time::timeout(Duration::from_millis(3), log.take(queue, most)).await;
        let taken = match taken {
            Ok(Ok(taken)) => taken,
            Ok(Err(error @ LogError::Damaged(_))) => panic!("{error}"),
            Ok(Err(_failure)) => {
                self.queues[place].fail();
                return false;
            }
            Err(_elapsed) => return false,
        };
        for event in &taken {
            self.counts.taken += 1;
            self.queues[place].take(tag_of(&event.event), event);
        }
        !taken.is_empty()
    }

    pub(super) fn any_queue(&mut self) -> usize {
        let count = self.queues.len() as u64;
        usize::try_from(self.chance.below(count)).unwrap()
    }

    pub(super) async fn take_some(&mut self) {
        let place = self.any_queue();
        let most = usize::try_from(self.chance.below(8) + 1).unwrap();
        self.take(place, most).await;
        let in_flight: Vec<(u64, u64)> = self.queues[place]
            .events
            .iter()
            .filter_map(|(tag, event)| Some((*tag, event.in_flight?)))
            .collect();
        let mut tasks = Vec::new();
        for (tag, sequence) in in_flight {
            if self.chance.below(4) == 0 {
                continue;
            }
            let end = self.draw_end();
            let task = end_event(self.log(), self.queues[place].id, sequence, end.clone());
            tasks.push(async move { (tag, end, task.await) });
        }
        for (tag, end, result) in join_all(tasks).await {
            self.note_end(place, tag, end, &result);
        }
    }

    pub(super) fn draw_end(&mut self) -> EventEnd {
        match self.chance.below(10) {
            0..=4 => EventEnd::Settle(match self.chance.below(3) {
                0 => SettledOutcome::Delivered,
                1 => SettledOutcome::DeadLettered,
                _ => SettledOutcome::Lost,
            }),
            5..=6 => EventEnd::Defer(EventDeferral {
                stage: u8::try_from(self.chance.below(3)).unwrap(),
                attempts: u32::try_from(self.chance.below(9)).unwrap(),
                wait: Duration::from_millis(self.chance.below(5000)),
                body: (self.chance.below(2) == 0)
                    .then(|| format!("body {}", self.chance.next()).into()),
            }),
            7..=8 => EventEnd::Park(EventParking {
                attempts: u32::try_from(self.chance.below(9)).unwrap(),
                code: 503,
                reason: "it is busy".to_owned(),
                destination: "http://a.example/".to_owned(),
            }),
            _ => EventEnd::Release,
        }
    }

    pub(super) fn note_end(
        &mut self,
        place: usize,
        tag: u64,
        end: EventEnd,
        result: &Result<(), LogError>,
    ) {
        let queue = &mut self.queues[place];
        let state = match &end {
            EventEnd::Settle(_) => EventState::Done,
            EventEnd::Defer(deferral) => EventState::Open {
                stage: deferral.stage,
                attempts: deferral.attempts,
                body: deferral
                    .body
                    .as_ref()
                    .map(|body| String::from_utf8_lossy(body).into_owned()),
            },
            EventEnd::Park(parking) => EventState::Parked {
                attempts: parking.attempts,
            },
            EventEnd::Release => {
                queue.events.get_mut(&tag).expect("an event").in_flight = None;
                queue.comes_back(tag);
                return;
            }
        };
        let event = queue.events.get_mut(&tag).expect("an event");
        match result {
            Ok(()) => event.become_state(state),
            // It is in flight as before.
            Err(LogError::Full { .. }) => {
                self.counts.refused += 1;
                return;
            }
            Err(_failure) => event.may_become(state),
        }
        match end {
            EventEnd::Settle(_) => self.counts.settled += 1,
            EventEnd::Park(_) => self.counts.parked += 1,
            EventEnd::Defer(deferral) => {
                self.counts.deferred += 1;
                // If it failed, the wait may hold or not.
                queue.comes_back(tag);
                if result.is_ok() {
                    queue.defer_until(tag, Instant::now() + deferral.wait);
                }
            }
            EventEnd::Release => {}
        }
    }
}

pub(super) async fn end_event(
    log: ChannelLog,
    queue: QueueId,
    sequence: u64,
    end: EventEnd,
) -> Result<(), LogError> {
    match end {
        EventEnd::Settle(outcome) => log.settle(queue, sequence, outcome).await,
        EventEnd::Defer(deferral) => log.defer(queue, sequence, deferral).await,
        EventEnd::Park(parking) => log.park(queue, sequence, parking).await,
        EventEnd::Release => log.release(queue, sequence),
    }
}
