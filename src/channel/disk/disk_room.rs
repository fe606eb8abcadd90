//! Whether a log has room for events, as whoever looks at the process is told: once when it begins to
//! lack it, and once when it has it again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::log::LogError;
use crate::model::ChannelKey;

/// Time without a refusal after which a log has room again: while it is nearly full, it takes small
/// events and refuses large ones.
const QUIET: Duration = Duration::from_secs(10);

/// Room of one log.
#[derive(Debug, Default)]
pub(super) struct DiskRoom {
    /// True while there is a lack, for a look without the lock.
    is_lacking: AtomicBool,
    lack: Mutex<Option<RoomLack>>,
}

#[derive(Debug)]
struct RoomLack {
    cause: String,
    /// Time of the last event that was refused.
    refused: Instant,
}

impl DiskRoom {
    fn state(&self) -> MutexGuard<'_, Option<RoomLack>> {
        self.lack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that events of this channel were refused.
    pub(super) fn note_refused(&self, channel: &ChannelKey, error: &LogError) {
        let lack = RoomLack {
            cause: error.to_string(),
            refused: Instant::now(),
        };
        if self.state().replace(lack).is_none() {
            self.is_lacking.store(true, Ordering::Relaxed);
            tracing::warn!(%channel, %error, "The disk has no room for events: they are answered 429");
        }
    }

    /// Notes that events of this channel were written.
    pub(super) fn note_written(&self, channel: &ChannelKey) {
        if !self.is_lacking.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        let is_over = state
            .as_ref()
            .is_some_and(|lack| lack.refused.elapsed() > QUIET);
        if is_over {
            *state = None;
            self.is_lacking.store(false, Ordering::Relaxed);
            tracing::info!(%channel, "The disk has room for events again");
        }
    }

    /// Reason for which events were refused, until there is room again.
    pub(super) fn lack(&self) -> Option<String> {
        self.state().as_ref().map(|lack| lack.cause.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChannelKind;

    #[tokio::test(start_paused = true)]
    async fn a_lack_is_over_when_nothing_was_refused_for_a_while() {
        let (room, channel) = (
            DiskRoom::default(),
            ChannelKey::new(ChannelKind::Channel, "default", "c"),
        );
        room.note_written(&channel);
        assert_eq!(room.lack(), None);
        let full = LogError::Full {
            needed: 1,
            cause: "it is full".into(),
        };
        room.note_refused(&channel, &full);
        assert_eq!(room.lack(), Some(full.to_string()));
        room.note_written(&channel);
        assert!(room.lack().is_some(), "small events are taken");
        tokio::time::advance(QUIET * 2).await;
        assert!(room.lack().is_some(), "nothing was written since");
        room.note_written(&channel);
        assert_eq!(room.lack(), None);
    }
}
