//! What became of an event: everything that the ring has of it, in order.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::event_key::EventKey;
use super::event_line::{EventLine, ToldFact, WantedLines, format_millis};
use super::json_line::JsonLine;
use super::now_millis;
use super::observed_fact::{ObservedEnd, ObservedFact};
use super::open_deliveries::{OpenDeliveries, OpenDelivery};
use super::record_ring::{MOST_EVENTS, RecordRing, RecordSegment};
use crate::event::CompactEvent;

/// Number of lines of one answer. An event that was retried for days has more.
const MOST_LINES: usize = 10_000;

/// What is known of the events of an id.
#[derive(Debug, Default)]
pub(crate) struct Explanation {
    /// A line for each thing that happened, as JSON.
    pub(crate) lines: Vec<u8>,
    /// In words, how far the memory of events goes back; `None` if nothing is kept.
    pub(crate) reach: Option<String>,
    /// Kind, namespace and name of the channels and Brokers that took the events.
    pub(crate) channels: BTreeSet<String>,
    /// The deliveries of the events that have not ended.
    pub(crate) open: Vec<OpenDelivery>,
}

/// What an event waits for at a subscription, now.
#[derive(Debug)]
pub(crate) struct WaitingLine<'w> {
    pub(crate) delivery: &'w OpenDelivery,
    /// The event that it waits behind, if it is one.
    pub(crate) behind: Option<EventAhead<'w>>,
    /// The number of the attempt that is under way or comes next, of this event or of the one that
    /// it waits behind, and when that is due; empty if it is under way.
    pub(crate) attempt: Option<u32>,
    pub(crate) next_attempt: &'w str,
    /// What it waits for, in words.
    pub(crate) reason: &'w str,
}

/// An event that another one waits behind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventAhead<'w> {
    pub(crate) id: &'w str,
    pub(crate) source: &'w str,
}

impl Explanation {
    /// Adds that a subscription of one of the channels is not ready now, and why.
    pub(crate) fn add_not_ready(&mut self, id: &str, subscription: &str, why: &str) {
        let mut line = JsonLine::begin(&mut self.lines);
        line.text("time", &format_millis(now_millis()));
        line.text("what", "not ready");
        line.text("id", id);
        line.text("subscription", subscription);
        line.text("reason", why);
        line.end();
    }

    /// Adds what an event waits for at a subscription.
    pub(crate) fn add_waiting(&mut self, waiting: &WaitingLine<'_>) {
        let OpenDelivery {
            id,
            source,
            subscription,
            ..
        } = waiting.delivery;
        let mut line = JsonLine::begin(&mut self.lines);
        line.text("time", &format_millis(now_millis()));
        line.text("what", "waiting");
        line.text("id", id);
        line.text_if_any("source", source);
        line.text("subscription", subscription);
        if let Some(behind) = waiting.behind {
            line.text("behind", behind.id);
            line.text("behindSource", behind.source);
        }
        line.value_if_any("attempt", waiting.attempt);
        line.text_if_any("nextAttempt", waiting.next_attempt);
        line.text("reason", waiting.reason);
        line.end();
    }
}

