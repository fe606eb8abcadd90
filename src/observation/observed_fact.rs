//! What can happen to an event, in words, and as the bytes of a record.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::DestinationRole;
use crate::wire_text::truncate;

/// Largest size in bytes of a reason that is kept.
const LONGEST_REASON: usize = 200;
/// Largest size in bytes of a sender's name that is kept.
const LONGEST_SENDER: usize = 120;

/// The way by which an event came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventArrival<'a> {
    /// The scheme of the request, or the role that the channel has for a subscription.
    pub(crate) via: &'a str,
    /// The sender: the subject of its token, or the subscription; empty if it is not known.
    pub(crate) by: &'a str,
    /// The address of the peer that sent the request.
    pub(crate) peer: Option<IpAddr>,
}

/// One attempt to send an event to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedAttempt<'a> {
    /// The role of the destination.
    pub role: DestinationRole,
    /// The number of the attempt at this destination; the first is 1.
    pub number: u32,
    /// The status of the response; `None` if there was none.
    pub status: Option<u16>,
    /// The time from the start to the response, or to the end without one.
    pub took: Duration,
    /// Why it failed; empty if it succeeded.
    pub reason: &'a str,
}

/// The refusal of an event by a channel or Broker, or by the port before one was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObservedRefusal<'a> {
    /// The status that the sender was answered; `None` if the event came from inside.
    pub(crate) status: Option<u16>,
    /// The way by which the event came, as far as it is known.
    pub(crate) arrival: EventArrival<'a>,
    /// Why it was refused, as the sender was told.
    pub(crate) reason: &'a str,
}

/// The ways in which the delivery of an event to a subscription ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedEnd {
    /// The subscriber has the event.
    Delivered,
    /// The dead letter sink has the event.
    DeadLettered,
    /// Nobody has the event.
    Lost,
    /// The event is parked.
    Parked,
    /// The event waits outside of the process for its next attempt.
    Deferred,
    /// The event is back in its queue.
    Requeued,
}

