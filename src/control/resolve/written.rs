//! Objects as users write them, of which everything is resolved here, without the controllers of a cluster.

pub(super) mod channel;
pub(super) mod claims;
pub(super) mod flow;
pub(super) mod request_reply;
pub(super) mod routes;
pub(super) mod source;
