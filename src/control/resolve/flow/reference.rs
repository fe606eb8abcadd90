//! References to Sequences and Parallels.

use super::plan;
use crate::control::kind::Kind;
use crate::control::report::Report;
use crate::control::resolve::collect::Name;
use crate::control::resolve::destination::{Found, Resolver, Wanted, told};
use crate::model::{ChannelKey, ChannelKind, Role};

impl Resolver<'_> {
    /// The address of a Sequence or Parallel: that of its first channel.
    pub(in crate::control::resolve) fn flow(
        &self,
        kind: Kind,
        (namespace, name): Name,
        wanted: &Wanted<'_>,
        report: &mut Report<'_>,
    ) -> Option<Found> {
        let called = format!("{} {namespace}/{name}", kind.as_str());
        let key = ChannelKey { kind: ChannelKind::Channel, namespace, name: plan::entrance(kind, &name)? };
        let place = self.places.get(&key).filter(|_| self.flows.contains(&key));
        match told(place, &called) {
            Err(message) if self.settings.role == Role::Channel => {
                report.unresolved(&format!("{}.ref", wanted.field), message);
                None
            }
            _ => self.own(key, wanted, report),
        }
    }
}
