//! The control plane of `run --kubernetes`: it watches what a task needs, resolves it as manifests
//! are resolved, and writes into the cluster what is served.
//!
//! In reading order: `watch::rows` is the table of what is watched; [`watch`] keeps each list of
//! objects in step with the API server, in the `watch::store`; [`follower`] makes a `Resolution` of
//! them whenever they change, by the [`store_resolver`]; `write::status_updates` writes what the
//! cluster should know once that is served, if the [`election`] has chosen this process;
//! [`controller`] reconciles RabbitmqChannels instead. Both write through [`mod@write`] alone.
//! [`reachability`] logs when the API server is not there. The API server gets the requests of
//! contract 1A and no others.

mod access;
mod api_resource;
mod backoff;
mod connection;
mod controller;
mod election;
mod follower;
mod reachability;
mod store_resolver;
mod watch;
mod write;

pub(crate) use access::ApiServerAccess;
pub(crate) use connection::{ClusterSettings, StopSignals};
pub(crate) use follower::FollowerChannels;
pub(crate) use store_resolver::LatestResolution;
