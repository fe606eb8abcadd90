//! The parts that live as long as the process, and the order in which they start to serve.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;

use super::admin_port::AdminPort;
use super::configuration::ConfigurationSource;
use super::event_ports::EventPorts;
use super::process_setup::{BoundPorts, ProcessSetup};
use super::senders::SenderTasks;
use super::shared_services::SharedServices;
use super::shutdown::ShutdownStages;
use super::{history_sampler, queues};
use crate::admin::{AdminApi, ProcessInfo, StatusSource};
use crate::channel::backends::ChannelBackends;
use crate::cli::RunOptions;
use crate::client::ClientCache;
use crate::delivery::{EventDeliverer, SubscriptionWorkerStates};
use crate::dispatcher::{Dispatcher, TableChange};
use crate::ingress::Ingress;
use crate::ingress::event_port::EventPortHandler;
use crate::ingress::request_metrics::ServedRequests;
use crate::model::{ProcessRole, RoutingTable};
use crate::relay::{BrokerFilter, BrokerIngress};
use crate::router::{Router, ServedTable};
use crate::source::SourceRunner;
use crate::supervisor::Readiness;

/// The parts that live as long as the process.
pub(super) struct ProcessParts {
    pub(super) services: SharedServices,
    pub(super) readiness: Readiness,
    router: Arc<Router>,
    pub(super) delivery: Arc<EventDeliverer<ClientCache>>,
}

impl ProcessParts {
    /// Builds the parts, and starts none. Nothing is served until the first table is applied.
    pub(super) fn new(
        setup: &ProcessSetup,
        configuration: &ConfigurationSource,
        stages: &ShutdownStages,
    ) -> anyhow::Result<(Self, SenderTasks)> {
        let options = &setup.options;
        let (services, tasks) = SharedServices::new(setup, configuration.api_server.clone());
        if let Some(metrics) = &configuration.cluster_metrics {
            services
                .counters
                .expose_cluster_metrics(Arc::clone(metrics));
        }
        let first = configuration.first_resolution();
        let empty_table = ServedTable::without_channels(Arc::new(first.table.without_channels()));
        let stop = stages.stop_accepting.clone();
        let router = Arc::new(services.router(options, empty_table, stop)?);
        let delivery = Arc::new(services.deliverer(options, &router));
        let parts = Self {
            services,
            readiness: Readiness::default(),
            router,
            delivery,
        };
        Ok((parts, tasks))
    }

    /// Starts everything that serves, each part before those that need it. Tables that are to be
    /// served later go into the sender that is returned.
    pub(super) fn serve(
        &self,
        setup: &ProcessSetup,
        configuration: &ConfigurationSource,
        ports: BoundPorts,
        stages: &mut ShutdownStages,
    ) -> anyhow::Result<mpsc::Sender<TableChange>> {
        let (options, counters) = (&setup.options, &self.services.counters);
        // Backends and dispatcher come first: sources and ports need the queues of the first table.
        let table = &configuration.first_resolution().table;
        let backends = queues::channel_backends(options, &self.services, table, stages)?;
        let backends = Arc::new(backends);
        let served = &configuration.served;
        queues::watch_serving(served, &backends, &self.readiness, counters, stages);
        let (workers, changes) = self.start_dispatcher(options, &backends, table, stages);
        stages.answering.spawn(
            "connections",
            Arc::clone(&self.services.clients)
                .close_unused_connections(stages.answering_stop.clone()),
        );

        // Only now there are queues for the events of sources and ports.
        let sources = SourceRunner::new(Arc::clone(&self.delivery), Arc::clone(counters));
        stages.accepting.spawn(
            "sources",
            sources.run(served.subscribe(), stages.stop_accepting.clone()),
        );
        let sampler = history_sampler::run(Arc::clone(counters), stages.answering_stop.clone());
        stages.answering.spawn("history", sampler);
        let status = self.status_source(setup, configuration, workers, backends);
        let admin = AdminPort {
            api: AdminApi::new(status, ports.operators.token),
            listener: ports.listeners.admin,
            socket: ports.operators.socket,
        };
        admin.serve(setup.descriptor_shares, counters, stages)?;
        let events = EventPorts::new(setup, ports.listeners.http, ports.listeners.https)?;
        self.serve_events(options, events, stages)?;
        Ok(changes)
    }

    /// Starts the dispatcher, which serves this table first. Returns the states of its workers, and
    /// the sender of later tables.
    fn start_dispatcher(
        &self,
        options: &RunOptions,
        backends: &Arc<ChannelBackends>,
        table: &Arc<RoutingTable>,
        stages: &mut ShutdownStages,
    ) -> (SubscriptionWorkerStates, mpsc::Sender<TableChange>) {
        let mut dispatcher = Dispatcher::new(
            Arc::clone(backends) as _,
            Arc::clone(&self.router),
            Arc::clone(&self.delivery),
            options.limits.concurrency,
        );
        dispatcher.apply(table);
        let workers = dispatcher.worker_states();
        let (changes, receiver) = mpsc::channel(1);
        stages.delivering.spawn(
            "dispatcher",
            dispatcher.run(receiver, stages.drained.clone()),
        );
        (workers, changes)
    }

    /// Collects the parts that the admin API shows.
    fn status_source(
        &self,
        setup: &ProcessSetup,
        configuration: &ConfigurationSource,
        workers: SubscriptionWorkerStates,
        backends: Arc<ChannelBackends>,
    ) -> StatusSource {
        StatusSource {
            process: ProcessInfo {
                role: setup.options.task().role(),
                in_cluster: setup.options.kubernetes,
                started: SystemTime::now(),
            },
            readiness: self.readiness.clone(),
            counters: Arc::clone(&self.services.counters),
            served: configuration.served.subscribe(),
            subscription_workers: workers,
            backends,
            is_leader: configuration.is_leader.clone(),
            server_identity: setup.certificates.identity().clone(),
        }
    }

    /// Serves the event ports by the handler of the role.
    fn serve_events(
        &self,
        options: &RunOptions,
        ports: EventPorts,
        stages: &mut ShutdownStages,
    ) -> anyhow::Result<()> {
        let (services, router) = (&self.services, &self.router);
        match options.task().role() {
            ProcessRole::Channel => {
                let reader = services.request_reader(options);
                let authorizer = Arc::clone(&services.senders.authorizer);
                let ingress = Ingress::new(Arc::clone(router), reader, authorizer);
                ports.serve(self.event_port(ingress, options, stages), stages);
            }
            ProcessRole::Ingress => {
                let max_ttl = options.broker_max_ttl().map_err(anyhow::Error::msg)?;
                let ingress = BrokerIngress::new(services.relay(options, router), max_ttl);
                ports.serve(self.event_port(ingress, options, stages), stages);
            }
            ProcessRole::Filter => {
                let filter = BrokerFilter::new(services.relay(options, router));
                ports.serve(self.event_port(filter, options, stages), stages);
            }
        }
        Ok(())
    }

    /// Makes the handler of the event ports, in front of that of the role. In a cluster, a stop
    /// waits until no more requests come.
    fn event_port<H>(
        &self,
        handler: H,
        options: &RunOptions,
        stages: &mut ShutdownStages,
    ) -> EventPortHandler<H> {
        let served = ServedRequests::default();
        stages.served_until_quiet = Some(served.clone()).filter(|_| options.kubernetes);
        EventPortHandler {
            handler,
            readiness: self.readiness.clone(),
            served,
            counters: Arc::clone(&self.services.counters),
            tracer: self.services.tracer.clone(),
        }
    }
}