impl Explanation {
    /// Looks for the events of this id, and of this source if one is given, whose key is known
    /// then: among those that came, and those that were refused.
    pub(super) fn find(
        [ring, refused]: [&RecordRing; 2],
        id: &str,
        source: Option<&str>,
        key: Option<EventKey>,
    ) -> Self {
        let mut segments = ring.snapshot();
        let reach = ring.is_kept().then(|| reach(&segments));
        segments.extend(refused.snapshot());
        let is_meant = |attributes: CompactEvent<'_>| {
            is_text(attributes, "id", id)
                && source.is_none_or(|source| is_text(attributes, "source", source))
        };
        let attributes: HashMap<EventKey, &[u8]> = records(&segments)
            .filter(|record| !record.attributes.is_empty())
            .filter(|record| is_meant(CompactEvent(record.attributes)))
            .map(|record| (record.key, record.attributes))
            .collect();
        let keys: HashSet<EventKey> = attributes.keys().copied().chain(key).collect();
        let mut found: Vec<_> = records(&segments)
            .filter(|record| keys.contains(&record.key))
            .collect();
        found.sort_by_key(|record| (record.millis, record.fact.rank()));
        let (mut lines, mut channels) = (Vec::new(), BTreeSet::new());
        let mut deliveries = OpenDeliveries::default();
        for record in found.iter().take(MOST_LINES) {
            if let ObservedFact::Accepted(_) = record.fact {
                channels.insert(record.object.label().to_owned());
            }
            let known = attributes.get(&record.key).copied();
            let time = format_millis(record.millis);
            let told = ToldFact {
                time: &time,
                object: record.object,
                fact: record.fact,
                attributes: CompactEvent(match record.attributes {
                    [] => known.unwrap_or_default(),
                    own => own,
                }),
                id,
            };
            told.line().write(&mut lines);
            let filtered = told.filter_lines(&|_| true, WantedLines::Shown);
            filtered.iter().for_each(|line| line.write(&mut lines));
            let wanted = filtered.iter().filter_map(EventLine::wanted_by);
            wanted.for_each(|wanted| deliveries.want(record.key, wanted));
            if !record.object.is_channel() {
                deliveries.tell(record.key, record.object.label(), &record.fact);
            }
        }
        let open = deliveries.into_open(|event| {
            OpenDelivery::of_event(id, &source_of(attributes.get(&event).copied(), source))
        });
        Self {
            lines,
            reach,
            channels,
            open,
        }
    }
}

impl Explanation {
    /// Looks for the latest events that a subscription did not get in the end: dead letters, lost
    /// and parked ones, `most` of them at most, the latest first.
    pub(super) fn find_undelivered(ring: &RecordRing, label: &str, most: usize) -> Self {
        let segments = ring.snapshot();
        let mut ended: Vec<_> = records(&segments)
            .filter(|record| is_undelivered(&record.fact) && record.object.label() == label)
            .collect();
        ended.sort_by_key(|record| Reverse(record.millis));
        ended.truncate(most);
        let keys: HashSet<EventKey> = ended.iter().map(|record| record.key).collect();
        let attributes: HashMap<EventKey, &[u8]> = records(&segments)
            .filter(|record| !record.attributes.is_empty() && keys.contains(&record.key))
            .map(|record| (record.key, record.attributes))
            .collect();
        let mut lines = Vec::new();
        for record in &ended {
            let known = attributes.get(&record.key).copied();
            let time = format_millis(record.millis);
            let told = ToldFact {
                time: &time,
                object: record.object,
                fact: record.fact,
                attributes: CompactEvent(known.unwrap_or_default()),
                id: "",
            };
            told.line_with_attributes().write(&mut lines);
        }
        Self {
            lines,
            reach: ring.is_kept().then(|| reach(&segments)),
            ..Self::default()
        }
    }
}

/// The source of an event, by its attributes if they are known, else as it was asked for.
fn source_of(attributes: Option<&[u8]>, asked: Option<&str>) -> String {
    match attributes {
        Some(attributes) => CompactEvent(attributes).text("source").into_owned(),
        None => asked.unwrap_or_default().to_owned(),
    }
}

fn is_undelivered(fact: &ObservedFact<'_>) -> bool {
    let ObservedFact::Ended(end, _) = fact else {
        return false;
    };
    matches!(
        end,
        ObservedEnd::DeadLettered | ObservedEnd::Lost | ObservedEnd::Parked
    )
}

fn records(
    segments: &[Arc<RecordSegment>],
) -> impl Iterator<Item = super::record_ring::ObservationRecord<'_>> {
    segments.iter().flat_map(|segment| segment.records())
}

/// True if an attribute has this text, or begins with what is kept of it.
fn is_text(event: CompactEvent<'_>, name: &str, wanted: &str) -> bool {
    let text = event.text(name);
    text == wanted || (event.is_cut() && !text.is_empty() && wanted.starts_with(&*text))
}

/// How many events are known, and since when.
fn reach(segments: &[Arc<RecordSegment>]) -> String {
    let is_first = |fact: &ObservedFact<'_>| fact.is_first();
    let events = records(segments)
        .filter(|record| is_first(&record.fact))
        .count();
    match records(segments).map(|record| record.millis).min() {
        Some(oldest) => format!(
            "the latest {events} are known, since {}; {MOST_EVENTS} are kept at most",
            format_millis(oldest)
        ),
        None => "no event has come yet".to_owned(),
    }
}
