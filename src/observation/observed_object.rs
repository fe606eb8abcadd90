//! The objects at which something happens to events: channels, Brokers, and their subscriptions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::model::Channel;

/// The number of the next object.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// An object at which something happens to events. Records name it by a number, and hold it beside
/// them, so that it can be shown when it is not configured any more.
#[derive(Debug)]
pub struct ObservedObject {
    ordinal: u32,
    /// Kind, namespace and name: `trigger default/t`.
    label: Box<str>,
    /// The channel as it was configured, whose filters say who wanted an event; `None` for
    /// subscriptions, and for channels in another process.
    channel: Option<Arc<Channel>>,
}

impl ObservedObject {
    /// Makes an object of this kind and name.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, name: &str) -> Arc<Self> {
        Self::with_label(format!("{kind} {namespace}/{name}"), None)
    }

    /// Makes a channel of this process, with the filters of its subscriptions.
    #[must_use]
    pub(crate) fn of_channel(channel: &Arc<Channel>) -> Arc<Self> {
        Self::with_label(channel.key.to_string(), Some(Arc::clone(channel)))
    }

    /// Makes what stands for an address that nothing has.
    pub(super) fn unknown_address() -> Arc<Self> {
        Self::with_label("address unknown".to_owned(), None)
    }

    fn with_label(label: String, channel: Option<Arc<Channel>>) -> Arc<Self> {
        Arc::new(Self {
            ordinal: NEXT.fetch_add(1, Ordering::Relaxed),
            label: label.into(),
            channel,
        })
    }

    /// The number that no other object of the process has.
    pub(super) fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Kind, namespace and name, as messages show them.
    #[must_use]
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// True of a channel, of a Broker, and of whatever else senders send to; others are
    /// subscriptions.
    pub(super) fn is_channel(&self) -> bool {
        let kind = self.label.split_once(' ').map_or("", |(kind, _name)| kind);
        matches!(kind, "channel" | "broker" | "requestreply" | "address")
    }

    /// The channel as it was configured, if it is one of this process.
    pub(super) fn channel(&self) -> Option<&Channel> {
        self.channel.as_deref()
    }
}
