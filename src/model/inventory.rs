//! Every configured object with its status, in Knative's schema: the data that `sealpost get` and
//! the admin API show.
//!
//! Each object is kept as it was written and as it is served, which the routing table holds as
//! well; its JSON is made when somebody asks for it.

mod flow;
mod json;
mod visible_fields;

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::addressable::without_root_slash;
use super::{Addressable, Subscription};

/// The list of the inventory that an object is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// `Channel`, `InMemoryChannel`, `RabbitmqChannel` and `DiskChannel`.
    Channel,
    /// `Broker`, whatever its class.
    Broker,
    /// `Trigger`, a receiver of a Broker.
    Trigger,
    /// `Subscription`, a receiver of a channel.
    Subscription,
    /// `Sequence`, a flow of steps.
    Sequence,
    /// `Parallel`, a flow of branches.
    Parallel,
    /// `RequestReply`, an address at which senders wait for replies.
    RequestReply,
}

/// A Knative condition (`knative.dev/pkg/apis.Condition`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Condition<'c> {
    /// The type of the condition, such as `Ready`.
    #[serde(rename = "type")]
    pub ty: &'c str,
    /// One of `True`, `False` and `Unknown`.
    pub status: &'c str,
    /// The reason as one CamelCase word for programs; none if the status is `True`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'c str>,
    /// The reason as a sentence for people; none if the status is `True`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'c str>,
}

/// The conditions of an object: `Ready` and the parts that it consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectConditions {
    /// The types of the parts, which are `True` if the object is served, even if that is in its
    /// last good form.
    pub parts: &'static [&'static str],
    /// True if the object is served, even if that is in its last good form.
    pub served: bool,
    /// The reason why the object is not ready; `None` if it is ready.
    pub not_ready: Option<Box<NotReadyReason>>,
    /// The part that is not `True` for the same reason; `None` if no part is at fault.
    pub failed_part: Option<&'static str>,
}

/// The reason why an object is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReadyReason {
    /// The status of the condition: `False` or `Unknown`.
    pub status: &'static str,
    /// The reason as one CamelCase word for programs.
    pub reason: &'static str,
    /// The reason as a sentence for people, with a remedy.
    pub message: String,
}

/// A fault that keeps an object from being served at the moment, and that is not in the
/// configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectTrouble<'t> {
    /// The reason as one CamelCase word for programs.
    pub reason: &'t str,
    /// The reason as a sentence for people.
    pub message: &'t str,
    /// True if the fault keeps each of a channel's subscribers from its events.
    pub affects_all_subscribers: bool,
}

/// The number of events that a Trigger did not get since its filter could not be decided, counted
/// from when this process began to serve it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FilterErrors {
    /// Events for which an expression ended in an error, or in a value that is no boolean.
    pub expression: u64,
    /// Events for which the filter took more work than is allowed.
    pub limit: u64,
}

/// The part of an object's status that is known only while the object is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LiveStatus<'t> {
    /// The fault that keeps it from being served; `None` if it is served.
    pub trouble: Option<ObjectTrouble<'t>>,
    /// The undecided events of a Trigger; zero for every other kind.
    pub filter_errors: FilterErrors,
}

impl<'t> ObjectTrouble<'t> {
    /// The condition `Ready` of an object whose manifest is right, but which is in trouble.
    #[must_use]
    pub(crate) fn ready_condition(&self) -> Condition<'t> {
        Condition {
            ty: "Ready",
            status: "False",
            reason: Some(self.reason),
            message: Some(self.message),
        }
    }
}

/// The status of an object besides its conditions, by kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectStatus {
    /// The status consists of the conditions alone.
    ConditionsOnly,
    /// The status of a channel, Broker or RequestReply, which has addresses.
    Address(Box<AddressStatus>),
    /// The status of a channel that a cluster has reconciled, whose addresses are those of its
    /// written status, with these subscribers; `None` if it is not served.
    ReconciledChannel(Option<Box<[SubscriberId]>>),
    /// The status of a Trigger or Subscription.
    Subscription {
        /// The subscription that is served for the object.
        subscription: Arc<Subscription>,
        /// The CA certificates (PEM) that channels and Brokers of this process can be verified
        /// with.
        own_ca_certs: Option<Arc<str>>,
    },
    /// The status of a Sequence or Parallel.
    Flow(Box<FlowStatus>),
}

/// The status of a Sequence or Parallel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStatus {
    /// The address at which the flow takes events.
    pub address: AddressStatus,
    /// The `apiVersion` and `kind` of its channels.
    pub channel_kind: (&'static str, &'static str),
    /// The names of its channels: of a Sequence one for each step; of a Parallel one that takes
    /// the events, and one for each branch.
    pub channels: Box<[String]>,
    /// Its Subscriptions: of a Sequence one for each step; of a Parallel two for each branch, the
    /// filter's and the subscriber's.
    pub subscriptions: Box<[FlowSubscription]>,
}

