//! Builds every part once, starts them in order, and takes them down in order: the only place that knows all of them.

mod certificate;
mod configuration;
mod controller;
mod descriptors;
mod facts;
mod listeners;
mod observability;
mod operators;
mod publisher;
mod rabbitmq;
mod senders;
mod service;
mod shutdown;
mod told;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Process, View};
use crate::auth::TokenTransport;
use crate::budget::Budget;
use crate::channel::memory::MemoryBackend;
use crate::channel::rabbitmq::RabbitmqBackend;
use crate::channel::storages::Storages;
use crate::cli::RunOptions;
use crate::client::{self, ClientCache};
use crate::control::Resolution;
use crate::delivery::{self, Delivery, Lanes};
use crate::dispatcher::{Change, Dispatcher};
use crate::display::Display;
use crate::ingress::Ingress;
use crate::ingress::entrance::{Entrance, HttpsWhenDisabled};
use crate::ingress::gate::{Gate, Served};
use crate::model::{Hosts, Role, RoutingTable};
use crate::relay::{BrokerIngress, Relay, TriggerFilter};
use crate::router::{RelayedSeries, RequestLimits, Rooms, Router, Serving};
use crate::server::body::Intake;
use crate::server::socket::OwnerSocket;
use crate::server::{self, Handler, Limits};
use crate::source::Sources;
use crate::supervisor::Readiness;
use crate::telemetry::LogLevel;
use crate::telemetry::counters::Counters;
use crate::telemetry::series::Traffic;
use crate::telemetry::trace::Tracer;
use crate::tls::{MinVersion, SystemRoots};
use certificate::Certificates;
use configuration::Configuration;
use descriptors::Shares;
use listeners::Listeners;
use observability::Observer;
use operators::Operators;
use publisher::Publisher;
use senders::{ApiClient, Senders};
use service::ServiceWatch;
use shutdown::{Signals, Stage};

/// Runs the dispatcher until it is told to stop.
///
/// # Errors
/// If it cannot start: an address is taken, a path does not exist, the state directory cannot be written, nothing says
/// where the cluster is.
pub async fn run(options: RunOptions, log: LogLevel) -> anyhow::Result<ExitCode> {
    if options.is_controller() {
        return controller::run(options, log).await;
    }
    let shares = Shares::raise(&options.limits);
    let signals = Signals::listen()?;
    let min_version = options.min_version().map_err(anyhow::Error::msg)?;
    let listeners = Listeners::bind(&options).await?;
    let certificates = Certificates::load(&options)?;
    let operators = Operators::expect(&options).await?;
    let settings = configuration::settings(&options, &listeners, &certificates)?;
    let mut stages = Stage::default();
    let (served, told) = watch::channel(None);
    let Configuration { first, is_complete, newest, api_server, leads } =
        Configuration::start(&options, settings, told, &mut stages).await?;
    certificates.follow(&first);

    // Read once: parsing them is a good part of the start.
    let trusted = (SystemRoots::load(), min_version);
    let how = (&options, shares, stages.stop.clone());
    let (mut parts, tasks) = Parts::new(how, first, trusted.clone(), api_server)?;
    parts.leads = leads;
    tasks.start(parts.tables.subscribe(), &mut stages);
    let traced = (parts.router.tracer().clone(), &parts.counters);
    let observer = Observer::start(&options, traced, trusted, &parts.first, &mut stages);
    listeners.announce(options.ports_file.as_deref())?;
    let (changes, receiver) = mpsc::channel(1);
    parts.start(&options, (listeners, operators), &certificates, (receiver, &mut stages))?;
    let publisher = Publisher {
        changes,
        shown: parts.shown.clone(),
        tables: parts.tables.clone(),
        served,
        certificates: certificates.clone(),
        counters: Arc::clone(&parts.counters),
        observer,
        readiness: parts.readiness.clone(),
        log: Some(log).filter(|_| options.log_level.is_none()),
    };
    if is_complete {
        facts::note(&parts.counters, &parts.first);
    }
    if is_complete && parts.readiness.started() {
        service::started(&parts.readiness);
    }
    let told = told::run(Arc::clone(&parts.counters), parts.tables.subscribe(), stages.answering_stop.clone());
    stages.answering.spawn("told", told);
    stages.accepting.spawn("publisher", publisher.run(newest, stages.stop.clone()));
    stages.accepting.spawn("certificate", certificates.keep_fresh(Arc::clone(&parts.counters), stages.stop.clone()));
    Ok(stages.run(signals, options.drain_timeout, &parts.readiness, &parts.counters).await)
}

