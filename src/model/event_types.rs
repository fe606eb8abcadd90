//! The object that an `EventType` refers to, if one is created for each type of event that is seen
//! (contract 8.1 to 8.3).

/// An object that events come through, in the form in which an `EventType` refers to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventTypeOwner {
    /// The `apiVersion` of the object.
    pub api_version: &'static str,
    /// The `kind` of the object.
    pub kind: &'static str,
    /// The namespace of the object, in which the `EventType` is created, too.
    pub namespace: String,
    /// The `metadata.name` of the object.
    pub name: String,
    /// The `metadata.uid` of the object.
    pub uid: String,
    /// The `status.address.name` of the object; `None` if it has no named address.
    pub address: Option<String>,
}
