//! Faults that the server has on demand: for all clients, for a queue, or for a channel.

use std::time::Duration;

use amq_protocol::frame::AMQPFrame;
use amq_protocol::protocol::{AMQPClass, basic, queue};
use tokio::time::Instant;

use super::broker::{Broker, Refusal};
use super::queue::Stored;

/// How much the server keeps quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    Nothing,
    /// Connections are made, and nothing more.
    AfterHandshake,
    /// TCP connections are accepted.
    Everything,
}

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Everywhere,
    Queue(String),
    /// By its serial number.
    Channel(u64),
}

/// How messages are confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Confirming {
    #[default]
    AtOnce,
    /// Refused: the next so many, or all.
    Nack(Option<usize>),
    /// Refused on channels that were opened before.
    NackOld(Instant),
    After(Duration),
    /// Neither stored nor refused, until that is mended.
    Never,
}

/// What is wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault {
    pub(super) confirming: Confirming,
    /// The answer to declarations.
    pub(super) refusal: Option<Refusal>,
    /// Whether what asks for a queue is not answered.
    pub(super) hangs: bool,
    /// Whether nothing is delivered.
    pub(super) leaderless: bool,
}

/// A message that a queue has neither stored nor refused.
pub(super) struct Withheld {
    pub(super) pending: u64,
    pub(super) queue: String,
    pub(super) message: Stored,
}

/// What a queue does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Store,
    StoreAndConfirmAfter(Duration),
    Refuse,
    Withhold,
}

impl Broker {
    fn faults_of(&self, channel: u64, queue: &str) -> impl Iterator<Item = (Target, &Fault)> {
        let targets = [
            Target::Channel(channel),
            Target::Queue(queue.to_owned()),
            Target::Everywhere,
        ];
        targets
            .into_iter()
            .filter_map(|target| self.faults.get(&target).map(|fault| (target, fault)))
    }

    /// What a queue does with the next message that comes over a channel; 0 is no client's.
    pub(super) fn verdict(&mut self, channel: u64, queue: &str) -> Verdict {
        let opened = self.channels.get(&channel).map(|channel| channel.opened);
        let is_wrong = |(target, fault): (Target, &Fault)| match fault.confirming {
            Confirming::AtOnce | Confirming::Nack(Some(0)) => None,
            Confirming::NackOld(before) if opened.is_none_or(|opened| opened > before) => None,
            Confirming::Nack(_) | Confirming::NackOld(_) => Some((target, Verdict::Refuse)),
            Confirming::After(wait) => Some((target, Verdict::StoreAndConfirmAfter(wait))),
            Confirming::Never => Some((target, Verdict::Withhold)),
        };
        let Some((target, verdict)) = self.faults_of(channel, queue).find_map(is_wrong) else {
            return Verdict::Store;
        };
        self.faults.entry(target).and_modify(|fault| {
            if let Confirming::Nack(Some(left)) = &mut fault.confirming {
                *left -= 1;
            }
        });
        verdict
    }

    pub(super) fn declare_fault(&self, queue: &str) -> Option<Refusal> {
        self.faults_of(0, queue)
            .find_map(|(_, fault)| fault.refusal.clone())
    }

    pub(super) fn is_leaderless(&self, queue: &str) -> bool {
        self.faults_of(0, queue).any(|(_, fault)| fault.leaderless)
    }

    /// Whether a request is not answered, and neither is what comes behind it.
    pub(super) fn is_hung(&self, channel: u64, frame: &AMQPFrame) -> bool {
        let queue = match frame {
            AMQPFrame::Method(_, AMQPClass::Queue(queue::AMQPMethod::Declare(declare))) => {
                &declare.queue
            }
            AMQPFrame::Method(_, AMQPClass::Queue(queue::AMQPMethod::Delete(delete))) => {
                &delete.queue
            }
            AMQPFrame::Method(_, AMQPClass::Basic(basic::AMQPMethod::Consume(consume))) => {
                &consume.queue
            }
            AMQPFrame::Method(_, AMQPClass::Basic(basic::AMQPMethod::Get(get))) => &get.queue,
            _ => return false,
        };
        self.faults_of(channel, queue.as_str())
            .any(|(_, fault)| fault.hangs)
    }

    /// Whether nothing is read from a connection, and nothing written to it.
    pub(super) fn is_silent(&self, session: u64) -> bool {
        match self.silence {
            Silence::Nothing => false,
            Silence::Everything => true,
            Silence::AfterHandshake => self
                .sessions
                .get(&session)
                .is_some_and(|session| session.is_welcome),
        }
    }

    pub(super) fn break_at(&mut self, target: Target, change: impl FnOnce(&mut Fault)) {
        change(self.faults.entry(target).or_default());
    }

    /// Mends a fault. What was withheld is stored and confirmed, what hung is answered.
    pub(super) fn heal(&mut self, target: &Target) {
        self.faults.remove(target);
        for Withheld {
            pending,
            queue,
            message,
        } in std::mem::take(&mut self.withheld)
        {
            self.offer(pending, &queue, message);
        }
        let stuck = self
            .channels
            .values_mut()
            .filter_map(|channel| Some((channel.session, channel.stuck.take()?)));
        for (session, frames) in stuck.collect::<Vec<_>>() {
            frames
                .into_iter()
                .for_each(|frame| self.on_frame(session, frame));
        }
        self.touch_all();
    }
}
