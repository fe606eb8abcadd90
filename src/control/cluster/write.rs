//! Writes into the cluster.

pub(super) mod queue;
pub(super) mod requests;
pub(super) mod status_updates;
