//! A point in what a channel has retained: from which on, or up to which, its events are meant.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::parse_duration;

/// A point in what a channel has retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryPoint {
    /// The first event that is there.
    Earliest,
    /// The first event that came at this time or later, in milliseconds since the epoch.
    Time(u64),
    /// The first event that came so long ago or later.
    Ago(Duration),
    /// The event with this number in the log of its channel, or the next one that is there.
    Position(u64),
}

impl HistoryPoint {
    /// Parses `earliest`, a time, a duration that has passed since, or `@` and a position.
    ///
    /// # Errors
    /// Says what may be written.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const REMEDY: &str = "is neither a time nor a duration: write for example \
             2026-11-29T10:00:00Z, PT1H for an hour ago, or earliest";
        if text == "earliest" {
            return Ok(Self::Earliest);
        }
        if let Some(position) = text.strip_prefix('@') {
            let position = position.parse();
            return position
                .map(Self::Position)
                .map_err(|_no_number| "is no position: write @ and the number that was told");
        }
        if text.starts_with('P') {
            return parse_duration(text).map(Self::Ago);
        }
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_malformed| REMEDY)?;
        let millis = time.unix_timestamp_nanos() / 1_000_000;
        u64::try_from(millis)
            .map(Self::Time)
            .map_err(|_before| "is before 1970")
    }
}

impl fmt::Display for HistoryPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Time(millis) => f.write_str(&time_text(*millis)),
            Self::Ago(ago) => write!(f, "{ago:?} ago"),
            Self::Position(position) => write!(f, "@{position}"),
        }
    }
}

/// Formats milliseconds since the epoch as RFC 3339 says; empty if they are out of its range.
#[must_use]
pub(crate) fn time_text(millis: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    let time = time.ok().and_then(|time| time.format(&Rfc3339).ok());
    time.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_or_refused() {
        for (text, point) in [
            ("earliest", HistoryPoint::Earliest),
            ("PT1H", HistoryPoint::Ago(Duration::from_hours(1))),
            ("@42", HistoryPoint::Position(42)),
            ("1970-01-01T00:00:01.5Z", HistoryPoint::Time(1500)),
            ("1970-01-01T01:00:01+01:00", HistoryPoint::Time(1000)),
        ] {
            assert_eq!(HistoryPoint::parse(text), Ok(point), "{text}");
        }
        assert_eq!(
            HistoryPoint::Time(1500).to_string(),
            "1970-01-01T00:00:01.5Z"
        );
        for wrong in [
            "",
            "now",
            "PT",
            "-PT1H",
            "@",
            "@x",
            "2026-11-29",
            "1969-01-01T00:00:00Z",
        ] {
            assert!(HistoryPoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
