//! State of the server: sessions, channels, exchanges and queues, and what is due at which time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame};
use amq_protocol::protocol::basic::Publish;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::confirms::Pending;
use super::faults::{Fault, Silence, Target, Withheld};
use super::queue::{Queue, Stored};
use super::settings::Settings;
use super::views::{Confirm, Published};

/// Why a request is refused: the code, and what the client is told. Some codes close the
/// connection, others the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new(code: u16, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// Whether it closes the connection.
    pub(super) fn is_hard(&self) -> bool {
        matches!(self.code, 320 | 402 | 500..)
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Handshake,
    Running,
    /// The server has sent connection.close.
    Closing,
    /// Ends when all is written.
    Ending,
}

/// One connection.
pub(super) struct Session {
    pub(super) name: String,
    pub(super) phase: Phase,
    /// The serial numbers of its channels.
    pub(super) channels: BTreeMap<u16, u64>,
    pub(super) output: Vec<u8>,
    pub(super) ready: Arc<Notify>,
    pub(super) end: CancellationToken,
    pub(super) heartbeat: Duration,
    pub(super) frame_max: usize,
    pub(super) channel_max: u16,
    pub(super) blocked: bool,
    /// Whether the end of the handshake has been written.
    pub(super) is_welcome: bool,
}

/// A message that comes in frames.
pub(super) struct Assembling {
    pub(super) publish: Publish,
    pub(super) header: Option<AMQPContentHeader>,
    pub(super) body: Vec<u8>,
}

/// A message that a client holds.
pub(super) struct Unacked {
    pub(super) queue: String,
    /// `None` if it was fetched by basic.get.
    pub(super) consumer: Option<String>,
    pub(super) message: Stored,
}

/// One AMQP channel. Its serial number is never used again.
pub(super) struct Channel {
    pub(super) session: u64,
    pub(super) id: u16,
    pub(super) opened: Instant,
    pub(super) is_closing: bool,
    pub(super) prefetch: u16,
    pub(super) delivered: u64,
    pub(super) unacked: BTreeMap<u64, Unacked>,
    pub(super) assembling: Option<Assembling>,
    /// Messages published since confirm.select.
    pub(super) published: Option<u64>,
    pub(super) unconfirmed: BTreeSet<u64>,
    /// Confirmed, and not told yet.
    pub(super) confirmed: Vec<u64>,
    /// What waits behind a request that is not answered.
    pub(super) stuck: Option<VecDeque<AMQPFrame>>,
    /// Consumer tags that the server has made.
    pub(super) tags: u64,
}

impl Channel {
    pub(super) fn new(session: u64, id: u16) -> Self {
        Self {
            session,
            id,
            opened: Instant::now(),
            is_closing: false,
            prefetch: 0,
            delivered: 0,
            unacked: BTreeMap::new(),
            assembling: None,
            published: None,
            unconfirmed: BTreeSet::new(),
            confirmed: Vec::new(),
            stuck: None,
            tags: 0,
        }
    }

    /// Messages that one of its consumers holds.
    pub(super) fn held_by(&self, consumer: &str) -> usize {
        self.unacked
            .values()
            .filter(|unacked| unacked.consumer.as_deref() == Some(consumer))
            .count()
    }
}

/// What takes messages and puts them into queues.
#[derive(Debug)]
pub(super) struct Exchange {
    /// `direct` or `fanout`.
    pub(super) kind: String,
    /// Routing keys and queues.
    pub(super) bindings: BTreeSet<(String, String)>,
}

/// What happens when its time has come.
#[derive(Debug)]
pub(super) enum Due {
    /// The first message of a queue may have expired.
    Expire(String),
    /// One queue has stored a message that is waited for.
    Confirm(u64),
    /// Confirms are told, although they are few.
    Flush(u64),
    /// A delivery has been held for too long.
    ConsumerTimeout(u64, u64),
    /// Dead letters that found no queue are tried again.
    RetryDead(String),
}

/// All that the server knows.
pub(super) struct Broker {
    pub(super) settings: Settings,
    pub(super) silence: Silence,
    pub(super) refuses: bool,
    pub(super) blocked: Option<String>,
    pub(super) sessions: BTreeMap<u64, Session>,
    pub(super) channels: BTreeMap<u64, Channel>,
    pub(super) exchanges: BTreeMap<String, Exchange>,
    pub(super) queues: BTreeMap<String, Queue>,
    pub(super) faults: BTreeMap<Target, Fault>,
    pub(super) withheld: Vec<Withheld>,
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) history: Vec<Published>,
    pub(super) declares: BTreeMap<String, usize>,
    pub(super) looks: BTreeMap<String, usize>,
    pub(super) connections_made: usize,
    pub(super) channels_made: usize,
    /// Queues in which something has changed.
    touched: BTreeSet<String>,
    due: BTreeMap<(Instant, u64), Due>,
    last: u64,
}

impl Broker {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            silence: Silence::Nothing,
            refuses: false,
            blocked: None,
            sessions: BTreeMap::new(),
            channels: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            queues: BTreeMap::new(),
            faults: BTreeMap::new(),
            withheld: Vec::new(),
            pending: BTreeMap::new(),
            history: Vec::new(),
            declares: BTreeMap::new(),
            looks: BTreeMap::new(),
            connections_made: 0,
            channels_made: 0,
            touched: BTreeSet::new(),
            due: BTreeMap::new(),
            last: 0,
        }
    }

    /// A number that was not used before.
    pub(super) fn serial(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Has a queue looked at: what expired, who gets what.
    pub(super) fn touch(&mut self, queue: &str) {
        self.touched.insert(queue.to_owned());
    }

    pub(super) fn touch_all(&mut self) {
        self.touched.extend(self.queues.keys().cloned());
    }

    pub(super) fn after(&mut self, wait: Duration, due: Due) {
        let serial = self.serial();
        self.due.insert((Instant::now() + wait, serial), due);
    }

    /// When something happens next by itself.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does all that is to be done now.
    pub(super) fn pump(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.due.first_entry()
            && first.key().0 <= now
        {
            match first.remove() {
                Due::Expire(queue) => self.touch(&queue),
                Due::Confirm(pending) => self.part_done(pending, Confirm::Acked),
                Due::Flush(channel) => self.flush_confirms(channel),
                Due::ConsumerTimeout(channel, tag) => self.time_out(channel, tag),
                Due::RetryDead(queue) => self.retry_dead(&queue),
            }
        }
        while let Some(queue) = self.touched.pop_first() {
            self.expire(&queue, now);
            self.shorten(&queue);
            self.forward_dead(&queue);
            self.deliver(&queue);
        }
    }
}
