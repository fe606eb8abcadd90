//! The role `controller`: it does for one of our kinds, RabbitmqChannel or DiskChannel, what
//! Knative's imc-controller does for InMemoryChannels (contract 1.16, 11.8). It takes no events, and starts no pods.
//!
//! In reading order: [`ClusterConnection::reconcile_channels`] watches what [`rows`] lists;
//! [`ChannelController`] plans a [`reconcile_task`] for each channel whenever something has changed,
//! on the one process that has the Lease; [`reconcile`] does the work for one channel; [`desired`]
//! computes what the status should be, and is pure, as are its parts.

mod conditions;
mod context;
mod dead_letter_sink;
mod desired;
mod policies;
mod reconcile;
mod reconcile_task;
mod rows;
mod service;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch as value;
use tokio::task::JoinSet;

use super::connection::{ClusterConnection, StopSignals};
use super::election::LeaseCandidate;
use super::store_resolver::StoreResolver;
use super::watch::store::{FIRST_LIST_TIMEOUT, ObjectStore};
use super::watch::{MIN_RESOLVE_INTERVAL, spawn_watches};
use super::write::queue::WriteQueue;
use crate::control::read::document::ManifestFile;
use crate::control::resolve::Resolution;
use crate::control::settings::ControlSettings;
use crate::model::NamespacedName;
use context::{ObservedCertificate, ObservedEndpoints, ReconcileContext};
use policies::ChannelPolicies;
use reconcile::ChannelReconciler;
use reconcile_task::ReconcileTask;
use rows::ControllerWatch;

/// The time after which every channel is compared although nothing has changed, since the objects
/// that dead letter sinks refer to are not watched.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(30);

impl ClusterConnection {
    /// Reconciles every channel of the kind in the cluster until `stops.stop_all`; `read` is called
    /// with each resolution of the configuration.
    pub(crate) async fn reconcile_channels(
        self,
        settings: ControlSettings,
        read: impl Fn(&Resolution) + Send + Sync,
        stops: StopSignals,
    ) {
        let Self {
            cluster,
            client,
            metrics,
        } = self;
        // The store has to know all rows before the first watch starts, since planning waits for
        // the lists that are needed.
        let rows = rows::controller_rows(&settings);
        let store = Arc::new(ObjectStore::new(rows.iter().map(|row| row.need)));
        let (oidc, oidc_wanted) = value::channel(false);
        let mut watches = spawn_watches(rows, &client, &store, &oidc_wanted);
        // The election runs beside the controller; it ends first, by `stops.stop_writing`, so that
        // another process can take over.
        let (leader, leads) = value::channel(false);
        let namespace = &settings.system_namespace;
        let lease = settings.task.channel_kind().controller_names().lease;
        metrics.expose_lease(lease, leads.clone());
        let candidate = LeaseCandidate::new(client.clone(), namespace, lease, &cluster);
        let mut election = JoinSet::new();
        election.spawn(candidate.run(leader, stops.stop_writing.clone()));
        let mut controller = ChannelController {
            store,
            resolver: StoreResolver::new(settings),
            oidc,
            writer: WriteQueue::new(ChannelReconciler::new(client), metrics),
        };
        // After the stop, requests under way are finished before the watches end; the election is
        // awaited, so that the Lease is given up.
        stops
            .stop_all
            .run_until_cancelled(controller.run(read, leads))
            .await;
        controller.writer.finish_writes().await;
        watches.shutdown().await;
        while election.join_next().await.is_some() {}
    }
}

struct ChannelController {
    /// The objects of the cluster, in the lists of [`ControllerWatch`].
    store: Arc<ObjectStore>,
    resolver: StoreResolver,
    /// True while EventPolicies are watched.
    oidc: value::Sender<bool>,
    /// The tasks that are written into the cluster.
    writer: WriteQueue<ChannelReconciler>,
}

impl ChannelController {
    async fn run(
        &mut self,
        read: impl Fn(&Resolution) + Send + Sync,
        mut leads: value::Receiver<bool>,
    ) {
        self.store.wait_for_first_lists(FIRST_LIST_TIMEOUT).await;
        let mut again = tokio::time::interval(RECONCILE_INTERVAL);
        loop {
            // Plan first, so that the first lists are acted on before anything changes.
            self.plan_reconciliation(&mut leads, &read).await;
            let is_due = loop {
                tokio::select! {
                    () = self.writer.wait_for_write() => {}
                    () = self.store.wait_for_change() => break false,
                    changed = leads.changed() => if changed.is_err() { return } else { break false },
                    _ = again.tick() => break true,
                }
            };
            // What was written before may have been undone, or its dead letter sink may have an
            // address now.
            if is_due {
                self.writer.forget_written();
            }
            tokio::time::sleep(MIN_RESOLVE_INTERVAL).await;
        }
    }

