//! Publisher of events to the log of a channel: each is written once, whatever the number of
//! subscriptions that want it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::context::DiskContext;
use super::kept_log::KeptLog;
use super::log::{ChannelLog, LogError, NewEvent, QueueId, QueueSet};
use super::queue::DiskQueue;
use super::trouble::DiskTrouble;
use crate::budget::TakenPlaces;
use crate::channel::subscription_queues::{FilterDecider, SubscriptionQueue, SubscriptionQueues};
use crate::channel::trouble_reason::TroubleReason;
use crate::channel::{ChannelPublisher, PublishError};
use crate::event::{Event, stored};

/// Longest time from a sender's request to the answer.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Publisher to the log of one channel.
pub(super) struct DiskPublisher {
    pub(super) queues: SubscriptionQueues<DiskQueue>,
    pub(super) log: Arc<KeptLog>,
    pub(super) context: Arc<DiskContext>,
}

impl DiskPublisher {
    /// Encodes the events that are to be written, each with the queues that want it, in each of
    /// which a place is taken.
    async fn prepare<'q>(
        &'q self,
        events: &[Arc<Event>],
        places: &mut TakenPlaces<'q>,
    ) -> Result<Vec<NewEvent>, PublishError> {
        let mut prepared = Vec::with_capacity(events.len());
        let mut filters = FilterDecider::new(&self.context.counters);
        let retains = self.log.retention().is_some();
        for event in events {
            let mut ids = Vec::new();
            for to in self.queues.candidates(event) {
                if filters.passes(to, event).await {
                    places.take(&to.queue.places)?;
                    ids.push(self.queue_id(to).await?);
                }
            }
            if ids.is_empty() {
                self.context.counters.unrouted.increment();
            }
            // What nobody wants is written only if somebody may want it later.
            if !ids.is_empty() || retains {
                prepared.push(NewEvent {
                    queues: ids.into_iter().collect::<QueueSet>(),
                    event: stored::encode(event),
                });
            }
        }
        Ok(prepared)
    }

    async fn publish_all(&self, events: &[Arc<Event>]) -> Result<(), PublishError> {
        let mut places = TakenPlaces::default();
        let prepared = self.prepare(events, &mut places).await?;
        if prepared.is_empty() {
            return Ok(());
        }
        let log = match self.log.access.open_log() {
            Some(log) => log,
            None => self.until_open().await?,
        };
        match log.publish(prepared).await {
            Ok(_first) => {
                self.log.room.note_written(&self.log.access.channel);
                places.keep();
                Ok(())
            }
            Err(error) => Err(self.refusal(&error)),
        }
    }

    /// Id of the queue of a subscription, once the log has it. At the start, an event that waits in
    /// one queue may have a reply for another.
    async fn queue_id(&self, to: &SubscriptionQueue<DiskQueue>) -> Result<QueueId, PublishError> {
        let queue = &to.queue;
        if let Some(declared) = queue.declared.get()
            && !queue.is_failing()
        {
            return Ok(declared.id);
        }
        self.until_open().await?;
        let trouble = queue.trouble();
        if let Some(trouble) = trouble.filter(|it| *it != DiskTrouble::NotDeclared) {
            let reason = TroubleReason::from(trouble).to_string();
            return Err(PublishError::Unavailable(reason));
        }
        Ok(queue.declared.wait().await.id)
    }

    async fn until_open(&self) -> Result<ChannelLog, PublishError> {
        let open = self.log.access.until_open().await;
        open.map_err(|error| self.refusal(&error))
    }

    fn refusal(&self, error: &LogError) -> PublishError {
        match error {
            LogError::TooLarge { .. } => PublishError::TooLarge(error.to_string()),
            LogError::Full { .. } => {
                self.log.room.note_refused(&self.log.access.channel, error);
                self.context.metrics.refused_full.increment();
                PublishError::NoRoom(error.to_string())
            }
            _ => PublishError::Unavailable(
                TroubleReason::from(DiskTrouble::of_error(error)).to_string(),
            ),
        }
    }
}

impl ChannelPublisher for DiskPublisher {
    fn publish<'a>(&'a self, events: &'a [Arc<Event>]) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let publish = self.publish_all(events);
            let published = tokio::time::timeout(PUBLISH_TIMEOUT, publish).await;
            published.unwrap_or_else(|_elapsed| {
                let reason = format!("the disk has not answered within {PUBLISH_TIMEOUT:?}");
                Err(PublishError::Unavailable(reason))
            })
        }
        .boxed()
    }
}
