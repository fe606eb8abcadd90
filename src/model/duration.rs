//! ISO 8601 durations as Knative writes them, read exactly (`PT0.25S` is 250 ms; unlike contract
//! DP-18).

use std::time::Duration;

/// The seconds of each unit of the date part; a month is a twelfth of 365.2425 days, as in Knative.
const DATE_UNITS: [(char, f64); 4] = [
    ('Y', 31_556_952.0),
    ('M', 2_629_746.0),
    ('W', 604_800.0),
    ('D', 86_400.0),
];
const TIME_UNITS: [(char, f64); 3] = [('H', 3_600.0), ('M', 60.0), ('S', 1.0)];
/// Ten years: whatever is longer is a mistake, and the sum stays far from any overflow.
const LONGEST: Duration = Duration::from_secs(10 * 31_556_952);

/// Reads a duration such as `PT0.5S`, `PT1H30M`, `P1D` or `P2W`.
///
/// # Errors
/// Says a remedy if the text is no duration, negative, or longer than ten years.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const REMEDY: &str =
        "is not an ISO 8601 duration: write for example PT0.5S, PT10S, PT1M30S or P1D";
    let body = text.strip_prefix('+').unwrap_or(text);
    if body.starts_with('-') {
        return Err("is negative: a duration must be zero or more");
    }
    let body = body.strip_prefix('P').ok_or(REMEDY)?;
    let (date, time) = match body.split_once('T') {
        Some((_, "")) => return Err(REMEDY),
        Some((date, time)) => (date, time),
        None if body.is_empty() => return Err(REMEDY),
        None => (body, ""),
    };
    let total = sum_fields(date, &DATE_UNITS)
        .zip(sum_fields(time, &TIME_UNITS))
        .map(|(date, time)| date.saturating_add(time));
    match total {
        Some(total) if total > LONGEST => Err("is longer than ten years"),
        Some(total) => Ok(total),
        None if body == "0" => Ok(Duration::ZERO),
        None => Err(REMEDY),
    }
}

/// Sums fields of the form `<number><unit>`, whose units must be in the order of `units`, each at
/// most once; `None` if a field is malformed.
fn sum_fields(text: &str, units: &[(char, f64)]) -> Option<Duration> {
    let mut units = units.iter();
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, tail) = rest.split_at_checked(end)?;
        let designator = tail.chars().next()?;
        let (_, seconds) = units.by_ref().find(|(unit, _)| *unit == designator)?;
        total = total.saturating_add(scale_number(number, *seconds)?);
        rest = tail.get(1..)?;
    }
    Some(total)
}

fn scale_number(number: &str, seconds: f64) -> Option<Duration> {
    let number = number.replace(',', ".");
    let plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !plain || !number.starts_with(|c: char| c.is_ascii_digit()) || number.ends_with('.') {
        return None;
    }
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_knative_writes_exactly() {
        for (text, millis) in [
            ("PT0S", 0),
            ("P0", 0),
            ("P0D", 0),
            ("PT0.25S", 250),
            ("PT0.05S", 50),
            ("PT0,5S", 500),
            ("PT1M30S", 90_000),
            ("PT2H", 7_200_000),
            ("P1D", 86_400_000),
            ("P1W", 604_800_000),
            ("P1DT1S", 86_401_000),
            ("+PT1S", 1_000),
            ("P1M", 2_629_746_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "", "P", "PT", "5s", "pt1s", "PT1", "PT1s", "1S", "PT1X", "PT1S1M", "PT.S", "PT1.S",
            "P1H", "PTNaNS", "PT1e3S", "P1DT",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(
            parse_duration("-PT1S")
                .expect_err("negative")
                .contains("negative")
        );
        assert!(parse_duration("P99999999999999Y").is_err());
        assert!(
            parse_duration("P11Y")
                .expect_err("long")
                .contains("ten years")
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            prop_assert!(parse_duration(&text).is_ok_and(|d| d <= LONGEST) || parse_duration(&text).is_err());
        }
    }
}
