//! The role `controller`: what Knative's imc-controller does for InMemoryChannels, for the kind RabbitmqChannel
//! (contract 1.16, 11.8). It takes no events, and starts no pods.
//!
//! In reading order: [`Connected::control`] watches; [`Controller`] begins what is to be done whenever something has
//! changed, on the one process that has the Lease; [`work`] does it for one channel; [`desired`] is what the status should
//! be, and pure, as are its parts.

mod conditions;
mod desired;
mod policies;
mod service;
mod sink;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch as value;
use tokio::task::JoinSet;

use super::store::Store;
use super::tell::{Untold, in_time};
use super::watched::{self, Controlled, Needed};
use super::writer::{Work, Writer};
use super::{Connected, GRACE, REST, Stops, election, watch};
use crate::control::journal::{Journal, now};
use crate::control::manifest::{File, Manifests};
use crate::control::{Channels, Resolution, Settings, resolve};
use crate::wire_text::WireText;
use desired::{Certificate, Endpoints, World};
use policies::Policies;

/// The Lease of whoever writes.
const LEASE: &str = "sealpost-rabbitmq-controller";
/// How often everything is compared although nothing has changed: what dead letter sinks refer to is not watched.
const AGAIN: Duration = Duration::from_secs(30);

/// What is to be done for one channel, and from what.
#[derive(Clone, Debug)]
struct Job {
    document: Arc<Value>,
    world: Arc<World>,
    /// Its Service, if it is there.
    service: Option<Arc<Value>>,
    policies: Policies,
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Value>>, b: &Option<Arc<Value>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        Arc::ptr_eq(&self.document, &other.document)
            && same(&self.service, &other.service)
            && self.world == other.world
            && self.policies == other.policies
    }
}

/// Namespace and name.
type Name = (String, String);

impl Connected {
    /// Reconciles every RabbitmqChannel of the cluster until the stop; `read` is told what the configuration is.
    pub async fn control(self, settings: Settings, read: impl Fn(&Resolution) + Send + Sync, stops: Stops) {
        let Self { cluster, client } = self;
        let rows = watched::controlled(&settings);
        let store = Arc::new(Store::new(rows.iter().map(|row| row.needed)));
        let (oidc, wanted) = value::channel(false);
        let mut tasks = JoinSet::new();
        for (index, row) in rows.into_iter().enumerate() {
            let (client, store) = (client.clone(), Arc::clone(&store));
            match row.needed {
                Needed::WithOidc => tasks.spawn(watch::run_while(wanted.clone(), client, row, store, index)),
                Needed::Always | Needed::Soon => tasks.spawn(watch::run(client, row, store, index)),
            };
        }
        let (leader, leads) = value::channel(false);
        let candidate = election::Candidate::new(client.clone(), &settings.system_namespace, LEASE, &cluster);
        let mut voting = JoinSet::new();
        voting.spawn(candidate.run(leader, stops.leaving.clone()));
        let mut controller = Controller {
            store,
            settings,
            oidc,
            resolution: None,
            journal: Journal::default(),
            writer: Writer::new(Reconciler(client)),
        };
        stops.stop.run_until_cancelled(controller.run(read, leads)).await;
        controller.writer.finish().await;
        tasks.shutdown().await;
        while voting.join_next().await.is_some() {}
    }
}

/// Makes the cluster as it should be, for one channel after the other.
struct Reconciler(kube::Client);

struct Controller {
    store: Arc<Store>,
    settings: Settings,
    /// Whether EventPolicies are watched.
    oidc: value::Sender<bool>,
    resolution: Option<Arc<Resolution>>,
    journal: Journal,
    writer: Writer<Reconciler>,
}

