//! Builds every part of the process once, starts them in order and takes them down in order.

mod certificate;
mod configuration;
mod configuration_metrics;
mod controller;
mod descriptor_shares;
mod event_ports;
mod listeners;
mod observability;
mod operators;
mod periodic_log;
mod publisher;
mod rabbitmq;
mod senders;
mod serving_watch;
mod shutdown;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::{AdminApi, ProcessInfo, StatusSource};
use crate::auth::TokenTransport;
use crate::budget::MemoryBudget;
use crate::channel::backends::ChannelBackends;
use crate::channel::memory::MemoryBackend;
use crate::channel::rabbitmq::RabbitmqBackend;
use crate::cli::RunOptions;
use crate::client::{self, ClientCache};
use crate::control::Resolution;
use crate::delivery::{self, EventDeliverer, SubscriptionWorkerStates};
use crate::dispatcher::{Dispatcher, TableChange};
use crate::display::EventDisplay;
use crate::ingress::Ingress;
use crate::ingress::request_metrics::ServedRequests;
use crate::ingress::request_reader::{HttpsWhenDisabled, RequestReader};
use crate::model::{ProcessRole, RoutingTable, ServiceHosts};
use crate::relay::{BrokerFilter, BrokerIngress, RelayDependencies};
use crate::router::{RequestLimits, Router, ServedTable};
use crate::server::body::BodyReader;
use crate::server::socket::OwnerSocket;
use crate::server::{self, ListenerLimits};
use crate::source::SourceRunner;
use crate::supervisor::Readiness;
use crate::telemetry::LogLevel;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::tracer::Tracer;
use crate::tls::{MinTlsVersion, SystemRoots};
use certificate::ServerCertificateKeeper;
use configuration::ConfigurationSource;
use descriptor_shares::DescriptorShares;
use event_ports::{EventPorts, listener_limits};
use listeners::BoundListeners;
use observability::TelemetryConfigurator;
use operators::OperatorAccess;
use publisher::ConfigurationPublisher;
use senders::{ApiClient, SenderServices};
use serving_watch::ServingWatch;
use shutdown::{ShutdownSignals, ShutdownStages};

/// Runs the process in its role until it is told to stop.
///
/// # Errors
/// Fails if it cannot start: an address is taken, a path does not exist, no cluster is found.
pub async fn run(options: RunOptions, log: LogLevel) -> anyhow::Result<ExitCode> {
    if options.is_controller() {
        return controller::run(options, log).await;
    }
    // The limit of descriptors comes first: everything below opens some.
    let shares = DescriptorShares::raise_limit(&options.limits);
    let signals = ShutdownSignals::listen()?;
    let min_version = options.min_tls_version().map_err(anyhow::Error::msg)?;
    // Bound before anything is read: a taken port fails at once, and URLs need the real ports.
    let listeners = BoundListeners::bind(&options).await?;
    let certificates = ServerCertificateKeeper::load(&options)?;
    let operators = OperatorAccess::open(&options).await?;
    // The settings hold the listeners' URLs and the CA that these advertise.
    let settings = configuration::control_settings(&options, &listeners, &certificates)?;
    let mut stages = ShutdownStages::default();
    let (served, told) = watch::channel(None);
    // Waits for the first configuration of files; a cluster's comes later.
    let ConfigurationSource {
        first_resolution: first,
        is_complete,
        newest,
        api_server,
        is_leader: leads,
    } = ConfigurationSource::start(&options, settings, told, &mut stages).await?;
    certificates.apply_resolution(&first);

    // The roots are read once for all clients: parsing them is a good part of the start.
    let trusted = (SystemRoots::load(), min_version);
    let how = (&options, shares, stages.stop_accepting.clone());
    let (mut parts, tasks) = ProcessParts::new(how, first, trusted.clone(), api_server)?;
    parts.is_leader = leads;
    tasks.start(parts.tables.subscribe(), &mut stages);
    let traced = (parts.tracer.clone(), &parts.counters);
    // Tracing starts before events come, so that the first ones are traced.
    let observer = TelemetryConfigurator::start(
        &options,
        traced,
        trusted,
        &parts.first_resolution,
        &mut stages,
    );
    // Connections wait in the backlog from here until `start` serves them.
    listeners.publish_ports(options.ports_file.as_deref())?;
    let (changes, receiver) = mpsc::channel(1);
    parts.start(
        &options,
        (listeners, operators),
        &certificates,
        (receiver, &mut stages),
    )?;
    let publisher = ConfigurationPublisher {
        changes,
        served: parts.served.clone(),
        tables: parts.tables.clone(),
        served_to_cluster: served,
        certificates: certificates.clone(),
        counters: Arc::clone(&parts.counters),
        telemetry: observer,
        readiness: parts.readiness.clone(),
        log: Some(log).filter(|_| options.log_level.is_none()),
    };
    // Ready only now, when everything above serves.
    if is_complete {
        configuration_metrics::record_configuration(&parts.counters, &parts.first_resolution);
    }
    if is_complete && parts.readiness.set_started() {
        serving_watch::log_started(&parts.readiness);
    }
    // Ends in the last stage, since it logs the losses of the last deliveries, too.
    let told = periodic_log::run(
        Arc::clone(&parts.counters),
        parts.tables.subscribe(),
        stages.answering_stop.clone(),
    );
    stages.answering.spawn("told", told);
    stages.accepting.spawn(
        "publisher",
        publisher.run(newest, stages.stop_accepting.clone()),
    );
    stages.accepting.spawn(
        "certificate",
        certificates.run(Arc::clone(&parts.counters), stages.stop_accepting.clone()),
    );
    Ok(stages
        .run(
            signals,
            options.drain_timeout,
            &parts.readiness,
            &parts.counters,
        )
        .await)
}

