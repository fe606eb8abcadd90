//! What Sequences and Parallels ask of senders, as upstream's policies for them say it: the channel that takes their events
//! asks what the flow is asked for, each other one lets only the Subscription before it send, besides whom a policy names.

use std::sync::Arc;

use serde_json::Value;

use super::{Asked, Rules, computed_audience, listed};
use crate::control::ApiServer;
use crate::control::kind::Kind;
use crate::control::manifest::Document;
use crate::control::resolve::collect::{Collected, Name};
use crate::control::resolve::flow::plan::{Plan, Way};
use crate::control::resolve::{flow, policy};
use crate::filter::Filter;
use crate::model::{ChannelKey, ChannelKind, Policy, Subject};

impl Rules {
    /// Reads the channels of every flow.
    pub(super) fn read_flows(&mut self, collected: &Collected<'_>) {
        for (kind, name, plan, document) in flow::plans(collected) {
            for index in 0..plan.channels.len() {
                self.ask_flow((kind, &name, &plan), index, document);
            }
        }
    }

    fn ask_flow(&mut self, (kind, (namespace, name), plan): (Kind, &Name, &Plan), index: usize, document: &Document) {
        let Some(channel) = plan.channels.get(index) else { return };
        let made_of = match document.text(&["spec", "channelTemplate", "kind"]) {
            Some("RabbitmqChannel") => Kind::RabbitmqChannel,
            _ => Kind::InMemoryChannel,
        };
        let unlabelled = Document { value: Arc::new(Value::Null), origin: None };
        let of_channel = || policy::applying(&self.policies, made_of, (namespace, channel), &unlabelled);
        let of_flow = || policy::applying(&self.policies, kind, (namespace, name), document);
        let policies = match (self.api_server, index) {
            (ApiServer::Given, 0) => listed(document),
            (ApiServer::Given, _) => Some(Vec::new()),
            (ApiServer::Missing, 0) => listed(document).map(|listed| match listed.is_empty() {
                true => of_flow().into_iter().chain(of_channel()).collect(),
                false => listed,
            }),
            (ApiServer::Missing, _) => Some(of_channel()),
        };
        let own = (index > 0).then(|| self.of_those_before(namespace, plan, index));
        let audience = computed_audience(made_of, namespace, channel);
        let key = ChannelKey { kind: ChannelKind::Channel, namespace: namespace.clone(), name: channel.clone() };
        self.asked.insert(key, Asked { audience, policies, own, owner: None });
    }

    /// Lets the Subscriptions send that lead into this channel.
    fn of_those_before(&self, namespace: &str, plan: &Plan, index: usize) -> Arc<Policy> {
        let leads_there = |way: &Way| matches!(way, Way::Into(channel) if *channel == index);
        let before =
            plan.legs.iter().filter(|leg| leads_there(&leg.subscriber) || leg.reply.as_ref().is_some_and(leads_there));
        let subjects = before.filter_map(|leg| self.sender_named(Kind::Subscription, (namespace, &leg.name)));
        let subjects = subjects.map(|account| Subject::Exact(account.to_string())).collect();
        Arc::new(Policy { subjects, filter: Filter::Pass })
    }
}
