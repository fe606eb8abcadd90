//! Lines of `tap` and `explain`: one JSON object for each thing that has happened to an event.

use std::borrow::Cow;
use std::cell::LazyCell;
use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::json_line::JsonLine;
use super::observed_fact::{EventArrival, ObservedAttempt, ObservedFact};
use super::observed_object::ObservedObject;
use super::tap_hub::Observation;
use crate::event::{CompactEvent, Event, ShownData};
use crate::filter::{Filter, explain};
use crate::model::{DeliveryOrder, DestinationRole, Subscription};
use crate::scrub;

/// Number of subscriptions of which it is said that an event did not pass their filters: of one
/// event among others, and where it is asked for.
const MOST_FILTERED: [usize; 2] = [32, 1000];
/// What a line says of a subscription whose filter let the event pass.
const WANTED: &str = "wanted";
/// Attributes that stand in a line by themselves.
const OF_EVERY_LINE: [&str; 3] = ["id", "source", "type"];

/// A line, in the order of its fields. Texts that are empty are left out, but for those that every
/// line has.
#[derive(Debug, Default)]
pub(super) struct EventLine<'l> {
    time: &'l str,
    what: &'l str,
    id: Cow<'l, str>,
    source: Cow<'l, str>,
    event_type: Cow<'l, str>,
    channel: &'l str,
    subscription: Cow<'l, str>,
    via: &'l str,
    by: &'l str,
    peer: Option<IpAddr>,
    stage: &'l str,
    attempt: Option<u32>,
    status: Option<u16>,
    milliseconds: Option<f64>,
    /// The subscriber's address, of a subscription that wants the event.
    destination: Cow<'l, str>,
    reason: Cow<'l, str>,
    /// All of them; those that every line has are left out.
    attributes: Option<CompactEvent<'l>>,
    data: Option<ShownData>,
}

impl<'l> EventLine<'l> {
    /// Shows to whom a subscription sends, and what its events wait for.
    fn show_subscription(&mut self, subscription: &'l Subscription) {
        let subscriber = DestinationRole::Subscriber.destination(subscription);
        if let Some(subscriber) = subscriber {
            self.destination = scrub::url(subscriber.url.as_written());
        }
        if subscription.delivery.order == DeliveryOrder::Ordered {
            self.reason = "ordered: it waits until those before it have ended".into();
        }
    }

    /// The subscription that wanted the event, if the line says so.
    pub(super) fn wanted_by(&self) -> Option<&str> {
        (self.what == WANTED).then_some(&*self.subscription)
    }

    /// Appends the line as JSON, with a line end.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let mut line = JsonLine::begin(to);
        line.text("time", self.time);
        line.text("what", self.what);
        line.text("id", &self.id);
        line.text("source", &self.source);
        line.text("type", &self.event_type);
        line.text_if_any("channel", self.channel);
        line.text_if_any("subscription", &self.subscription);
        line.text_if_any("via", self.via);
        line.text_if_any("by", self.by);
        line.value_if_any("peer", self.peer);
        line.text_if_any("stage", self.stage);
        line.value_if_any("attempt", self.attempt);
        line.value_if_any("status", self.status);
        line.value_if_any("milliseconds", self.milliseconds);
        line.text_if_any("destination", &self.destination);
        line.text_if_any("reason", &self.reason);
        if let Some(attributes) = self.attributes {
            let others = attributes.texts();
            line.texts(
                "attributes",
                others.filter(|(name, _)| !OF_EVERY_LINE.contains(name)),
            );
        }
        if let Some(data) = &self.data {
            line.value_if_any("data", data.data.as_ref());
            line.value_if_any("data_base64", data.data_base64.as_ref());
            line.value_if_any("dataBytes", Some(data.data_bytes));
        }
        line.end();
    }
}

/// What has happened, when, where, and to which event.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToldFact<'t> {
    /// When it happened, as lines show it.
    pub(super) time: &'t str,
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
                line.attributes = Some(self.attributes);
            }
            ObservedFact::Received => {
                line.attributes = Some(self.attributes);
            }
            ObservedFact::Refused(refusal) => {
                let EventArrival { via, by, peer } = refusal.arrival;
                (line.via, line.by, line.peer) = (via, by, peer);
                line.status = refusal.status;
                line.reason = refusal.reason.into();
            }
            ObservedFact::Filtered(reason)
            | ObservedFact::NoReply(reason)
            | ObservedFact::Ended(_, reason) => {
                line.reason = reason.into();
            }
            ObservedFact::Attempted(ObservedAttempt {
                role,
                number,
                status,
                took,
                reason,
            }) => {
                line.stage = role.as_str();
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
        line.attributes = Some(self.attributes);
        line
    }

    fn empty_line(&self, what: &'t str) -> EventLine<'t> {
        let label = self.object.label();
        let is_channel = self.object.is_channel();
        let mut line = EventLine {
            time: self.time,
            what,
            channel: if is_channel { label } else { "" },
            subscription: if is_channel { "" } else { label }.into(),
            ..EventLine::default()
        };
        for (name, value) in self.attributes.texts() {
            match name {
                "id" => line.id = value,
                "source" => line.source = value,
                "type" => line.event_type = value,
                _ => {}
            }
        }
        if line.id.is_empty() {
            line.id = self.id.into();
        }
        line
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
                let what = if found.is_none() { WANTED } else { "filtered" };
                let mut line = self.empty_line(what);
                line.subscription = name.into();
                match found {
                    Some(reason) => line.reason = reason.into(),
                    None => line.show_subscription(subscription),
                }
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

/// Writes the lines of observations. Many of them have one time, since the clock that gives it
/// advances in steps: its text is made once.
#[derive(Debug, Default)]
pub struct LineWriter {
    millis: u64,
    time: String,
}

impl LineWriter {
    /// Appends the lines of an observation that are asked for, as JSON, each with a line end.
    pub fn write(
        &mut self,
        observation: &Observation<'_>,
        is_asked: &dyn Fn(&str) -> bool,
        to: &mut Vec<u8>,
    ) {
        let Some(fact) = observation.fact() else {
            return;
        };
        if self.millis != observation.millis || self.time.is_empty() {
            self.millis = observation.millis;
            self.time = format_millis(observation.millis);
        }
        let told = ToldFact {
            time: &self.time,
            object: observation.object,
            fact,
            attributes: observation.attributes,
            id: "",
        };
        if is_asked(observation.object.label()) {
            let mut line = told.line();
            if let Some((start, length)) = observation.data {
                line.data = Some(ShownData::new(start, length));
            }
            line.write(to);
        }
        let filtered = told.filter_lines(is_asked, WantedLines::LeftOut);
        filtered.iter().for_each(|line| line.write(to));
    }
}

impl Observation<'_> {
    /// The event, without its data, for a filter.
    pub(crate) fn to_event(self) -> Event {
        self.attributes.to_event()
    }
}

/// A time by RFC 3339, in milliseconds.
pub(super) fn format_millis(millis: u64) -> String {
    let nanos = i128::from(millis) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos);
    let text = time.map(|time| time.format(&Rfc3339).unwrap_or_default());
    text.unwrap_or_default()
}
