//! The role `controller`: what Knative's imc-controller does for InMemoryChannels, for the kind RabbitmqChannel
//! (contract 1.16, 11.8). It takes no events, and starts no pods.
//!
//! In reading order: [`Connected::control`] watches; [`ChannelController`] begins what is to be done whenever something has
//! changed, on the one process that has the Lease; [`work`] does it for one channel; [`desired`] is what the status should
//! be, and pure, as are its parts.

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

use super::store::ObjectStore;
use super::watch_rows::{self, ControllerWatch, WatchNeed};
use super::write_queue::{WriteHandler, WriteQueue};
use super::write_requests::{WriteError, with_timeout};
use super::{ClusterConnection, GRACE, REST, StopSignals, election, watch};
use crate::control::manifest::{ManifestFile, ManifestSet};
use crate::control::problem_log::{ProblemLog, epoch_seconds};
use crate::control::{ControlSettings, Resolution, ServedChannelKind, resolve};
use crate::wire_text::WireText;
use desired::{ObservedCertificate, ObservedEndpoints, ReconcileContext};
use policies::ChannelPolicies;

/// The Lease of whoever writes.
const LEASE: &str = "sealpost-rabbitmq-controller";
/// How often everything is compared although nothing has changed: what dead letter sinks refer to is not watched.
const AGAIN: Duration = Duration::from_secs(30);