    /// Resolves the configuration, compares each channel with what it should be, and hands the
    /// difference to the queue.
    async fn plan_reconciliation(
        &mut self,
        leads: &mut value::Receiver<bool>,
        read: &(impl Fn(&Resolution) + Sync),
    ) {
        let Some(resolution) = self.resolve_configuration().await else {
            return;
        };
        self.resolver.keep(&resolution);
        read(&resolution);
        let wanted = resolution.table.oidc().is_some();
        self.oidc
            .send_if_modified(|oidc| std::mem::replace(oidc, wanted) != wanted);
        let is_leader = *leads.borrow_and_update();
        let tasks = is_leader.then(|| self.reconcile_tasks(&resolution));
        self.writer.plan_as_leader(tasks);
    }

    /// Resolves the ConfigMaps and the TLS Secret; `None` if that panicked, which is logged.
    async fn resolve_configuration(&self) -> Option<Arc<Resolution>> {
        let lists = ControllerWatch::CONFIGURATION.map(|of| self.store.list(of.index()));
        let resolved = self.resolver.resolve(lists.concat()).await;
        resolved
            .inspect_err(|error| tracing::error!(%error, "Configuration could not be processed"))
            .ok()
    }

    /// The task of each channel that is not being deleted.
    fn reconcile_tasks(&self, resolution: &Resolution) -> BTreeMap<NamespacedName, ReconcileTask> {
        let context = Arc::new(self.reconcile_context(resolution));
        let policies = self.objects(ControllerWatch::Policies);
        let services: HashMap<NamespacedName, Arc<Value>> = self
            .objects(ControllerWatch::Services)
            .into_iter()
            .map(|service| (namespaced_name(&service), service))
            .collect();
        let task = |document: Arc<Value>| {
            let name = namespaced_name(&document);
            let service = services
                .get(&NamespacedName::new(
                    &name.namespace,
                    service::service_name(&name.name, context.kind),
                ))
                .cloned();
            let policies = if context.oidc {
                let all = policies.iter().map(Arc::as_ref);
                ChannelPolicies::for_channel(all, &document, context.kind)
            } else {
                ChannelPolicies::Off
            };
            let context = Arc::clone(&context);
            let task = ReconcileTask {
                document,
                context,
                service,
                policies,
            };
            (name, task)
        };
        self.objects(ControllerWatch::Channels)
            .into_iter()
            .filter(|channel| channel.pointer("/metadata/deletionTimestamp").is_none())
            .map(task)
            .collect()
    }

    fn reconcile_context(&self, resolution: &Resolution) -> ReconcileContext {
        let ControlSettings {
            system_namespace,
            cluster_domain,
            ..
        } = &self.resolver.settings;
        let certificate = resolution.certificate.as_ref();
        let kind = self.resolver.settings.task.channel_kind();
        ReconcileContext {
            kind,
            mode: resolution.table.transport_encryption(),
            oidc: resolution.table.oidc().is_some(),
            certificate: certificate.map_or(ObservedCertificate::Missing, |known| {
                ObservedCertificate::Known(known.ca_pem.clone())
            }),
            endpoints: ObservedEndpoints::of_slices(&self.objects(ControllerWatch::Endpoints)),
            dispatcher: format!(
                "{}.{system_namespace}.svc.{cluster_domain}",
                kind.dispatcher()
            ),
            cluster_domain: cluster_domain.clone(),
        }
    }

    fn objects(&self, of: ControllerWatch) -> Vec<Arc<Value>> {
        let value = |file: &Arc<ManifestFile>| {
            file.documents
                .first()
                .map(|document| Arc::clone(&document.value))
        };
        self.store
            .list(of.index())
            .iter()
            .filter_map(value)
            .collect()
    }
}

fn namespaced_name(object: &Value) -> NamespacedName {
    let text = |path: &str| {
        object
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    NamespacedName::new(text("/metadata/namespace"), text("/metadata/name"))
}
