//! The fields of a cron schedule, read as Knative's parser reads them (robfig/cron, with optional
//! seconds): it knows fewer signs than others, `?` means `*`, and days of month and of week are
//! alternatives unless one of them is `*`.

use std::collections::BTreeSet;

/// The name of a field of a cron schedule, and the values that it may hold.
struct CronField {
    name: &'static str,
    /// The least value of the field.
    least: u32,
    /// The greatest value of the field.
    most: u32,
    /// The names of its values, from `least` on; empty if it has only numbers.
    names: &'static [&'static str],
}

const FIELDS: [CronField; 6] = [
    CronField {
        name: "second",
        least: 0,
        most: 59,
        names: &[],
    },
    CronField {
        name: "minute",
        least: 0,
        most: 59,
        names: &[],
    },
    CronField {
        name: "hour",
        least: 0,
        most: 23,
        names: &[],
    },
    CronField {
        name: "day of the month",
        least: 1,
        most: 31,
        names: &[],
    },
    CronField {
        name: "month",
        least: 1,
        most: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    CronField {
        name: "day of the week",
        least: 0,
        most: 6,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

/// The same schedule in six fields, each `*` or a list of numbers, which every cron parser reads
/// alike.
///
/// # Errors
/// Says what is wrong with the schedule, and in which field.
pub(super) fn normalize_schedule(text: &str) -> Result<String, String> {
    if let Some(schedule) = schedule_of_name(text) {
        return Ok(schedule.to_owned());
    }
    if text.starts_with("@every") {
        return Err("Knative knows no @every".to_owned());
    }
    let mut written: Vec<&str> = text.split_whitespace().collect();
    if written.len() == 5 {
        written.insert(0, "0");
    }
    if written.len() != FIELDS.len() {
        return Err(format!("it has {} fields", written.len()));
    }
    let plain = written
        .iter()
        .zip(&FIELDS)
        .map(|(text, field)| field.normalize(text));
    plain
        .collect::<Result<Vec<_>, _>>()
        .map(|fields| fields.join(" "))
}

/// The schedule in six fields that a name such as `@hourly` stands for.
fn schedule_of_name(text: &str) -> Option<&'static str> {
    match text {
        "@yearly" | "@annually" => Some("0 0 0 1 1 *"),
        "@monthly" => Some("0 0 0 1 * *"),
        "@weekly" => Some("0 0 0 * * 0"),
        "@daily" | "@midnight" => Some("0 0 0 * * *"),
        "@hourly" => Some("0 0 * * * *"),
        _ => None,
    }
}

/// The numbers of a part of a field, or all of them.
enum CronRange {
    /// `*` or `?` without a step, which means more than all numbers: days that are `*` are no
    /// alternative.
    Star,
    /// These numbers.
    Numbers(Vec<u32>),
}

impl CronField {
    /// The field as `*` or a list of numbers; the error names the field.
    fn normalize(&self, text: &str) -> Result<String, String> {
        let values = self
            .read(text)
            .map_err(|error| format!("{}: {error}", self.name))?;
        let Some(values) = values else {
            return Ok("*".to_owned());
        };
        let numbers: Vec<String> = values.iter().map(u32::to_string).collect();
        Ok(numbers.join(","))
    }

    /// The values that the text of a field means; `None` for `*`, which means more than all of
    /// them: days that are `*` are no alternative.
    fn read(&self, text: &str) -> Result<Option<BTreeSet<u32>>, String> {
        let (mut values, mut is_star) = (BTreeSet::new(), false);
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match self.range(part)? {
                CronRange::Numbers(range) => values.extend(range),
                CronRange::Star => is_star = true,
            }
        }
        if values.is_empty() && !is_star {
            return Err("it names nothing".to_owned());
        }
        Ok(Some(values).filter(|_| !is_star))
    }

    /// The values of one part of the list: `*`, `?`, `1` or `1-5`, each perhaps with a step.
    fn range(&self, part: &str) -> Result<CronRange, String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(parse_step(step)?)),
            None => (part, None),
        };
        let (first, last) = match range {
            "*" | "?" if matches!(step, None | Some(1)) => return Ok(CronRange::Star),
            "*" | "?" => (self.least, self.most),
            _ => match range.split_once('-') {
                Some((first, last)) => (self.value(first)?, self.value(last)?),
                // As in robfig/cron, `5/10` is 5 and every tenth after it.
                None if step.is_some() => (self.value(range)?, self.most),
                None => (self.value(range)?, self.value(range)?),
            },
        };
        if first > last {
            return Err(format!("{range} ends before it begins"));
        }
        match usize::try_from(step.unwrap_or(1)) {
            Ok(step @ 1..) => Ok(CronRange::Numbers((first..=last).step_by(step).collect())),
            _ => Err("a step of 0 leads nowhere".to_owned()),
        }
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let named = self
            .names
            .iter()
            .zip(self.least..)
            .find(|(name, _)| name.eq_ignore_ascii_case(text));
        if let Some((_, value)) = named {
            return Ok(value);
        }
        let value: u32 = text
            .parse()
            .map_err(|_cause| format!("{text:?} is no number"))?;
        match value {
            7 if self.most == 6 => Err("7 is no day: Sunday is 0".to_owned()),
            value if (self.least..=self.most).contains(&value) => Ok(value),
            _ => Err(format!(
                "{value} is not from {} to {}",
                self.least, self.most
            )),
        }
    }
}

fn parse_step(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_cause| format!("{text:?} is no step"))
}
