//! Resolves references to Sequences and Parallels.

use super::plan;
use crate::control::read::kind::ResourceKind;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::destination::{
    DestinationResolver, ResolvedUrl, WrittenDestination, check_serving_state,
};
use crate::model::{ChannelKey, ChannelKind, NamespacedName};

impl DestinationResolver<'_> {
    /// The address of a Sequence or Parallel, which is that of its first channel.
    pub(in crate::control::resolve) fn resolve_flow(
        &self,
        kind: ResourceKind,
        name: NamespacedName,
        wanted: &WrittenDestination<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<ResolvedUrl> {
        let called = format!("{} {name}", kind.as_str());
        let key = ChannelKey {
            kind: ChannelKind::Channel,
            name: plan::entry_channel_name(kind, &name.name)?,
            namespace: name.namespace,
        };
        let place = self
            .serving_states
            .get(&key)
            .filter(|_| self.flows.contains(&key));
        match check_serving_state(place, &called) {
            Err(message) if self.is_left_alone(&key) => {
                let message = format!("{message}: what is sent to it fails here");
                report.warn_not_served(&format!("{}.ref", wanted.field), message);
                None
            }
            Err(message) if !self.settings.task.relays() => {
                report.unresolved_reference(&format!("{}.ref", wanted.field), message);
                None
            }
            _ => self.resolve_local(key, wanted, report),
        }
    }
}
