//! What there is to say of the state of a row, as the status document has it.

use serde::Serialize;

/// How bad a state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RowLevel {
    /// Nothing is wrong.
    Fine,
    /// Somebody should look.
    Doubtful,
    /// Events do not arrive.
    Broken,
}

/// One thing that there is to say of the state of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RowReason {
    pub(super) level: RowLevel,
    pub(super) word: &'static str,
    /// More of it; empty if the word says all.
    pub(super) text: String,
}
