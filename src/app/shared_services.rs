//! The services that router, deliveries and handlers share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::process_setup::ProcessSetup;
use super::senders::{ApiClient, SenderServices, SenderTasks};
use crate::auth::TokenTransport;
use crate::budget::MemoryBudget;
use crate::cli::RunOptions;
use crate::client::{ClientCache, ClientLimits};
use crate::delivery::{DeliveryOptions, EventDeliverer};
use crate::display::EventDisplay;
use crate::ingress::request_reader::{HttpsWhenDisabled, RequestReader};
use crate::model::ServiceHosts;
use crate::observation::EventObserver;
use crate::relay::RelayDependencies;
use crate::router::{RequestLimits, Router, ServedTable};
use crate::server::body::BodyReader;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::tracer::Tracer;

/// The services of the process.
pub(super) struct SharedServices {
    pub(super) counters: Arc<ProcessCounters>,
    pub(super) tracer: Tracer,
    pub(super) clients: Arc<ClientCache>,
    /// The memory budget of events, whether they come by HTTP or out of queues.
    pub(super) budget: Arc<MemoryBudget>,
    pub(super) senders: SenderServices,
}

impl SharedServices {
    /// Builds the services, and starts none. `api_server` issues tokens and takes `EventType`s.
    pub(super) fn new(setup: &ProcessSetup, api_server: Option<ApiClient>) -> (Self, SenderTasks) {
        let options = &setup.options;
        let observer = EventObserver::new(options.limits.explain_max_bytes);
        let counters = Arc::new(ProcessCounters::default().with_observer(observer));
        let bytes = options.limits.max_buffered_bytes;
        let limits = setup.namespace_limits.as_ref();
        let budget = limits.map_or_else(|| MemoryBudget::new(bytes), |it| it.budget(bytes));
        counters.update_configuration(|facts| facts.budget = Some(Arc::clone(&budget)));
        let clients = make_clients(setup, &counters);
        let transport = if options.tokens_over_http {
            TokenTransport::Any
        } else {
            TokenTransport::HttpsOnly
        };
        let (senders, tasks) = SenderServices::new(&clients, &counters, api_server, transport);
        let services = Self {
            counters,
            tracer: Tracer::default(),
            clients,
            budget,
            senders,
        };
        (services, tasks)
    }

    /// Makes the router, which serves this table. `stop` ends requests that wait for replies.
    pub(super) fn router(
        &self,
        options: &RunOptions,
        serving: ServedTable,
        stop: CancellationToken,
    ) -> anyhow::Result<Router> {
        let max_ttl = options.broker_max_ttl().map_err(anyhow::Error::msg)?;
        Ok(Router::new(serving, max_ttl, Arc::clone(&self.counters))
            .with_event_types(self.senders.event_types.clone())
            .with_tracer(self.tracer.clone())
            .with_budget(Arc::clone(&self.budget))
            .with_request_limits(request_limits(options, stop)))
    }

    /// Makes the deliverer, which sends to channels of this process by `router`.
    pub(super) fn deliverer(
        &self,
        options: &RunOptions,
        router: &Arc<Router>,
    ) -> EventDeliverer<ClientCache> {
        EventDeliverer::new(
            Arc::clone(&self.clients),
            Arc::clone(router),
            EventDisplay::default(),
            delivery_options(options),
            Arc::clone(&self.counters),
        )
        .with_tokens(Arc::clone(&self.senders.tokens))
        .with_tracer(self.tracer.clone())
        .with_event_types(self.senders.event_types.clone())
    }

    /// Collects what the handlers of the roles `ingress` and `filter` need.
    pub(super) fn relay(
        &self,
        options: &RunOptions,
        router: &Arc<Router>,
    ) -> RelayDependencies<ClientCache> {
        RelayDependencies {
            transport: Arc::clone(&self.clients),
            router: Arc::clone(router),
            request_reader: self.request_reader(options),
            timeout: options.limits.delivery_timeout,
            sender_authorizer: Arc::clone(&self.senders.authorizer),
            tokens: Arc::clone(&self.senders.tokens),
            event_types: self.senders.event_types.clone(),
            counters: Arc::clone(&self.counters),
            tracer: self.tracer.clone(),
        }
    }

    /// Makes the reader that every request with events goes through first.
    pub(super) fn request_reader(&self, options: &RunOptions) -> RequestReader {
        let body_reader = BodyReader {
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
            body_reader,
            options.limits.attribute_limit(),
            https_when_disabled,
        )
    }
}

fn make_clients(setup: &ProcessSetup, counters: &ProcessCounters) -> Arc<ClientCache> {
    let limits = ClientLimits {
        max_reply_bytes: setup.options.limits.max_body_bytes,
        max_connections: setup.descriptor_shares.destinations,
        max_lookups: setup.descriptor_shares.lookups,
        ..ClientLimits::default()
    };
    let tls = setup.outgoing_tls.clone();
    let clients = ClientCache::new(tls.roots, tls.min_version, limits);
    Arc::new(clients.with_metrics(Arc::clone(&counters.series.client_connections)))
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

fn delivery_options(options: &RunOptions) -> DeliveryOptions {
    let (system_namespace, cluster_domain) = (
        options.manifests.system_namespace(),
        options.manifests.cluster_domain(),
    );
    DeliveryOptions {
        default_timeout: options.limits.delivery_timeout,
        jitter: options.limits.retry_jitter,
        attributes: options.limits.attribute_limit(),
        broker_filter_host: ServiceHosts::new(system_namespace, cluster_domain)
            .filter
            .into(),
    }
}
