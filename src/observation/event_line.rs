//! Lines of `tap` and `explain`: one JSON object for each thing that has happened to an event.

use std::borrow::Cow;
use std::cell::LazyCell;
use std::net::IpAddr;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::observed_fact::{EventArrival, ObservedAttempt, ObservedFact};
use super::observed_object::ObservedObject;
use super::tap_hub::{Observation, TapDetail};
use crate::event::{CompactEvent, Event, ShownData};
use crate::filter::{Filter, explain};

/// Number of subscriptions of which it is said that an event did not pass their filters: of one
/// event among others, and where it is asked for.
const MOST_FILTERED: [usize; 2] = [32, 1000];
/// Attributes that stand in a line by themselves.
const OF_EVERY_LINE: [&str; 3] = ["id", "source", "type"];

/// A line, in the order of its fields.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventLine<'l> {
    time: String,
    what: &'l str,
    id: Cow<'l, str>,
    source: Cow<'l, str>,
    #[serde(rename = "type")]
    event_type: Cow<'l, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<Cow<'l, str>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    via: &'l str,
    #[serde(skip_serializing_if = "str::is_empty")]
    by: &'l str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<f64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: Cow<'l, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<OtherAttributes<'l>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    data: Option<ShownData>,
}

/// What has happened, when, where, and to which event.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToldFact<'t> {
    pub(super) millis: u64,
    pub(super) object: &'t ObservedObject,
    pub(super) fact: ObservedFact<'t>,
    pub(super) attributes: CompactEvent<'t>,
    /// Stands in every line, also where the attributes do not: an id of which nothing else is
    /// known.
    pub(super) id: &'t str,
}

impl<'t> ToldFact<'t> {
    /// The line of the fact itself.
    pub(super) fn line(&self) -> EventLine<'t> {
        let mut line = self.empty_line(self.fact.word());
        match self.fact {
            ObservedFact::Accepted(EventArrival { via, by, peer }) => {
                (line.via, line.by, line.peer) = (via, by, peer);
                line.attributes = Some(OtherAttributes(self.attributes));
            }
            ObservedFact::Received => {
                line.attributes = Some(OtherAttributes(self.attributes));
            }
            ObservedFact::Refused(refusal) => {
                let EventArrival { via, by, peer } = refusal.arrival;
                (line.via, line.by, line.peer) = (via, by, peer);
                line.status = refusal.status;
                line.reason = refusal.reason.into();
            }
            ObservedFact::Filtered(reason) | ObservedFact::Ended(_, reason) => {
                line.reason = reason.into();
            }
            ObservedFact::Attempted(ObservedAttempt {
                role,
                number,
                status,
                took,
                reason,
            }) => {
                line.stage = Some(role.as_str());
                (line.attempt, line.status) = (Some(number), status);
                line.milliseconds = Some(took.as_secs_f64() * 1e3);
                line.reason = reason.into();
            }
        }
        line
    }

    /// The line of the fact, with all attributes of the event.
    pub(super) fn line_with_attributes(&self) -> EventLine<'t> {
        let mut line = self.line();
        line.attributes = Some(OtherAttributes(self.attributes));
        line
    }

    fn empty_line(&self, what: &'t str) -> EventLine<'t> {
        let label = self.object.label();
        let is_channel = self.object.is_channel();
        let id = self.attributes.text("id");
        EventLine {
            time: format_millis(self.millis),
            what,
            id: if id.is_empty() { self.id.into() } else { id },
            source: self.attributes.text("source"),
            event_type: self.attributes.text("type"),
            channel: Some(label).filter(|_| is_channel),
            subscription: Some(label.into()).filter(|_| !is_channel),
            ..EventLine::default()
        }
    }

    /// Lines of the subscriptions that wanted the event, and of those that did not, with the
    /// reason. Nothing of this is kept: it follows from the attributes of the event and from the
    /// filters as they were.
    pub(super) fn filter_lines(
        &self,
        is_asked: &dyn Fn(&str) -> bool,
        wanted: WantedLines,
    ) -> Vec<EventLine<'t>> {
        let ObservedFact::Accepted(_) = self.fact else {
            return Vec::new();
        };
        let Some(channel) = self.object.channel() else {
            return Vec::new();
        };
        let [passing_by, asked_for] = MOST_FILTERED;
        let most = match wanted {
            WantedLines::LeftOut => passing_by,
            WantedLines::Shown => asked_for,
        };
        // Made once it is needed: most events pass by subscriptions that want everything.
        let (event, mut lines) = (LazyCell::new(|| self.attributes.to_event()), Vec::new());
        let mut filtered = 0;
        for subscription in &channel.subscriptions {
            let wants_all = subscription.filter == Filter::MatchAll;
            if wants_all && wanted == WantedLines::LeftOut {
                continue;
            }
            let name = subscription.key.to_string();
            if !is_asked(&name) {
                continue;
            }
            let found = self.explain_filter(&subscription.filter, &event);
            filtered += usize::from(found.is_some());
            if found.is_some() && filtered > most {
                // Work that nobody would read is not done for events among others.
                if wanted == WantedLines::LeftOut {
                    break;
                }
                continue;
            }
            if found.is_some() || wanted == WantedLines::Shown {
                let what = if found.is_none() {
                    "wanted"
                } else {
                    "filtered"
                };
                let mut line = self.empty_line(what);
                line.subscription = Some(name.into());
                line.reason = found.unwrap_or_default().into();
                lines.push(line);
            }
        }
        if filtered > most {
            let mut more = self.empty_line("filtered");
            more.reason =
                format!("by more than {most} subscriptions: ask for one by its name").into();
            lines.push(more);
        }
        lines
    }

    fn explain_filter(&self, filter: &Filter, event: &Event) -> Option<String> {
        let reason = explain::explain(filter, event)?;
        if self.attributes.is_cut() {
            return Some("or not: the event has more attributes than are kept here".to_owned());
        }
        Some(reason)
    }
}

