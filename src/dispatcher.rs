//! Keeps queues, workers and the served table in step with the routing table, in the only safe
//! order: queues first, then the table for ingress and replies, then the subscriptions' new
//! configuration and their workers, then the retirement of what is gone. So a subscription never
//! sends into a channel of this process that is not there yet.

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
use crate::router::{RoutedChannel, Router};
use removed_channels::RemovedChannels;

/// Period in which a stop checks if everything has been delivered.
const LOOK: Duration = Duration::from_millis(10);

/// A routing table that is to be served from now on.
pub struct TableChange {
    /// The table to serve.
    pub(crate) table: Arc<RoutingTable>,
    /// Notified when the table is served.
    pub(crate) applied: oneshot::Sender<()>,
}

/// Dispatches events: it runs one worker for each subscription of the table.
pub struct Dispatcher<T> {
    backend: Arc<dyn ChannelBackend>,
    router: Arc<Router>,
    delivery: Arc<EventDeliverer<T>>,
    /// Largest number of attempts at once for one subscription.
    concurrency: usize,
    worker_states: SubscriptionWorkerStates,
    /// Channels that are open and served now.
    open_channels: HashMap<ChannelKey, Arc<RoutedChannel>>,
    workers: JoinSet<()>,
}

/// The channels of a new table, and how they differ from those of the table before.
#[derive(Default)]
struct ChannelChanges<'t> {
    /// Every channel of the new table, in its order.
    channels: Vec<Arc<RoutedChannel>>,
    /// Channels that are new, or not the same value as before.
    changed: Vec<&'t Arc<Channel>>,
    /// Channels that have changed, as they were before.
    former: Vec<Arc<RoutedChannel>>,
    /// Channels that are not in the new table.
    gone: Vec<Arc<RoutedChannel>>,
    /// Consumers of new queues.
    consumers: Vec<(Arc<Subscription>, QueueConsumer)>,
}

impl<T: HttpTransport> Dispatcher<T> {
    /// Makes a dispatcher without channels and workers.
    #[must_use]
    pub fn new(
        backend: Arc<dyn ChannelBackend>,
        router: Arc<Router>,
        delivery: Arc<EventDeliverer<T>>,
        concurrency: usize,
    ) -> Self {
        let (worker_states, open_channels) = (SubscriptionWorkerStates::default(), HashMap::new());
        Self {
            backend,
            router,
            delivery,
            concurrency,
            worker_states,
            open_channels,
            workers: JoinSet::new(),
        }
    }

    /// States of the workers, which are shared with the admin port.
    #[must_use]
    pub(crate) fn worker_states(&self) -> SubscriptionWorkerStates {
        self.worker_states.clone()
    }

    /// Applies changes until `stop`, then returns when the last event has been delivered, with
    /// nothing served any more. Until then the served table stays as it was: it serves requests
    /// that have begun, and replies. If the future is dropped, deliveries under way are abandoned.
    pub async fn run(mut self, mut changes: mpsc::Receiver<TableChange>, stop: CancellationToken) {
        while let Some(TableChange { table, applied }) = next_change(&mut changes, &stop).await {
            self.apply(&table);
            if applied.send(()).is_err() {
                tracing::debug!("Whoever asked for the table does not wait for it");
            }
        }
        // Consumers of durable queues end now, so that only deliveries under way are waited for.
        self.backend.close();
        while self.is_delivering() {
            tokio::time::sleep(LOOK).await;
        }
        // Publishers are dropped only now: replies of the last deliveries went through them.
        let nothing = self.router.served_table().table.without_channels();
        self.apply(&Arc::new(nothing));
        // Workers end when their queues have no publisher any more.
        while self.workers.join_next().await.is_some() {}
    }

    /// True if an event that this process holds has not been delivered.
    fn is_delivering(&self) -> bool {
        let channels = self.open_channels.values().map(|open| &open.channel);
        let mut keys = channels
            .flat_map(|channel| &channel.subscriptions)
            .map(|subscription| &subscription.key);
        keys.any(|key| {
            self.backend
                .unfinished(key)
                .is_some_and(|unfinished| unfinished > 0)
        })
    }

