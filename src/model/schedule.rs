//! The times at which a source sends: a cron schedule in a time zone.

mod fields;

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A cron schedule in a time zone. Two schedules of the same text and zone are equal.
#[derive(Clone)]
pub(crate) struct CronSchedule {
    /// The schedule as it was written, for comparison.
    text: String,
    cron: Cron,
    /// The time zone in which the fields of the schedule count.
    zone: TimeZone,
}

impl CronSchedule {
    /// Reads a schedule of five fields, of six with seconds first, or such as `@hourly`, as
    /// Knative's parser does. A zone of the IANA database (`Europe/Berlin`) may stand before it as
    /// `CRON_TZ=` or `TZ=`; without one, the zone of the system counts.
    ///
    /// # Errors
    /// Says what is wrong with the schedule ([`ScheduleError::Schedule`]) or with the zone
    /// ([`ScheduleError::Zone`]).
    pub(crate) fn parse(text: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let wrong = |why: String| ScheduleError::Schedule(text.to_owned(), why);
        let (own, fields) = with_zone(text);
        if own.is_some() && zone.is_some() {
            return Err(wrong(
                "it names a time zone, and timezone another one".to_owned(),
            ));
        }
        let plain = fields::normalize_schedule(fields).map_err(wrong)?;
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(&plain)
            .map_err(|error| wrong(error.to_string()))?;
        let zone = time_zone(own.or(zone))?;
        Ok(Self {
            text: text.to_owned(),
            cron,
            zone,
        })
    }

    /// The first time of the schedule after `time`; `None` if there is none any more.
    #[must_use]
    pub(crate) fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let next = self
            .cron
            .find_next_occurrence(&time.to_zoned(self.zone.clone()), false);
        next.ok().map(|next| next.timestamp())
    }
}

/// The time zone of this name, as Go's `time.LoadLocation` finds it.
fn time_zone(name: Option<&str>) -> Result<TimeZone, ScheduleError> {
    match name {
        None | Some("Local") => Ok(TimeZone::system()),
        // Go reads an empty name as UTC, too.
        Some("") => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|_cause| ScheduleError::Zone(name.to_owned())),
    }
}

/// Splits a schedule into the time zone that stands before it, if any, and its fields.
fn with_zone(text: &str) -> (Option<&str>, &str) {
    let text = text.trim();
    let rest = ["CRON_TZ=", "TZ="]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    match rest {
        Some(rest) => {
            let (zone, fields) =
                rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            (Some(zone), fields.trim())
        }
        None => (None, text),
    }
}

impl PartialEq for CronSchedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl Eq for CronSchedule {}

impl fmt::Debug for CronSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({:?} in {:?})", self.text, self.zone)
    }
}

