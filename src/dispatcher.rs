//! Keeps queues, workers and what ingress serves in step with the routing table, in the only safe order: queues and
//! workers first, then the table to ingress, then farewell to what is gone.

mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::channel::{ChannelBackend, Consumer, Opened, Publisher};
use crate::client::Transport;
use crate::delivery::{Delivery, Lanes};
use crate::model::{Channel, ChannelKey, RoutingTable, Subscription, SubscriptionKey};
use crate::router::{Router, Serving};
use crate::telemetry::series::ChannelSeries;

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
    open: HashMap<ChannelKey, Open>,
    /// What was served before the change that is being applied, and is not served any more in that form.
    gone: Vec<Open>,
    workers: JoinSet<()>,
}

/// A channel as it is served.
struct Open {
    channel: Arc<Channel>,
    publisher: Arc<dyn Publisher>,
    series: Arc<ChannelSeries>,
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
        let (lanes, open, gone) = (Lanes::default(), HashMap::new(), Vec::new());
        Self { backend, router, delivery, concurrency, lanes, open, gone, workers: JoinSet::new() }
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
        let mut configured = HashSet::new();
        for channel in table.channels() {
            let (key, open) = match before.remove_entry(&channel.key) {
                Some((key, open)) if Arc::ptr_eq(&open.channel, channel) => (key, open),
                changed => {
                    configured.extend(channel.subscriptions.iter().map(|subscription| subscription.key.clone()));
                    self.gone.extend(changed.map(|(_, open)| open));
                    (channel.key.clone(), self.open(channel))
                }
            };
            publishers.push(Arc::clone(&open.publisher));
            series.push(Arc::clone(&open.series));
            self.open.insert(key, open);
        }
        self.gone.extend(before.into_values());
        let relayed = self.router.relayed(table.relays());
        let rooms = self.router.rooms(table);
        self.router.serve(Serving { table: Arc::clone(table), publishers, series, relayed, rooms });
        self.retire(&configured);
    }

    fn open(&mut self, channel: &Arc<Channel>) -> Open {
        let Opened { publisher, consumers } = self.backend.open(channel);
        for (subscription, consumer) in consumers {
            self.start(subscription, consumer);
        }
        for subscription in &channel.subscriptions {
            self.configure(subscription);
        }
        Open { channel: Arc::clone(channel), publisher, series: self.router.series(&channel.key) }
    }

    /// Gives up the queues of channels that are gone or have changed, but for those that are `configured` anew.
    fn retire(&mut self, configured: &HashSet<SubscriptionKey>) {
        for Open { channel, .. } in std::mem::take(&mut self.gone) {
            let keys = channel.subscriptions.iter().map(|subscription| &subscription.key);
            for key in keys.filter(|key| !configured.contains(*key)) {
                if self.lanes.remove(key) {
                    self.backend.retire(key);
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