/// The parts that live as long as the process.
struct ProcessParts {
    counters: Arc<ProcessCounters>,
    tracer: Tracer,
    readiness: Readiness,
    router: Arc<Router>,
    clients: Arc<ClientCache>,
    /// The memory budget of events, whether they come by HTTP or out of queues.
    budget: Arc<MemoryBudget>,
    descriptor_shares: DescriptorShares,
    senders: SenderServices,
    delivery: Arc<EventDeliverer<ClientCache>>,
    first_resolution: Arc<Resolution>,
    min_version: MinTlsVersion,
    /// True while this process writes status into the cluster.
    is_leader: Option<watch::Receiver<bool>>,
    /// The configuration that is served, for the admin API.
    served: watch::Sender<Arc<Resolution>>,
    /// The table that is served, for sources and watches.
    tables: watch::Sender<Arc<RoutingTable>>,
}

impl ProcessParts {
    /// Builds the parts, and starts none. `api_server` issues tokens and takes `EventType`s.
    fn new(
        (options, shares, stop): (&RunOptions, DescriptorShares, CancellationToken),
        first: Arc<Resolution>,
        (roots, min_version): (SystemRoots, MinTlsVersion),
        api_server: Option<ApiClient>,
    ) -> anyhow::Result<(Self, senders::SenderTasks)> {
        let counters = Arc::new(ProcessCounters::default());
        let tracer = Tracer::default();
        let limits = client::ClientLimits {
            max_reply_bytes: options.limits.max_body_bytes,
            max_connections: shares.destinations,
            max_lookups: shares.lookups,
            ..client::ClientLimits::default()
        };
        let clients = ClientCache::new(roots, min_version, limits);
        let clients =
            Arc::new(clients.with_metrics(Arc::clone(&counters.series.client_connections)));
        let transport = if options.tokens_over_http {
            TokenTransport::Any
        } else {
            TokenTransport::HttpsOnly
        };
        let (senders, tasks) = SenderServices::new(&clients, &counters, api_server, transport);
        // Nothing is served until `start` applies the first table.
        let empty_table = ServedTable::without_channels(Arc::new(first.table.without_channels()));
        let max_ttl = options.broker_max_ttl().map_err(anyhow::Error::msg)?;
        let router = Router::new(empty_table, max_ttl, Arc::clone(&counters));
        let budget = MemoryBudget::new(options.limits.max_buffered_bytes);
        counters.update_configuration(|facts| facts.budget = Some(Arc::clone(&budget)));
        let router = router
            .with_event_types(senders.event_types.clone())
            .with_tracer(tracer.clone())
            .with_budget(Arc::clone(&budget));
        let router = Arc::new(router.with_request_limits(request_limits(options, stop)));
        let delivery = EventDeliverer::new(
            Arc::clone(&clients),
            Arc::clone(&router),
            EventDisplay::default(),
            delivery_options(options),
            Arc::clone(&counters),
        );
        let delivery = delivery
            .with_tokens(Arc::clone(&senders.tokens))
            .with_tracer(tracer.clone());
        let delivery = Arc::new(delivery.with_event_types(senders.event_types.clone()));
        let shown = watch::Sender::new(Arc::clone(&first));
        let tables = watch::Sender::new(Arc::clone(&first.table));
        let readiness = Readiness::default();
        let leads = None;
        let parts = Self {
            counters,
            tracer,
            readiness,
            router,
            clients,
            budget,
            descriptor_shares: shares,
            senders,
            delivery,
            first_resolution: first,
            min_version,
            is_leader: leads,
            served: shown,
            tables,
        };
        Ok((parts, tasks))
    }

