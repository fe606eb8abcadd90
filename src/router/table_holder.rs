//! Holds the table that is served, which is replaced as a whole, and the channels that were removed
//! from it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, Guard};

use super::served_table::{RoutedChannel, ServedTable};
use crate::model::ChannelKey;

/// Holder of the served table.
pub(super) struct ServedTableHolder {
    served_table: ArcSwap<ServedTable>,
    /// Channels that are not served any more, as long as an event may be on the way to them.
    removed_channels: ArcSwap<HashMap<ChannelKey, Weak<RoutedChannel>>>,
}

impl ServedTableHolder {
    /// Makes a holder of this table.
    pub(super) fn new(serving: ServedTable) -> Self {
        Self {
            served_table: ArcSwap::from_pointee(serving),
            removed_channels: ArcSwap::default(),
        }
    }

    /// Table that is served now, for a short look.
    pub(super) fn load(&self) -> Guard<Arc<ServedTable>> {
        self.served_table.load()
    }

    /// Table that is served now, for as long as it is wanted.
    pub(super) fn load_full(&self) -> Arc<ServedTable> {
        self.served_table.load_full()
    }

    /// Channel that is not served any more, as long as it exists.
    pub(super) fn removed_channel(&self, key: &ChannelKey) -> Option<Arc<RoutedChannel>> {
        self.removed_channels
            .load()
            .get(key)
            .and_then(Weak::upgrade)
    }

    /// Serves another table from now on, without the channels `gone`, which take events from inside
    /// as long as they exist. Requests that wait at a removed RequestReply are ended.
    pub(super) fn replace(&self, serving: ServedTable, gone: &[Arc<RoutedChannel>]) {
        // Stored before the table is replaced, so that an event finds the channel in one of both.
        self.add_removed_channels(gone);
        let before = self.served_table.swap(Arc::new(serving));
        let serving = self.served_table.load();
        let ended = before
            .pending_replies
            .iter()
            .filter(|(key, _)| !serving.pending_replies.contains_key(*key));
        ended.for_each(|(_, pending)| pending.close());
    }

    fn add_removed_channels(&self, gone: &[Arc<RoutedChannel>]) {
        let before = self.removed_channels.load_full();
        let left = before
            .iter()
            .filter(|(_, channel)| channel.strong_count() > 0)
            .map(|(key, channel)| (key.clone(), Weak::clone(channel)));
        let now = gone
            .iter()
            .map(|channel| (channel.channel.key.clone(), Arc::downgrade(channel)));
        self.removed_channels
            .store(Arc::new(left.chain(now).collect()));
    }
}
