//! The channel or Broker that a Subscription or Trigger belongs to.

use super::SubscriptionResolver;
use crate::control::read::kind::ResourceKind;
use crate::control::read::manifest::duck::KReference;
use crate::control::read::manifest::eventing::TriggerSpec;
use crate::control::read::manifest::messaging::SubscriptionSpec;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::config::flags::FeatureSwitch;
use crate::control::resolve::destination::reference::{self, ReferencedKind};
use crate::control::resolve::destination::replacement::replacement_remedy;
use crate::control::resolve::keys::channel_key;
use crate::model::{ChannelKey, ChannelKind};

impl SubscriptionResolver<'_, '_> {
    pub(super) fn channel_of(
        &self,
        spec: &SubscriptionSpec,
        report: &mut ObjectReport<'_>,
    ) -> Option<ChannelKey> {
        let Some(reference) = &spec.channel else {
            report.error(
                "spec.channel",
                "is missing: give apiVersion, kind and name of the channel",
            );
            return None;
        };
        require_channel_kind(reference, report)?;
        let Some(name) = reference.name.clone().filter(|name| !name.is_empty()) else {
            report.error("spec.channel.name", "is missing: name the channel");
            return None;
        };
        let namespace = self.namespace_of(reference, "spec.channel", "channel", report)?;
        let key = channel_key(ChannelKind::Channel, namespace, name);
        self.require_served(key, "spec.channel", report)
    }

    /// The namespace of a channel or Broker that a reference names: another one than the object's
    /// own only if the flag allows that.
    fn namespace_of(
        &self,
        reference: &KReference,
        field: &str,
        what: &str,
        report: &mut ObjectReport<'_>,
    ) -> Option<String> {
        let own = report.object().namespace.clone();
        let written = reference
            .namespace
            .clone()
            .filter(|namespace| !namespace.is_empty() && *namespace != own);
        let Some(other) = written else {
            return Some(own);
        };
        if self.resolver.sender_rules.cross_namespace() == FeatureSwitch::On {
            return Some(other);
        }
        let kind = &report.object().kind;
        let message = format!(
            "is {other}, and a {kind} of the namespace {own} may belong to a {what} there only with \
             cross-namespace-event-links: enabled in the ConfigMap config-features: set that, or name a {what} of {own}"
        );
        report.error(&format!("{field}.namespace"), message);
        None
    }

    pub(super) fn broker_of(
        &self,
        spec: &TriggerSpec,
        report: &mut ObjectReport<'_>,
    ) -> Option<ChannelKey> {
        let written = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
        let referred = spec.broker_ref.as_ref();
        let (by_name, by_reference) = (
            written(spec.broker.as_ref()),
            written(referred.and_then(|broker| broker.name.as_ref())),
        );
        if by_name.is_some() && referred.is_some() {
            report.error(
                "spec.brokerRef",
                "is there beside broker: keep one of the two",
            );
            return None;
        }
        let namespace = match referred {
            Some(reference) => self.namespace_of(
                &default_to_broker(reference, report)?,
                "spec.brokerRef",
                "Broker",
                report,
            )?,
            None => report.object().namespace.clone(),
        };
        let field = if referred.is_some() {
            "spec.brokerRef"
        } else {
            "spec.broker"
        };
        let name = by_name.or(by_reference);
        let Some(name) = name else {
            report.error("spec.broker", "is missing: name the Broker");
            return None;
        };
        self.require_served(
            channel_key(ChannelKind::Broker, namespace, name),
            field,
            report,
        )
    }

    /// The channel or Broker of this name, if it is served; else reports why not, at `field`.
    pub(crate) fn require_served(
        &self,
        key: ChannelKey,
        field: &str,
        report: &mut ObjectReport<'_>,
    ) -> Option<ChannelKey> {
        match self.resolver.check_served(&key) {
            Ok(()) => Some(key),
            // The parent is not served on purpose, and so neither are its Triggers and
            // Subscriptions.
            Err(message) if self.resolver.is_left_alone(&key) => {
                report.warn_not_served(
                    field,
                    format!(
                        "{message}: this {} is left alone, too",
                        report.object().kind
                    ),
                );
                None
            }
            Err(message) => {
                report.unresolved_reference(field, message);
                None
            }
        }
    }
}

/// Checks that a reference of a Subscription means a channel; `None` if not, which is reported.
fn require_channel_kind(reference: &KReference, report: &mut ObjectReport<'_>) -> Option<()> {
    match reference::referenced_kind(reference, "spec.channel", report)? {
        ReferencedKind::Known(
            ResourceKind::Channel
            | ResourceKind::InMemoryChannel
            | ResourceKind::RabbitmqChannel
            | ResourceKind::DiskChannel,
        ) => return Some(()),
        ReferencedKind::Known(kind) => {
            let remedy = "is no channel: write Channel, InMemoryChannel, DiskChannel or \
                          RabbitmqChannel";
            report.error("spec.channel.kind", format!("{} {remedy}", kind.as_str()));
        }
        ReferencedKind::Other { group, kind } => match replacement_remedy(&group, &kind) {
            Some(remedy) => {
                report.warn_not_served("spec.channel", not_served_message(&kind, remedy, report))
            }
            None => {
                let remedy = "is no channel that is served here: write Channel, InMemoryChannel, \
                     DiskChannel or RabbitmqChannel";
                report.error("spec.channel.kind", format!("{kind} {remedy}"));
            }
        },
    }
    None
}

/// Checks that a reference of a Trigger means a Broker; a missing kind does.
fn default_to_broker(reference: &KReference, report: &mut ObjectReport<'_>) -> Option<KReference> {
    let kind = reference
        .kind
        .as_deref()
        .filter(|kind| !kind.is_empty() && *kind != ResourceKind::Broker.as_str());
    if let Some(kind) = kind {
        report.error(
            "spec.brokerRef.kind",
            format!("{kind} is no Broker: write Broker, or leave it out"),
        );
        return None;
    }
    Some(reference.clone())
}

/// The message for an object whose channel or Broker is of a kind that is not served here.
fn not_served_message(kind: &str, remedy: &str, report: &ObjectReport<'_>) -> String {
    let own = &report.object().kind;
    format!("leads to a {kind}, which is left alone here, and so is this {own}: {remedy}")
}