/// What lives as long as the process.
struct Parts {
    counters: Arc<Counters>,
    readiness: Readiness,
    router: Arc<Router>,
    clients: Arc<ClientCache>,
    /// What events may hold in memory, whether they come by HTTP or out of queues.
    budget: Arc<Budget>,
    shares: Shares,
    senders: Senders,
    delivery: Arc<Delivery<ClientCache>>,
    first: Arc<Resolution>,
    min_version: MinVersion,
    /// Whether it tells the cluster what it serves.
    leads: Option<watch::Receiver<bool>>,
    /// What is served, for whoever asks.
    shown: watch::Sender<Arc<Resolution>>,
    /// What is served, for the sources.
    tables: watch::Sender<Arc<RoutingTable>>,
}

impl Parts {
    /// `api_server` issues tokens and takes `EventType`s, if there is one.
    fn new(
        (options, shares, stop): (&RunOptions, Shares, CancellationToken),
        first: Arc<Resolution>,
        (roots, min_version): (SystemRoots, MinVersion),
        api_server: Option<ApiClient>,
    ) -> anyhow::Result<(Self, senders::Tasks)> {
        let counters = Arc::new(Counters::default());
        let limits = client::Limits {
            max_reply_bytes: options.limits.max_body_bytes,
            max_connections: shares.destinations,
            max_lookups: shares.lookups,
            ..client::Limits::default()
        };
        let clients = ClientCache::new(roots, min_version, limits);
        let clients = Arc::new(clients.counted(Arc::clone(&counters.series.clients)));
        let transport = if options.tokens_over_http { TokenTransport::Any } else { TokenTransport::HttpsOnly };
        let (senders, tasks) = Senders::new(&clients, &counters, api_server, transport);
        let nothing = Serving {
            table: Arc::new(first.table.without_channels()),
            publishers: Vec::new(),
            series: Vec::new(),
            relayed: RelayedSeries::default(),
            rooms: Rooms::default(),
        };
        let max_ttl = options.broker_max_ttl().map_err(anyhow::Error::msg)?;
        let router = Router::new(nothing, max_ttl, Arc::clone(&counters));
        let budget = Budget::new(options.limits.max_buffered_bytes);
        counters.note(|facts| facts.budget = Some(Arc::clone(&budget)));
        let router = router.with_event_types(senders.event_types.clone()).with_budget(Arc::clone(&budget));
        let router = Arc::new(router.with_request_limits(request_limits(options, stop)));
        let delivery = Delivery::new(
            Arc::clone(&clients),
            Arc::clone(&router),
            Display::default(),
            delivery_options(options),
            Arc::clone(&counters),
        );
        let delivery = delivery.with_tokens(Arc::clone(&senders.tokens));
        let delivery = Arc::new(delivery.with_event_types(senders.event_types.clone()));
        let shown = watch::Sender::new(Arc::clone(&first));
        let tables = watch::Sender::new(Arc::clone(&first.table));
        let readiness = Readiness::default();
        let leads = None;
        let parts = Self {
            counters,
            readiness,
            router,
            clients,
            budget,
            shares,
            senders,
            delivery,
            first,
            min_version,
            leads,
            shown,
            tables,
        };
        Ok((parts, tasks))
    }

