//! Access to the log of one channel: whether it is open, for publishers and queues.

use tokio::sync::watch;

use super::log::{ChannelLog, LogError};
use super::names;
use super::recent_events::RecentEvents;
use crate::model::ChannelKey;

/// Whether a log is open.
#[derive(Clone)]
pub(super) enum LogStatus {
    /// It is being opened.
    Opening,
    Open(ChannelLog),
    /// It cannot be opened, for this reason; it is tried again.
    Failed(LogError),
}

/// Access to the log of a channel.
pub(super) struct LogAccess {
    pub(super) channel: ChannelKey,
    /// Name of its directory.
    pub(super) name: String,
    status: watch::Sender<LogStatus>,
    /// Events of it that are being delivered.
    pub(super) recent: RecentEvents,
}

impl LogAccess {
    pub(super) fn new(channel: ChannelKey) -> Self {
        Self {
            name: names::log_name(&channel),
            channel,
            status: watch::Sender::new(LogStatus::Opening),
            recent: RecentEvents::default(),
        }
    }

    pub(super) fn set_status(&self, status: LogStatus) {
        self.status.send_replace(status);
    }

    /// The log, if it is open.
    pub(super) fn open_log(&self) -> Option<ChannelLog> {
        match &*self.status.borrow() {
            LogStatus::Open(log) => Some(log.clone()),
            LogStatus::Opening | LogStatus::Failed(_) => None,
        }
    }

    /// Reason for which the log cannot be opened.
    pub(super) fn open_error(&self) -> Option<LogError> {
        match &*self.status.borrow() {
            LogStatus::Failed(error) => Some(error.clone()),
            LogStatus::Opening | LogStatus::Open(_) => None,
        }
    }

    /// Reason for which the disk cannot be written to any more, or the log cannot be read.
    pub(super) fn disk_failure(&self) -> Option<String> {
        match &*self.status.borrow() {
            LogStatus::Open(log) => match log.failure()? {
                LogError::Poisoned { cause } => Some(cause.to_string()),
                error @ LogError::Unreadable { .. } => Some(error.to_string()),
                _ => None,
            },
            LogStatus::Failed(error @ LogError::Unreadable { .. }) => Some(error.to_string()),
            LogStatus::Failed(_) | LogStatus::Opening => None,
        }
    }

    /// Waits until the log is open.
    ///
    /// # Errors
    /// If it cannot be opened at the moment.
    pub(super) async fn until_open(&self) -> Result<ChannelLog, LogError> {
        let mut status = self.status.subscribe();
        let decided = status.wait_for(|status| !matches!(status, LogStatus::Opening));
        // The sender lives as long as this value.
        let decided = decided.await.map_err(|_gone| LogError::Closed)?;
        match &*decided {
            LogStatus::Open(log) => Ok(log.clone()),
            LogStatus::Failed(error) => Err(error.clone()),
            LogStatus::Opening => Err(LogError::Closed),
        }
    }
}
