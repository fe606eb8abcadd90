//! Settings that decide which kind of RabbitMQ the server is. Each can be changed while it runs.

use std::time::Duration;

/// Which RabbitMQ the server behaves like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Quorum queues deliver without a limit unless they have one.
    Three,
    /// Quorum queues give a message up after twenty returns; -1 takes the limit away.
    Four,
}

/// How the server behaves, besides its faults.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) version: Version,
    /// The number of channels of a connection; 0 is any.
    pub(crate) channel_max: u16,
    pub(crate) frame_max: u32,
    /// Seconds, as the server proposes them; 0 is none.
    pub(crate) heartbeat: u16,
    pub(crate) username: String,
    pub(crate) password: String,
    /// Confirms that are told at once, as far as there are so many within a moment.
    pub(crate) confirms_at_once: usize,
    /// How long a message that was returned is confirmed after that; others are confirmed
    /// meanwhile.
    pub(crate) returned_confirmed_after: Option<Duration>,
    /// How long a delivery may be held; the channel is closed then.
    pub(crate) consumer_timeout: Option<Duration>,
    /// A policy's delivery limit for all queues. A queue's own limit counts if it is lower.
    pub(crate) delivery_limit: Option<u64>,
    /// How long it takes until dead letters that found no queue are tried again.
    pub(crate) dead_letter_retry: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: Version::Three,
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: 60,
            username: "guest".to_owned(),
            password: "guest".to_owned(),
            confirms_at_once: 1,
            returned_confirmed_after: None,
            consumer_timeout: None,
            delivery_limit: None,
            dead_letter_retry: Duration::from_secs(180),
        }
    }
}