/// What has happened to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedFact<'a> {
    /// A channel or Broker took the event.
    Accepted(EventArrival<'a>),
    /// The event came for one subscription: out of a queue outside of the process, or from a
    /// channel in another one.
    Received,
    /// The event was not taken.
    Refused(ObservedRefusal<'a>),
    /// The event did not pass the filter, for this reason.
    Filtered(&'a str),
    /// The event was sent to a destination.
    Attempted(ObservedAttempt<'a>),
    /// The subscriber's answer is JSON and no event, as is described here, so that nothing goes to
    /// the reply address.
    NoReply(&'a str),
    /// The delivery ended, for this reason if it failed.
    Ended(ObservedEnd, &'a str),
}

const ROLES: [DestinationRole; 3] = [
    DestinationRole::Subscriber,
    DestinationRole::Reply,
    DestinationRole::DeadLetterSink,
];
const ENDS: [ObservedEnd; 6] = [
    ObservedEnd::Delivered,
    ObservedEnd::DeadLettered,
    ObservedEnd::Lost,
    ObservedEnd::Parked,
    ObservedEnd::Deferred,
    ObservedEnd::Requeued,
];

impl ObservedEnd {
    /// The end in words.
    #[must_use]
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::DeadLettered => "dead letter",
            Self::Lost => "lost",
            Self::Parked => "parked",
            Self::Deferred => "deferred",
            Self::Requeued => "requeued",
        }
    }
}

impl<'a> ObservedFact<'a> {
    /// What has happened, in a word or two.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Received => "received",
            Self::Refused(_) => "refused",
            Self::Filtered(_) => "filtered",
            Self::Attempted(_) => "attempt",
            Self::NoReply(_) => "no reply",
            Self::Ended(end, _) => end.as_str(),
        }
    }

    /// True if the attributes of the event are kept with the fact: it is the first of the event
    /// here.
    pub(super) fn is_first(&self) -> bool {
        matches!(self, Self::Accepted(_) | Self::Received)
    }

    /// The order of facts that have the same time.
    pub(super) fn rank(&self) -> (u8, u8, u32) {
        match self {
            Self::Accepted(_) | Self::Received => (0, 0, 0),
            // A sender is refused once all deliveries of its event have ended.
            Self::Refused(_) => (6, 0, 0),
            Self::Filtered(_) => (2, 0, 0),
            Self::Attempted(attempt) => (3, place(&ROLES, attempt.role), attempt.number),
            Self::NoReply(_) => (4, 0, 0),
            Self::Ended(..) => (5, 0, 0),
        }
    }

    /// Appends the fact as bytes, all that [`ObservedFact::read`] needs.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Accepted(arrival) => {
                to.push(0);
                push_arrival(to, arrival);
            }
            Self::Received => to.push(1),
            Self::Refused(refusal) => {
                to.push(2);
                to.extend_from_slice(&refusal.status.unwrap_or(0).to_le_bytes());
                push_arrival(to, &refusal.arrival);
                push_text(to, refusal.reason, LONGEST_REASON);
            }
            Self::Filtered(reason) => {
                to.push(3);
                push_text(to, reason, LONGEST_REASON);
            }
            Self::Attempted(attempt) => {
                to.extend_from_slice(&[4, place(&ROLES, attempt.role)]);
                to.extend_from_slice(&attempt.number.to_le_bytes());
                to.extend_from_slice(&attempt.status.unwrap_or(0).to_le_bytes());
                let micros = u32::try_from(attempt.took.as_micros()).unwrap_or(u32::MAX);
                to.extend_from_slice(&micros.to_le_bytes());
                push_text(to, attempt.reason, LONGEST_REASON);
            }
            Self::NoReply(body) => {
                to.push(6);
                push_text(to, body, LONGEST_REASON);
            }
            Self::Ended(end, reason) => {
                to.extend_from_slice(&[5, place(&ENDS, *end)]);
                push_text(to, reason, LONGEST_REASON);
            }
        }
    }

    /// Reads a fact, and gives what follows it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (kind, rest) = bytes.split_first()?;
        Some(match kind {
            0 => read_arrival(rest).map(|(arrival, rest)| (Self::Accepted(arrival), rest))?,
            1 => (Self::Received, rest),
            2 => read_refusal(rest).map(|(refusal, rest)| (Self::Refused(refusal), rest))?,
            3 => read_text(rest).map(|(reason, rest)| (Self::Filtered(reason), rest))?,
            4 => read_attempt(rest).map(|(attempt, rest)| (Self::Attempted(attempt), rest))?,
            6 => read_text(rest).map(|(body, rest)| (Self::NoReply(body), rest))?,
            _ => {
                let (end, rest) = rest.split_first()?;
                let (reason, rest) = read_text(rest)?;
                (Self::Ended(*ENDS.get(usize::from(*end))?, reason), rest)
            }
        })
    }
}

fn read_refusal(bytes: &[u8]) -> Option<(ObservedRefusal<'_>, &[u8])> {
    let (status, rest) = bytes.split_first_chunk()?;
    let (arrival, rest) = read_arrival(rest)?;
    let (reason, rest) = read_text(rest)?;
    let refusal = ObservedRefusal {
        status: Some(u16::from_le_bytes(*status)).filter(|status| *status > 0),
        arrival,
        reason,
    };
    Some((refusal, rest))
}

fn read_attempt(bytes: &[u8]) -> Option<(ObservedAttempt<'_>, &[u8])> {
    let (role, rest) = bytes.split_first()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (status, rest) = rest.split_first_chunk()?;
    let (micros, rest) = rest.split_first_chunk()?;
    let (reason, rest) = read_text(rest)?;
    let attempt = ObservedAttempt {
        role: *ROLES.get(usize::from(*role))?,
        number: u32::from_le_bytes(*number),
        status: Some(u16::from_le_bytes(*status)).filter(|status| *status > 0),
        took: Duration::from_micros(u32::from_le_bytes(*micros).into()),
        reason,
    };
    Some((attempt, rest))
}