impl Controller {
    async fn run(&mut self, read: impl Fn(&Resolution) + Send + Sync, mut leads: value::Receiver<bool>) {
        self.store.first(GRACE).await;
        let mut again = tokio::time::interval(AGAIN);
        loop {
            self.look(&mut leads, &read).await;
            let is_due = loop {
                tokio::select! {
                    () = self.writer.ended() => {}
                    () = self.store.changed() => break false,
                    changed = leads.changed() => if changed.is_err() { return } else { break false },
                    _ = again.tick() => break true,
                }
            };
            if is_due {
                self.writer.forget();
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Compares what is with what should be, and begins what is to be done.
    async fn look(&mut self, leads: &mut value::Receiver<bool>, read: &(impl Fn(&Resolution) + Sync)) {
        let Some(resolution) = self.resolve().await else { return };
        read(&resolution);
        let wanted = resolution.table.oidc().is_some();
        self.oidc.send_if_modified(|oidc| std::mem::replace(oidc, wanted) != wanted);
        if *leads.borrow_and_update() {
            let jobs = self.jobs(&resolution);
            self.writer.plan(jobs.into_iter());
        } else {
            self.writer.rest();
        }
        self.resolution = Some(resolution);
    }

    /// What ConfigMaps and the Secret say.
    async fn resolve(&mut self) -> Option<Arc<Resolution>> {
        let lists = Controlled::CONFIGURATION.map(|of| self.store.list(of.index()));
        let manifests = Manifests { files: lists.concat(), problems: Vec::new() };
        let settings = Settings { now: now(), ..self.settings.clone() };
        let last = self.resolution.clone();
        let resolved = tokio::task::spawn_blocking(move || resolve(&manifests, last.as_deref(), &settings)).await;
        let resolution = resolved.inspect_err(|error| tracing::error!(%error, "Configuration could not be processed"));
        let resolution = Arc::new(resolution.ok()?);
        if self.resolution.as_ref().is_none_or(|last| resolution.differs(last)) {
            self.journal.write(&resolution);
        }
        Some(resolution)
    }

    fn jobs(&self, resolution: &Resolution) -> BTreeMap<Name, Job> {
        let world = Arc::new(self.world(resolution));
        let policies = self.objects(Controlled::Policies);
        let services: HashMap<Name, Arc<Value>> =
            self.objects(Controlled::Services).into_iter().map(|service| (name_of(&service), service)).collect();
        let alive = |channel: &Arc<Value>| channel.pointer("/metadata/deletionTimestamp").is_none();
        let job = |document: Arc<Value>| {
            let name = name_of(&document);
            let service = services.get(&(name.0.clone(), service::name(&name.1))).cloned();
            let of = || Policies::of(policies.iter().map(Arc::as_ref), &document);
            let policies = if world.oidc { of() } else { Policies::Off };
            (name, Job { document, world: Arc::clone(&world), service, policies })
        };
        self.objects(Controlled::Channels).into_iter().filter(alive).map(job).collect()
    }

    fn world(&self, resolution: &Resolution) -> World {
        let Settings { system_namespace, cluster_domain, .. } = &self.settings;
        let certificate = resolution.certificate.as_ref();
        World {
            mode: resolution.table.transport_encryption(),
            oidc: resolution.table.oidc().is_some(),
            certificate: certificate.map_or(Certificate::Missing, |known| Certificate::Known(known.ca_pem.clone())),
            endpoints: endpoints(&self.objects(Controlled::Endpoints)),
            dispatcher: format!("{}.{system_namespace}.svc.{cluster_domain}", Channels::Rabbitmq.dispatcher()),
            cluster_domain: cluster_domain.clone(),
        }
    }

    fn objects(&self, of: Controlled) -> Vec<Arc<Value>> {
        let value = |file: &Arc<File>| file.documents.first().map(|document| Arc::clone(&document.value));
        self.store.list(of.index()).iter().filter_map(value).collect()
    }
}

fn name_of(object: &Value) -> Name {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/metadata/namespace"), text("/metadata/name"))
}

/// An endpoint is ready unless it says that it is not (contract 1.16).
fn endpoints(slices: &[Arc<Value>]) -> Endpoints {
    let of = |slice: &Arc<Value>| slice.get("endpoints").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_ready = |endpoint: Value| endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
    match slices {
        [] => Endpoints::Missing,
        slices if slices.iter().flat_map(of).any(is_ready) => Endpoints::Ready,
        _ => Endpoints::NotReady,
    }
}

impl Work for Reconciler {
    type Key = Name;
    type Task = Job;

    async fn attempt(&self, _name: &Name, job: &Job) -> Result<(), Untold> {
        in_time(work::reconcile(&self.0, job)).await
    }

    fn failed(&self, (namespace, name): &Name, error: &Untold) {
        tracing::warn!(namespace, name, error = %WireText::of(error), "Channel could not be reconciled, trying again");
    }

    fn covers(done: &Job, other: &Job) -> bool {
        done == other
    }

    fn serves(doing: &Job, other: &Job) -> bool {
        doing == other
    }
}
