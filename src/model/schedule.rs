//! When a source sends: a cron schedule in a time zone.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A cron schedule. Two of the same text and zone are equal.
#[derive(Clone)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Reads a schedule of five fields, of six with seconds first, or such as `@hourly`. Without a zone of the IANA
    /// database (`Europe/Berlin`), that of the system counts.
    ///
    /// # Errors
    /// What is wrong with the schedule ([`ScheduleError::Schedule`]) or with the zone.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| ScheduleError::Schedule(text.to_owned(), error.to_string()))?;
        let zone = match zone {
            Some(name) => TimeZone::get(name).map_err(|_cause| ScheduleError::Zone(name.to_owned()))?,
            None => TimeZone::system(),
        };
        Ok(Self { text: text.to_owned(), cron, zone })
    }

    /// The first time after this one; `None` if there is none any more.
    #[must_use]
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&time.to_zoned(self.zone.clone()), false);
        next.ok().map(|next| next.timestamp())
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl Eq for Schedule {}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({:?} in {:?})", self.text, self.zone)
    }
}

/// Why a text is no [`Schedule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The schedule, and what is wrong with it.
    #[error("{0:?} is no cron schedule ({1}): write five fields such as */5 * * * *, or six with seconds first")]
    Schedule(String, String),
    /// The zone.
    #[error("{0:?} is no time zone: write a name such as Europe/Berlin or UTC")]
    Zone(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: &str, after: &str) -> Option<String> {
        let schedule = Schedule::parse(schedule, Some(zone)).expect("a schedule");
        schedule.next_after(after.parse().expect("a time")).map(|time| time.to_string())
    }

    /// As upstream's parser reads them: seconds are optional, days of month and of week are alternatives, and descriptors
    /// are taken.
    #[test]
    fn finds_the_next_time() {
        for (schedule, zone, after, expected) in [
            ("* * * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("*/5 * * * *", "UTC", "2026-01-01T00:04:59.9Z", "2026-01-01T00:05:00Z"),
            ("*/2 * * * * *", "UTC", "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"),
            ("@hourly", "UTC", "2026-01-01T00:30:00Z", "2026-01-01T01:00:00Z"),
            ("0 9 * * MON-FRI", "UTC", "2026-01-02T10:00:00Z", "2026-01-05T09:00:00Z"),
            ("0 0 13 * FRI", "UTC", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("0 9 * * *", "Europe/Berlin", "2026-07-01T00:00:00Z", "2026-07-01T07:00:00Z"),
            ("0 9 * * *", "Europe/Berlin", "2026-01-01T00:00:00Z", "2026-01-01T08:00:00Z"),
            ("0 9 * * *", "America/New_York", "2026-01-01T00:00:00Z", "2026-01-01T14:00:00Z"),
        ] {
            assert_eq!(next(schedule, zone, after).as_deref(), Some(expected), "{schedule} {zone}");
        }
        assert_eq!(next("0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn refuses_the_rest() {
        for schedule in ["", "* * * *", "60 * * * *", "@every 5s", "@never", "x", "* * * * * * 2026", "*/0 * * * *"] {
            let error = Schedule::parse(schedule, None).expect_err(schedule);
            assert!(error.to_string().contains("no cron schedule"), "{error}");
        }
        let error = Schedule::parse("* * * * *", Some("Mars/Base")).expect_err("a zone");
        assert!(error.to_string().contains("no time zone"));
    }
}