fn push_arrival(to: &mut Vec<u8>, arrival: &EventArrival<'_>) {
    push_text(to, arrival.via, LONGEST_SENDER);
    push_text(to, arrival.by, LONGEST_SENDER);
    push_address(to, arrival.peer);
}

fn read_arrival(bytes: &[u8]) -> Option<(EventArrival<'_>, &[u8])> {
    let (via, rest) = read_text(bytes)?;
    let (by, rest) = read_text(rest)?;
    let (peer, rest) = read_address(rest)?;
    Some((EventArrival { via, by, peer }, rest))
}

/// Appends an address behind its length, which is 0 if there is none.
fn push_address(to: &mut Vec<u8>, address: Option<IpAddr>) {
    match address {
        None => to.push(0),
        Some(IpAddr::V4(address)) => {
            to.push(4);
            to.extend_from_slice(&address.octets());
        }
        Some(IpAddr::V6(address)) => {
            to.push(16);
            to.extend_from_slice(&address.octets());
        }
    }
}

fn read_address(bytes: &[u8]) -> Option<(Option<IpAddr>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    Some(match length {
        4 => {
            let (octets, rest) = rest.split_first_chunk::<4>()?;
            (Some(IpAddr::from(*octets)), rest)
        }
        16 => {
            let (octets, rest) = rest.split_first_chunk::<16>()?;
            (Some(IpAddr::from(*octets)), rest)
        }
        _ => (None, rest),
    })
}

fn push_text(to: &mut Vec<u8>, text: &str, most: usize) {
    let text = truncate(text, most.min(usize::from(u8::MAX)));
    to.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    to.extend_from_slice(text.as_bytes());
}

fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// The place of a value in its table, which has all of them.
fn place<T: Copy + PartialEq>(table: &[T], value: T) -> u8 {
    let found = table.iter().position(|known| *known == value);
    found.and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let attempt = ObservedAttempt {
            role: DestinationRole::DeadLetterSink,
            number: 70_000,
            status: Some(503),
            took: Duration::from_micros(1234),
            reason: "answered 503",
        };
        let arrival = EventArrival {
            via: "https",
            by: "system:serviceaccount:default:a",
            peer: Some(IpAddr::from([10, 0, 0, 1])),
        };
        let over_v6 = EventArrival {
            peer: "fd00::1".parse().ok(),
            ..EventArrival::default()
        };
        let mut facts = vec![
            ObservedFact::Accepted(arrival),
            ObservedFact::Accepted(over_v6),
            ObservedFact::Accepted(EventArrival::default()),
            ObservedFact::Received,
            ObservedFact::Refused(ObservedRefusal {
                status: Some(401),
                arrival,
                reason: "no token",
            }),
            ObservedFact::Refused(ObservedRefusal::default()),
            ObservedFact::Filtered("exact.type"),
            ObservedFact::NoReply("2 bytes"),
            ObservedFact::Attempted(attempt),
            ObservedFact::Attempted(ObservedAttempt {
                status: None,
                ..attempt
            }),
        ];
        facts.extend(ENDS.map(|end| ObservedFact::Ended(end, "why")));
        for fact in facts {
            let mut bytes = Vec::new();
            fact.write(&mut bytes);
            let whole = bytes.len();
            bytes.push(7);
            assert_eq!(ObservedFact::read(&bytes), Some((fact, &[7][..])));
            for length in 0..whole {
                assert_eq!(
                    ObservedFact::read(bytes.get(..length).expect("shorter")),
                    None
                );
            }
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let mut bytes = Vec::new();
        ObservedFact::Filtered(&"ä".repeat(500)).write(&mut bytes);
        let (read, rest) = ObservedFact::read(&bytes).expect("a fact");
        assert_eq!(
            (read, rest.len()),
            (ObservedFact::Filtered(&"ä".repeat(100)), 0)
        );
    }
}