/// Whether there are lines of subscriptions whose filters let an event pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WantedLines {
    Shown,
    LeftOut,
}

impl Observation {
    /// Appends the lines of this observation that are asked for, as JSON, each with a line end.
    pub fn write_lines(
        &self,
        is_asked: &dyn Fn(&str) -> bool,
        detail: TapDetail,
        to: &mut Vec<u8>,
    ) {
        let Some(fact) = self.fact() else { return };
        let told = ToldFact {
            millis: self.millis,
            object: &self.object,
            fact,
            attributes: self.attributes(),
            id: "",
        };
        if is_asked(self.object.label()) {
            let mut line = told.line();
            let shown = self.data.as_ref().filter(|_| detail == TapDetail::Data);
            line.data = shown.map(|(start, length)| ShownData::new(start, *length));
            write_line(&line, to);
        }
        let filtered = told.filter_lines(is_asked, WantedLines::LeftOut);
        filtered.iter().for_each(|line| write_line(line, to));
    }

    /// The event, without its data, for a filter.
    pub(crate) fn to_event(&self) -> Event {
        self.attributes().to_event()
    }
}

/// Appends a line as JSON, with a line end.
pub(super) fn write_line(line: &EventLine<'_>, to: &mut Vec<u8>) {
    let before = to.len();
    match serde_json::to_writer(&mut *to, line) {
        Ok(()) => to.push(b'\n'),
        Err(_) => to.truncate(before),
    }
}

/// The attributes of an event that have no place of their own in a line.
#[derive(Debug)]
struct OtherAttributes<'l>(CompactEvent<'l>);

impl Serialize for OtherAttributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let others = self.0.texts();
        serializer.collect_map(others.filter(|(name, _)| !OF_EVERY_LINE.contains(name)))
    }
}

/// A time by RFC 3339, in milliseconds.
pub(super) fn format_millis(millis: u64) -> String {
    let nanos = i128::from(millis) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos);
    let text = time.map(|time| time.format(&Rfc3339).unwrap_or_default());
    text.unwrap_or_default()
}
