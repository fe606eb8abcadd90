//! Built-in functions (cesql §3.5, and the casts), by characters. A part of a text is the same text
//! in the same memory.

use std::borrow::Cow;

use super::evaluation_error::EvaluationError;
use super::meter::{MeterExceeded, WorkMeter};
use super::value::CesqlValue;

/// Factor of memory for changing the case of text: at most three bytes for one (`U+0390` in
/// capitals), and memory grows by doubling: one, two and four times the text are allocated.
const CASE_GROWTH: usize = 7;

/// A function, known or not. An unknown one is an error when it is evaluated (cesql §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CesqlFunction {
    /// Cast to an integer: `INT(x)`
    Int,
    /// Cast to a boolean: `BOOL(x)`
    Bool,
    /// Cast to a string: `STRING(x)`
    String,
    /// Test if an integer can be made: `IS_INT(x)`
    IsInt,
    /// Test if a boolean can be made: `IS_BOOL(x)`
    IsBool,
    /// Absolute value of an integer: `ABS(x)`
    Abs,
    /// Number of characters: `LENGTH(x)`
    Length,
    /// Texts joined to one: `CONCAT(x, …)`
    Concat,
    /// Texts joined by a delimiter: `CONCAT_WS(delimiter, x, …)`
    ConcatWs,
    /// Text in lower case: `LOWER(x)`
    Lower,
    /// Text in upper case: `UPPER(x)`
    Upper,
    /// Text without blanks around it: `TRIM(x)`
    Trim,
    /// First characters of a text: `LEFT(x, n)`
    Left,
    /// Last characters of a text: `RIGHT(x, n)`
    Right,
    /// Characters from a position on: `SUBSTRING(x, pos)` and `SUBSTRING(x, pos, len)`
    Substring,
    /// Verification of a correlation id: `KN_VERIFY_CORRELATION_ID(replyid, name, namespace,
    /// secret, index, replicas)`, which Knative adds to the specification's functions (contract
    /// TF-17). Its result depends on keys, so that [`AttributeSource`](super::AttributeSource) is
    /// asked.
    VerifyCorrelationId,
    /// Any other name, or a known one with another number of arguments.
    Unknown(String),
}

/// Names of functions, each with the fewest and the most arguments.
const FUNCTIONS: [(&str, usize, usize, CesqlFunction); 16] = [
    ("INT", 1, 1, CesqlFunction::Int),
    ("BOOL", 1, 1, CesqlFunction::Bool),
    ("STRING", 1, 1, CesqlFunction::String),
    ("IS_INT", 1, 1, CesqlFunction::IsInt),
    ("IS_BOOL", 1, 1, CesqlFunction::IsBool),
    ("ABS", 1, 1, CesqlFunction::Abs),
    ("LENGTH", 1, 1, CesqlFunction::Length),
    ("CONCAT", 0, usize::MAX, CesqlFunction::Concat),
    ("CONCAT_WS", 1, usize::MAX, CesqlFunction::ConcatWs),
    ("LOWER", 1, 1, CesqlFunction::Lower),
    ("UPPER", 1, 1, CesqlFunction::Upper),
    ("TRIM", 1, 1, CesqlFunction::Trim),
    ("LEFT", 2, 2, CesqlFunction::Left),
    ("RIGHT", 2, 2, CesqlFunction::Right),
    ("SUBSTRING", 2, 3, CesqlFunction::Substring),
    (
        "KN_VERIFY_CORRELATION_ID",
        6,
        6,
        CesqlFunction::VerifyCorrelationId,
    ),
];

/// Fewest and most arguments of the function of that name in capitals.
pub(super) fn argument_count(name: &str) -> Option<(usize, usize)> {
    FUNCTIONS
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, fewest, most, _)| (*fewest, *most))
}

/// Names of all functions, in capitals.
pub(super) fn function_names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, ..)| *name)
}

