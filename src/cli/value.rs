//! Values of flags: durations, sizes, rates, and where a host really is.

use std::time::Duration;

use crate::model::parse_duration;

/// An ISO 8601 duration such as `PT20S`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|remedy| format!("it {remedy}"))
}

/// Bytes: a number, or one with `KiB`, `MiB` or `GiB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    const REMEDY: &str = "write a number of bytes, such as 65536 or 64KiB or 10MiB";
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at_checked(at).ok_or(REMEDY)?,
        None => (text, ""),
    };
    let factor: usize = match unit {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return Err(REMEDY.to_owned()),
    };
    number.parse::<usize>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(|| REMEDY.to_owned())
}

/// A part from 0 to 1.
pub(super) fn part(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
        _ => Err("write a number from 0 to 1".to_owned()),
    }
}

/// Events per second: `100` or `100/s`.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.strip_suffix("/s").unwrap_or(text).parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(rate),
        _ => Err("write events per second, such as 100 or 100/s".to_owned()),
    }
}

/// `name=value` of an extension.
pub(super) fn extension(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if crate::event::is_name(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write name=value, the name of a-z and 0-9 only".to_owned()),
    }
}
