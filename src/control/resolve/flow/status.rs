//! Flows as they are shown, and the channels and Subscriptions that are made of them.

use std::sync::Arc;

use super::object::kind_of;
use super::{Exit, Fault, Flow};
use crate::control::resolve::destination::Resolver;
use crate::control::resolve::routes::Routes;
use crate::model::{Conditions, Entrance, FlowForm, FlowSubscription, Form, Object, ObjectKind, Subscriber, Unready};

/// The parts of a flow's `Ready`.
pub(in crate::control::resolve) const PARTS: &[&str] =
    &["Addressable", "ChannelsReady", "EventPoliciesReady", "SubscriptionsReady"];

impl Flow {
    /// The status of the flow, but for its conditions.
    pub(in crate::control::resolve) fn form(&self, resolver: &Resolver<'_>) -> Form {
        let kind = kind_of(self.parent.storage);
        let channels = self.channels.iter().map(|(key, _)| key.name.clone()).collect();
        let subscription = |exit: &Exit| FlowSubscription {
            name: exit.subscription.key.name.clone(),
            unready: exit.fault.as_ref().map(unready),
        };
        let entrance = self.channels.first().map(|(key, _)| Entrance {
            addresses: resolver.addresses.advertised(key),
            ca_certs: resolver.addresses.ca_certs(),
            audience: resolver.rules.audience(key),
            dead_letter_sink: None,
            subscribers: None,
        });
        let Some(entrance) = entrance else { return Form::Nothing };
        let channel_kind = (kind.api_version(), kind.as_str());
        let subscriptions = self.exits.iter().map(subscription).collect();
        Form::Flow(Box::new(FlowForm { entrance, channel_kind, channels, subscriptions }))
    }

    /// Whether this is the last good form.
    pub(in crate::control::resolve) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Its channels and Subscriptions, as if somebody had written them.
    pub(in crate::control::resolve) fn objects(&self, routes: &Routes, resolver: &Resolver<'_>) -> Vec<Arc<Object>> {
        let channels = self.channels.iter().map(|(key, written)| {
            let name = |exit: &Exit| Subscriber::Name(exit.subscription.key.name.as_str().into());
            let exits = self.exits.iter().filter(|exit| exit.channel == *key);
            let entrance = Entrance {
                addresses: resolver.addresses.advertised(key),
                ca_certs: resolver.addresses.ca_certs(),
                audience: resolver.rules.audience(key),
                dead_letter_sink: self.parent.dead_letter_sink.clone(),
                subscribers: Some(exits.map(name).collect()),
            };
            Object {
                kind: ObjectKind::Channel,
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                written: Arc::clone(written),
                conditions: conditions(&["Addressable", "ChannelServiceReady"], None),
                form: Form::Entrance(Box::new(entrance)),
            }
        });
        let subscriptions = self.exits.iter().map(|exit| {
            let key = &exit.subscription.key;
            let subscription = routes.get(key).map(|(_, made)| Arc::clone(made));
            let own_ca_certs = resolver.addresses.ca_certs();
            Object {
                kind: ObjectKind::Subscription,
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                written: Arc::clone(&exit.written),
                conditions: conditions(&["AddedToChannel", "ChannelReady", "ReferencesResolved"], exit.fault.as_ref()),
                form: subscription.map_or(Form::Nothing, |subscription| Form::Exit { subscription, own_ca_certs }),
            }
        });
        channels.chain(subscriptions).map(Arc::new).collect()
    }
}

/// Of a channel or Subscription that is served.
fn conditions(parts: &'static [&'static str], fault: Option<&Fault>) -> Conditions {
    Conditions { parts, served: true, unready: fault.map(unready), fault: None }
}

fn unready((reason, message): &Fault) -> Box<Unready> {
    Box::new(Unready { status: "False", reason, message: message.clone() })
}
