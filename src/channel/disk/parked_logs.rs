//! Parked events of a data directory that no process uses.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Mutex;

use super::log::{ChannelLog, DataDirectory, DirectoryOptions, LogError, LogOptions};
use super::names;
use super::parking::{DiskParking, QueueFinder};
use super::queue::DeclaredQueue;
use super::replay_name::ReplayName;
use crate::channel::parked::{ParkedError, ParkedFuture, ParkedStore, ParkingSubscription};
use crate::model::ChannelKey;

/// Opens the parked events of the data directory at this path, which has to be there.
///
/// # Errors
/// If it is not there, a process uses it, or it cannot be read.
pub(crate) fn open_parked_logs(path: &Path) -> Result<Box<dyn ParkedStore>, ParkedError> {
    let unavailable = |error: LogError| ParkedError::Unavailable(error.to_string());
    if !path.is_dir() {
        let cause = format!(
            "there is no data directory {}: set --data-dir",
            path.display()
        );
        return Err(ParkedError::Unavailable(cause));
    }
    let directory = DataDirectory::open(path, &DirectoryOptions::default());
    let finder = ClosedLogs {
        directory: directory.map_err(unavailable)?,
        open: Mutex::default(),
    };
    Ok(Box::new(DiskParking { finder }))
}

/// Logs that are opened when they are asked for.
struct ClosedLogs {
    directory: DataDirectory,
    open: Mutex<HashMap<String, ChannelLog>>,
}

impl ClosedLogs {
    /// The log of a channel; `None` if there is none.
    async fn open(&self, channel: &ChannelKey) -> Result<Option<ChannelLog>, LogError> {
        let name = names::log_name(channel);
        let mut open = self.open.lock().await;
        if let Some(log) = open.get(&name) {
            return Ok(Some(log.clone()));
        }
        if !self.directory.log_names()?.contains(&name) {
            return Ok(None);
        }
        // What the channel retains is not known here, so that all of it stays.
        let options = LogOptions {
            retain: Some(Duration::MAX),
            ..LogOptions::default()
        };
        let (log, _opening) = self.directory.open_log(&name, options).await?;
        open.insert(name, log.clone());
        Ok(Some(log))
    }

    async fn find(&self, owner: &ParkingSubscription) -> Result<Vec<DeclaredQueue>, ParkedError> {
        let opened = self.open(&owner.channel).await;
        let opened = opened.map_err(|error| ParkedError::Unavailable(error.to_string()))?;
        let no_queue = || ParkedError::NoQueue(owner.subscription.clone());
        let log = opened.ok_or_else(no_queue)?;
        let name = names::queue_name(&owner.subscription);
        let is_meant = |queue: &str| {
            queue == name || ReplayName::parse(queue).is_some_and(|replay| replay.of == name)
        };
        let queues = log.queues().into_iter();
        let meant = queues.filter(|(_, queue, _)| is_meant(queue));
        let found: Vec<DeclaredQueue> = meant
            .map(|(id, _, _)| DeclaredQueue {
                log: log.clone(),
                id,
            })
            .collect();
        if found.is_empty() {
            return Err(no_queue());
        }
        Ok(found)
    }
}

impl QueueFinder for ClosedLogs {
    fn find_queues<'a>(
        &'a self,
        owner: &'a ParkingSubscription,
    ) -> ParkedFuture<'a, Vec<DeclaredQueue>> {
        self.find(owner).boxed()
    }
}
