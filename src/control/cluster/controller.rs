//! The role `controller`: it does for the kind RabbitmqChannel what Knative's imc-controller does
//! for InMemoryChannels (contract 1.16, 11.8). It takes no events, and starts no pods.
//!
//! In reading order: [`ClusterConnection::reconcile_channels`] watches; [`ChannelController`] plans
//! the work whenever something has changed, on the one process that has the Lease; [`reconcile`]
//! does the work for one channel; [`desired`] computes what the status should be, and is pure, as
//! are its parts.

mod conditions;
mod dead_letter_sink;
mod desired;
mod policies;
mod reconcile;
mod service;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch as value;
use tokio::task::JoinSet;

use super::election;
use super::watch;
use super::{ClusterConnection, FIRST_LIST_TIMEOUT, MIN_RESOLVE_INTERVAL, StopSignals};
use crate::control::channel_kind::ServedChannelKind;
use crate::control::cluster::watch::rows::{self, ControllerWatch, WatchNeed};
use crate::control::cluster::watch::store::ObjectStore;
use crate::control::cluster::write::queue::{WriteHandler, WriteQueue};
use crate::control::cluster::write::requests::{WriteError, with_timeout};
use crate::control::problem_log::{ProblemLog, epoch_seconds};
use crate::control::read::manifest::{ManifestFile, ManifestSet};
use crate::control::resolve::{Resolution, resolve};
use crate::control::settings::ControlSettings;
use crate::model::NamespacedName;
use crate::wire_text::WireText;
use desired::{ObservedCertificate, ObservedEndpoints, ReconcileContext};
use policies::ChannelPolicies;

/// The name of the Lease of the controller that writes.
const LEASE: &str = "sealpost-rabbitmq-controller";
/// The time after which every channel is compared although nothing has changed, since the objects
/// that dead letter sinks refer to are not watched.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(30);

/// The work for one channel: the channel, and all that its status depends on.
#[derive(Clone, Debug)]
struct ReconcileTask {
    document: Arc<Value>,
    context: Arc<ReconcileContext>,
    /// The Service of the channel; `None` if there is none yet.
    service: Option<Arc<Value>>,
    policies: ChannelPolicies,
}

impl PartialEq for ReconcileTask {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Value>>, b: &Option<Arc<Value>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        Arc::ptr_eq(&self.document, &other.document)
            && same(&self.service, &other.service)
            && self.context == other.context
            && self.policies == other.policies
    }
}

impl ClusterConnection {
    /// Reconciles every RabbitmqChannel of the cluster until `stops.stop_all`; `read` is called
    /// with each resolution of the configuration.
    pub async fn reconcile_channels(
        self,
        settings: ControlSettings,
        read: impl Fn(&Resolution) + Send + Sync,
        stops: StopSignals,
    ) {
        let Self { cluster, client } = self;
        // The store has to know all rows before the first watch starts, since planning waits for
        // the lists that are needed.
        let rows = rows::controller_rows(&settings);
        let store = Arc::new(ObjectStore::new(rows.iter().map(|row| row.need)));
        let (oidc, wanted) = value::channel(false);
        let mut tasks = JoinSet::new();
        for (index, row) in rows.into_iter().enumerate() {
            let (client, store) = (client.clone(), Arc::clone(&store));
            match row.need {
                WatchNeed::WithOidc => tasks.spawn(watch::watch_list_while(
                    wanted.clone(),
                    client,
                    row,
                    store,
                    index,
                )),
                WatchNeed::Always | WatchNeed::WithinGrace => {
                    tasks.spawn(watch::watch_list(client, row, store, index))
                }
            };
        }
        // The election runs beside the controller; it ends first, by `stops.stop_writing`, so that
        // another process can take over.
        let (leader, leads) = value::channel(false);
        let candidate = election::LeaseCandidate::new(
            client.clone(),
            &settings.system_namespace,
            LEASE,
            &cluster,
        );
        let mut election = JoinSet::new();
        election.spawn(candidate.run(leader, stops.stop_writing.clone()));
        let mut controller = ChannelController {
            store,
            settings,
            oidc,
            resolution: None,
            problem_log: ProblemLog::default(),
            writer: WriteQueue::new(ChannelReconciler(client)),
        };
        // After the stop, requests under way are finished before the watches end; the election is
        // awaited, so that the Lease is given up.
        stops
            .stop_all
            .run_until_cancelled(controller.run(read, leads))
            .await;
        controller.writer.finish_writes().await;
        tasks.shutdown().await;
        while election.join_next().await.is_some() {}
    }
}

/// Writes what one channel needs into the cluster; the queue runs it for many channels at once.
struct ChannelReconciler(kube::Client);

