//! Channels and brokers: what they are made of, when they answer, what their subscriptions fall back to.

use std::sync::Arc;

use super::delivery::Delivery;
use super::destination::CHANNEL_HOST_SUFFIX;
use super::index::channel_key;
use super::{Broken, Findings, Resolver, spec, status};
use crate::control::manifest;
use crate::control::read::Raw;
use crate::model::{Acknowledge, ChannelKey, ChannelKind, Hosts, Subscription};

const ASYNC_HANDLER: &str = "messaging.knative.dev/async-handler";
const BROKER_CLASS: &str = "eventing.knative.dev/broker.class";
const OUR_BROKER_CLASS: &str = "MTChannelBasedBroker";
const NO_RABBITMQ: &str = "channels on RabbitMQ are not in this version: use InMemoryChannel";

/// A channel or broker whose subscriptions are still being collected.
pub(super) struct ChannelDraft {
    pub(super) key: ChannelKey,
    pub(super) acknowledge: Acknowledge,
    /// What its subscriptions fall back to.
    pub(super) delivery: Delivery,
    pub(super) subscriptions: Vec<Arc<Subscription>>,
    /// Entries of its own `spec.subscribers`.
    pub(super) own_subscribers: Vec<manifest::Subscriber>,
    pub(super) raw: Arc<Raw>,
}

impl Resolver<'_> {
    /// Every channel and broker, in the order of their keys, without subscriptions.
    pub(super) fn channels(&mut self) -> Vec<ChannelDraft> {
        let mut drafts = Vec::new();
        for kind in ["Channel", "InMemoryChannel", "RabbitmqChannel", "Broker"] {
            let raws: Vec<Arc<Raw>> = self.index.of_kind(kind).cloned().collect();
            for raw in raws {
                if kind == "Broker" && self.is_foreign_broker(&raw) {
                    continue;
                }
                let (draft, broken) = self.with_fallback(&raw, Self::channel);
                self.statuses.push(status::Resolved::new(&raw, broken, status::Form::of(draft.as_ref())));
                drafts.extend(draft);
            }
        }
        drafts.sort_by(|a, b| a.key.cmp(&b.key));
        drafts
    }

    fn is_foreign_broker(&mut self, raw: &Raw) -> bool {
        let class = raw.annotation(BROKER_CLASS).filter(|class| class != OUR_BROKER_CLASS);
        if let Some(class) = &class {
            let message = format!("broker class {class} is not ours: left alone");
            self.problems.push(raw.problem(crate::control::Severity::Note, "metadata.annotations", message));
        }
        class.is_some()
    }

    fn channel(&mut self, findings: &mut Findings<'_>) -> Result<ChannelDraft, Broken> {
        let raw = Arc::new(findings.raw.clone());
        let key = channel_key(&raw.name).ok_or_else(|| findings.error("kind", "is not a channel"))?;
        let (delivery, own_subscribers) = match key.kind {
            ChannelKind::Broker => (spec::read::<manifest::Broker>(findings)?.delivery, Vec::new()),
            ChannelKind::Channel => {
                let written: manifest::Channel = spec::read(findings)?;
                check_implementation(&raw, &written, findings)?;
                (written.delivery, written.subscribers)
            }
        };
        let delivery = self.delivery(delivery.as_ref(), "spec.delivery", findings)?.unwrap_or_default();
        let acknowledge = acknowledge(&raw);
        Ok(ChannelDraft { key, acknowledge, delivery, subscriptions: Vec::new(), own_subscribers, raw })
    }

    /// The host name that means one channel (data-plane.md P-3).
    pub(super) fn channel_host(&self, key: &ChannelKey) -> Option<String> {
        let host = format!("{}{CHANNEL_HOST_SUFFIX}.{}.svc.{}", key.name, key.namespace, self.settings.cluster_domain);
        (key.kind == ChannelKind::Channel).then_some(host)
    }

    /// The names that a server certificate must hold: one wildcard for the channels of a namespace, and the hosts of the
    /// dispatcher and the broker ingress.
    pub(super) fn host_names(&self, hosts: &Hosts, drafts: &[ChannelDraft]) -> Vec<String> {
        let mut names: Vec<String> = drafts
            .iter()
            .filter(|draft| draft.key.kind == ChannelKind::Channel)
            .map(|draft| format!("*.{}.svc.{}", draft.key.namespace, self.settings.cluster_domain))
            .collect();
        let domain = format!(".{}", self.settings.cluster_domain);
        for host in [&hosts.channels, &hosts.brokers] {
            names.push(host.clone());
            names.extend(host.strip_suffix(&domain).map(str::to_owned));
        }
        names.sort();
        names.dedup();
        names
    }
}

/// Refuses what is made of something that we do not have.
fn check_implementation(raw: &Raw, written: &manifest::Channel, findings: &mut Findings<'_>) -> Result<(), Broken> {
    if raw.name.kind == "RabbitmqChannel" {
        return Err(findings.error("kind", NO_RABBITMQ));
    }
    match &written.channel_template {
        None => Ok(()),
        Some(template) if template.kind == "InMemoryChannel" && template.api_version == "messaging.knative.dev/v1" => {
            Ok(())
        }
        Some(template) if template.kind == "RabbitmqChannel" => {
            Err(findings.error("spec.channelTemplate.kind", NO_RABBITMQ))
        }
        Some(template) => {
            let message = format!(
                "{:?} of {:?} is not a channel that we make: use InMemoryChannel of messaging.knative.dev/v1",
                template.kind, template.api_version
            );
            Err(findings.error("spec.channelTemplate", message))
        }
    }
}

/// Go's spelling of true (data-plane.md FO-1); everything else means the safer way.
fn acknowledge(raw: &Raw) -> Acknowledge {
    match raw.annotation(ASYNC_HANDLER).as_deref() {
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Acknowledge::AfterEnqueue,
        _ => Acknowledge::AfterDelivery,
    }
}
