//! What is configured, as Knative-shaped objects with status: what `sealpost get` shows.
//!
//! An object is kept as it was written and as it is served, which others hold, too; its JSON is made when somebody asks.

mod flow;
mod json;
mod visible_fields;

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::addressable::without_root_slash;
use super::{Addressable, Subscription};

/// Which list an object is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// `Channel`, `InMemoryChannel`, `RabbitmqChannel`.
    Channel,
    /// `Broker`.
    Broker,
    /// `Trigger`.
    Trigger,
    /// `Subscription`.
    Subscription,
    /// `Sequence`.
    Sequence,
    /// `Parallel`.
    Parallel,
    /// `RequestReply`.
    RequestReply,
}

/// A Knative condition (`knative.dev/pkg/apis.Condition`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Condition<'c> {
    /// Such as `Ready`.
    #[serde(rename = "type")]
    pub ty: &'c str,
    /// `True`, `False` or `Unknown`.
    pub status: &'c str,
    /// A word for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'c str>,
    /// A sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'c str>,
}

/// The conditions of an object: `Ready` and its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectConditions {
    /// The types of the parts, which are `True` if the object is served, even if that is in its last good form.
    pub parts: &'static [&'static str],
    /// Whether it is served.
    pub served: bool,
    /// Why it is not ready; `None` if it is.
    pub not_ready: Option<Box<NotReadyReason>>,
    /// The part that is not `True` for the same reason; `None` if what is wrong is no part's.
    pub failed_part: Option<&'static str>,
}

/// Why an object is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReadyReason {
    /// `False` or `Unknown`.
    pub status: &'static str,
    /// A word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// What keeps an object from being served at the moment, and is not in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectTrouble<'t> {
    /// A word for programs.
    pub reason: &'t str,
    /// A sentence for people.
    pub message: &'t str,
    /// Whether it keeps each of a channel's subscribers from its events.
    pub affects_all_subscribers: bool,
}

/// Events that a Trigger did not get since its filter could not be decided, from when this process took it up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterErrors {
    /// An expression ended in an error, or in no boolean.
    pub expression: u64,
    /// It was more work than is allowed.
    pub limit: u64,
}

/// What is known of an object only while it is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveStatus<'t> {
    /// What keeps it from being served.
    pub trouble: Option<ObjectTrouble<'t>>,
    /// Of a Trigger.
    pub filter_errors: FilterErrors,
}

impl<'t> ObjectTrouble<'t> {
    /// The condition `Ready` of an object that is understood, and in trouble.
    #[must_use]
    pub fn ready_condition(&self) -> Condition<'t> {
        Condition { ty: "Ready", status: "False", reason: Some(self.reason), message: Some(self.message) }
    }
}

/// What an object is served as, as far as its status says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectStatus {
    /// There is nothing to say but the conditions.
    ConditionsOnly,
    /// A channel, broker or RequestReply.
    Address(Box<AddressStatus>),
    /// A channel of a cluster, whose addresses are those of its written status, with these subscribers; `None` if it is not
    /// served.
    ReconciledChannel(Option<Box<[SubscriberId]>>),
    /// A Trigger or Subscription.
    Subscription {
        /// What is served.
        subscription: Arc<Subscription>,
        /// What channels and brokers of this process can be verified with.
        own_ca_certs: Option<Arc<str>>,
    },
    /// A Sequence or Parallel.
    Flow(Box<FlowStatus>),
}

/// What a Sequence or Parallel is served as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStatus {
    /// Where it takes events.
    pub address: AddressStatus,
    /// `apiVersion` and `kind` of its channels.
    pub channel_kind: (&'static str, &'static str),
    /// The names of its channels: of a Sequence one for each step; of a Parallel one that takes the events, and one for each
    /// branch.
    pub channels: Box<[String]>,
    /// Its Subscriptions: of a Sequence one for each step; of a Parallel two for each branch, the filter's and the
    /// subscriber's.
    pub subscriptions: Box<[FlowSubscription]>,
}

