//! The target of a request to the role `filter`: a Trigger, and what of its destinations is meant
//! (contract BF-5).

use crate::model::DestinationRole;

/// Target of a request, taken apart.
pub(super) struct TriggerRequestTarget<'p> {
    /// Path of the Trigger, `/namespace/name`.
    pub(super) trigger: String,
    pub(super) uid: &'p str,
    pub(super) role: DestinationRole,
}

impl<'p> TriggerRequestTarget<'p> {
    /// Takes apart `/triggers/NAMESPACE/NAME/UID`, perhaps with one more segment.
    pub(super) fn parse(path: &'p str) -> Option<Self> {
        let mut segments = path.strip_prefix("/triggers/")?.split('/');
        let (namespace, name, uid) = (segments.next()?, segments.next()?, segments.next()?);
        let role = match segments.next() {
            Some("reply") => DestinationRole::Reply,
            Some("dls") => DestinationRole::DeadLetterSink,
            Some(_) | None => DestinationRole::Subscriber,
        };
        segments.next().is_none().then(|| Self {
            trigger: format!("/{namespace}/{name}"),
            uid,
            role,
        })
    }
}
