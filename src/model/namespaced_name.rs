//! The namespace and the name of an object.

/// The namespace and the name of an object, in this order, as Kubernetes' `types.NamespacedName`. A
/// pair, so that maps by it are in the order in which objects are shown.
pub(crate) type NamespacedName = (String, String);
