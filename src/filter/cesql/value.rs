//! Values and their casts (cesql §3.1, §3.7).

use std::borrow::Cow;

use super::meter::{MeterExceeded, WorkMeter};

/// Bytes of the longest integer as text.
const INTEGER_BYTES: usize = 11;

/// Value of one of the three primitive types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CesqlValue<'e> {
    /// A sequence of Unicode characters.
    String(Cow<'e, str>),
    /// A signed integer of 32 bits.
    Integer(i32),
    /// One of the two booleans.
    Boolean(bool),
}

impl CesqlValue<'_> {
    /// Casts to an integer; `None` if the text is not one of 32 bits.
    pub(super) fn to_integer(&self, meter: &mut WorkMeter) -> Result<Option<i32>, MeterExceeded> {
        Ok(match self {
            Self::String(text) => {
                meter.step(text.len())?;
                text.parse().ok()
            }
            Self::Integer(number) => Some(*number),
            Self::Boolean(truth) => Some(i32::from(*truth)),
        })
    }

    /// Casts to a boolean; `None` if the text is neither `true` nor `false`, whatever its case.
    pub(super) fn to_boolean(&self) -> Option<bool> {
        match self {
            Self::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Self::String(_) => None,
            Self::Integer(number) => Some(*number != 0),
            Self::Boolean(truth) => Some(*truth),
        }
    }

    /// Casts to text, which is always possible, borrowed from this value if it is one.
    pub(super) fn as_text(&self, meter: &mut WorkMeter) -> Result<Cow<'_, str>, MeterExceeded> {
        match self {
            Self::String(text) => Ok(Cow::Borrowed(text)),
            Self::Integer(number) => CesqlValue::Integer(*number).into_text(meter),
            Self::Boolean(truth) => CesqlValue::Boolean(*truth).into_text(meter),
        }
    }
}

impl<'e> CesqlValue<'e> {
    /// Casts to text, which is always possible.
    pub(super) fn into_text(self, meter: &mut WorkMeter) -> Result<Cow<'e, str>, MeterExceeded> {
        Ok(match self {
            Self::String(text) => text,
            Self::Integer(number) => {
                meter.allocate(INTEGER_BYTES)?;
                Cow::Owned(number.to_string())
            }
            Self::Boolean(true) => Cow::Borrowed("true"),
            Self::Boolean(false) => Cow::Borrowed("false"),
        })
    }
}
