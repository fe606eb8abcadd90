//! The plans of all flows that are written.

use super::plan::{self, FlowManifest, FlowPlan};
use crate::control::read::document::ManifestDocument;
use crate::control::read::kind::ResourceKind;
use crate::control::resolve::collect::{CollectedItem, CollectedItems, CollectedObjects};
use crate::control::resolve::keys::channel_key;
use crate::model::{ChannelKey, ChannelKind, NamespacedName};

/// The key of a channel of a flow.
pub(crate) fn flow_channel_key(namespace: &str, name: &str) -> ChannelKey {
    channel_key(ChannelKind::Channel, namespace.to_owned(), name.to_owned())
}

/// The plan of a flow; of an object that could not be read at all, it has the channel that gives
/// the flow its address.
pub(crate) fn plan_flow<T: FlowManifest>(object: Option<&T>, name: &str) -> FlowPlan {
    object.map_or_else(
        || FlowPlan {
            channels: plan::entry_channel_name(T::KIND, name)
                .into_iter()
                .collect(),
            subscriptions: Vec::new(),
            unused: None,
        },
        |object| object.plan(name),
    )
}

/// A flow that is written, and what it expands to.
pub(crate) struct PlannedFlow<'d> {
    pub(crate) kind: ResourceKind,
    pub(crate) name: NamespacedName,
    pub(crate) plan: FlowPlan,
    pub(crate) document: &'d ManifestDocument,
}

/// The plan of every flow that is written.
pub(crate) fn plan_flows<'d>(collected: &CollectedObjects<'d>) -> Vec<PlannedFlow<'d>> {
    fn of<'d, T: FlowManifest>(
        items: &CollectedItems<'d, T>,
    ) -> impl Iterator<Item = PlannedFlow<'d>> {
        items
            .iter()
            .map(|(name, CollectedItem { object, report, .. })| PlannedFlow {
                kind: T::KIND,
                name: name.clone(),
                plan: plan_flow(object.as_deref(), &name.name),
                document: report.document(),
            })
    }
    of(&collected.sequences)
        .chain(of(&collected.parallels))
        .collect()
}
