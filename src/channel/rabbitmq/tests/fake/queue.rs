//! A queue, its messages, and the arguments that it was declared with.

use std::collections::VecDeque;
use std::time::Duration;

use amq_protocol::protocol::BasicProperties;
use amq_protocol::protocol::queue::Declare;
use amq_protocol::types::{AMQPValue, FieldTable};
use tokio::time::Instant;

use super::broker::Refusal;
use super::settings::{Settings, Version};

/// A message in a queue.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) exchange: String,
    pub(crate) routing_key: String,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Vec<u8>,
    /// How often it came back.
    pub(crate) returns: u64,
    /// Its place in the order of the queue: a number, behind what a quorum queue got back.
    pub(super) place: (bool, u64),
    pub(super) expires: Option<Instant>,
}

/// Why a queue gave a message up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Rejected,
    Expired,
    MaxLen,
    DeliveryLimit,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLen => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// Who gets the messages of a queue.
pub(super) struct Consumer {
    /// The serial number of its channel.
    pub(super) channel: u64,
    pub(super) tag: String,
    pub(super) prefetch: u16,
    pub(super) no_ack: bool,
}

/// One queue.
pub(super) struct Queue {
    pub(super) durable: bool,
    pub(super) arguments: FieldTable,
    pub(super) ready: VecDeque<Stored>,
    pub(super) consumers: VecDeque<Consumer>,
    /// Given up, and not yet in hand of what moves dead letters at least once.
    pub(super) dead: VecDeque<(Stored, Reason)>,
    /// In hand, and in no other queue yet.
    pub(super) under_way: Vec<(Stored, Reason)>,
}

impl Queue {
    pub(super) fn new(declare: Declare) -> Self {
        Self {
            durable: declare.durable,
            arguments: declare.arguments,
            ready: VecDeque::new(),
            consumers: VecDeque::new(),
            dead: VecDeque::new(),
            under_way: Vec::new(),
        }
    }

    /// Puts a message where it was, or behind all others if it is new.
    pub(super) fn put(&mut self, message: Stored) {
        let at = self
            .ready
            .partition_point(|other| other.place < message.place);
        self.ready.insert(at, message);
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        text_of(&self.arguments, name)
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.arguments.inner().get(name).and_then(integer)
    }

    pub(super) fn is_quorum(&self) -> bool {
        self.text("x-queue-type").as_deref() == Some("quorum")
    }

    pub(super) fn has_single_active_consumer(&self) -> bool {
        self.arguments.inner().get("x-single-active-consumer") == Some(&AMQPValue::Boolean(true))
    }

    pub(super) fn refuses_overflow(&self) -> bool {
        self.text("x-overflow").as_deref() == Some("reject-publish")
    }

    /// Whether it is as full as it may be.
    pub(super) fn is_full(&self) -> bool {
        let length = i64::try_from(self.ready.len()).unwrap_or(i64::MAX);
        self.number("x-max-length")
            .is_some_and(|longest| length >= longest)
    }

    /// Whether what it gives up stays until another queue has it.
    pub(super) fn moves_at_least_once(&self) -> bool {
        let strategy = self.text("x-dead-letter-strategy");
        strategy.as_deref() == Some("at-least-once") && self.is_quorum() && self.refuses_overflow()
    }

    /// How long its messages live.
    pub(super) fn lifetime(&self, properties: &BasicProperties) -> Option<Duration> {
        let own = properties
            .expiration()
            .as_ref()
            .and_then(|text| text.as_str().parse().ok());
        let millis = [
            self.number("x-message-ttl")
                .and_then(|millis| u64::try_from(millis).ok()),
            own,
        ];
        millis
            .into_iter()
            .flatten()
            .min()
            .map(Duration::from_millis)
    }

