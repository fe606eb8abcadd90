//! What `sealpost get` shows: the objects as they were written, with the status that Knative would give them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use url::Url;

use super::channels::ChannelDraft;
use super::{Broken, Resolver, ServerCertificate};
use crate::control::read::Raw;
use crate::control::{CaCerts, ObjectName, Settings};
use crate::model::{
    Addressable, ChannelKey, ChannelKind, Inventory, Object, ObjectKind, Subscription, SubscriptionKind,
    TransportEncryption,
};

/// The addresses that channels and brokers advertise (interface.md §3).
pub(super) struct Addresses {
    mode: TransportEncryption,
    ca_certs: Option<String>,
    http: Option<Url>,
    https: Option<Url>,
    system_namespace: String,
    domain: String,
}

impl Addresses {
    pub(super) fn new(settings: &Settings, mode: TransportEncryption, secret: Option<&ServerCertificate>) -> Self {
        let ca_certs = match (&settings.ca_certs, secret) {
            (CaCerts::Given(ca), _) => ca.clone(),
            (_, Some(secret)) => secret.ca_pem.clone(),
            (CaCerts::Development(ca), None) => Some(ca.clone()),
            (CaCerts::Unknown, None) => None,
        };
        let (http, https) = settings.urls.as_ref().map(|urls| (urls.http.clone(), urls.https.clone())).unzip();
        let (system_namespace, domain) = (settings.system_namespace.clone(), settings.cluster_domain.clone());
        Self { mode, ca_certs, http, https, system_namespace, domain }
    }

    fn url(&self, base: Option<&Url>, scheme: &str, key: &ChannelKey) -> Url {
        let host = match key.kind {
            ChannelKind::Channel => "imc-dispatcher",
            ChannelKind::Broker => "broker-ingress",
        };
        let cluster = || Url::parse(&format!("{scheme}://{host}.{}.svc.{}", self.system_namespace, self.domain));
        let mut url = base.cloned().map_or_else(cluster, Ok).unwrap_or_else(|_| localhost());
        url.set_path(&format!("/{}/{}", key.namespace, key.name));
        url
    }

    /// The address by which the object is known: https where the mode prefers it.
    pub(super) fn preferred(&self, key: &ChannelKey) -> Url {
        if self.mode.prefers_https() {
            self.url(self.https.as_ref(), "https", key)
        } else {
            self.url(self.http.as_ref(), "http", key)
        }
    }

    /// `address` and `addresses` of a status.
    fn status(&self, key: &ChannelKey) -> (Value, Vec<Value>) {
        let http = || json!({"name": "http", "url": self.url(self.http.as_ref(), "http", key).as_str()});
        let mut https = json!({"name": "https", "url": self.url(self.https.as_ref(), "https", key).as_str()});
        if let (Some(ca_certs), Some(address)) = (&self.ca_certs, https.as_object_mut()) {
            address.insert("CACerts".to_owned(), Value::String(ca_certs.clone()));
        }
        match self.mode {
            TransportEncryption::Disabled => (http(), vec![http()]),
            TransportEncryption::Permissive => (http(), vec![https, http()]),
            TransportEncryption::Strict => (https.clone(), vec![https]),
        }
    }
}

/// Stands for an address whose namespace or domain, given on the command line, makes no URL.
fn localhost() -> Url {
    Url::parse("http://localhost").expect("a URL")
}

/// How an object was resolved.
pub(super) struct Resolved {
    raw: Arc<Raw>,
    broken: Option<Broken>,
    status: Map<String, Value>,
    form: Form,
}

/// Whether an object is served, as it is written or in its last good form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Served,
    NotServed,
}

impl Form {
    /// Served if it resolved to something.
    pub(super) fn of<R>(resolved: Option<&R>) -> Self {
        if resolved.is_some() { Self::Served } else { Self::NotServed }
    }
}

impl Resolved {
    /// `broken` says what is wrong with the object as it is written; if it is served all the same, that is its last good
    /// form.
    pub(super) fn new(raw: &Arc<Raw>, broken: Option<Broken>, form: Form) -> Self {
        Self { raw: Arc::clone(raw), broken, status: Map::new(), form }
    }

    /// Adds the addresses of a subscription or trigger.
    pub(super) fn describe(&mut self, subscription: &Subscription) {
        let mut addresses = Map::new();
        for (name, address) in [
            ("subscriber", &subscription.subscriber),
            ("reply", &subscription.reply),
            ("deadLetterSink", &subscription.dead_letter_sink),
        ] {
            addresses
                .extend(address.as_ref().map(|Addressable { url, .. }| (format!("{name}Uri"), json!(url.as_str()))));
        }
        if subscription.key.kind == SubscriptionKind::Trigger {
            addresses.remove("replyUri");
            self.status.extend(addresses);
        } else {
            self.status.insert("physicalSubscription".to_owned(), Value::Object(addresses));
        }
    }

    fn ready(&self) -> Value {
        match (&self.broken, self.form) {
            (None, Form::Served) => json!({"type": "Ready", "status": "True"}),
            (Some(broken), Form::Served) => {
                let message = format!("{}; the last good form is still served", broken.message);
                json!({"type": "Ready", "status": "False", "reason": "InvalidSpec", "message": message})
            }
            (broken, Form::NotServed) => {
                let message = broken.as_ref().map_or("", |broken| broken.message.as_str());
                json!({"type": "Ready", "status": "False", "reason": "InvalidSpec", "message": message})
            }
        }
    }

    fn object(&self, kind: ObjectKind) -> Object {
        let name = &self.raw.name;
        let mut value = self.raw.value.clone();
        let mut status = self.status.clone();
        status.insert("conditions".to_owned(), json!([self.ready()]));
        if let Some(object) = value.as_object_mut() {
            object.insert("status".to_owned(), Value::Object(status));
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.insert("namespace".to_owned(), Value::String(name.namespace.clone()));
            }
        }
        Object { kind, namespace: name.namespace.clone(), name: name.name.clone(), value }
    }
}

/// Everything that was resolved, by kind, namespace and name.
pub(super) fn inventory(resolver: &Resolver<'_>, drafts: &[ChannelDraft]) -> Inventory {
    let drafts: HashMap<&ObjectName, &ChannelDraft> = drafts.iter().map(|draft| (&draft.raw.name, draft)).collect();
    let mut objects: Vec<Object> = Vec::with_capacity(resolver.statuses.len());
    for resolved in &resolver.statuses {
        let kind = match resolved.raw.name.kind.as_str() {
            "Broker" => ObjectKind::Broker,
            "Trigger" => ObjectKind::Trigger,
            "Subscription" => ObjectKind::Subscription,
            _ => ObjectKind::Channel,
        };
        let mut object = resolved.object(kind);
        if let Some(draft) = drafts.get(&resolved.raw.name) {
            add_channel_status(&mut object.value, draft, &resolver.addresses);
        }
        objects.push(object);
    }
    objects.sort_by(|a, b| (a.kind as u8, &a.namespace, &a.name).cmp(&(b.kind as u8, &b.namespace, &b.name)));
    Inventory { objects }
}

fn add_channel_status(object: &mut Value, draft: &ChannelDraft, addresses: &Addresses) {
    let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) else { return };
    let (address, all) = addresses.status(&draft.key);
    status.insert("address".to_owned(), address);
    status.insert("addresses".to_owned(), Value::Array(all));
    if draft.key.kind == ChannelKind::Channel {
        let subscriber = |subscription: &Arc<Subscription>| json!({"name": subscription.key.name, "ready": "True"});
        status.insert("subscribers".to_owned(), draft.subscriptions.iter().map(subscriber).collect());
    }
}
