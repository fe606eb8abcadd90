//! What became of an event: everything that the ring has of it, in order.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::event_key::EventKey;
use super::event_line::{ToldFact, WantedLines, format_millis};
use super::json_line::JsonLine;
use super::now_millis;
use super::observed_fact::{ObservedEnd, ObservedFact};
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
        let mut attributes: HashMap<EventKey, &[u8]> = HashMap::new();
        for record in records(&segments).filter(|record| !record.attributes.is_empty()) {
            if is_meant(CompactEvent(record.attributes)) {
                attributes.insert(record.key, record.attributes);
            }
        }
        let keys: HashSet<EventKey> = attributes.keys().copied().chain(key).collect();
        let mut found: Vec<_> = records(&segments)
            .filter(|record| keys.contains(&record.key))
            .collect();
        found.sort_by_key(|record| (record.millis, record.fact.rank()));
        let (mut lines, mut channels) = (Vec::new(), BTreeSet::new());
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
        }
        Self {
            lines,
            reach,
            channels,
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