/// Value and error of a call; the outer error means that the meter was exceeded.
pub(super) type FunctionResult<'e> =
    Result<(CesqlValue<'e>, Option<EvaluationError>), MeterExceeded>;

impl CesqlFunction {
    /// Finds the function of that name, whatever its case, with this number of arguments.
    pub(super) fn find(name: &str, arguments: usize) -> Self {
        let known = FUNCTIONS.iter().find(|(known, fewest, most, _)| {
            known.eq_ignore_ascii_case(name) && (*fewest..=*most).contains(&arguments)
        });
        known.map_or_else(
            || Self::Unknown(name.to_ascii_uppercase()),
            |(.., function)| function.clone(),
        )
    }

    /// Name of the function in capitals.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Unknown(name) => name,
            known => FUNCTIONS
                .iter()
                .find(|(.., function)| function == known)
                .map_or("", |(name, ..)| name),
        }
    }

    /// Zero value of the function's type (cesql §3.1).
    pub(super) fn zero_value(&self) -> CesqlValue<'static> {
        match self {
            Self::Int | Self::Abs | Self::Length => CesqlValue::Integer(0),
            Self::Bool
            | Self::IsInt
            | Self::IsBool
            | Self::VerifyCorrelationId
            | Self::Unknown(_) => CesqlValue::Boolean(false),
            _ => CesqlValue::String(Cow::Borrowed("")),
        }
    }

    /// Calls the function. There are as many arguments as [`CesqlFunction::find`] was told.
    pub(super) fn call<'e>(
        &self,
        arguments: Vec<CesqlValue<'e>>,
        meter: &mut WorkMeter,
    ) -> FunctionResult<'e> {
        let mut arguments = arguments.into_iter();
        let mut next = || arguments.next().unwrap_or(CesqlValue::Boolean(false));
        match self {
            Self::Int => cast(next().to_integer(meter)?.map(CesqlValue::Integer), self),
            Self::Bool => cast(next().to_boolean().map(CesqlValue::Boolean), self),
            Self::String => text_result(next().into_text(meter)?),
            Self::IsInt => value_result(CesqlValue::Boolean(next().to_integer(meter)?.is_some())),
            Self::IsBool => value_result(CesqlValue::Boolean(next().to_boolean().is_some())),
            Self::Abs => abs(&next(), meter),
            Self::Length => length(&next(), meter),
            Self::Concat => concat_texts("", arguments, meter),
            Self::ConcatWs => {
                let delimiter = next().into_text(meter)?;
                concat_texts(&delimiter, arguments, meter)
            }
            Self::Lower => lower(next(), meter),
            Self::Upper => upper(next(), meter),
            Self::Trim => trim(next().into_text(meter)?, meter),
            Self::Left => left(next(), &next(), meter),
            Self::Right => right(next(), &next(), meter),
            Self::Substring => {
                let (whole, position) = (next(), next());
                substring(whole, &position, arguments.next().as_ref(), meter)
            }
            Self::VerifyCorrelationId | Self::Unknown(_) => {
                Ok((self.zero_value(), Some(EvaluationError::MissingFunction)))
            }
        }
    }
}

fn cast<'e>(value: Option<CesqlValue<'e>>, function: &CesqlFunction) -> FunctionResult<'e> {
    Ok(match value {
        Some(value) => (value, None),
        None => (function.zero_value(), Some(EvaluationError::Cast)),
    })
}

fn text_result(text: Cow<'_, str>) -> FunctionResult<'_> {
    Ok((CesqlValue::String(text), None))
}

fn value_result(value: CesqlValue<'_>) -> FunctionResult<'_> {
    Ok((value, None))
}

fn zero_result<'e>(error: Option<EvaluationError>) -> FunctionResult<'e> {
    Ok((CesqlValue::String(Cow::Borrowed("")), error))
}

fn length<'e>(x: &CesqlValue<'e>, meter: &mut WorkMeter) -> FunctionResult<'e> {
    let text = x.as_text(meter)?;
    meter.step(text.len())?;
    Ok((
        CesqlValue::Integer(i32::try_from(text.chars().count()).unwrap_or(i32::MAX)),
        None,
    ))
}

/// Joins all parts at once, in memory that is allocated once.
fn concat_texts<'e>(
    delimiter: &str,
    parts: impl ExactSizeIterator<Item = CesqlValue<'e>>,
    meter: &mut WorkMeter,
) -> FunctionResult<'e> {
    meter.allocate(parts.len().saturating_mul(size_of::<Cow<'_, str>>()))?;
    let parts = parts
        .map(|part| part.into_text(meter))
        .collect::<Result<Vec<_>, _>>()?;
    let texts = parts
        .iter()
        .map(|part| part.len())
        .fold(0, usize::saturating_add);
    let delimiters = delimiter
        .len()
        .saturating_mul(parts.len().saturating_sub(1));
    meter.allocate(texts.saturating_add(delimiters))?;
    text_result(Cow::Owned(parts.join(delimiter)))
}

fn lower<'e>(x: CesqlValue<'e>, meter: &mut WorkMeter) -> FunctionResult<'e> {
    change_case(
        x,
        |byte| !byte.is_ascii_uppercase(),
        |text| text.to_lowercase(),
        meter,
    )
}

fn upper<'e>(x: CesqlValue<'e>, meter: &mut WorkMeter) -> FunctionResult<'e> {
    change_case(
        x,
        |byte| !byte.is_ascii_lowercase(),
        |text| text.to_uppercase(),
        meter,
    )
}

/// Changes the case of a text. An ASCII text that is in that case already stays where it is.
fn change_case<'e>(
    x: CesqlValue<'e>,
    stays: fn(u8) -> bool,
    change: fn(&str) -> String,
    meter: &mut WorkMeter,
) -> FunctionResult<'e> {
    let written = x.into_text(meter)?;
    meter.step(written.len())?;
    let is_ascii = written.is_ascii();
    if is_ascii && written.bytes().all(stays) {
        return text_result(written);
    }
    meter.allocate(
        written
            .len()
            .saturating_mul(if is_ascii { 1 } else { CASE_GROWTH }),
    )?;
    text_result(Cow::Owned(change(&written)))
}

