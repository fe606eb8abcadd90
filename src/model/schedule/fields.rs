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
    match text {
        "@yearly" | "@annually" => return Ok("0 0 0 1 1 *".to_owned()),
        "@monthly" => return Ok("0 0 0 1 * *".to_owned()),
        "@weekly" => return Ok("0 0 0 * * 0".to_owned()),
        "@daily" | "@midnight" => return Ok("0 0 0 * * *".to_owned()),
        "@hourly" => return Ok("0 0 * * * *".to_owned()),
        _ if text.starts_with("@every") => return Err("Knative knows no @every".to_owned()),
        _ => {}
    }
    let mut written: Vec<&str> = text.split_whitespace().collect();
    if written.len() == 5 {
        written.insert(0, "0");
    }
    if written.len() != FIELDS.len() {
        return Err(format!("it has {} fields", written.len()));
    }
    let plain = written.iter().zip(&FIELDS).map(|(text, field)| {
        let values = field
            .read(text)
            .map_err(|error| format!("{}: {error}", field.name));
        let list = |values: BTreeSet<u32>| {
            values
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(",")
        };
        values.map(|values| values.map_or_else(|| "*".to_owned(), list))
    });
    plain
        .collect::<Result<Vec<_>, _>>()
        .map(|fields| fields.join(" "))
}

impl CronField {
    /// The values that the text of a field means; `None` for `*`, which means more than all of
    /// them: days that are `*` are no alternative.
    fn read(&self, text: &str) -> Result<Option<BTreeSet<u32>>, String> {
        let (mut values, mut is_star) = (BTreeSet::new(), false);
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match self.range(part)? {
                Some(range) => values.extend(range),
                None => is_star = true,
            }
        }
        if values.is_empty() && !is_star {
            return Err("it names nothing".to_owned());
        }
        Ok(Some(values).filter(|_| !is_star))
    }

    /// The values of one part of the list: `*`, `?`, `1` or `1-5`, each perhaps with a step; `None`
    /// for all values without a step.
    fn range(&self, part: &str) -> Result<Option<Vec<u32>>, String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (
                range,
                Some(
                    step.parse()
                        .map_err(|_cause| format!("{step:?} is no step"))?,
                ),
            ),
            None => (part, None),
        };
        let (first, last) = match range {
            "*" | "?" if matches!(step, None | Some(1)) => return Ok(None),
            "*" | "?" => (self.least, self.most),
            _ => match range.split_once('-') {
                Some((first, last)) => (self.value(first)?, self.value(last)?),
                // As in robfig/cron, `5/10` is 5 and every tenth after it.
                None => (
                    self.value(range)?,
                    if step.is_some() {
                        self.most
                    } else {
                        self.value(range)?
                    },
                ),
            },
        };
        if first > last {
            return Err(format!("{range} ends before it begins"));
        }
        match usize::try_from(step.unwrap_or(1)) {
            Ok(step @ 1..) => Ok(Some((first..=last).step_by(step).collect())),
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
