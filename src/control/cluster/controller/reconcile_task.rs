//! The work for one channel.

use std::sync::Arc;

use serde_json::Value;

use super::context::ReconcileContext;
use super::policies::ChannelPolicies;

/// The work for one channel: the channel, and all that its status depends on.
#[derive(Clone, Debug)]
pub(super) struct ReconcileTask {
    pub(super) document: Arc<Value>,
    pub(super) context: Arc<ReconcileContext>,
    /// The Service of the channel; `None` if there is none yet.
    pub(super) service: Option<Arc<Value>>,
    pub(super) policies: ChannelPolicies,
}

impl PartialEq for ReconcileTask {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Value>>, b: &Option<Arc<Value>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        Arc::ptr_eq(&self.document, &other.document)
            && same(&self.service, &other.service)
            && self.context == other.context
            && self.policies == other.policies
    }
}
