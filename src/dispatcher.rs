//! Keeps queues, workers and what ingress serves in step with the routing table, in the only safe order: queues first, then
//! the table to ingress and to replies, then what subscriptions are now and their workers, then farewell to what is gone.
//! So a subscription never sends into a channel of this process that is not there yet.

mod removed_channels;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::channel::{ChannelBackend, QueueConsumer};
use crate::client::HttpTransport;
use crate::delivery::{EventDeliverer, SubscriptionWorkerStates};
use crate::model::{Channel, ChannelKey, RoutingTable, Subscription, SubscriptionKey};
use crate::router::{RoutedChannel, Router, ServedTable};
use removed_channels::RemovedChannels;

/// How often a stop looks whether everything has been delivered.
const LOOK: Duration = Duration::from_millis(10);

/// A table to serve from now on.
pub struct TableChange {
    /// The table.
    pub table: Arc<RoutingTable>,
    /// Told when it is served.
    pub applied: oneshot::Sender<()>,
}

/// Runs one worker for each subscription.
pub struct Dispatcher<T> {
    backend: Arc<dyn ChannelBackend>,
    router: Arc<Router>,
    delivery: Arc<EventDeliverer<T>>,
    /// Attempts that may run at once for one subscription.
    concurrency: usize,
    worker_states: SubscriptionWorkerStates,
    /// What is served.
    open_channels: HashMap<ChannelKey, Arc<RoutedChannel>>,
    workers: JoinSet<()>,
}

impl<T: HttpTransport> Dispatcher<T> {
    /// A dispatcher without workers.
    #[must_use]
    pub fn new(
        backend: Arc<dyn ChannelBackend>,
        router: Arc<Router>,
        delivery: Arc<EventDeliverer<T>>,
        concurrency: usize,
    ) -> Self {
        let (worker_states, open_channels) = (SubscriptionWorkerStates::default(), HashMap::new());
        Self { backend, router, delivery, concurrency, worker_states, open_channels, workers: JoinSet::new() }
    }

    /// The lanes of its subscriptions.
    #[must_use]
    pub fn worker_states(&self) -> SubscriptionWorkerStates {
        self.worker_states.clone()
    }

    /// Applies changes until `stop`, then returns when the last event has been delivered, with everything off the table.
    /// Until then what is served stays as it was: requests that have begun are answered by it, and so are replies. Dropping
    /// the future abandons what is left.
    pub async fn run(mut self, mut changes: mpsc::Receiver<TableChange>, stop: CancellationToken) {
        loop {
            let change = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                change = changes.recv() => change,
            };
            let Some(TableChange { table, applied }) = change else {
                stop.cancelled().await;
                break;
            };
            self.apply(&table);
            if applied.send(()).is_err() {
                tracing::debug!("Whoever asked for the table does not wait for it");
            }
        }
        self.backend.close();
        while self.is_delivering() {
            tokio::time::sleep(LOOK).await;
        }
        let nothing = self.router.served_table().table.without_channels();
        self.apply(&Arc::new(nothing));
        while self.workers.join_next().await.is_some() {}
    }

    /// Whether an event that this process holds has not been delivered.
    fn is_delivering(&self) -> bool {
        let channels = self.open_channels.values().map(|open| &open.channel);
        let mut keys = channels.flat_map(|channel| &channel.subscriptions).map(|subscription| &subscription.key);
        keys.any(|key| self.backend.unfinished(key).is_some_and(|unfinished| unfinished > 0))
    }

    /// Serves this table from now on. What is done follows what has changed: a channel that is the same value as before
    /// keeps its publisher.
    pub fn apply(&mut self, table: &Arc<RoutingTable>) {
        while self.workers.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.open_channels);
        let mut publishers = Vec::with_capacity(table.channels().len());
        let mut series = Vec::with_capacity(table.channels().len());
        let (mut changed, mut former, mut consumers) = (Vec::new(), Vec::new(), Vec::new());
        for channel in table.channels() {
            let (key, open) = match before.remove_entry(&channel.key) {
                Some((key, open)) if Arc::ptr_eq(&open.channel, channel) => (key, open),
                other => {
                    former.extend(other.map(|(_, open)| open));
                    changed.push(channel);
                    (channel.key.clone(), self.open_channel(channel, &mut consumers))
                }
            };
            publishers.push(Arc::clone(&open.publisher));
            series.push(Arc::clone(&open.series));
            self.open_channels.insert(key, open);
        }
        let gone: Vec<Arc<RoutedChannel>> = before.into_values().collect();
        let relayed = self.router.relayed_series(table.relays());
        let rooms = self.router.pending_replies(table);
        let serving = ServedTable {
            table: Arc::clone(table),
            publishers,
            channel_series: series,
            relayed_series: relayed,
            pending_replies: rooms,
        };
        self.router.serve_and_remove(serving, &gone);
        for (subscription, consumer) in consumers {
            self.start_worker(subscription, consumer);
        }
        let changed = || changed.iter().flat_map(|channel| &channel.subscriptions);
        changed().for_each(|subscription| self.update_worker(subscription));
        let configured: HashSet<&SubscriptionKey> = changed().map(|subscription| &subscription.key).collect();
        self.retire_subscriptions(former.iter().chain(&gone), &RemovedChannels::new(&gone), &configured);
    }

    /// Opens a channel, and adds the consumers of its new queues.
    fn open_channel(
        &self,
        channel: &Arc<Channel>,
        consumers: &mut Vec<(Arc<Subscription>, QueueConsumer)>,
    ) -> Arc<RoutedChannel> {
        let opened = self.backend.open(channel);
        consumers.extend(opened.consumers);
        let (publisher, series) = (opened.publisher, self.router.channel_series(&channel.key));
        Arc::new(RoutedChannel { channel: Arc::clone(channel), publisher, series })
    }

    /// Gives up the queues of channels that have changed or are gone, but for those that are `configured` anew. What is left
    /// in them goes on into the channels that are gone with them.
    fn retire_subscriptions<'d>(
        &self,
        former: impl Iterator<Item = &'d Arc<RoutedChannel>>,
        gone: &RemovedChannels<'_>,
        configured: &HashSet<&SubscriptionKey>,
    ) {
        for RoutedChannel { channel, .. } in former.map(Arc::as_ref) {
            for subscription in channel.subscriptions.iter().filter(|made| !configured.contains(&made.key)) {
                if let Some(lane) = self.worker_states.remove(&subscription.key) {
                    lane.set_onward_channels(gone.onward_channels(subscription, channel));
                    self.backend.retire_subscription(&subscription.key);
                }
            }
        }
    }

    fn update_worker(&self, subscription: &Arc<Subscription>) {
        if let Some(lane) = self.worker_states.get(&subscription.key) {
            lane.set_subscription(Arc::clone(subscription));
        }
    }

    /// What is left in a queue of before, in another backend, is delivered on the same lane: as the subscription is now.
    fn start_worker(&mut self, subscription: Arc<Subscription>, consumer: QueueConsumer) {
        let lane = self
            .worker_states
            .get_or_insert(subscription.key.clone(), || self.delivery.worker_state(subscription, self.concurrency));
        self.workers.spawn(worker::run(lane, consumer, Arc::clone(&self.delivery)));
    }
}

#[cfg(test)]
mod tests;
