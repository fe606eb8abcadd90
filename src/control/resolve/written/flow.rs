//! Resolves Sequences and Parallels: each becomes channels and subscriptions between them, as
//! upstream's controllers make them (contract 5.2b). Problems are reported at the flow that
//! somebody wrote, not at the objects that are generated for it.
//!
//! A flow is served as a whole: with an error in it, or a step that leads nowhere, it keeps its
//! last good form; without such a form, each event that goes to that step fails, for the reason
//! that was reported.

mod build;
pub(crate) mod cycles;
pub(crate) mod declare;
mod destinations;
mod generated_objects;
pub(crate) mod plan;
pub(crate) mod planned;
mod reference;
pub(crate) mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::control::read::report::ReportedError;
use crate::control::resolve::collect::CollectedObjects;
use crate::control::resolve::destination::DestinationResolver;
use crate::control::resolve::parent::{ResolvedParent, ResolvedParents};
use crate::model::{ChannelKey, Subscription};
use build::FlowBuilder;

/// A Sequence or Parallel as it is served.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResolvedFlow {
    /// The properties that all of its channels have.
    parent: ResolvedParent,
    /// Its channels as objects; the first one takes its events.
    channels: Vec<(ChannelKey, Arc<Value>)>,
    subscriptions: Vec<ResolvedFlowSubscription>,
    /// True if this is its last good form, since the written one cannot work.
    is_kept: bool,
}

/// A subscription of one of the flow's channels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResolvedFlowSubscription {
    channel: ChannelKey,
    /// The subscription that is served.
    subscription: Subscription,
    /// The Subscription object that upstream's controllers would write in a cluster.
    object: Arc<Value>,
    /// The reason why a destination of it cannot work; `None` if all can.
    fault: Option<ReportedError>,
}

/// Every flow that is served, by the channel that takes its events.
pub(crate) type ResolvedFlows = BTreeMap<ChannelKey, ResolvedFlow>;

impl ResolvedFlow {
    /// The subscriptions, each with its channel.
    pub(crate) fn channel_subscriptions(
        &self,
    ) -> impl Iterator<Item = (&ChannelKey, &Subscription)> {
        self.subscriptions
            .iter()
            .map(|exit| (&exit.channel, &exit.subscription))
    }

    fn has_no_fault(&self) -> bool {
        self.subscriptions.iter().all(|exit| exit.fault.is_none())
    }

    fn as_kept(&self) -> Self {
        Self {
            is_kept: true,
            ..self.clone()
        }
    }
}

/// Builds the flows whose first channel is in `parents`, and adds their other channels to it. A
/// flow that cannot work keeps its form of `last`.
pub(crate) fn resolve(
    collected: &mut CollectedObjects<'_>,
    resolver: &mut DestinationResolver<'_>,
    parents: &mut ResolvedParents,
    last: Option<&ResolvedFlows>,
) -> ResolvedFlows {
    let nothing = ResolvedFlows::new();
    let mut builder = FlowBuilder {
        resolver,
        parents,
        last: last.unwrap_or(&nothing),
        flows: ResolvedFlows::new(),
    };
    builder.build_all(&mut collected.sequences);
    builder.build_all(&mut collected.parallels);
    builder.flows
}
