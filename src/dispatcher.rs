//! Keeps queues, workers and what ingress serves in step with the routing table, in the only safe order: queues first, then
//! the table to ingress and to replies, then what subscriptions are now and their workers, then farewell to what is gone.
//! So a subscription never sends into a channel of this process that is not there yet.

mod gone;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::channel::{ChannelBackend, Consumer};
use crate::client::Transport;
use crate::delivery::{Delivery, Lanes};
use crate::model::{Channel, ChannelKey, RoutingTable, Subscription, SubscriptionKey};
use crate::router::{Door, Router, Serving};
use gone::Gone;

/// How often a stop looks whether everything has been delivered.
const LOOK: Duration = Duration::from_millis(10);

/// A table to serve from now on.
pub struct Change {
    /// The table.
    pub table: Arc<RoutingTable>,
    /// Told when it is served.
    pub applied: oneshot::Sender<()>,
}

/// Runs one worker for each subscription.
pub struct Dispatcher<T> {
    backend: Arc<dyn ChannelBackend>,
    router: Arc<Router>,
    delivery: Arc<Delivery<T>>,
    /// Attempts that may run at once for one subscription.
    concurrency: usize,
    lanes: Lanes,
    /// What is served.
    open: HashMap<ChannelKey, Arc<Door>>,
    workers: JoinSet<()>,
}

impl<T: Transport> Dispatcher<T> {
    /// A dispatcher without workers.
    #[must_use]
    pub fn new(
        backend: Arc<dyn ChannelBackend>,
        router: Arc<Router>,
        delivery: Arc<Delivery<T>>,
        concurrency: usize,
    ) -> Self {
        let (lanes, open) = (Lanes::default(), HashMap::new());
        Self { backend, router, delivery, concurrency, lanes, open, workers: JoinSet::new() }
    }

    /// The lanes of its subscriptions.
    #[must_use]
    pub fn lanes(&self) -> Lanes {
        self.lanes.clone()
    }

    /// Applies changes until `stop`, then returns when the last event has been delivered, with everything off the table.
    /// Until then what is served stays as it was: requests that have begun are answered by it, and so are replies. Dropping
    /// the future abandons what is left.
    pub async fn run(mut self, mut changes: mpsc::Receiver<Change>, stop: CancellationToken) {
        loop {
            let change = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                change = changes.recv() => change,
            };
            let Some(Change { table, applied }) = change else {
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
        let nothing = self.router.serving().table.without_channels();
        self.apply(&Arc::new(nothing));
        while self.workers.join_next().await.is_some() {}
    }

    /// Whether an event that this process holds has not been delivered.
    fn is_delivering(&self) -> bool {
        let channels = self.open.values().map(|open| &open.channel);
        let mut keys = channels.flat_map(|channel| &channel.subscriptions).map(|subscription| &subscription.key);
        keys.any(|key| self.backend.unfinished(key).is_some_and(|unfinished| unfinished > 0))
    }

    /// Serves this table from now on. What is done follows what has changed: a channel that is the same value as before
    /// keeps its publisher.
    pub fn apply(&mut self, table: &Arc<RoutingTable>) {
        while self.workers.try_join_next().is_some() {}
        let mut before = std::mem::take(&mut self.open);
        let mut publishers = Vec::with_capacity(table.channels().len());
        let mut series = Vec::with_capacity(table.channels().len());
        let (mut changed, mut former, mut consumers) = (Vec::new(), Vec::new(), Vec::new());
        for channel in table.channels() {
            let (key, open) = match before.remove_entry(&channel.key) {
                Some((key, open)) if Arc::ptr_eq(&open.channel, channel) => (key, open),
                other => {
                    former.extend(other.map(|(_, open)| open));
                    changed.push(channel);
                    (channel.key.clone(), self.open(channel, &mut consumers))
                }
            };
            publishers.push(Arc::clone(&open.publisher));
            series.push(Arc::clone(&open.series));
            self.open.insert(key, open);
        }
        let gone: Vec<Arc<Door>> = before.into_values().collect();
        let relayed = self.router.relayed(table.relays());
        let rooms = self.router.rooms(table);
        let serving = Serving { table: Arc::clone(table), publishers, series, relayed, rooms };
        self.router.serve_without(serving, &gone);
        for (subscription, consumer) in consumers {
            self.start(subscription, consumer);
        }
        let changed = || changed.iter().flat_map(|channel| &channel.subscriptions);
        changed().for_each(|subscription| self.configure(subscription));
        let configured: HashSet<&SubscriptionKey> = changed().map(|subscription| &subscription.key).collect();
        self.retire(former.iter().chain(&gone), &Gone::of(&gone), &configured);
    }

    /// Opens a channel, and adds the consumers of its new queues.
    fn open(&self, channel: &Arc<Channel>, consumers: &mut Vec<(Arc<Subscription>, Consumer)>) -> Arc<Door> {
        let opened = self.backend.open(channel);
        consumers.extend(opened.consumers);
        let (publisher, series) = (opened.publisher, self.router.series(&channel.key));
        Arc::new(Door { channel: Arc::clone(channel), publisher, series })
    }

    /// Gives up the queues of channels that have changed or are gone, but for those that are `configured` anew. What is left
    /// in them goes on into the channels that are gone with them.
    fn retire<'d>(
        &self,
        former: impl Iterator<Item = &'d Arc<Door>>,
        gone: &Gone<'_>,
        configured: &HashSet<&SubscriptionKey>,
    ) {
        for Door { channel, .. } in former.map(Arc::as_ref) {
            for subscription in channel.subscriptions.iter().filter(|made| !configured.contains(&made.key)) {
                if let Some(lane) = self.lanes.remove(&subscription.key) {
                    lane.leave(gone.onward(subscription, channel));
                    self.backend.retire(&subscription.key);
                }
            }
        }
    }

    fn configure(&self, subscription: &Arc<Subscription>) {
        if let Some(lane) = self.lanes.get(&subscription.key) {
            lane.configure(Arc::clone(subscription));
        }
    }

    /// What is left in a queue of before, in another backend, is delivered on the same lane: as the subscription is now.
    fn start(&mut self, subscription: Arc<Subscription>, consumer: Consumer) {
        let lane =
            self.lanes.get_or_insert(subscription.key.clone(), || self.delivery.lane(subscription, self.concurrency));
        self.workers.spawn(worker::run(lane, consumer, Arc::clone(&self.delivery)));
    }
}

#[cfg(test)]
mod tests;
