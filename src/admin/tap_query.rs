//! What a tap asks for: the query of `/api/v1/tap`, and which objects that means in a table.

use std::collections::HashSet;

use url::form_urlencoded;

use crate::filter::Filter;
use crate::filter::cesql::{CesqlExpression, FindingSeverity};
use crate::model::{ChannelKey, RoutingTable, SubscriptionKey, SubscriptionKind};
use crate::observation::TapDetail;
use crate::wire_text::WireText;

/// The kinds of objects that can be tapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TapKind {
    Channel,
    Broker,
    Trigger,
    Subscription,
}

impl TapKind {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "channel" => Some(Self::Channel),
            "broker" => Some(Self::Broker),
            "trigger" => Some(Self::Trigger),
            "subscription" => Some(Self::Subscription),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Broker => "broker",
            Self::Trigger => "trigger",
            Self::Subscription => "subscription",
        }
    }
}

/// What a tap asks for.
#[derive(Debug, Default)]
pub(super) struct TapQuery {
    kind: Option<TapKind>,
    namespace: Option<String>,
    name: Option<String>,
    pub(super) filter: Option<Filter>,
    wants_data: bool,
}

/// The objects of which a tap tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TapScope {
    /// All of them.
    All,
    /// Those of one namespace.
    Namespace(String),
    /// Those with these labels.
    Objects(HashSet<String>),
}

impl TapScope {
    /// Returns true if the tap tells of the object with this label.
    pub(super) fn has(&self, label: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => {
                let of = label.split_once(' ').map(|(_kind, name)| name);
                of.and_then(|name| name.split_once('/'))
                    .is_some_and(|(of, _name)| of == namespace)
            }
            Self::Objects(labels) => labels.contains(label),
        }
    }
}

impl TapQuery {
    /// Returns true if a query asks for the data of events, of a tap as of parked ones.
    pub(super) fn asks_for_data(query: &str) -> bool {
        form_urlencoded::parse(query.as_bytes())
            .any(|(name, value)| name == "data" && value != "false")
    }

    /// Reads a query.
    ///
    /// # Errors
    /// Fails if something in it is not known, or if the filter is none.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut asked = Self {
            wants_data: Self::asks_for_data(query),
            ..Self::default()
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            asked.set(&name, &value)?;
        }
        if asked.kind.is_some() != asked.name.is_some() {
            return Err("kind and name are given together".to_owned());
        }
        Ok(asked)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "kind" => {
                let kind = TapKind::parse(&value.to_ascii_lowercase());
                let remedy = || "kind is channel, broker, trigger or subscription".to_owned();
                self.kind = Some(kind.ok_or_else(remedy)?);
            }
            "namespace" => self.namespace = Some(value.to_owned()),
            "name" => self.name = Some(value.to_owned()),
            "filter" => self.filter = Some(parse_filter(value)?),
            "data" => {}
            name => {
                return Err(format!(
                    "{} is not known: use kind, namespace, name, filter or data",
                    WireText::new(name)
                ));
            }
        }
        Ok(())
    }

    /// How much of events is asked for.
    pub(super) fn detail(&self) -> TapDetail {
        if self.wants_data {
            TapDetail::Data
        } else {
            TapDetail::Attributes
        }
    }

    /// Returns the objects that are asked for, as they are in this table.
    ///
    /// # Errors
    /// Fails if there is no such object.
    pub(super) fn scope(&self, table: &RoutingTable) -> Result<TapScope, String> {
        let (Some(kind), Some(name)) = (self.kind, &self.name) else {
            let namespace = self.namespace.clone();
            return Ok(namespace.map_or(TapScope::All, TapScope::Namespace));
        };
        let namespace = self.namespace.as_deref().unwrap_or("default");
        let labels = match kind {
            TapKind::Channel | TapKind::Broker => channel_labels(table, kind, namespace, name),
            TapKind::Trigger | TapKind::Subscription => {
                subscription_labels(table, kind, namespace, name)
            }
        };
        if labels.is_empty() {
            let (kind, name) = (kind.as_str(), WireText::new(name));
            let namespace = WireText::new(namespace);
            return Err(format!(
                "{kind} {namespace}/{name} is not served here: see sealpost get {kind}s"
            ));
        }
        Ok(TapScope::Objects(labels))
    }
}

/// Labels of a channel and of its subscriptions; none if there is no such channel.
fn channel_labels(
    table: &RoutingTable,
    kind: TapKind,
    namespace: &str,
    name: &str,
) -> HashSet<String> {
    let is_meant = |key: &ChannelKey| {
        key.kind.as_str() == kind.as_str() && key.namespace == namespace && key.name == name
    };
    let path = format!("/{namespace}/{name}");
    if kind == TapKind::Broker && table.relays().brokers.contains_key(&path) {
        return HashSet::from([format!("broker {namespace}/{name}")]);
    }
    let channels = table.channels().iter().filter(|one| is_meant(&one.key));
    channels
        .flat_map(|channel| {
            let subscriptions = channel.subscriptions.iter();
            let subscriptions = subscriptions.map(|subscription| subscription.key.to_string());
            subscriptions.chain([channel.key.to_string()])
        })
        .collect()
}

/// Labels of a subscription and of its channel; none if there is no such subscription.
fn subscription_labels(
    table: &RoutingTable,
    kind: TapKind,
    namespace: &str,
    name: &str,
) -> HashSet<String> {
    let is_meant = |key: &SubscriptionKey| {
        // An entry of a cluster's channel is also found without the name of its channel.
        let is_named = key.name == name
            || key.kind == SubscriptionKind::Subscriber && key.name.ends_with(&format!("/{name}"));
        let is_trigger = key.kind == SubscriptionKind::Trigger;
        is_named && key.namespace == namespace && is_trigger == (kind == TapKind::Trigger)
    };
    let path = format!("/{namespace}/{name}");
    if kind == TapKind::Trigger && table.relays().triggers.contains_key(&path) {
        return HashSet::from([format!("trigger {namespace}/{name}")]);
    }
    let mut labels = HashSet::new();
    for channel in table.channels() {
        for subscription in channel
            .subscriptions
            .iter()
            .filter(|one| is_meant(&one.key))
        {
            labels.extend([subscription.key.to_string(), channel.key.to_string()]);
        }
    }
    labels
}

/// Makes a filter of an expression.
///
/// # Errors
/// Fails if it is none, or can never be true.
fn parse_filter(text: &str) -> Result<Filter, String> {
    let expression = CesqlExpression::parse(text)
        .map_err(|error| format!("filter: {}", CesqlExpression::explain_error(text, error)))?;
    let mut findings = expression.check(text).into_iter();
    let wrong = findings.find(|finding| {
        matches!(
            finding.severity,
            FindingSeverity::NeverTrue | FindingSeverity::UnknownFunction
        )
    });
    match wrong {
        Some(finding) => Err(format!("filter: {}", finding.error)),
        None => Ok(Filter::from(expression)),
    }
}