/// Part of a text, by bytes that lie between characters.
fn text_part(whole: Cow<'_, str>, range: std::ops::Range<usize>) -> FunctionResult<'_> {
    text_result(match whole {
        Cow::Borrowed(whole) => Cow::Borrowed(whole.get(range).unwrap_or_default()),
        Cow::Owned(mut whole) => {
            whole.truncate(range.end);
            whole.drain(..range.start.min(range.end));
            Cow::Owned(whole)
        }
    })
}

fn trim<'e>(whole: Cow<'e, str>, meter: &mut WorkMeter) -> FunctionResult<'e> {
    meter.step(whole.len())?;
    let end = whole.trim_end().len();
    let start = end - whole.get(..end).unwrap_or_default().trim_start().len();
    text_part(whole, start..end)
}

/// Byte at which the character of this number begins, counted from 0; the end if there are fewer.
fn character_offset(text: &str, number: usize) -> usize {
    text.char_indices()
        .nth(number)
        .map_or(text.len(), |(at, _)| at)
}

/// Byte at which the last `count` characters begin; the start if there are fewer.
fn character_offset_from_end(text: &str, count: usize) -> usize {
    match count.checked_sub(1) {
        None => text.len(),
        Some(before) => text.char_indices().nth_back(before).map_or(0, |(at, _)| at),
    }
}

fn abs<'e>(x: &CesqlValue<'e>, meter: &mut WorkMeter) -> FunctionResult<'e> {
    Ok(match x.to_integer(meter)? {
        None => (CesqlValue::Integer(0), Some(EvaluationError::Cast)),
        Some(i32::MIN) => (CesqlValue::Integer(i32::MAX), Some(EvaluationError::Math)),
        Some(x) => (CesqlValue::Integer(x.abs()), None),
    })
}

fn left<'e>(
    whole: CesqlValue<'e>,
    n: &CesqlValue<'e>,
    meter: &mut WorkMeter,
) -> FunctionResult<'e> {
    let range = |text: &str, n| 0..character_offset(text, n);
    left_or_right(whole, n, range, meter)
}

fn right<'e>(
    whole: CesqlValue<'e>,
    n: &CesqlValue<'e>,
    meter: &mut WorkMeter,
) -> FunctionResult<'e> {
    let range = |text: &str, n| character_offset_from_end(text, n)..text.len();
    left_or_right(whole, n, range, meter)
}

/// Returns the part of a text in the range that `range` makes of the text and the number `n`.
fn left_or_right<'e>(
    whole: CesqlValue<'e>,
    n: &CesqlValue<'e>,
    range: impl Fn(&str, usize) -> std::ops::Range<usize>,
    meter: &mut WorkMeter,
) -> FunctionResult<'e> {
    let whole = whole.into_text(meter)?;
    let Some(n) = n.to_integer(meter)? else {
        return zero_result(Some(EvaluationError::Cast));
    };
    let Ok(n) = usize::try_from(n) else {
        return Ok((
            CesqlValue::String(whole),
            Some(EvaluationError::FunctionEvaluation),
        ));
    };
    meter.step(whole.len())?;
    let range = range(&whole, n);
    text_part(whole, range)
}

/// Part of a text. Characters are counted from 1, from the end if the position is negative; 0
/// yields nothing.
fn substring<'e>(
    whole: CesqlValue<'e>,
    position: &CesqlValue<'e>,
    length: Option<&CesqlValue<'e>>,
    meter: &mut WorkMeter,
) -> FunctionResult<'e> {
    let whole = whole.into_text(meter)?;
    let position = position.to_integer(meter)?;
    let length = length.map_or(Ok(Some(i32::MAX)), |length| length.to_integer(meter))?;
    let (Some(position), Some(length)) = (position, length) else {
        return zero_result(Some(EvaluationError::Cast));
    };
    // The text is read twice: to count its characters, and to find the positions.
    meter.step(whole.len().saturating_mul(2))?;
    let skipped = skipped_characters(&whole, position);
    let (Ok(length), Some(skipped)) = (usize::try_from(length), skipped) else {
        return zero_result(Some(EvaluationError::FunctionEvaluation));
    };
    if position == 0 {
        return zero_result(None);
    }
    let start = character_offset(&whole, skipped);
    let end = start + character_offset(whole.get(start..).unwrap_or_default(), length);
    text_part(whole, start..end)
}

/// Number of characters before a position, which is counted from 1, or from the end if it is
/// negative; `None` if the text has fewer characters.
fn skipped_characters(whole: &str, position: i32) -> Option<usize> {
    let characters = whole.chars().count();
    let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
    let before = characters.checked_sub(distance)?;
    Some(if position < 0 {
        before
    } else {
        distance.saturating_sub(1)
    })
}

#[cfg(test)]
mod tests {
    /// One byte makes at most three, whatever the character and its neighbours.
    #[test]
    fn cases_grow_as_much_as_is_asked_for() {
        let most = |change: fn(&str) -> String| {
            (char::MIN..=char::MAX)
                .map(|c| (change(&c.to_string()).len(), c.len_utf8()))
                .max_by_key(|(new, old)| new * 100 / old)
        };
        assert_eq!(most(|text| text.to_uppercase()), Some((6, 2)));
        assert_eq!(most(|text| text.to_lowercase()), Some((3, 2)));
    }
}
