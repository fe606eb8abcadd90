//! The configured objects that series belong to.

use std::fmt;

/// The configured object that a series belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesKey {
    /// The kind in lower case, such as `trigger` or `broker`.
    pub kind: &'static str,
    /// The `metadata.namespace` of the object.
    pub namespace: Box<str>,
    /// The `metadata.name` of the object.
    pub name: Box<str>,
}

impl fmt::Display for SeriesKey {
    /// Writes `subscription default/s`: the kind, the namespace and the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
