//! What an operator is told, as a CloudEvent.

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::event::Event;

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SystemEventType {
    DestinationFailing,
    DestinationRecovered,
    EventsParked,
    CertificateExpiring,
    ConfigurationRefused,
}

impl SystemEventType {
    /// The `type` attribute.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::DestinationFailing => "dev.sealpost.destination.failing",
            Self::DestinationRecovered => "dev.sealpost.destination.recovered",
            Self::EventsParked => "dev.sealpost.events.parked",
            Self::CertificateExpiring => "dev.sealpost.certificate.expiring",
            Self::ConfigurationRefused => "dev.sealpost.configuration.refused",
        }
    }
}

/// Something that an operator is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SystemEvent {
    pub(super) event_type: SystemEventType,
    /// What it is about: `trigger/default/mailer`; empty if that is not one object.
    pub(super) subject: String,
    /// The members of the data.
    pub(super) data: Map<String, Value>,
}

impl SystemEvent {
    /// Makes an event without data.
    pub(super) fn new(event_type: SystemEventType, subject: String) -> Self {
        Self {
            event_type,
            subject,
            data: Map::new(),
        }
    }

    /// Adds a member to the data.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }

    /// The CloudEvent, with an id of its own, of this process.
    pub(super) fn to_event(&self, source: &str) -> Event {
        let id = Uuid::new_v4().to_string();
        let mut event = Event::new(&id, source, self.event_type.as_str());
        let now = OffsetDateTime::now_utc().format(&Rfc3339);
        event.set("time", &now.unwrap_or_default());
        if !self.subject.is_empty() {
            event.set("subject", &self.subject);
        }
        let data = serde_json::to_vec(&self.data).unwrap_or_default();
        let json = HeaderValue::from_static("application/json");
        event.with_data(json, Bytes::from(data))
    }
}

/// A time in seconds since the epoch, by RFC 3339.
pub(super) fn format_seconds(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds);
    let text = time.map(|time| time.format(&Rfc3339).unwrap_or_default());
    text.unwrap_or_default()
}