    /// Makes the backends; RabbitMQ ends last, so that the last deliveries are acknowledged.
    fn channel_backends(
        &self,
        options: &RunOptions,
        stages: &mut ShutdownStages,
    ) -> anyhow::Result<ChannelBackends> {
        let memory = MemoryBackend::new(options.limits.queue_capacity, Arc::clone(&self.counters));
        let Some(rabbitmq) = rabbitmq::rabbitmq_options(options, &self.budget)? else {
            return Ok(ChannelBackends::new(memory, None));
        };
        let rabbitmq = Arc::new(RabbitmqBackend::new(rabbitmq, Arc::clone(&self.counters)));
        let (ended, stop) = (Arc::clone(&rabbitmq), stages.answering_stop.clone());
        stages.answering.spawn("rabbitmq", async move {
            stop.cancelled().await;
            ended.shut_down().await;
        });
        Ok(ChannelBackends::new(memory, Some(rabbitmq)))
    }

    /// Watches whether the configuration is served, if a backend can be away; memory never is.
    fn watch_serving(&self, backends: &Arc<ChannelBackends>, stages: &mut ShutdownStages) {
        if backends.is_rabbitmq_connected().is_none() {
            return;
        }
        let watch = ServingWatch {
            tables: self.tables.subscribe(),
            storages: Arc::clone(backends),
            readiness: self.readiness.clone(),
            counters: Arc::clone(&self.counters),
        };
        watch.add_readiness_checks();
        stages
            .answering
            .spawn("service", watch.run(stages.stop_announced.clone()));
    }

    /// Collects the parts that the admin API shows.
    fn status_source(
        &self,
        options: &RunOptions,
        certificates: &ServerCertificateKeeper,
        workers: SubscriptionWorkerStates,
        storages: Arc<ChannelBackends>,
    ) -> StatusSource {
        StatusSource {
            process: ProcessInfo {
                role: options.role(),
                in_cluster: options.kubernetes,
                started: SystemTime::now(),
            },
            readiness: self.readiness.clone(),
            counters: Arc::clone(&self.counters),
            served: self.served.subscribe(),
            subscription_workers: workers,
            backends: storages,
            is_leader: self.is_leader.clone(),
            server_identity: certificates.identity().clone(),
        }
    }

