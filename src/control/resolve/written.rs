//! Objects as users write them, of which everything is resolved here, without the controllers of a
//! cluster.

pub(super) mod channel;
mod channel_candidate;
pub(super) mod flow;
mod inventory;
pub(super) mod request_reply;
pub(super) mod routes;
pub(super) mod source;

use std::sync::Arc;

use super::collect::CollectedObjects;
use super::config::defaults::ResolvedDefaults;
use super::destination::DestinationResolver;
use super::parent::ResolvedParents;
use crate::model::{ChannelKey, PingSource, RequestReply, RoutingTable};
use flow::ResolvedFlows;
use routes::SubscriptionRoutes;

/// The objects of files, as they are served.
pub(super) struct WrittenObjects {
    parents: ResolvedParents,
    flows: ResolvedFlows,
    routes: SubscriptionRoutes,
    request_replies: Vec<Arc<RequestReply>>,
    sources: Vec<Arc<PingSource>>,
}

/// The last good forms of written objects that are not part of the routing table.
#[derive(Clone, Debug)]
pub(super) struct WrittenMemory {
    parents: ResolvedParents,
    flows: ResolvedFlows,
}

impl WrittenObjects {
    /// Resolves all written objects; those with problems keep their form of `memory` and `table`.
    pub(super) fn resolve(
        collected: &mut CollectedObjects<'_>,
        resolver: &mut DestinationResolver<'_>,
        defaults: &ResolvedDefaults,
        memory: Option<&WrittenMemory>,
        table: Option<&RoutingTable>,
    ) -> Self {
        // All names are declared first, so that objects can refer to each other in any order.
        request_reply::declare_request_replies(collected, resolver);
        // Channels and Brokers come before everything that has one as its parent.
        let mut parents = channel::resolve(
            collected,
            resolver,
            defaults,
            memory.map(|memory| &memory.parents),
        );
        let request_replies = request_reply::resolve(collected, resolver, &parents, table);
        // Flows add their own channels to the parents, which subscriptions refer to.
        let flows = flow::resolve(
            collected,
            resolver,
            &mut parents,
            memory.map(|memory| &memory.flows),
        );
        // Subscriptions come when every channel is known; only then can circles of flows be found.
        let mut routes = SubscriptionRoutes::build(collected, resolver, &parents, &flows, table);
        flow::cycles::warn_of_cycles(collected, &flows, &routes);
        // The Triggers of RequestReplies join the routes last, beside the written ones.
        let request_replies = request_replies.place_triggers(&mut routes, &parents);
        // Sources come after channels and Brokers, which their sinks refer to.
        let sources = source::resolve(
            &mut collected.ping_sources,
            resolver,
            table.map(RoutingTable::sources).unwrap_or_default(),
        );
        Self {
            parents,
            flows,
            routes,
            request_replies,
            sources,
        }
    }

    /// The keys of every object that has an address.
    pub(super) fn channel_keys(&self) -> impl Iterator<Item = &ChannelKey> {
        self.parents.keys().chain(
            self.request_replies
                .iter()
                .map(|request_reply| &request_reply.key),
        )
    }

    /// The routing table of these objects.
    pub(super) fn routing_table(&self, resolver: &DestinationResolver<'_>) -> RoutingTable {
        let table = self.routes.routing_table(
            &self.parents,
            &resolver.addresses,
            &resolver.sender_rules,
            resolver.mode,
        );
        table
            .with_request_replies(self.request_replies.clone())
            .with_sources(self.sources.clone())
    }

    /// The last good forms, for the next resolution.
    pub(super) fn into_memory(self) -> WrittenMemory {
        WrittenMemory {
            parents: self.parents,
            flows: self.flows,
        }
    }
}
