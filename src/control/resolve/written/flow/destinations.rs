//! The destinations of one flow.

use std::collections::BTreeMap;

use super::plan::{PlannedDestination, PlannedSubscription};
use crate::control::read::report::{ObjectReport, ReportedError};
use crate::control::resolve::destination::{DestinationResolver, WrittenDestination};
use crate::model::{Addressable, ChannelKey};

/// The destinations of a flow by their fields: one destination may be that of several
/// subscriptions, and its mistakes are reported once.
pub(super) struct FlowDestinations<'k> {
    /// The keys of the flow's channels, in the order of the plan.
    keys: &'k [ChannelKey],
    /// Each destination, with its fault if it has one.
    resolved: BTreeMap<String, (Addressable, Option<ReportedError>)>,
}

impl<'k> FlowDestinations<'k> {
    pub(super) fn new(keys: &'k [ChannelKey]) -> Self {
        Self {
            keys,
            resolved: BTreeMap::new(),
        }
    }

    /// The keys of the flow's channels.
    pub(super) fn keys(&self) -> &'k [ChannelKey] {
        self.keys
    }

    /// The channel that a subscription takes its events from.
    pub(super) fn channel(&self, planned: &PlannedSubscription) -> Option<ChannelKey> {
        self.keys.get(planned.channel).cloned()
    }

    pub(super) fn resolve_destination(
        &mut self,
        way: &PlannedDestination,
        resolver: &mut DestinationResolver<'_>,
        report: &mut ObjectReport<'_>,
    ) -> Option<Addressable> {
        let (field, destination) = match way {
            PlannedDestination::Channel(channel) => {
                return resolver.local_addressable(self.keys.get(*channel)?);
            }
            PlannedDestination::Destination(field, destination) => (field, destination),
        };
        if let Some((known, _)) = self.resolved.get(field) {
            return Some(known.clone());
        }
        let excused = report.tolerated_errors().count();
        let found = resolver.resolve_or_unresolved(
            &WrittenDestination::at_field(field.clone(), destination),
            report,
        );
        let fault = report.tolerated_error_after(excused);
        self.resolved.insert(field.clone(), (found.clone(), fault));
        Some(found)
    }

    /// The fault of a subscription's subscriber, or else of its reply.
    pub(super) fn subscription_fault(
        &self,
        subscription: &PlannedSubscription,
    ) -> Option<ReportedError> {
        let of = |destination: &PlannedDestination| match destination {
            PlannedDestination::Destination(field, _) => self.resolved.get(field)?.1.clone(),
            PlannedDestination::Channel(_) => None,
        };
        of(&subscription.subscriber).or_else(|| of(subscription.reply.as_ref()?))
    }
}
