//! An object of the inventory as JSON (contract 2.4, 4, 5.3).

use serde_json::{Map, Value, json};

use super::{
    AddressStatus, Condition, FilterErrors, InventoryObject, LiveStatus, ObjectConditions,
    ObjectKind, ObjectStatus, ObjectTrouble, StatusAddress, SubscriberId, visible_fields,
};
use crate::model::{Addressable, DestinationRoute, Subscription, addressable};
use crate::scrub;

impl InventoryObject {
    /// The whole object as JSON: `apiVersion`, `kind`, `metadata`, `spec`, `status`. The object is
    /// as written, but for its status, for whatever may be a secret, and for fields that an object
    /// of its kind does not have.
    #[must_use]
    pub(crate) fn json(&self) -> String {
        self.json_with_live_status(&LiveStatus::default())
    }

    /// The same JSON with the object's status as it is now. A fault of the object itself is shown
    /// rather than the trouble that it may be in.
    #[must_use]
    pub(crate) fn json_with_live_status(&self, present: &LiveStatus<'_>) -> String {
        let written = |key: &str| {
            self.manifest
                .get(key)
                .filter(|value| value.is_string())
                .cloned()
        };
        let mut object = Map::new();
        insert(
            &mut object,
            "apiVersion",
            written("apiVersion").unwrap_or_default(),
        );
        insert(&mut object, "kind", written("kind").unwrap_or_default());
        insert(&mut object, "metadata", self.metadata());
        insert(
            &mut object,
            "spec",
            visible_fields::spec(self.kind, self.manifest.get("spec")),
        );
        insert(&mut object, "status", self.status(present));
        Value::Object(object).to_string()
    }

    fn metadata(&self) -> Value {
        let mut metadata = Map::new();
        insert(&mut metadata, "name", self.name.as_str().into());
        insert(&mut metadata, "namespace", self.namespace.as_str().into());
        metadata.extend(
            self.manifest
                .get("metadata")
                .map(visible_fields::metadata)
                .unwrap_or_default(),
        );
        Value::Object(metadata)
    }

    fn status(&self, present: &LiveStatus<'_>) -> Value {
        let trouble = present.trouble.as_ref();
        let mut status = Map::new();
        if present.filter_errors != FilterErrors::default() {
            insert(&mut status, "annotations", present.filter_errors.json());
        }
        insert(&mut status, "conditions", self.conditions.json(trouble));
        self.describe(&mut status, trouble);
        Value::Object(status)
    }

    /// Adds the fields of `status` that only objects of its kind have.
    fn describe(&self, status: &mut Map<String, Value>, trouble: Option<&ObjectTrouble<'_>>) {
        match &self.status {
            ObjectStatus::ConditionsOnly => {}
            ObjectStatus::Address(address) => {
                address.describe(status);
                insert_subscribers(status, address.subscribers.as_deref(), trouble);
            }
            ObjectStatus::ReconciledChannel(subscribers) => {
                self.describe_reconciled_channel(status);
                insert_subscribers(status, subscribers.as_deref(), trouble);
            }
            ObjectStatus::Flow(flow) => {
                flow.address.describe(status);
                flow.describe_parts(self.kind, &self.namespace, status);
            }
            ObjectStatus::Subscription {
                subscription,
                own_ca_certs,
            } => {
                self.describe_subscription(subscription, own_ca_certs.as_deref(), status);
            }
        }
    }

    fn describe_reconciled_channel(&self, status: &mut Map<String, Value>) {
        status.extend(
            self.manifest
                .get("status")
                .map(visible_fields::addresses)
                .unwrap_or_default(),
        );
    }

    /// Adds the URLs, CACerts and audiences of the destinations: CACerts as written, or those of
    /// this process if the destination is inside it.
    fn describe_subscription(
        &self,
        made: &Subscription,
        own: Option<&str>,
        status: &mut Map<String, Value>,
    ) {
        let described = |destination, pointer: &str| DescribedDestination {
            destination,
            written_ca_certs: self.manifest_text(pointer).filter(|text| !text.is_empty()),
            own_ca_certs: own,
        };
        let sink = described(
            made.dead_letter_sink.as_ref(),
            "/spec/delivery/deadLetterSink/CACerts",
        );
        let subscriber = described(made.subscriber.as_ref(), "/spec/subscriber/CACerts");
        if self.kind == ObjectKind::Subscription {
            let reply = described(made.reply.as_ref(), "/spec/reply/CACerts");
            let mut physical = Map::new();
            subscriber.insert(&mut physical, "subscriber");
            reply.insert(&mut physical, "reply");
            sink.insert(&mut physical, "deadLetterSink");
            insert(status, "physicalSubscription", Value::Object(physical));
        } else {
            subscriber.insert(status, "subscriber");
            sink.insert(status, "deadLetterSink");
        }
    }
}

