//! The namespace and the name of an object.

use std::fmt;

/// The namespace and the name of an object, as Kubernetes' `types.NamespacedName`. Ordered by
/// namespace first, so that maps by it are in the order in which objects are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NamespacedName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl NamespacedName {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// `NAMESPACE/NAME`, as in messages and in the paths of URLs.
impl fmt::Display for NamespacedName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_orders_before_the_name() {
        let name = NamespacedName::new;
        let mut names = [name("b", "a"), name("a-b", "a"), name("a", "b")];
        names.sort();
        assert_eq!(names.map(|name| name.to_string()), ["a/b", "a-b/a", "b/a"]);
    }
}
