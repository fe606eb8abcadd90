//! The role `controller`: what Knative's imc-controller does for InMemoryChannels, for the kind RabbitmqChannel
//! (control-plane.md 1.16, 11.8). It takes no events, and starts no pods.
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
use tokio::sync::{Semaphore, watch as value};
use tokio::task::{AbortHandle, JoinSet};

use super::store::Store;
use super::tell::{Untold, in_time};
use super::waits::Waits;
use super::watched::{self, Controlled, Needed};
use super::{Connected, GRACE, REST, Stops, election, watch};
use crate::control::journal::{Journal, now};
use crate::control::manifest::{File, Manifests};
use crate::control::{Channels, Resolution, Settings, resolve};
use desired::{Certificate, Endpoints, World};
use policies::Policies;

/// The Lease of whoever writes.
const LEASE: &str = "sealpost-rabbitmq-controller";
/// How often everything is compared although nothing has changed: what dead letter sinks refer to is not watched.
const AGAIN: Duration = Duration::from_secs(30);
/// Channels that are worked on at once.
const CONCURRENCY: usize = 16;

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
        let permits = Arc::new(Semaphore::new(CONCURRENCY));
        let mut controller = Controller {
            store,
            settings,
            oidc,
            resolution: None,
            journal: Journal::default(),
            writer: Writer { client, permits, under_way: HashMap::new(), done: HashMap::new(), tasks: JoinSet::new() },
        };
        stops.stop.run_until_cancelled(controller.run(read, leads)).await;
        controller.writer.tasks.shutdown().await;
        tasks.shutdown().await;
        while voting.join_next().await.is_some() {}
    }
}

struct Controller {
    store: Arc<Store>,
    settings: Settings,
    /// Whether EventPolicies are watched.
    oidc: value::Sender<bool>,
    resolution: Option<Arc<Resolution>>,
    journal: Journal,
    writer: Writer,
}

impl Controller {
    async fn run(&mut self, read: impl Fn(&Resolution) + Send + Sync, mut leads: value::Receiver<bool>) {
        self.store.first(GRACE).await;
        let mut again = tokio::time::interval(AGAIN);
        loop {
            self.look(&mut leads, &read).await;
            let is_due = loop {
                tokio::select! {
                    Some(ended) = self.writer.tasks.join_next() => if let Ok(name) = ended {
                        self.writer.ended(&name);
                    },
                    () = self.store.changed() => break false,
                    changed = leads.changed() => if changed.is_err() { return } else { break false },
                    _ = again.tick() => break true,
                }
            };
            if is_due {
                self.writer.done.clear();
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
            self.writer.plan(jobs);
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

/// An endpoint is ready unless it says that it is not (1.16).
fn endpoints(slices: &[Arc<Value>]) -> Endpoints {
    let of = |slice: &Arc<Value>| slice.get("endpoints").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_ready = |endpoint: Value| endpoint.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true);
    match slices {
        [] => Endpoints::Missing,
        slices if slices.iter().flat_map(of).any(is_ready) => Endpoints::Ready,
        _ => Endpoints::NotReady,
    }
}

struct Writer {
    client: kube::Client,
    permits: Arc<Semaphore>,
    under_way: HashMap<Name, (Job, AbortHandle)>,
    done: HashMap<Name, Job>,
    tasks: JoinSet<Name>,
}

impl Writer {
    /// Begins what is to be done, and ends what is not to be done any more.
    fn plan(&mut self, jobs: BTreeMap<Name, Job>) {
        let mut before = std::mem::take(&mut self.under_way);
        let mut done = std::mem::take(&mut self.done);
        for (name, job) in jobs {
            if let Some(done) = done.remove(&name).filter(|done| *done == job) {
                self.done.insert(name, done);
                continue;
            }
            match before.remove(&name) {
                Some((doing, handle)) if doing == job => {
                    self.under_way.insert(name, (doing, handle));
                }
                other => {
                    if let Some((_, handle)) = other {
                        handle.abort();
                    }
                    self.begin(name, job);
                }
            }
        }
        for (_, handle) in before.into_values() {
            handle.abort();
        }
    }

    fn begin(&mut self, name: Name, job: Job) {
        let (client, permits) = (self.client.clone(), Arc::clone(&self.permits));
        let (of, todo) = (name.clone(), job.clone());
        let handle = self.tasks.spawn(async move {
            until_done(&client, &permits, &todo).await;
            of
        });
        self.under_way.insert(name, (job, handle));
    }

    fn ended(&mut self, name: &Name) {
        if let Some((job, _)) = self.under_way.remove(name) {
            self.done.insert(name.clone(), job);
        }
    }

    /// Another process writes, and what was done here says nothing about what is right.
    fn rest(&mut self) {
        self.tasks.abort_all();
        self.under_way.clear();
        self.done.clear();
    }
}

/// Tries until it is done, or the channel is gone.
async fn until_done(client: &kube::Client, permits: &Semaphore, job: &Job) {
    let mut waits = Waits::default();
    loop {
        let Ok(permit) = permits.acquire().await else { return };
        let done = in_time(work::reconcile(client, job)).await;
        drop(permit);
        match done {
            Ok(()) | Err(Untold::Gone) => return,
            Err(error) => {
                let (namespace, name) = name_of(&job.document);
                tracing::warn!(namespace, name, %error, "Channel could not be reconciled, trying again");
            }
        }
        tokio::time::sleep(waits.next()).await;
    }
}