/// A Subscription that a Sequence or Parallel consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSubscription {
    /// The name of the generated Subscription.
    pub name: String,
    /// The reason why it is not ready; `None` if it is ready.
    pub not_ready: Option<Box<NotReadyReason>>,
}

/// The addresses at which a channel, Broker or RequestReply takes events, and what belongs to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressStatus {
    /// The entries of `status.addresses`; the last one is `status.address`, too.
    pub addresses: Box<[StatusAddress]>,
    /// The CA certificates (PEM) that the https addresses of this process can be verified with.
    pub ca_certs: Option<Arc<str>>,
    /// The audience of the tokens that senders must show; `None` if no token is asked for.
    pub audience: Option<String>,
    /// The dead letter sink of the object, which its subscriptions inherit.
    pub dead_letter_sink: Option<Addressable>,
    /// The subscribers of a channel; `None` for every other kind.
    pub subscribers: Option<Box<[SubscriberId]>>,
}

impl AddressStatus {
    /// The URL of `status.address`.
    fn url(&self) -> Option<&str> {
        self.addresses.last().map(|address| &*address.url)
    }
}

/// One entry of `status.addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusAddress {
    /// The name of the address: `http` or `https`.
    pub name: &'static str,
    /// The URL, without the slash of an empty path.
    url: Box<str>,
}

impl StatusAddress {
    /// An address with this name, whose URL is written without the slash of an empty path.
    #[must_use]
    pub(crate) fn new(name: &'static str, url: &Url) -> Self {
        Self {
            name,
            url: without_root_slash(url).into(),
        }
    }
}

/// The identity of one entry of `status.subscribers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriberId {
    /// The `uid` of the entry.
    Uid(Box<str>),
    /// The `name` of the entry, if it is written without a uid.
    Name(Box<str>),
}

/// One configured object with its status.
#[derive(Clone, Debug)]
pub struct InventoryObject {
    /// The list of the inventory that the object is in.
    pub kind: ObjectKind,
    /// The `metadata.namespace` of the object.
    pub namespace: String,
    /// The `metadata.name` of the object.
    pub name: String,
    /// The object as it was written, as JSON.
    pub manifest: Arc<Value>,
    /// The conditions of its status.
    pub conditions: ObjectConditions,
    /// The rest of its status.
    pub status: ObjectStatus,
}

impl ObjectConditions {
    /// The condition `Ready`, made of the reason why the object is not ready.
    #[must_use]
    pub(crate) fn ready_condition(&self) -> Condition<'_> {
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
    /// The `kind` that the object was written with, such as `InMemoryChannel`; `None` if it has
    /// none.
    #[must_use]
    pub(crate) fn manifest_kind(&self) -> Option<&str> {
        self.manifest_text("/kind")
    }

    /// The name of the channel of a Subscription, or of the Broker of a Trigger; `None` for other
    /// kinds.
    #[must_use]
    pub(crate) fn parent(&self) -> Option<&str> {
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

    /// The object's `status.address.url`; `None` if it has no address.
    #[must_use]
    pub(crate) fn url(&self) -> Option<&str> {
        match &self.status {
            ObjectStatus::Address(address) => address.url(),
            ObjectStatus::Flow(flow) => flow.address.url(),
            ObjectStatus::ReconciledChannel(_) => self.manifest_text("/status/address/url"),
            ObjectStatus::ConditionsOnly | ObjectStatus::Subscription { .. } => None,
        }
    }

    fn manifest_text(&self, pointer: &str) -> Option<&str> {
        self.manifest.pointer(pointer)?.as_str()
    }

    /// All fields but the written manifest, for comparison.
    fn resolved_fields(&self) -> (ObjectKind, &str, &str, &ObjectConditions, &ObjectStatus) {
        (
            self.kind,
            &self.namespace,
            &self.name,
            &self.conditions,
            &self.status,
        )
    }
}

/// Two objects that are shown alike are equal, whatever else their manifests say.
impl PartialEq for InventoryObject {
    fn eq(&self, other: &Self) -> bool {
        self.resolved_fields() == other.resolved_fields()
            && (Arc::ptr_eq(&self.manifest, &other.manifest) || self.json() == other.json())
    }
}

impl Eq for InventoryObject {}

/// Every configured object with its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The objects in the order of kind, namespace and name.
    pub objects: Vec<Arc<InventoryObject>>,
}