/// What is to be done for one channel, and from what.
#[derive(Clone, Debug)]
struct ReconcileTask {
    document: Arc<Value>,
    context: Arc<ReconcileContext>,
    /// Its Service, if it is there.
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

/// Namespace and name.
type NamespacedName = (String, String);

impl ClusterConnection {
    /// Reconciles every RabbitmqChannel of the cluster until the stop; `read` is told what the configuration is.
    pub async fn reconcile_channels(
        self,
        settings: ControlSettings,
        read: impl Fn(&Resolution) + Send + Sync,
        stops: StopSignals,
    ) {
        let Self { cluster, client } = self;
        let rows = watch_rows::controller_rows(&settings);
        let store = Arc::new(ObjectStore::new(rows.iter().map(|row| row.need)));
        let (oidc, wanted) = value::channel(false);
        let mut tasks = JoinSet::new();
        for (index, row) in rows.into_iter().enumerate() {
            let (client, store) = (client.clone(), Arc::clone(&store));
            match row.need {
                WatchNeed::WithOidc => tasks.spawn(watch::watch_list_while(wanted.clone(), client, row, store, index)),
                WatchNeed::Always | WatchNeed::WithinGrace => tasks.spawn(watch::watch_list(client, row, store, index)),
            };
        }
        let (leader, leads) = value::channel(false);
        let candidate = election::LeaseCandidate::new(client.clone(), &settings.system_namespace, LEASE, &cluster);
        let mut voting = JoinSet::new();
        voting.spawn(candidate.run(leader, stops.stop_writing.clone()));
        let mut controller = ChannelController {
            store,
            settings,
            oidc,
            resolution: None,
            problem_log: ProblemLog::default(),
            writer: WriteQueue::new(ChannelReconciler(client)),
        };
        stops.stop_all.run_until_cancelled(controller.run(read, leads)).await;
        controller.writer.finish_writes().await;
        tasks.shutdown().await;
        while voting.join_next().await.is_some() {}
    }
}

/// Makes the cluster as it should be, for one channel after the other.
struct ChannelReconciler(kube::Client);

struct ChannelController {
    store: Arc<ObjectStore>,
    settings: ControlSettings,
    /// Whether EventPolicies are watched.
    oidc: value::Sender<bool>,
    resolution: Option<Arc<Resolution>>,
    problem_log: ProblemLog,
    writer: WriteQueue<ChannelReconciler>,
}

impl ChannelController {
    async fn run(&mut self, read: impl Fn(&Resolution) + Send + Sync, mut leads: value::Receiver<bool>) {
        self.store.wait_for_first_lists(GRACE).await;
        let mut again = tokio::time::interval(AGAIN);
        loop {
            self.plan_reconciliation(&mut leads, &read).await;
            let is_due = loop {
                tokio::select! {
                    () = self.writer.wait_for_write() => {}
                    () = self.store.wait_for_change() => break false,
                    changed = leads.changed() => if changed.is_err() { return } else { break false },
                    _ = again.tick() => break true,
                }
            };
            if is_due {
                self.writer.forget_written();
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Compares what is with what should be, and begins what is to be done.
    async fn plan_reconciliation(&mut self, leads: &mut value::Receiver<bool>, read: &(impl Fn(&Resolution) + Sync)) {
        let Some(resolution) = self.resolve_configuration().await else { return };
        read(&resolution);
        let wanted = resolution.table.oidc().is_some();
        self.oidc.send_if_modified(|oidc| std::mem::replace(oidc, wanted) != wanted);
        if *leads.borrow_and_update() {
            let jobs = self.reconcile_tasks(&resolution);
            self.writer.plan(jobs.into_iter());
        } else {
            self.writer.cancel_pending();
        }
        self.resolution = Some(resolution);
    }

    /// What ConfigMaps and the Secret say.
    async fn resolve_configuration(&mut self) -> Option<Arc<Resolution>> {
        let lists = ControllerWatch::CONFIGURATION.map(|of| self.store.list(of.index()));
        let manifests = ManifestSet { files: lists.concat(), problems: Vec::new() };
        let settings = ControlSettings { now: epoch_seconds(), ..self.settings.clone() };
        let last = self.resolution.clone();
        let resolved = tokio::task::spawn_blocking(move || resolve(&manifests, last.as_deref(), &settings)).await;
        let resolution = resolved.inspect_err(|error| tracing::error!(%error, "Configuration could not be processed"));
        let resolution = Arc::new(resolution.ok()?);
        if self.resolution.as_ref().is_none_or(|last| resolution.differs(last)) {
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
        let job = |document: Arc<Value>| {
            let name = namespaced_name(&document);
            let service = services.get(&(name.0.clone(), service::service_name(&name.1))).cloned();
            let of = || ChannelPolicies::for_channel(policies.iter().map(Arc::as_ref), &document);
            let policies = if world.oidc { of() } else { ChannelPolicies::Off };
            (name, ReconcileTask { document, context: Arc::clone(&world), service, policies })
        };
        self.objects(ControllerWatch::Channels).into_iter().filter(alive).map(job).collect()
    }

    fn reconcile_context(&self, resolution: &Resolution) -> ReconcileContext {
        let ControlSettings { system_namespace, cluster_domain, .. } = &self.settings;
        let certificate = resolution.certificate.as_ref();
        ReconcileContext {
            mode: resolution.table.transport_encryption(),
            oidc: resolution.table.oidc().is_some(),
            certificate: certificate
                .map_or(ObservedCertificate::Missing, |known| ObservedCertificate::Known(known.ca_pem.clone())),
            endpoints: observe_endpoints(&self.objects(ControllerWatch::Endpoints)),
            dispatcher: format!("{}.{system_namespace}.svc.{cluster_domain}", ServedChannelKind::Rabbitmq.dispatcher()),
            cluster_domain: cluster_domain.clone(),
        }
    }

    fn objects(&self, of: ControllerWatch) -> Vec<Arc<Value>> {
        let value = |file: &Arc<ManifestFile>| file.documents.first().map(|document| Arc::clone(&document.value));
        self.store.list(of.index()).iter().filter_map(value).collect()
    }
}

fn namespaced_name(object: &Value) -> NamespacedName {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/namespace"), text("/metadata/name"))
}

/// An endpoint is ready unless it says that it is not (contract 1.16).
fn observe_endpoints(slices: &[Arc<Value>]) -> ObservedEndpoints {
    let of = |slice: &Arc<Value>| slice.get("endpoints").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_ready = |endpoint: Value| endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
    match slices {
        [] => ObservedEndpoints::Missing,
        slices if slices.iter().flat_map(of).any(is_ready) => ObservedEndpoints::Ready,
        _ => ObservedEndpoints::NotReady,
    }
}

impl WriteHandler for ChannelReconciler {
    type ObjectKey = NamespacedName;
    type WriteTask = ReconcileTask;

    async fn write(&self, _name: &NamespacedName, job: &ReconcileTask) -> Result<(), WriteError> {
        with_timeout(reconcile::reconcile_channel(&self.0, job)).await
    }

    fn log_failure(&self, (namespace, name): &NamespacedName, error: &WriteError) {
        tracing::warn!(namespace, name, error = %WireText::new(error), "Channel could not be reconciled, trying again");
    }

    fn covers(done: &ReconcileTask, other: &ReconcileTask) -> bool {
        done == other
    }

    fn satisfies(doing: &ReconcileTask, other: &ReconcileTask) -> bool {
        doing == other
    }
}