    /// What keeps events. RabbitMQ is there until the very end, so that what is delivered can be acknowledged.
    fn storages(&self, options: &RunOptions, stages: &mut Stage) -> anyhow::Result<Storages> {
        let memory = MemoryBackend::new(options.limits.queue_capacity, Arc::clone(&self.counters));
        let Some(rabbitmq) = rabbitmq::options(options, &self.budget)? else { return Ok(Storages::new(memory, None)) };
        let rabbitmq = Arc::new(RabbitmqBackend::new(rabbitmq, Arc::clone(&self.counters)));
        let (ended, stop) = (Arc::clone(&rabbitmq), stages.answering_stop.clone());
        stages.answering.spawn("rabbitmq", async move {
            stop.cancelled().await;
            ended.end().await;
        });
        Ok(Storages::new(memory, Some(rabbitmq)))
    }

    /// Whether what is configured is served; memory always is.
    fn watch(&self, storages: &Arc<Storages>, stages: &mut Stage) {
        if storages.is_rabbitmq_connected().is_none() {
            return;
        }
        let watch = ServiceWatch {
            tables: self.tables.subscribe(),
            storages: Arc::clone(storages),
            readiness: self.readiness.clone(),
            counters: Arc::clone(&self.counters),
        };
        watch.attach();
        stages.answering.spawn("service", watch.run(stages.leaving.clone()));
    }

    /// What the admin port shows.
    fn view(&self, options: &RunOptions, certificates: &Certificates, lanes: Lanes, storages: Arc<Storages>) -> View {
        View {
            process: Process { role: options.role(), in_cluster: options.kubernetes, started: SystemTime::now() },
            readiness: self.readiness.clone(),
            counters: Arc::clone(&self.counters),
            shown: self.shown.subscribe(),
            lanes,
            storages,
            leads: self.leads.clone(),
            identity: certificates.identity().clone(),
        }
    }

    /// Starts everything, what is needed before what needs it.
    fn start(
        &self,
        options: &RunOptions,
        (listeners, operators): (Listeners, Operators),
        certificates: &Certificates,
        (changes, stages): (mpsc::Receiver<Change>, &mut Stage),
    ) -> anyhow::Result<()> {
        let storages = Arc::new(self.storages(options, stages)?);
        self.watch(&storages, stages);
        let (router, delivery) = (Arc::clone(&self.router), Arc::clone(&self.delivery));
        let mut dispatcher = Dispatcher::new(Arc::clone(&storages) as _, router, delivery, options.limits.concurrency);
        dispatcher.apply(&self.first.table);
        let view = self.view(options, certificates, dispatcher.lanes(), storages);
        let admin = Admin::new(view, operators.token);
        stages.delivering.spawn("dispatcher", dispatcher.run(changes, stages.drained.clone()));
        stages.answering.spawn("connections", Arc::clone(&self.clients).tend(stages.answering_stop.clone()));

        let sources = Sources::new(Arc::clone(&self.delivery), Arc::clone(&self.counters));
        stages.accepting.spawn("sources", sources.run(self.tables.subscribe(), stages.stop.clone()));

        self.administer(&admin, (listeners.admin, operators.socket), stages)?;

        let tls = certificates.identity().server_config(self.min_version)?;
        let served = Served::default();
        stages.lingering = Some(served.clone()).filter(|_| options.kubernetes);
        let (http, https) = (listeners.http, listeners.https);
        let gate = (self.readiness.clone(), served);
        let (limits, counters) = (limits(options, self.shares), Arc::clone(&self.counters));
        let tracer = self.router.tracer().clone();
        let ports = Ports { http, https, tls, limits, gate, counters, tracer };
        let relay = |parts: &Self| Relay {
            transport: Arc::clone(&parts.clients),
            router: Arc::clone(&parts.router),
            entrance: parts.entrance(options),
            timeout: options.limits.delivery_timeout,
            gate: Arc::clone(&parts.senders.gate),
            tokens: Arc::clone(&parts.senders.tokens),
            event_types: parts.senders.event_types.clone(),
            counters: Arc::clone(&parts.counters),
        };
        match options.role() {
            Role::Channel => {
                let gate = Arc::clone(&self.senders.gate);
                ports.serve(Ingress::new(Arc::clone(&self.router), self.entrance(options), gate), stages);
            }
            Role::Ingress => {
                let max_ttl = options.broker_max_ttl().map_err(anyhow::Error::msg)?;
                ports.serve(BrokerIngress::new(relay(self), max_ttl), stages);
            }
            Role::Filter => ports.serve(TriggerFilter::new(relay(self)), stages),
        }
        Ok(())
    }

