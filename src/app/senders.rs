//! Puts together what proves who sends, and what describes what is sent: with an API server, or without.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::shutdown::Stage;
use crate::auth::discovery::{ClusterDocuments, Fetcher};
use crate::auth::keys::{Keeper, Keys};
use crate::auth::token::{NoIssuer, TokenIssuer};
use crate::auth::{Gate, TokenTransport, Tokens, kubernetes};
use crate::client::ClientCache;
use crate::event_type::{self, EventTypes};
use crate::model::RoutingTable;
use crate::telemetry::counters::Counters;

/// The API server of a cluster.
#[derive(Clone)]
pub(super) struct ApiClient {
    pub(super) client: kube::Client,
    /// With which this process asks it, if it is a pod.
    pub(super) token_file: Option<PathBuf>,
}

/// What channels, deliveries and relays share.
pub(super) struct Senders {
    /// Lets in whoever may send.
    pub(super) gate: Arc<Gate>,
    /// Proves who sends.
    pub(super) tokens: Arc<Tokens>,
    /// Sees events.
    pub(super) event_types: EventTypes,
}

/// What runs for them.
pub(super) struct Tasks {
    keeper: Keeper,
    maker: Option<event_type::Maker>,
}

impl Senders {
    /// Everything; without an API server, no tokens are issued and no `EventType`s made.
    pub(super) fn new(
        clients: &Arc<ClientCache>,
        counters: &Arc<Counters>,
        api_server: Option<ApiClient>,
        transport: TokenTransport,
    ) -> (Self, Tasks) {
        let cluster = api_server.clone().map(|ApiClient { client, token_file }| {
            Arc::new(kubernetes::Cluster::new(client).with_token_file(token_file))
        });
        let issuer: Arc<dyn TokenIssuer> = match &cluster {
            Some(cluster) => Arc::clone(cluster) as Arc<dyn TokenIssuer>,
            None => Arc::new(NoIssuer),
        };
        let documents = cluster.map(|cluster| cluster as Arc<dyn ClusterDocuments>);
        let fetcher = Arc::new(Fetcher::new(Arc::clone(clients), documents));
        let keys = Arc::new(Keys::default());
        let keeper = Keeper::new(Arc::clone(&keys), fetcher, Arc::clone(counters));
        let (event_types, maker) = match api_server {
            Some(ApiClient { client, .. }) => {
                let creator = Arc::new(event_type::kubernetes::Cluster::new(client));
                let (event_types, maker) = event_type::maker(creator, Arc::clone(counters));
                (event_types, Some(maker))
            }
            None => (EventTypes::default(), None),
        };
        let gate = Arc::new(Gate::new(keys, Arc::clone(counters)));
        let tokens = Arc::new(Tokens::new(issuer, Arc::clone(counters)).over(transport));
        (Self { gate, tokens, event_types }, Tasks { keeper, maker })
    }
}

impl Tasks {
    /// Starts them. They follow the table that is served.
    pub(super) fn start(self, tables: watch::Receiver<Arc<RoutingTable>>, stages: &mut Stage) {
        stages.accepting.spawn("token keys", self.keeper.run(tables, stages.stop.clone()));
        if let Some(maker) = self.maker {
            stages.accepting.spawn("event types", maker.run(stages.stop.clone()));
        }
    }
}