    /// How often a message may come back. A limit below zero is none on RabbitMQ 4; on RabbitMQ 3
    /// every return is beyond it.
    pub(super) fn delivery_limit(&self, settings: &Settings) -> Option<u64> {
        let own = self.number("x-delivery-limit");
        let limit = match (settings.version, own) {
            (Version::Three, own) => own.map(|limit| u64::try_from(limit).unwrap_or_default()),
            (Version::Four, Some(limit)) => u64::try_from(limit).ok(),
            (Version::Four, None) => settings.delivery_limit.is_none().then_some(20),
        };
        [limit, settings.delivery_limit]
            .into_iter()
            .flatten()
            .min()
            .filter(|_| self.is_quorum())
    }

    /// How long a delivery may be held.
    pub(super) fn consumer_timeout(&self, settings: &Settings) -> Option<Duration> {
        let own = self
            .number("x-consumer-timeout")
            .and_then(|millis| u64::try_from(millis).ok());
        own.filter(|_| settings.version == Version::Four)
            .map(Duration::from_millis)
            .or(settings.consumer_timeout)
    }

    /// Whether it may be declared as this. From version 4 on, a queue of no type is a classic one.
    ///
    /// # Errors
    /// What differs, as RabbitMQ says it.
    pub(super) fn compare(&self, declare: &Declare, version: Version) -> Result<(), Refusal> {
        let name = declare.queue.as_str();
        if self.durable != declare.durable {
            let (received, current) = (
                format!("'{}'", declare.durable),
                format!("'{}'", self.durable),
            );
            return Err(inequivalent("durable", name, &received, &current));
        }
        let (current, received) = (self.arguments.inner(), declare.arguments.inner());
        let classic = AMQPValue::LongString("classic".into());
        for key in current
            .keys()
            .chain(received.keys())
            .map(|key| key.as_str())
        {
            let is_defaulted = version == Version::Four && key == "x-queue-type";
            let (current, received) = (
                current.get(key),
                received.get(key).or(is_defaulted.then_some(&classic)),
            );
            if same(current, received) {
                continue;
            }
            return Err(inequivalent(
                key,
                name,
                &shown(received, current),
                &shown(current, received),
            ));
        }
        Ok(())
    }
}

pub(super) fn text_of(table: &FieldTable, name: &str) -> Option<String> {
    match table.inner().get(name) {
        Some(AMQPValue::LongString(text)) => Some(text.to_string()),
        _ => None,
    }
}

fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(number) => Some((*number).into()),
        AMQPValue::ShortShortUInt(number) => Some((*number).into()),
        AMQPValue::ShortInt(number) => Some((*number).into()),
        AMQPValue::ShortUInt(number) => Some((*number).into()),
        AMQPValue::LongInt(number) => Some((*number).into()),
        AMQPValue::LongUInt(number) => Some((*number).into()),
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    }
}

/// Integers are the same whatever their size.
fn same(current: Option<&AMQPValue>, received: Option<&AMQPValue>) -> bool {
    let integers = current.and_then(integer).zip(received.and_then(integer));
    integers.map_or(current == received, |(current, received)| {
        current == received
    })
}

fn inequivalent(argument: &str, queue: &str, received: &str, current: &str) -> Refusal {
    let text = format!("inequivalent arg '{argument}' for queue '{queue}' in vhost '/'");
    Refusal::new(
        406,
        format!("PRECONDITION_FAILED - {text}: received {received} but current is {current}"),
    )
}

/// A value as RabbitMQ says it; with its type if the other one is not there.
fn shown(value: Option<&AMQPValue>, other: Option<&AMQPValue>) -> String {
    let Some(value) = value else {
        return "none".to_owned();
    };
    let (text, kind) = match value {
        AMQPValue::LongString(text) => (text.to_string(), "longstr"),
        AMQPValue::Boolean(truth) => (truth.to_string(), "bool"),
        AMQPValue::LongLongInt(number) => (number.to_string(), "long"),
        AMQPValue::LongInt(number) => (number.to_string(), "signedint"),
        other => (
            integer(other).map_or_else(|| format!("{other:?}"), |number| number.to_string()),
            "unsignedint",
        ),
    };
    if other.is_none() {
        format!("the value '{text}' of type '{kind}'")
    } else {
        format!("'{text}'")
    }
}
