//! Requests that wait for replies at a RequestReply: each by the whole correlation id, which nobody
//! can guess, so that two requests whose events have the same id are told apart (upstream knows
//! them by that id alone).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::request_reply_error::RequestReplyError;
use crate::event::Event;
use crate::model::{ChannelKey, RoutingTable};
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::{RequestReplySeries, SeriesKey};

/// Pending replies by the key of their RequestReply.
pub(crate) type PendingRepliesMap = HashMap<ChannelKey, Arc<PendingReplies>>;

/// Makes places for the replies to the RequestReplies of a table; those that were there `before`
/// are kept, with the requests that wait at them.
pub(super) fn keep_or_make_pending(
    table: &RoutingTable,
    before: &PendingRepliesMap,
    capacity: usize,
    counters: &ProcessCounters,
) -> PendingRepliesMap {
    let make = |key: &ChannelKey| {
        let series = counters.series.request_reply(&SeriesKey {
            kind: key.kind.as_str(),
            namespace: key.namespace.as_str().into(),
            name: key.name.as_str().into(),
        });
        Arc::new(PendingReplies::new(capacity, series))
    };
    table
        .request_replies()
        .iter()
        .map(|request_reply| {
            let key = &request_reply.key;
            let pending = before.get(key).cloned().unwrap_or_else(|| make(key));
            (key.clone(), pending)
        })
        .collect()
}

/// Requests that wait at one RequestReply, as long as it is configured.
#[derive(Debug)]
pub(crate) struct PendingReplies {
    /// Largest number of requests that may wait.
    capacity: usize,
    /// Senders of replies by correlation id; `None` when the RequestReply has been removed.
    by_correlation_id: Mutex<Option<HashMap<Arc<str>, oneshot::Sender<Event>>>>,
    series: Arc<RequestReplySeries>,
}

/// A request that waits for its reply, until this is dropped.
#[derive(Debug)]
pub(super) struct PendingReply {
    pending: Arc<PendingReplies>,
    id: Arc<str>,
    reply: oneshot::Receiver<Event>,
}

impl PendingReplies {
    /// Makes a place where `capacity` requests may wait.
    fn new(capacity: usize, series: Arc<RequestReplySeries>) -> Self {
        Self {
            capacity,
            by_correlation_id: Mutex::new(Some(HashMap::new())),
            series,
        }
    }

    /// Counters of the RequestReply.
    pub(super) fn series(&self) -> &RequestReplySeries {
        &self.series
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<Arc<str>, oneshot::Sender<Event>>>> {
        self.by_correlation_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a request that waits for a reply with this correlation id.
    ///
    /// # Errors
    /// If too many wait, or the RequestReply has been removed.
    pub(super) fn register(self: &Arc<Self>, id: &str) -> Result<PendingReply, RequestReplyError> {
        let (sender, reply) = oneshot::channel();
        let id: Arc<str> = id.into();
        let mut waiting = self.lock();
        let waiting = waiting.as_mut().ok_or(RequestReplyError::Removed)?;
        if waiting.len() >= self.capacity {
            return Err(RequestReplyError::Full {
                waiting: waiting.len(),
            });
        }
        waiting.insert(Arc::clone(&id), sender);
        self.series.waiting.add(1);
        Ok(PendingReply {
            pending: Arc::clone(self),
            id,
            reply,
        })
    }

    /// Gives a reply to the request that waits for it. A second reply with the same id is counted
    /// as late, since a request that has its reply does not wait any more.
    pub(super) fn deliver_reply(&self, id: &str, reply: Event) {
        let waiting = self.lock().as_mut().and_then(|waiting| waiting.remove(id));
        let taken = waiting.is_some_and(|waiting| waiting.send(reply).is_ok());
        if !taken {
            self.series.late_replies.increment();
        }
    }

    /// Ends all requests that wait, since the RequestReply has been removed.
    pub(super) fn close(&self) {
        self.lock().take();
    }
}

impl PendingReply {
    /// Waits for the reply.
    ///
    /// # Errors
    /// If the RequestReply is removed before it comes.
    pub(super) async fn receive(&mut self) -> Result<Event, RequestReplyError> {
        (&mut self.reply)
            .await
            .map_err(|_closed| RequestReplyError::Removed)
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if let Some(waiting) = self.pending.lock().as_mut() {
            waiting.remove(&self.id);
        }
        self.pending.series.waiting.add(-1);
    }
}
