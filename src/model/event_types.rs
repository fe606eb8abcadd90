//! Whose events are described by `EventType`s that are made of what is seen (contract 8.1 to 8.3).

/// An object that events come through, as an `EventType` refers to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventTypeOwner {
    /// `apiVersion`.
    pub api_version: &'static str,
    /// `kind`.
    pub kind: &'static str,
    /// The namespace that the `EventType` is made in.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `status.address.name`, if it has one.
    pub address: Option<String>,
}
