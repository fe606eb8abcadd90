//! What is configured, as Knative-shaped objects with status: what `sealpost get` shows.
//!
//! An object is kept as it was written and as it is served, which others hold, too; its JSON is made when somebody asks.

mod flow;
mod json;
mod shown;

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::addressable::shown;
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
pub struct Conditions {
    /// The types of the parts, which are `True` if the object is served, even if that is in its last good form.
    pub parts: &'static [&'static str],
    /// Whether it is served.
    pub served: bool,
    /// Why it is not ready; `None` if it is.
    pub unready: Option<Box<Unready>>,
    /// The part that is not `True` for the same reason; `None` if what is wrong is no part's.
    pub fault: Option<&'static str>,
}

/// Why an object is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unready {
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
    pub is_whole: bool,
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
pub struct Present<'t> {
    /// What keeps it from being served.
    pub trouble: Option<ObjectTrouble<'t>>,
    /// Of a Trigger.
    pub filter_errors: FilterErrors,
}

impl<'t> ObjectTrouble<'t> {
    /// The condition `Ready` of an object that is understood, and in trouble.
    #[must_use]
    pub fn ready(&self) -> Condition<'t> {
        Condition { ty: "Ready", status: "False", reason: Some(self.reason), message: Some(self.message) }
    }
}

/// What an object is served as, as far as its status says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// There is nothing to say but the conditions.
    Nothing,
    /// A channel, broker or RequestReply.
    Entrance(Box<Entrance>),
    /// A channel of a cluster, whose addresses are those of its written status, with these subscribers; `None` if it is not
    /// served.
    Reconciled(Option<Box<[Subscriber]>>),
    /// A Trigger or Subscription.
    Exit {
        /// What is served.
        subscription: Arc<Subscription>,
        /// What channels and brokers of this process can be verified with.
        own_ca_certs: Option<Arc<str>>,
    },
    /// A Sequence or Parallel.
    Flow(Box<FlowForm>),
}

/// What a Sequence or Parallel is served as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowForm {
    /// Where it takes events.
    pub entrance: Entrance,
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
    pub unready: Option<Box<Unready>>,
}

/// Where a channel, broker or RequestReply takes events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrance {
    /// `status.addresses`; the last one is `status.address`.
    pub addresses: Box<[Address]>,
    /// What those by https, and other ones of this process, can be verified with.
    pub ca_certs: Option<Arc<str>>,
    /// Of the tokens that are asked for, if they are.
    pub audience: Option<String>,
    /// Who gets what could not be delivered.
    pub dead_letter_sink: Option<Addressable>,
    /// Of a channel.
    pub subscribers: Option<Box<[Subscriber]>>,
}

impl Entrance {
    /// The URL of `status.address`.
    fn url(&self) -> Option<&str> {
        self.addresses.last().map(|address| &*address.url)
    }
}

/// One of `status.addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `http` or `https`.
    pub name: &'static str,
    url: Box<str>,
}

impl Address {
    /// A URL of this name.
    #[must_use]
    pub fn new(name: &'static str, url: &Url) -> Self {
        Self { name, url: shown(url).into() }
    }
}

/// What names one of `status.subscribers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscriber {
    /// Its uid.
    Uid(Box<str>),
    /// Its name, where it is written without a uid.
    Name(Box<str>),
}

/// One object with its status.
#[derive(Clone, Debug)]
pub struct Object {
    /// Which list it is in.
    pub kind: ObjectKind,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// As written.
    pub written: Arc<Value>,
    /// The conditions of its status.
    pub conditions: Conditions,
    /// The rest of its status.
    pub form: Form,
}

impl Conditions {
    /// The condition `Ready`.
    #[must_use]
    pub fn ready(&self) -> Condition<'_> {
        let (ty, unready) = ("Ready", self.unready.as_deref());
        Condition {
            ty,
            status: unready.map_or("True", |unready| unready.status),
            reason: unready.map(|unready| unready.reason),
            message: unready.map(|unready| unready.message.as_str()),
        }
    }
}

impl Object {
    /// The `kind` that it was written with.
    #[must_use]
    pub fn written_kind(&self) -> Option<&str> {
        self.text("/kind")
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
            ObjectKind::Trigger => self.text("/spec/broker"),
            ObjectKind::Subscription => self.text("/spec/channel/name"),
        }
    }

    /// `status.address.url`.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match &self.form {
            Form::Entrance(entrance) => entrance.url(),
            Form::Flow(flow) => flow.entrance.url(),
            Form::Reconciled(_) => self.text("/status/address/url"),
            Form::Nothing | Form::Exit { .. } => None,
        }
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.written.pointer(pointer)?.as_str()
    }

    /// All of it but what is written.
    fn made(&self) -> (ObjectKind, &str, &str, &Conditions, &Form) {
        (self.kind, &self.namespace, &self.name, &self.conditions, &self.form)
    }
}

/// Objects that are shown alike are equal: what else is written does not matter.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.made() == other.made() && (Arc::ptr_eq(&self.written, &other.written) || self.json() == other.json())
    }
}

impl Eq for Object {}

/// Everything that is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// In the order of kind, namespace, name.
    pub objects: Vec<Arc<Object>>,
}