    /// What requests with events go through first.
    fn entrance(&self, options: &RunOptions) -> Entrance {
        let intake = Intake {
            max_bytes: options.limits.max_body_bytes,
            timeout: options.limits.body_read_timeout,
            budget: Arc::clone(&self.budget),
        };
        let https_when_disabled =
            if options.https_when_disabled { HttpsWhenDisabled::Accept } else { HttpsWhenDisabled::Refuse };
        Entrance::new(intake, options.limits.attributes(), https_when_disabled)
    }

    /// Serves operators, by the port and by the socket if there is one.
    fn administer(
        &self,
        admin: &Arc<Admin>,
        (port, socket): (TcpListener, Option<OwnerSocket>),
        stages: &mut Stage,
    ) -> anyhow::Result<()> {
        let traffic = Arc::clone(&self.counters.series.admin);
        let limits = Limits { max_connections: self.shares.operators, traffic, ..Limits::default() };
        let (stop, door) = (stages.answering_stop.clone(), Arc::new(admin.port(port.local_addr()?)));
        stages.answering.spawn("admin", server::serve(port, None, limits.clone(), door, stop.clone()));
        if let Some(socket) = socket {
            stages.answering.spawn("admin socket", socket.serve(limits, Arc::new(admin.socket()), stop.clone()));
        }
        let admin = Arc::clone(admin);
        stages.answering.spawn("operators", async move {
            stop.cancelled().await;
            admin.end().await;
        });
        Ok(())
    }
}

/// At a stop, replies are waited for as long as there is time left to tell those who get none.
fn request_limits(options: &RunOptions, stop: CancellationToken) -> RequestLimits {
    RequestLimits {
        waiting: options.limits.queue_capacity,
        attributes: options.limits.attributes(),
        stop,
        grace: options.drain_timeout / 4,
    }
}

fn delivery_options(options: &RunOptions) -> delivery::Options {
    let (system_namespace, cluster_domain) = (options.manifests.system_namespace(), options.manifests.cluster_domain());
    delivery::Options {
        default_timeout: options.limits.delivery_timeout,
        jitter: options.limits.retry_jitter,
        attributes: options.limits.attributes(),
        broker_filter_host: Hosts::new(system_namespace, cluster_domain).filter.into(),
    }
}

/// The two ports for events.
struct Ports {
    http: TcpListener,
    https: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    limits: Limits,
    gate: (Readiness, Served),
    counters: Arc<Counters>,
    tracer: Tracer,
}

impl Ports {
    /// Serves both by one handler, until the stop.
    fn serve(self, handler: impl Handler, stages: &mut Stage) {
        let (readiness, served) = self.gate;
        let gate = Gate::new(handler, readiness, served).counted(Arc::clone(&self.counters));
        let handler = Arc::new(gate.traced(self.tracer));
        let stop = stages.stop.clone();
        let counted = |traffic: &Arc<Traffic>| Limits { traffic: Arc::clone(traffic), ..self.limits.clone() };
        let (plain, secure) = (counted(&self.counters.series.http), counted(&self.counters.series.https));
        let http = server::serve(self.http, None, plain, Arc::clone(&handler), stop.clone());
        stages.accepting.spawn("http listener", http);
        let https = server::serve(self.https, Some(self.tls), secure, handler, stop);
        stages.accepting.spawn("https listener", https);
    }
}

fn limits(options: &RunOptions, shares: Shares) -> Limits {
    Limits {
        max_connections: shares.senders,
        max_header_bytes: options.limits.max_header_bytes,
        header_read_timeout: options.limits.header_read_timeout,
        idle_timeout: options.limits.idle_timeout,
        ..Limits::default()
    }
}