    /// Starts everything, each part before those that need it.
    fn start(
        &self,
        options: &RunOptions,
        (listeners, operators): (BoundListeners, OperatorAccess),
        certificates: &ServerCertificateKeeper,
        (changes, stages): (mpsc::Receiver<TableChange>, &mut ShutdownStages),
    ) -> anyhow::Result<()> {
        // Backends and dispatcher come first: sources and ports need the queues of the first table.
        let backends = Arc::new(self.channel_backends(options, stages)?);
        self.watch_serving(&backends, stages);
        let (router, delivery) = (Arc::clone(&self.router), Arc::clone(&self.delivery));
        let mut dispatcher = Dispatcher::new(
            Arc::clone(&backends) as _,
            router,
            delivery,
            options.limits.concurrency,
        );
        dispatcher.apply(&self.first_resolution.table);
        let view = self.status_source(options, certificates, dispatcher.worker_states(), backends);
        let admin = AdminApi::new(view, operators.token);
        stages.delivering.spawn(
            "dispatcher",
            dispatcher.run(changes, stages.drained.clone()),
        );
        stages.answering.spawn(
            "connections",
            Arc::clone(&self.clients).close_unused_connections(stages.answering_stop.clone()),
        );

        // Only now there are queues for the events of sources and ports.
        let sources = SourceRunner::new(Arc::clone(&self.delivery), Arc::clone(&self.counters));
        stages.accepting.spawn(
            "sources",
            sources.run(self.tables.subscribe(), stages.stop_accepting.clone()),
        );

        self.serve_admin(&admin, (listeners.admin, operators.socket), stages)?;

        let tls = certificates.identity().server_config(self.min_version)?;
        let served = ServedRequests::default();
        stages.served_until_quiet = Some(served.clone()).filter(|_| options.kubernetes);
        let (http, https) = (listeners.http, listeners.https);
        let gate = (self.readiness.clone(), served);
        let (limits, counters) = (
            listener_limits(options, self.descriptor_shares),
            Arc::clone(&self.counters),
        );
        let tracer = self.tracer.clone();
        let ports = EventPorts {
            http,
            https,
            tls,
            limits,
            gate,
            counters,
            tracer,
        };
        let relay = |parts: &Self| RelayDependencies {
            transport: Arc::clone(&parts.clients),
            router: Arc::clone(&parts.router),
            request_reader: parts.request_reader(options),
            timeout: options.limits.delivery_timeout,
            sender_authorizer: Arc::clone(&parts.senders.authorizer),
            tokens: Arc::clone(&parts.senders.tokens),
            event_types: parts.senders.event_types.clone(),
            counters: Arc::clone(&parts.counters),
            tracer: parts.tracer.clone(),
        };
        match options.role() {
            ProcessRole::Channel => {
                let gate = Arc::clone(&self.senders.authorizer);
                ports.serve(
                    Ingress::new(Arc::clone(&self.router), self.request_reader(options), gate),
                    stages,
                );
            }
            ProcessRole::Ingress => {
                let max_ttl = options.broker_max_ttl().map_err(anyhow::Error::msg)?;
                ports.serve(BrokerIngress::new(relay(self), max_ttl), stages);
            }
            ProcessRole::Filter => ports.serve(BrokerFilter::new(relay(self)), stages),
        }
        Ok(())
    }

    /// Makes the reader that every request with events goes through first.
    fn request_reader(&self, options: &RunOptions) -> RequestReader {
        let intake = BodyReader {
            max_bytes: options.limits.max_body_bytes,
            timeout: options.limits.body_read_timeout,
            budget: Arc::clone(&self.budget),
        };
        let https_when_disabled = if options.https_when_disabled {
            HttpsWhenDisabled::Accept
        } else {
            HttpsWhenDisabled::Refuse
        };
        RequestReader::new(
            intake,
            options.limits.attribute_limit(),
            https_when_disabled,
        )
    }

    /// Serves the admin API at the port, and at the socket if there is one.
    fn serve_admin(
        &self,
        admin: &Arc<AdminApi>,
        (port, socket): (TcpListener, Option<OwnerSocket>),
        stages: &mut ShutdownStages,
    ) -> anyhow::Result<()> {
        let traffic = Arc::clone(&self.counters.series.admin_connections);
        let limits = ListenerLimits {
            max_connections: self.descriptor_shares.operators,
            metrics: traffic,
            ..ListenerLimits::default()
        };
        let (stop, listener) = (
            stages.answering_stop.clone(),
            Arc::new(admin.handler_for_port(port.local_addr()?)),
        );
        stages.answering.spawn(
            "admin",
            server::serve(port, None, limits.clone(), listener, stop.clone()),
        );
        if let Some(socket) = socket {
            stages.answering.spawn(
                "admin socket",
                socket.serve(limits, Arc::new(admin.handler_for_socket()), stop.clone()),
            );
        }
        let admin = Arc::clone(admin);
        stages.answering.spawn("operators", async move {
            stop.cancelled().await;
            admin.end_operations().await;
        });
        Ok(())
    }
}

/// Limits requests that wait for replies; a quarter of the drain time leaves time to answer them.
fn request_limits(options: &RunOptions, stop: CancellationToken) -> RequestLimits {
    RequestLimits {
        max_waiting: options.limits.queue_capacity,
        attributes: options.limits.attribute_limit(),
        stop,
        grace: options.drain_timeout / 4,
    }
}

fn delivery_options(options: &RunOptions) -> delivery::DeliveryOptions {
    let (system_namespace, cluster_domain) = (
        options.manifests.system_namespace(),
        options.manifests.cluster_domain(),
    );
    delivery::DeliveryOptions {
        default_timeout: options.limits.delivery_timeout,
        jitter: options.limits.retry_jitter,
        attributes: options.limits.attribute_limit(),
        broker_filter_host: ServiceHosts::new(system_namespace, cluster_domain)
            .filter
            .into(),
    }
}
