//! Keys of channels.

use crate::model::{ChannelKey, ChannelKind};

/// The key of a channel, Broker or RequestReply.
pub(super) fn channel_key(
    kind: ChannelKind,
    namespace: impl Into<String>,
    name: impl Into<String>,
) -> ChannelKey {
    ChannelKey {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    }
}
