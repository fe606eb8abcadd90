//! Builds the services that authenticate senders, issue tokens and describe event types, with an
//! API server or without.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::shutdown::ShutdownStages;
use crate::auth::discovery::{ApiServerDocuments, IssuerFetcher};
use crate::auth::issuer_keys::{IssuerKeyRefresher, IssuerKeyStore};
use crate::auth::token_cache::{NoTokenIssuer, TokenIssuer};
use crate::auth::{SenderAuthorizer, TokenCache, TokenTransport, kubernetes};
use crate::client::ClientCache;
use crate::control::ServedConfiguration;
use crate::event_type::{self, EventTypeObserver, EventTypeWorker};
use crate::telemetry::counters::ProcessCounters;

/// The client of a cluster's API server.
#[derive(Clone)]
pub(super) struct ApiClient {
    pub(super) client: kube::Client,
    /// The file of the token with which this process authenticates to it, if it runs in a pod.
    pub(super) token_file: Option<PathBuf>,
}

/// The services that channels, deliveries and relays share.
pub(super) struct SenderServices {
    /// Authenticates and authorizes the senders of events.
    pub(super) authorizer: Arc<SenderAuthorizer>,
    /// Gets the tokens that this process sends.
    pub(super) tokens: Arc<TokenCache>,
    /// Sees the types of events, for their `EventType`s.
    pub(super) event_types: EventTypeObserver,
}

/// The tasks that these services need.
pub(super) struct SenderTasks {
    key_refresher: IssuerKeyRefresher,
    event_type_creator: Option<EventTypeWorker>,
}

impl SenderServices {
    /// Builds the services; without an API server, no tokens are issued and no `EventType`s
    /// created.
    pub(super) fn new(
        clients: &Arc<ClientCache>,
        counters: &Arc<ProcessCounters>,
        api_server: Option<ApiClient>,
        transport: TokenTransport,
    ) -> (Self, SenderTasks) {
        let cluster = api_server.as_ref().map(ApiClient::token_issuer);
        let issuer: Arc<dyn TokenIssuer> = match &cluster {
            Some(cluster) => Arc::clone(cluster) as Arc<dyn TokenIssuer>,
            None => Arc::new(NoTokenIssuer),
        };
        // The API server is a token issuer and a source of documents at once.
        let documents = cluster.map(|cluster| cluster as Arc<dyn ApiServerDocuments>);
        let fetcher = Arc::new(IssuerFetcher::new(Arc::clone(clients), documents));
        let keys = Arc::new(IssuerKeyStore::default());
        let key_refresher =
            IssuerKeyRefresher::new(Arc::clone(&keys), fetcher, Arc::clone(counters));
        let (event_types, event_type_creator) = observe_event_types(api_server, counters);
        let tokens = TokenCache::new(issuer, Arc::clone(counters)).with_transport(transport);
        let services = Self {
            authorizer: Arc::new(SenderAuthorizer::new(keys, Arc::clone(counters))),
            tokens: Arc::new(tokens),
            event_types,
        };
        let tasks = SenderTasks {
            key_refresher,
            event_type_creator,
        };
        (services, tasks)
    }
}

impl ApiClient {
    fn token_issuer(&self) -> Arc<kubernetes::ApiServerIssuer> {
        let issuer = kubernetes::ApiServerIssuer::new(self.client.clone());
        Arc::new(issuer.with_token_file(self.token_file.clone()))
    }
}

/// Makes the observer of event types, with the worker that creates them; without an API server
/// nothing is observed.
fn observe_event_types(
    api_server: Option<ApiClient>,
    counters: &Arc<ProcessCounters>,
) -> (EventTypeObserver, Option<EventTypeWorker>) {
    let Some(ApiClient { client, .. }) = api_server else {
        return (EventTypeObserver::default(), None);
    };
    let creator = Arc::new(event_type::kubernetes::ClusterEventTypes::new(client));
    let (observer, worker) = event_type::observer_and_worker(creator, Arc::clone(counters));
    (observer, Some(worker))
}

impl SenderTasks {
    /// Starts the tasks. The refresher of keys follows the table that is served.
    pub(super) fn start(
        self,
        served: watch::Receiver<ServedConfiguration>,
        stages: &mut ShutdownStages,
    ) {
        stages.accepting.spawn(
            "token keys",
            self.key_refresher
                .run(served, stages.stop_accepting.clone()),
        );
        if let Some(event_type_worker) = self.event_type_creator {
            stages.accepting.spawn(
                "event types",
                event_type_worker.run(stages.stop_accepting.clone()),
            );
        }
    }
}
