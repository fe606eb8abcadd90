//! The configuration that a process serves, for everybody who follows it.

use std::sync::Arc;

use super::resolve::Resolution;
use crate::model::{RoutingTable, TableSource};

/// The configuration that a process serves.
#[derive(Clone)]
pub(crate) struct ServedConfiguration {
    /// The resolution with the table that is served.
    pub resolution: Arc<Resolution>,
    /// False for the resolution that a process starts with, until one that came after it is served:
    /// nothing is written about that one into a cluster.
    pub is_published: bool,
}

impl ServedConfiguration {
    /// Makes the configuration that a process starts with.
    #[must_use]
    pub(crate) fn first(resolution: Arc<Resolution>) -> Self {
        Self {
            resolution,
            is_published: false,
        }
    }

    /// Makes a configuration that is served from now on.
    #[must_use]
    pub(crate) fn published(resolution: Arc<Resolution>) -> Self {
        Self {
            resolution,
            is_published: true,
        }
    }
}

impl TableSource for ServedConfiguration {
    fn routing_table(&self) -> &Arc<RoutingTable> {
        &self.resolution.table
    }
}
