//! The demands of Sequences and Parallels on senders, as upstream's policies for them say: the
//! channel that takes their events asks what the flow is asked for; each other channel lets only
//! the Subscription before it send, besides the subjects of written policies.

use std::sync::Arc;

use serde_json::Value;

use super::{SenderRequirements, SenderRules, default_audience, status_policies};
use crate::control::read::document::ManifestDocument;
use crate::control::read::kind::ResourceKind;
use crate::control::resolve::collect::CollectedObjects;
use crate::control::resolve::keys::channel_key;
use crate::control::resolve::senders::policy;
use crate::control::resolve::written::flow::plan::PlannedDestination;
use crate::control::resolve::written::flow::planned::{PlannedFlow, plan_flows};
use crate::control::settings::ApiServerAvailability;
use crate::filter::Filter;
use crate::model::{ChannelKind, EventPolicy, NamespacedName, SubjectPattern};

impl SenderRules {
    /// Reads the demands of the channels of every flow.
    pub(super) fn read_flows(&mut self, collected: &CollectedObjects<'_>) {
        for flow in plan_flows(collected) {
            for index in 0..flow.plan.channels.len() {
                self.add_flow_requirements(&flow, index);
            }
        }
    }

    fn add_flow_requirements(&mut self, flow: &PlannedFlow<'_>, index: usize) {
        let PlannedFlow {
            kind,
            name,
            plan,
            document,
        } = flow;
        let Some(channel) = plan.channels.get(index) else {
            return;
        };
        let channel = NamespacedName::new(&name.namespace, channel);
        let made_of = match document.text(&["spec", "channelTemplate", "kind"]) {
            Some("RabbitmqChannel") => ResourceKind::RabbitmqChannel,
            Some("DiskChannel") => ResourceKind::DiskChannel,
            _ => ResourceKind::InMemoryChannel,
        };
        let unlabelled = ManifestDocument {
            value: Arc::new(Value::Null),
            origin: None,
        };
        let of_channel =
            || policy::applying_policies(&self.policies, made_of, &channel, &unlabelled);
        let of_flow = || policy::applying_policies(&self.policies, *kind, name, document);
        let policies = match (self.api_server, index) {
            (ApiServerAvailability::Given, 0) => status_policies(document),
            (ApiServerAvailability::Given, _) => Some(Vec::new()),
            (ApiServerAvailability::Missing, 0) => {
                status_policies(document).map(|listed| match listed.is_empty() {
                    true => of_flow().into_iter().chain(of_channel()).collect(),
                    false => listed,
                })
            }
            (ApiServerAvailability::Missing, _) => Some(of_channel()),
        };
        let own = (index > 0).then(|| self.previous_subscriptions_policy(flow, index));
        let audience = default_audience(made_of, &channel);
        let key = channel_key(ChannelKind::Channel, channel.namespace, channel.name);
        self.requirements.insert(
            key,
            SenderRequirements {
                audience,
                policies,
                generated_policy: own,
                owner: None,
            },
        );
    }

    /// A policy that lets the Subscriptions send whose subscriber or reply is this channel.
    fn previous_subscriptions_policy(
        &self,
        flow: &PlannedFlow<'_>,
        index: usize,
    ) -> Arc<EventPolicy> {
        let leads_there = |way: &PlannedDestination| matches!(way, PlannedDestination::Channel(channel) if *channel == index);
        let before = flow.plan.subscriptions.iter().filter(|leg| {
            leads_there(&leg.subscriber) || leg.reply.as_ref().is_some_and(leads_there)
        });
        let subjects = before.filter_map(|leg| {
            self.generated_sender_account(
                ResourceKind::Subscription,
                &flow.name.namespace,
                &leg.name,
            )
        });
        let subjects = subjects
            .map(|account| SubjectPattern::Exact(account.to_string()))
            .collect();
        Arc::new(EventPolicy {
            subjects,
            filter: Filter::MatchAll,
        })
    }
}