/// A Subscription of a Sequence or Parallel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSubscription {
    /// Its name.
    pub name: String,
    /// Why it is not ready; `None` if it is.
    pub not_ready: Option<Box<NotReadyReason>>,
}

/// Where a channel, broker or RequestReply takes events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressStatus {
    /// `status.addresses`; the last one is `status.address`.
    pub addresses: Box<[StatusAddress]>,
    /// What those by https, and other ones of this process, can be verified with.
    pub ca_certs: Option<Arc<str>>,
    /// Of the tokens that are asked for, if they are.
    pub audience: Option<String>,
    /// Who gets what could not be delivered.
    pub dead_letter_sink: Option<Addressable>,
    /// Of a channel.
    pub subscribers: Option<Box<[SubscriberId]>>,
}

impl AddressStatus {
    /// The URL of `status.address`.
    fn url(&self) -> Option<&str> {
        self.addresses.last().map(|address| &*address.url)
    }
}

/// One of `status.addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusAddress {
    /// `http` or `https`.
    pub name: &'static str,
    url: Box<str>,
}

impl StatusAddress {
    /// A URL of this name.
    #[must_use]
    pub fn new(name: &'static str, url: &Url) -> Self {
        Self { name, url: without_root_slash(url).into() }
    }
}

/// What names one of `status.subscribers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriberId {
    /// Its uid.
    Uid(Box<str>),
    /// Its name, where it is written without a uid.
    Name(Box<str>),
}

/// One object with its status.
#[derive(Clone, Debug)]
pub struct InventoryObject {
    /// Which list it is in.
    pub kind: ObjectKind,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// As written.
    pub manifest: Arc<Value>,
    /// The conditions of its status.
    pub conditions: ObjectConditions,
    /// The rest of its status.
    pub status: ObjectStatus,
}

impl ObjectConditions {
    /// The condition `Ready`.
    #[must_use]
    pub fn ready_condition(&self) -> Condition<'_> {
        let (ty, unready) = ("Ready", self.not_ready.as_deref());
        Condition {
            ty,
            status: unready.map_or("True", |unready| unready.status),
            reason: unready.map(|unready| unready.reason),
            message: unready.map(|unready| unready.message.as_str()),
        }
    }
}

impl InventoryObject {
    /// The `kind` that it was written with.
    #[must_use]
    pub fn manifest_kind(&self) -> Option<&str> {
        self.manifest_text("/kind")
    }

    /// Name of the channel of a Subscription, or of the Broker of a Trigger.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        match self.kind {
            ObjectKind::Channel
            | ObjectKind::Broker
            | ObjectKind::RequestReply
            | ObjectKind::Sequence
            | ObjectKind::Parallel => None,
            ObjectKind::Trigger => self.manifest_text("/spec/broker"),
            ObjectKind::Subscription => self.manifest_text("/spec/channel/name"),
        }
    }

    /// `status.address.url`.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match &self.status {
            ObjectStatus::Address(entrance) => entrance.url(),
            ObjectStatus::Flow(flow) => flow.address.url(),
            ObjectStatus::ReconciledChannel(_) => self.manifest_text("/status/address/url"),
            ObjectStatus::ConditionsOnly | ObjectStatus::Subscription { .. } => None,
        }
    }

    fn manifest_text(&self, pointer: &str) -> Option<&str> {
        self.manifest.pointer(pointer)?.as_str()
    }

    /// All of it but what is written.
    fn resolved_fields(&self) -> (ObjectKind, &str, &str, &ObjectConditions, &ObjectStatus) {
        (self.kind, &self.namespace, &self.name, &self.conditions, &self.status)
    }
}

/// Objects that are shown alike are equal: what else is written does not matter.
impl PartialEq for InventoryObject {
    fn eq(&self, other: &Self) -> bool {
        self.resolved_fields() == other.resolved_fields()
            && (Arc::ptr_eq(&self.manifest, &other.manifest) || self.json() == other.json())
    }
}

impl Eq for InventoryObject {}

/// Everything that is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// In the order of kind, namespace, name.
    pub objects: Vec<Arc<InventoryObject>>,
}
