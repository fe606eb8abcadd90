//! The built-in functions (cesql §3.5, and the casts), by characters.

use std::borrow::Cow;

use super::eval::Error;
use super::value::Value;

/// A function, known or not. One that is not known is an error when it is evaluated (cesql §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// `INT(x)`
    Int,
    /// `BOOL(x)`
    Bool,
    /// `STRING(x)`
    String,
    /// `IS_INT(x)`
    IsInt,
    /// `IS_BOOL(x)`
    IsBool,
    /// `ABS(x)`
    Abs,
    /// `LENGTH(x)`
    Length,
    /// `CONCAT(x, …)`
    Concat,
    /// `CONCAT_WS(delimiter, x, …)`
    ConcatWs,
    /// `LOWER(x)`
    Lower,
    /// `UPPER(x)`
    Upper,
    /// `TRIM(x)`
    Trim,
    /// `LEFT(x, n)`
    Left,
    /// `RIGHT(x, n)`
    Right,
    /// `SUBSTRING(x, pos)` and `SUBSTRING(x, pos, len)`
    Substring,
    /// None of them, or not with so many arguments.
    Unknown(String),
}

/// Names, and the fewest and most arguments.
const FUNCTIONS: [(&str, usize, usize, Function); 15] = [
    ("INT", 1, 1, Function::Int),
    ("BOOL", 1, 1, Function::Bool),
    ("STRING", 1, 1, Function::String),
    ("IS_INT", 1, 1, Function::IsInt),
    ("IS_BOOL", 1, 1, Function::IsBool),
    ("ABS", 1, 1, Function::Abs),
    ("LENGTH", 1, 1, Function::Length),
    ("CONCAT", 0, usize::MAX, Function::Concat),
    ("CONCAT_WS", 1, usize::MAX, Function::ConcatWs),
    ("LOWER", 1, 1, Function::Lower),
    ("UPPER", 1, 1, Function::Upper),
    ("TRIM", 1, 1, Function::Trim),
    ("LEFT", 2, 2, Function::Left),
    ("RIGHT", 2, 2, Function::Right),
    ("SUBSTRING", 2, 3, Function::Substring),
];

/// The fewest and most arguments of the function of that name in capitals.
pub(super) fn arguments_of(name: &str) -> Option<(usize, usize)> {
    FUNCTIONS.iter().find(|(known, ..)| *known == name).map(|(_, fewest, most, _)| (*fewest, *most))
}

/// The names of all functions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, ..)| *name)
}

/// A result and what went wrong.
pub(super) type Outcome<'e> = (Value<'e>, Option<Error>);

impl Function {
    /// The function of that name, whatever its case, with so many arguments.
    pub(super) fn find(name: &str, arguments: usize) -> Self {
        let known = FUNCTIONS.iter().find(|(known, fewest, most, _)| {
            known.eq_ignore_ascii_case(name) && (*fewest..=*most).contains(&arguments)
        });
        known.map_or_else(|| Self::Unknown(name.to_ascii_uppercase()), |(.., function)| function.clone())
    }

    /// Its name in capitals.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Unknown(name) => name,
            known => FUNCTIONS.iter().find(|(.., function)| function == known).map_or("", |(name, ..)| name),
        }
    }

    /// The zero value of what it returns (cesql §3.1).
    pub(super) fn zero(&self) -> Value<'static> {
        match self {
            Self::Int | Self::Abs | Self::Length => Value::Integer(0),
            Self::Bool | Self::IsInt | Self::IsBool | Self::Unknown(_) => Value::Boolean(false),
            _ => Value::String(Cow::Borrowed("")),
        }
    }

    /// Calls it. There are as many arguments as [`Function::find`] was told.
    pub(super) fn call<'e>(&self, arguments: Vec<Value<'e>>) -> Outcome<'e> {
        let mut arguments = arguments.into_iter();
        let mut next = || arguments.next().unwrap_or(Value::Boolean(false));
        match self {
            Self::Int => cast(next().to_integer().map(Value::Integer), self),
            Self::Bool => cast(next().to_boolean().map(Value::Boolean), self),
            Self::String => (Value::String(next().into_text()), None),
            Self::IsInt => (Value::Boolean(next().to_integer().is_some()), None),
            Self::IsBool => (Value::Boolean(next().to_boolean().is_some()), None),
            Self::Abs => abs(&next()),
            Self::Length => (length(&next().into_text()), None),
            Self::Concat => (joined("", arguments), None),
            Self::ConcatWs => {
                let delimiter = next().into_text();
                (joined(&delimiter, arguments), None)
            }
            Self::Lower => (owned(next().into_text().to_lowercase()), None),
            Self::Upper => (owned(next().into_text().to_uppercase()), None),
            Self::Trim => (owned(next().into_text().trim().to_owned()), None),
            Self::Left => side(next(), &next(), |text, n| text.chars().take(n).collect()),
            Self::Right => {
                side(next(), &next(), |text, n| text.chars().skip(text.chars().count().saturating_sub(n)).collect())
            }
            Self::Substring => substring(&next().into_text(), &next(), arguments.next().as_ref()),
            Self::Unknown(_) => (self.zero(), Some(Error::MissingFunction)),
        }
    }
}

fn cast<'e>(value: Option<Value<'e>>, function: &Function) -> Outcome<'e> {
    match value {
        Some(value) => (value, None),
        None => (function.zero(), Some(Error::Cast)),
    }
}

fn owned<'e>(text: String) -> Value<'e> {
    Value::String(Cow::Owned(text))
}

fn length<'e>(text: &str) -> Value<'e> {
    Value::Integer(i32::try_from(text.chars().count()).unwrap_or(i32::MAX))
}

fn joined<'e>(delimiter: &str, parts: impl Iterator<Item = Value<'e>>) -> Value<'e> {
    owned(parts.map(Value::into_text).collect::<Vec<_>>().join(delimiter))
}

fn abs<'e>(x: &Value<'e>) -> Outcome<'e> {
    match x.to_integer() {
        None => (Value::Integer(0), Some(Error::Cast)),
        Some(i32::MIN) => (Value::Integer(i32::MAX), Some(Error::Math)),
        Some(x) => (Value::Integer(x.abs()), None),
    }
}

fn side<'e>(text: Value<'e>, n: &Value<'e>, take: impl Fn(&str, usize) -> String) -> Outcome<'e> {
    let text = text.into_text();
    let Some(n) = n.to_integer() else { return (Value::String(Cow::Borrowed("")), Some(Error::Cast)) };
    match usize::try_from(n) {
        Ok(n) => (owned(take(&text, n)), None),
        Err(_) => (Value::String(text), Some(Error::FunctionEvaluation)),
    }
}

/// Characters are counted from 1, from the end if `position` is negative; 0 yields nothing.
fn substring<'e>(text: &str, position: &Value<'e>, length: Option<&Value<'e>>) -> Outcome<'e> {
    let nothing = |error| (Value::String(Cow::Borrowed("")), error);
    let length = length.map_or(Some(i32::MAX), Value::to_integer);
    let (Some(position), Some(length)) = (position.to_integer(), length) else { return nothing(Some(Error::Cast)) };
    let characters = text.chars().count();
    let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
    let Ok(length) = usize::try_from(length) else { return nothing(Some(Error::FunctionEvaluation)) };
    if distance > characters {
        return nothing(Some(Error::FunctionEvaluation));
    }
    let skipped = match position {
        0 => return nothing(None),
        1.. => distance - 1,
        _ => characters - distance,
    };
    (owned(text.chars().skip(skipped).take(length).collect()), None)
}
