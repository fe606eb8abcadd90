//! What is kept of an event of which something is to be told later, when it is not at hand any more.

use super::event_key::EventKey;

/// An event of which something will be told.
#[derive(Debug)]
pub(crate) struct EventNote {
    /// Its name; `None` if no records are kept.
    pub(super) key: Option<EventKey>,
    /// Its attributes, written, if a tap was open.
    pub(super) attributes: Option<Box<[u8]>>,
}