/// The reason why a text is no [`CronSchedule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScheduleError {
    /// The schedule as written, and what is wrong with it.
    #[error(
        "{0:?} is no cron schedule ({1}): write five fields such as */5 * * * *, or six with \
         seconds first"
    )]
    Schedule(String, String),
    /// The name that the IANA database does not have.
    #[error("{0:?} is no time zone: write a name such as Europe/Berlin or UTC")]
    Zone(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, zone: &str, after: &str) -> Option<String> {
        let zone = Some(zone).filter(|zone| !zone.is_empty());
        let schedule = CronSchedule::parse(schedule, zone).expect("a schedule");
        schedule
            .next_after(after.parse().expect("a time"))
            .map(|time| time.to_string())
    }

    /// Checks schedules in a zone: the first time after one is the other.
    fn assert_next_times(cases: &[(&str, &str, &str, &str)]) {
        for (schedule, zone, after, expected) in cases {
            assert_eq!(
                next(schedule, zone, after).as_deref(),
                Some(*expected),
                "{schedule} {zone}"
            );
        }
    }

    /// As upstream's parser reads them: seconds are optional, and descriptors are taken.
    #[test]
    fn finds_the_next_time() {
        assert_next_times(&[
            (
                "* * * * *",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2026-01-01T00:01:00Z",
            ),
            (
                "*/5 * * * *",
                "UTC",
                "2026-01-01T00:04:59.9Z",
                "2026-01-01T00:05:00Z",
            ),
            (
                "*/2 * * * * *",
                "UTC",
                "2026-01-01T00:00:01Z",
                "2026-01-01T00:00:02Z",
            ),
            (
                "@hourly",
                "UTC",
                "2026-01-01T00:30:00Z",
                "2026-01-01T01:00:00Z",
            ),
            (
                "? ? ? ? ?",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2026-01-01T00:01:00Z",
            ),
            (
                "5/20 * * * *",
                "UTC",
                "2026-01-01T00:05:00Z",
                "2026-01-01T00:25:00Z",
            ),
            (
                "1-10/4 * * * *",
                "UTC",
                "2026-01-01T00:05:00Z",
                "2026-01-01T00:09:00Z",
            ),
            (
                "0 0 1 jan,Jul *",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2026-07-01T00:00:00Z",
            ),
            (
                "@weekly",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2026-01-04T00:00:00Z",
            ),
            (
                "@annually",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
        ]);
        assert_eq!(next("0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z"), None);
    }

    /// As upstream's parser reads them: unless one of them is `*`.
    #[test]
    fn days_of_month_and_of_week_are_alternatives() {
        assert_next_times(&[
            (
                "0 9 * * MON-FRI",
                "UTC",
                "2026-01-02T10:00:00Z",
                "2026-01-05T09:00:00Z",
            ),
            (
                "0 0 13 * FRI",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2026-01-02T00:00:00Z",
            ),
            (
                "0 0 ? * MON",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2026-01-05T00:00:00Z",
            ),
            (
                "0 0 15 * ?",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2026-01-15T00:00:00Z",
            ),
            // Days of the month in steps are an alternative to those of the week; all of them are
            // not.
            (
                "0 0 */20 * SUN",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2026-01-04T00:00:00Z",
            ),
            (
                "0 0 */1 * SUN",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2026-01-04T00:00:00Z",
            ),
            (
                "0 0 1-31 * SUN",
                "UTC",
                "2026-01-01T00:00:00Z",
                "2026-01-02T00:00:00Z",
            ),
        ]);
    }

    #[test]
    fn a_time_zone_is_named_beside_or_before_the_fields() {
        assert_next_times(&[
            (
                "0 9 * * *",
                "Europe/Berlin",
                "2026-07-01T00:00:00Z",
                "2026-07-01T07:00:00Z",
            ),
            (
                "0 9 * * *",
                "Europe/Berlin",
                "2026-01-01T00:00:00Z",
                "2026-01-01T08:00:00Z",
            ),
            (
                "0 9 * * *",
                "America/New_York",
                "2026-01-01T00:00:00Z",
                "2026-01-01T14:00:00Z",
            ),
            (
                "CRON_TZ=America/New_York 0 9 * * *",
                "",
                "2026-01-01T00:00:00Z",
                "2026-01-01T14:00:00Z",
            ),
            (
                "TZ=Europe/Berlin  @daily",
                "",
                "2026-01-01T00:00:00Z",
                "2026-01-01T23:00:00Z",
            ),
            (
                "TZ= 0 9 * * *",
                "",
                "2026-01-01T00:00:00Z",
                "2026-01-01T09:00:00Z",
            ),
        ]);
    }

    #[test]
    fn refuses_the_rest() {
        for schedule in [
            "",
            "* * * *",
            "60 * * * *",
            "@every 5s",
            "@never",
            "x",
            "* * * * * * 2026",
            "*/0 * * * *",
        ] {
            let error = CronSchedule::parse(schedule, None).expect_err(schedule);
            assert!(error.to_string().contains("no cron schedule"), "{error}");
        }
        for (schedule, why) in [
            ("* * * * 7", "day of the week: 7 is no day: Sunday is 0"),
            ("* * L * *", "day of the month: \"L\" is no number"),
            ("* * * * MON#2", "day of the week: \"MON#2\" is no number"),
            (
                "0 0 31-1 * *",
                "day of the month: 31-1 ends before it begins",
            ),
            ("* 24 * * *", "hour: 24 is not from 0 to 23"),
            (", * * * *", "minute: it names nothing"),
            ("@every 5s", "Knative knows no @every"),
            ("TZ=UTC", "it has 0 fields"),
        ] {
            let error = CronSchedule::parse(schedule, None).expect_err(schedule);
            assert!(error.to_string().contains(&format!("({why})")), "{error}");
        }
        let error = CronSchedule::parse("TZ=UTC * * * * *", Some("UTC")).expect_err("two zones");
        assert!(
            error.to_string().contains("timezone another one"),
            "{error}"
        );
        let error = CronSchedule::parse("TZ=Mars/Base * * * * *", None).expect_err("a zone");
        assert!(
            error.to_string().contains("\"Mars/Base\" is no time zone"),
            "{error}"
        );
        let error = CronSchedule::parse("* * * * *", Some("Mars/Base")).expect_err("a zone");
        assert!(error.to_string().contains("no time zone"));
    }
}