impl FilterErrors {
    /// `status.annotations` (`knative.dev/pkg/apis/duck/v1.Status`), whose values are text.
    fn json(self) -> Value {
        json!({
            "sealpost.dev/filter-errors": self.expression.saturating_add(self.limit).to_string(),
            "sealpost.dev/filter-limit-exceeded": self.limit.to_string(),
        })
    }
}

impl ObjectConditions {
    fn json(&self, trouble: Option<&ObjectTrouble<'_>>) -> Value {
        let ready = trouble
            .filter(|_| self.not_ready.is_none())
            .map_or_else(|| self.ready_condition(), ObjectTrouble::ready_condition);
        let status = if self.served { "True" } else { "Unknown" };
        let message = ready.message.map(scrub::text);
        let ready = Condition {
            message: message.as_deref(),
            ..ready
        };
        let part = |ty: &&'static str| match self.failed_part {
            Some(fault) if fault == *ty => Condition { ty, ..ready },
            _ => Condition {
                ty,
                status,
                reason: None,
                message: None,
            },
        };
        let mut conditions: Vec<_> = self.parts.iter().map(part).chain([ready]).collect();
        conditions.sort_by_key(|condition| condition.ty);
        json!(conditions)
    }
}

impl AddressStatus {
    fn describe(&self, status: &mut Map<String, Value>) {
        // The http address where there are both, as upstream (contract IF-3).
        if let Some(main) = self.addresses.last() {
            insert(status, "address", self.address(main));
        }
        insert(
            status,
            "addresses",
            self.addresses
                .iter()
                .map(|address| self.address(address))
                .collect(),
        );
        let sink = DescribedDestination {
            destination: self.dead_letter_sink.as_ref(),
            written_ca_certs: None,
            own_ca_certs: self.ca_certs.as_deref(),
        };
        sink.insert(status, "deadLetterSink");
    }

    fn address(&self, StatusAddress { name, url }: &StatusAddress) -> Value {
        let mut address = Map::new();
        insert(&mut address, "name", (*name).into());
        insert(&mut address, "url", (&**url).into());
        if let Some(ca_certs) = self.ca_certs.as_deref().filter(|_| *name == "https") {
            insert(&mut address, "CACerts", ca_certs.into());
        }
        if let Some(audience) = &self.audience {
            insert(
                &mut address,
                "audience",
                scrub::text(audience).into_owned().into(),
            );
        }
        Value::Object(address)
    }
}

impl SubscriberId {
    fn json(&self, trouble: Option<&ObjectTrouble<'_>>) -> Value {
        let mut subscriber = match self {
            Self::Uid(uid) => json!({"uid": uid, "ready": "True"}),
            Self::Name(name) => json!({"name": name, "ready": "True"}),
        };
        if let (Some(trouble), Value::Object(subscriber)) = (trouble, &mut subscriber) {
            insert(subscriber, "ready", "False".into());
            insert(subscriber, "message", scrub::text(trouble.message).into());
        }
        subscriber
    }
}

/// Adds `status.subscribers` of a channel that is served; each is `False` if the trouble affects
/// all of them.
fn insert_subscribers(
    status: &mut Map<String, Value>,
    subscribers: Option<&[SubscriberId]>,
    trouble: Option<&ObjectTrouble<'_>>,
) {
    let trouble = trouble.filter(|trouble| trouble.affects_all_subscribers);
    if let Some(subscribers) = subscribers {
        let subscribers = subscribers
            .iter()
            .map(|subscriber| subscriber.json(trouble))
            .collect();
        insert(status, "subscribers", subscribers);
    }
}

pub(super) fn insert(map: &mut Map<String, Value>, key: &str, value: Value) {
    map.insert(key.to_owned(), value);
}

/// A destination of a status, and the CACerts by which it may be verified.
struct DescribedDestination<'d> {
    destination: Option<&'d Addressable>,
    /// The CACerts of the manifest.
    written_ca_certs: Option<&'d str>,
    /// The CACerts of this process, for a destination inside it.
    own_ca_certs: Option<&'d str>,
}

impl DescribedDestination<'_> {
    /// Adds `<prefix>Uri`, and `<prefix>CACerts` and `<prefix>Audience` if there are any: CACerts as
    /// written, or, for a destination inside this process, its own.
    fn insert(&self, status: &mut Map<String, Value>, prefix: &str) {
        let Some(destination) = self.destination else {
            return;
        };
        let url = addressable::without_root_slash(&destination.url);
        insert(status, &format!("{prefix}Uri"), scrub::url(url).into());
        let is_inside = matches!(
            destination.route,
            DestinationRoute::Local(_) | DestinationRoute::WaitingRequest(_)
        );
        let own = self.own_ca_certs.filter(|_| is_inside);
        if let Some(ca_certs) = self.written_ca_certs.or(own) {
            let ca_certs = scrub::certificates(ca_certs).into();
            insert(status, &format!("{prefix}CACerts"), ca_certs);
        }
        if let Some(audience) = &destination.audience {
            let audience = scrub::text(audience).into_owned().into();
            insert(status, &format!("{prefix}Audience"), audience);
        }
    }
}
