//! The lines of the values of a document.

use std::borrow::Cow;

use serde_json::Value;

/// The lines of a value and of everything inside it: the value's own line first, then those of its
/// fields, in the order in which they are written. The line of a field is that of its key; 0 if it
/// is not known. Keys are not repeated here, since the value has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ValueLines(pub(super) Box<[u32]>);

impl ValueLines {
    /// The line of the field at a path such as `spec.subscribers[0].delivery`, or of the deepest
    /// part of the path that is there; `None` if it is not known. `value` is the value that these
    /// lines belong to.
    pub(crate) fn line_of_path(&self, value: &Value, path: &str) -> Option<usize> {
        let line = self.0.get(value_index(value, path))?;
        usize::try_from(*line).ok().filter(|line| *line > 0)
    }

    /// The lines of a value to which `count` fields were added at its end; the new fields get the
    /// line where the value begins.
    pub(crate) fn with_added_fields(self, count: usize) -> Self {
        let own = self.0.first().copied().unwrap_or_default();
        Self(
            self.0
                .iter()
                .copied()
                .chain(std::iter::repeat_n(own, count))
                .collect(),
        )
    }

    /// The lines of a value that is made for the value of these lines: all of it is where that
    /// begins.
    pub(crate) fn of_generated(&self, value: &Value) -> Self {
        let own = self.0.first().copied().unwrap_or_default();
        Self(std::iter::repeat_n(own, count_values(value)).collect())
    }

    /// The lines of each element of the list at `path`, which follow each other in these lines.
    pub(crate) fn lines_of_elements(&self, value: &Value, path: &str) -> Vec<Self> {
        let first = value_index(value, path) + 1;
        let elements = value
            .get(path)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let cut = |start: &mut usize, element: &Value| {
            let end = *start + count_values(element);
            let lines = self.0.get(*start..end).unwrap_or_default();
            *start = end;
            Some(Self(lines.into()))
        };
        elements.scan(first, cut).collect()
    }
}

/// The number of values before the one at a path, or before the deepest part of the path that is
/// there.
fn value_index(value: &Value, path: &str) -> usize {
    let mut before = 1;
    for (key, inner) in child_values(value) {
        // A key of a map may contain dots itself, so the key must end where a part of the path
        // ends.
        match path
            .strip_prefix(&*key)
            .filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        {
            Some(rest) => {
                return before + value_index(inner, rest.strip_prefix('.').unwrap_or(rest));
            }
            None => before += count_values(inner),
        }
    }
    0
}

/// The number of values in a value, itself included.
fn count_values(value: &Value) -> usize {
    child_values(value)
        .map(|(_, inner)| count_values(inner))
        .sum::<usize>()
        + 1
}

/// The direct children of a value, each with its key or `[index]`.
fn child_values(value: &Value) -> impl Iterator<Item = (Cow<'_, str>, &Value)> {
    let fields = value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, inner)| (key.into(), inner));
    let elements = value.as_array().into_iter().flatten().enumerate();
    fields.chain(elements.map(|(index, inner)| (format!("[{index}]").into(), inner)))
}
