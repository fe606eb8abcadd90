//! Names of the headers of messages: those that sealpost writes, and those that RabbitMQ adds.

/// Header with the HTTP fields that are forwarded with an event.
pub(crate) const FORWARDED: &str = "x-sealpost-forwarded";
/// Header with the HTTP fields that are forwarded with the second event of a deferred message.
pub(crate) const STAGE_FORWARDED: &str = "x-sealpost-stage-forwarded";
/// Header that names the destination that a deferred event is on the way to.
pub(crate) const STAGE: &str = "x-sealpost-stage";
/// Header with the number of attempts at the current destination.
pub(crate) const ATTEMPTS: &str = "x-sealpost-attempts";
/// Header with the time at which the next attempt is due, in milliseconds since the epoch.
pub(crate) const NOT_BEFORE: &str = "x-sealpost-not-before";
/// Header with the milliseconds of a wait that are left when the message has come out of its delay
/// queue.
pub(crate) const WAIT_LEFT: &str = "x-sealpost-wait-left";
/// Header with the reason for which a message was parked.
pub(crate) const REASON: &str = "x-sealpost-reason";
/// Header with the last status of the destination, in a parked message.
pub(crate) const STATUS: &str = "x-sealpost-status";
/// Header with the URL of the destination that failed last, in a parked message.
pub(crate) const DESTINATION: &str = "x-sealpost-destination";
/// Header with the time at which a message was parked.
pub(crate) const PARKED_AT: &str = "x-sealpost-parked-at";
/// Header that names the queue that a message is on the way to.
pub(crate) const QUEUE: &str = "x-sealpost-queue";
/// Header with the number of times that RabbitMQ gave the message up.
pub(crate) const GIVEN_UP: &str = "x-sealpost-given-up";
/// Header of the baggage; it has not the name `baggage`, which would be an attribute where
/// attributes have no prefix.
pub(crate) const BAGGAGE: &str = "x-sealpost-baggage";
/// Headers that RabbitMQ adds to messages that it moves or delivers again; without them a message
/// is new again. RabbitMQ drops a message that comes to a queue a second time by itself, and counts
/// deliveries across queues.
pub(crate) const RABBITMQ_HEADERS: [&str; 9] = [
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    "x-delivery-count",
    "x-acquired-count",
];
