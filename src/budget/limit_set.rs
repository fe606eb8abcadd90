//! The limits of namespaces as they are written: plain values.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// The limits that a namespace can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LimitKind {
    /// Bytes of its events that are held in memory.
    BufferedBytes,
    /// Unfinished events in the queues of its subscriptions.
    QueueCapacity,
    /// Events that are sent to its channels and Brokers, in a time.
    Rate,
}

impl LimitKind {
    /// All kinds of limits.
    pub(crate) const ALL: [Self; 3] = [Self::BufferedBytes, Self::QueueCapacity, Self::Rate];

    /// The key in the file.
    #[must_use]
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::BufferedBytes => "bufferedBytes",
            Self::QueueCapacity => "queueCapacity",
            Self::Rate => "rate",
        }
    }

    /// The value of the label `limit` in metrics.
    #[must_use]
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::BufferedBytes => "buffered_bytes",
            Self::QueueCapacity => "queue_capacity",
            Self::Rate => "rate",
        }
    }
}

/// A number of events in a second, a minute or an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventRate {
    events: NonZeroU32,
    unit: char,
}

impl EventRate {
    /// Reads `100/s`, `6000/m` or `10/h`; `None` if it is none of them.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (events, unit) = text.split_once('/')?;
        let unit = match unit.trim() {
            "s" => 's',
            "m" => 'm',
            "h" => 'h',
            _ => return None,
        };
        let events = events.trim().parse().ok()?;
        let rate = Self { events, unit };
        // A nanosecond for each event is as fine as it is counted.
        (rate.interval() > Duration::ZERO).then_some(rate)
    }

    /// Time from one event to the next at this rate.
    #[must_use]
    pub(crate) fn interval(self) -> Duration {
        let unit = match self.unit {
            'h' => Duration::from_hours(1),
            'm' => Duration::from_mins(1),
            _ => Duration::from_secs(1),
        };
        unit / self.events.get()
    }
}

impl fmt::Display for EventRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.events, self.unit)
    }
}

/// The limits of one namespace; what is `None` is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamespaceLimit {
    /// Bytes of its events that may be held in memory.
    pub(crate) buffered_bytes: Option<usize>,
    /// Unfinished events that the queues of all its subscriptions may hold together.
    pub(crate) queue_capacity: Option<usize>,
    /// Events that may be sent to its channels and Brokers.
    pub(crate) rate: Option<EventRate>,
}

impl NamespaceLimit {
    /// The limit of this kind in words; `none` if there is none.
    #[must_use]
    pub(crate) fn text(&self, kind: LimitKind) -> String {
        let count = |count: Option<usize>| count.map(|count| count.to_string());
        let text = match kind {
            LimitKind::BufferedBytes => count(self.buffered_bytes),
            LimitKind::QueueCapacity => count(self.queue_capacity),
            LimitKind::Rate => self.rate.map(|rate| rate.to_string()),
        };
        text.unwrap_or_else(|| "none".to_owned())
    }
}

/// The limits of all namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamespaceLimitSet {
    /// Those of namespaces that are named.
    pub(crate) named: BTreeMap<String, NamespaceLimit>,
    /// Those of each of the others.
    pub(crate) others: NamespaceLimit,
}

impl NamespaceLimitSet {
    /// The number of namespaces that are named.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.named.len()
    }

    /// The limits of a namespace.
    #[must_use]
    pub(crate) fn of_namespace(&self, namespace: &str) -> NamespaceLimit {
        self.named.get(namespace).copied().unwrap_or(self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_number_and_a_unit() {
        for (text, interval) in [
            ("100/s", Some(Duration::from_millis(10))),
            ("6000/m", Some(Duration::from_millis(10))),
            ("1/h", Some(Duration::from_secs(3600))),
            ("0/s", None),
            ("-1/s", None),
            ("100", None),
            ("100/d", None),
            ("1.5/s", None),
            ("4294967295/s", None),
        ] {
            let rate = EventRate::parse(text);
            assert_eq!(rate.map(EventRate::interval), interval, "{text}");
            if let Some(rate) = rate {
                assert_eq!(rate.to_string(), text);
            }
        }
    }
}