struct ChannelController {
    /// The objects of the cluster, in the lists of [`ControllerWatch`].
    store: Arc<ObjectStore>,
    settings: ControlSettings,
    /// True while EventPolicies are watched.
    oidc: value::Sender<bool>,
    resolution: Option<Arc<Resolution>>,
    problem_log: ProblemLog,
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
        read(&resolution);
        let wanted = resolution.table.oidc().is_some();
        self.oidc
            .send_if_modified(|oidc| std::mem::replace(oidc, wanted) != wanted);
        // Only the leader writes; a process that is no longer the leader forgets what it has
        // planned.
        if *leads.borrow_and_update() {
            let jobs = self.reconcile_tasks(&resolution);
            self.writer.plan(jobs.into_iter());
        } else {
            self.writer.cancel_pending();
        }
        self.resolution = Some(resolution);
    }

    /// Resolves the ConfigMaps and the TLS Secret; `None` if that panicked, which is logged.
    async fn resolve_configuration(&mut self) -> Option<Arc<Resolution>> {
        let lists = ControllerWatch::CONFIGURATION.map(|of| self.store.list(of.index()));
        let manifests = ManifestSet {
            files: lists.concat(),
            problems: Vec::new(),
        };
        let settings = ControlSettings {
            now: epoch_seconds(),
            ..self.settings.clone()
        };
        let last = self.resolution.clone();
        let resolved =
            tokio::task::spawn_blocking(move || resolve(&manifests, last.as_deref(), &settings))
                .await;
        let resolution = resolved
            .inspect_err(|error| tracing::error!(%error, "Configuration could not be processed"));
        let resolution = Arc::new(resolution.ok()?);
        if self
            .resolution
            .as_ref()
            .is_none_or(|last| resolution.differs(last))
        {
            self.problem_log.log_resolution(&resolution);
        }
        Some(resolution)
    }

    fn reconcile_tasks(&self, resolution: &Resolution) -> BTreeMap<NamespacedName, ReconcileTask> {
        let world = Arc::new(self.reconcile_context(resolution));
        let policies = self.objects(ControllerWatch::Policies);
        let services: HashMap<NamespacedName, Arc<Value>> = self
            .objects(ControllerWatch::Services)
            .into_iter()
            .map(|service| (namespaced_name(&service), service))
            .collect();
        let alive = |channel: &Arc<Value>| channel.pointer("/metadata/deletionTimestamp").is_none();
        let task = |document: Arc<Value>| {
            let name = namespaced_name(&document);
            let service = services
                .get(&(name.0.clone(), service::service_name(&name.1)))
                .cloned();
            let of = || ChannelPolicies::for_channel(policies.iter().map(Arc::as_ref), &document);
            let policies = if world.oidc {
                of()
            } else {
                ChannelPolicies::Off
            };
            (
                name,
                ReconcileTask {
                    document,
                    context: Arc::clone(&world),
                    service,
                    policies,
                },
            )
        };
        self.objects(ControllerWatch::Channels)
            .into_iter()
            .filter(alive)
            .map(task)
            .collect()
    }

    fn reconcile_context(&self, resolution: &Resolution) -> ReconcileContext {
        let ControlSettings {
            system_namespace,
            cluster_domain,
            ..
        } = &self.settings;
        let certificate = resolution.certificate.as_ref();
        ReconcileContext {
            mode: resolution.table.transport_encryption(),
            oidc: resolution.table.oidc().is_some(),
            certificate: certificate.map_or(ObservedCertificate::Missing, |known| {
                ObservedCertificate::Known(known.ca_pem.clone())
            }),
            endpoints: observe_endpoints(&self.objects(ControllerWatch::Endpoints)),
            dispatcher: format!(
                "{}.{system_namespace}.svc.{cluster_domain}",
                ServedChannelKind::Rabbitmq.dispatcher()
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
            .to_owned()
    };
    (text("/metadata/namespace"), text("/metadata/name"))
}

/// Says if the dispatcher has a ready pod. An endpoint is ready unless it says that it is not
/// (contract 1.16).
fn observe_endpoints(slices: &[Arc<Value>]) -> ObservedEndpoints {
    let of = |slice: &Arc<Value>| {
        slice
            .get("endpoints")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let is_ready = |endpoint: Value| {
        endpoint
            .pointer("/conditions/ready")
            .and_then(Value::as_bool)
            .unwrap_or(true)
    };
    match slices {
        [] => ObservedEndpoints::Missing,
        slices if slices.iter().flat_map(of).any(is_ready) => ObservedEndpoints::Ready,
        _ => ObservedEndpoints::NotReady,
    }
}

impl WriteHandler for ChannelReconciler {
    type ObjectKey = NamespacedName;
    type WriteTask = ReconcileTask;

    async fn write(&self, _name: &NamespacedName, task: &ReconcileTask) -> Result<(), WriteError> {
        with_timeout(reconcile::reconcile_channel(&self.0, task)).await
    }

    fn log_failure(&self, (namespace, name): &NamespacedName, error: &WriteError) {
        tracing::warn!(
            namespace,
            name,
            error = %WireText::new(error),
            "Channel could not be reconciled, trying again"
        );
    }

    fn covers(done: &ReconcileTask, other: &ReconcileTask) -> bool {
        done == other
    }

    fn satisfies(doing: &ReconcileTask, other: &ReconcileTask) -> bool {
        doing == other
    }
}
