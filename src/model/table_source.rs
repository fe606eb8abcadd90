//! A value that has a routing table. Who follows the table that is served need not know which
//! configuration it is a part of.

use std::sync::Arc;

use super::routing_table::RoutingTable;

/// A value that has a routing table.
pub trait TableSource: Send + Sync + 'static {
    /// The routing table.
    fn routing_table(&self) -> &Arc<RoutingTable>;
}

impl TableSource for Arc<RoutingTable> {
    fn routing_table(&self) -> &Self {
        self
    }
}