    /// Serves this table from now on. Only differences are applied: a channel that is the same
    /// value as before keeps its publisher.
    pub fn apply(&mut self, table: &Arc<RoutingTable>) {
        // Workers of removed subscriptions that have ended are taken off the list first, so that it
        // does not grow.
        while self.workers.try_join_next().is_some() {}
        // Queues come first: whatever is served below has them.
        let ChannelChanges {
            channels,
            changed,
            former,
            gone,
            consumers,
        } = self.open_changed_channels(table);
        // Ingress and replies see all channels of the new table at once, before any worker does.
        self.router.serve(table, channels, &gone);
        // New workers come after the table, since their replies go into it.
        for (subscription, consumer) in consumers {
            self.start_worker(subscription, consumer);
        }
        let changed = || changed.iter().flat_map(|channel| &channel.subscriptions);
        // Old workers take the new configuration before queues are retired, whose events they still
        // deliver.
        changed().for_each(|subscription| self.update_worker(subscription));
        let configured: HashSet<&SubscriptionKey> =
            changed().map(|subscription| &subscription.key).collect();
        self.retire_subscriptions(
            former.iter().chain(&gone),
            &RemovedChannels::new(&gone),
            &configured,
        );
    }

    /// Opens the queues of the channels that are new or have changed.
    fn open_changed_channels<'t>(&mut self, table: &'t RoutingTable) -> ChannelChanges<'t> {
        let mut before = std::mem::take(&mut self.open_channels);
        let mut changes = ChannelChanges::default();
        changes.channels.reserve_exact(table.channels().len());
        for channel in table.channels() {
            let (key, open) = match before.remove_entry(&channel.key) {
                Some((key, open)) if Arc::ptr_eq(&open.channel, channel) => (key, open),
                other => {
                    changes.former.extend(other.map(|(_, open)| open));
                    changes.changed.push(channel);
                    let open = self.open_channel(channel, &mut changes.consumers);
                    (channel.key.clone(), open)
                }
            };
            changes.channels.push(Arc::clone(&open));
            self.open_channels.insert(key, open);
        }
        changes.gone = before.into_values().collect();
        changes
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
        let budget = self.router.namespace_budget(&channel.key.namespace);
        let routed = RoutedChannel::new(channel, publisher, series);
        Arc::new(routed.with_budget(budget))
    }

    /// Retires the queues of channels that have changed or are gone, except those that are
    /// `configured` anew. Events that are left in them go on into the removed channels.
    fn retire_subscriptions<'d>(
        &self,
        former: impl Iterator<Item = &'d Arc<RoutedChannel>>,
        gone: &RemovedChannels<'_>,
        configured: &HashSet<&SubscriptionKey>,
    ) {
        for RoutedChannel { channel, .. } in former.map(Arc::as_ref) {
            for subscription in channel
                .subscriptions
                .iter()
                .filter(|made| !configured.contains(&made.key))
            {
                if let Some(worker) = self.worker_states.remove(&subscription.key) {
                    // Set first: the worker may end as soon as its queue is retired.
                    worker.set_onward_channels(gone.onward_channels(subscription, channel));
                    self.backend.retire_subscription(&subscription.key);
                }
            }
        }
    }

    fn update_worker(&self, subscription: &Arc<Subscription>) {
        if let Some(worker) = self.worker_states.get(&subscription.key) {
            worker.set_subscription(Arc::clone(subscription));
        }
    }

    /// Starts the worker of a new queue. Events that are left in an older queue, in another
    /// backend, are delivered with the same worker state: by the configuration of now.
    fn start_worker(&mut self, subscription: Arc<Subscription>, consumer: QueueConsumer) {
        let worker = self
            .worker_states
            .get_or_insert(subscription.key.clone(), || {
                self.delivery.worker_state(subscription, self.concurrency)
            });
        self.workers
            .spawn(worker::run(worker, consumer, Arc::clone(&self.delivery)));
    }
}

/// Waits for the next change; `None` at the stop, which goes before a change that has come at the
/// same time.
async fn next_change(
    changes: &mut mpsc::Receiver<TableChange>,
    stop: &CancellationToken,
) -> Option<TableChange> {
    let change = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        change = changes.recv() => change,
    };
    if change.is_none() {
        stop.cancelled().await;
    }
    change
}

#[cfg(test)]
mod tests;
