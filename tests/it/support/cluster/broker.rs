//! What mt-broker-controller and eventing-controller make of a Broker `t/b` and its Triggers
//! (contract 5.2 to 5.9, 7.1, 7.9).

use serde_json::{Value, json};

use super::SYSTEM;
use super::client::Admin;
use super::objects::{features, object};

/// The channel of the Broker.
pub(crate) const CHANNEL: &str = "b-kne-trigger";
/// For whom tokens are that the Broker takes.
pub(crate) const AUDIENCE: &str = "eventing.knative.dev/broker/t/b";

/// What the administrator has set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags<'f> {
    pub(crate) mode: &'f str,
    pub(crate) oidc: bool,
    /// `ca.crt` of every TLS Secret.
    pub(crate) ca: &'f str,
}

/// A Trigger as users write it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) name: &'static str,
    /// The type of the events that pass.
    pub(crate) ty: &'static str,
    pub(crate) subscriber: String,
    pub(crate) audience: Option<&'static str>,
}

/// The ServiceAccount of an object of the namespace `t` (contract 7.1).
pub(crate) fn account(name: &str, kind: &str) -> String {
    let group = if kind == "Subscription" {
        "messaging.knative.dev"
    } else {
        "eventing.knative.dev"
    };
    format!("{name}-oidc-{group}-{kind}").to_lowercase()
}

impl Flags<'_> {
    /// A host of the system namespace, by one of the two schemes; CACerts and audience beside it.
    fn address(self, scheme: &str, host: &str, path: &str, audience: &str) -> Value {
        let encrypted = scheme == "https";
        json!({
            "name": scheme, "url": format!("{scheme}://{host}.{SYSTEM}.svc.cluster.local{path}"),
            "CACerts": encrypted.then_some(self.ca), "audience": self.oidc.then_some(audience),
        })
    }

    /// `status.address` and `status.addresses` of the Broker (contract 5.8).
    fn of_broker(self) -> (Value, Value) {
        let of = |scheme| self.address(scheme, "broker-ingress", "/t/b", AUDIENCE);
        match self.mode {
            "permissive" => (of("http"), json!([of("https"), of("http")])),
            "strict" => (of("https"), json!([of("https")])),
            _ => (of("http"), Value::Null),
        }
    }

    /// The filter, at the path of a Trigger (contract 5.9).
    fn of_filter(self, trigger: &Value, more: &str) -> Value {
        let text = |field: &str| trigger["metadata"][field].as_str().expect("text");
        let path = format!("/triggers/t/{}/{}{more}", text("name"), text("uid"));
        let scheme = if self.mode == "disabled" {
            "http"
        } else {
            "https"
        };
        self.address(scheme, "broker-filter", &path, "mt-broker-filter")
    }
}

impl Admin {
    /// Has everything be as the controllers make it of these flags and Triggers.
    pub(crate) async fn reconcile_broker(&self, flags: Flags<'_>, triggers: &[Wanted]) {
        let oidc = if flags.oidc { "enabled" } else { "disabled" };
        self.apply(&features(&[
            ("transport-encryption", flags.mode),
            ("authentication-oidc", oidc),
        ]))
        .await;
        self.policy_of_the_channel(flags).await;
        let mut channel = object("InMemoryChannel", &format!("t/{CHANNEL}"));
        channel["metadata"]["annotations"] = json!({"eventing.knative.dev/scope": "cluster"});
        self.apply(&channel).await;
        let channel = self.reconcile(&format!("t/{CHANNEL}")).await;
        self.broker(flags, &channel["status"]["address"]).await;
        let mut subscribers = Vec::new();
        for wanted in triggers {
            let trigger = self.trigger(flags, wanted).await;
            subscribers.push(self.subscription(flags, &trigger).await);
        }
        let spec = json!({"spec": {"subscribers": subscribers}});
        self.merge("InMemoryChannel", &format!("t/{CHANNEL}"), &spec)
            .await;
        self.reconcile(&format!("t/{CHANNEL}")).await;
    }

    /// Contract 7.9: only the ingress sends to the channel.
    async fn policy_of_the_channel(&self, flags: Flags<'_>) {
        let subject = format!("system:serviceaccount:{SYSTEM}:mt-broker-ingress-oidc");
        let mut policy = object("EventPolicy", &format!("t/b-ep-{CHANNEL}"));
        let to = json!({"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel", "name": CHANNEL});
        policy["spec"] = json!({"to": [{"ref": to}], "from": [{"sub": subject}]});
        self.apply(&policy).await;
        let ready = if flags.oidc { "True" } else { "False" };
        let status = json!({"from": [subject], "conditions": [{"type": "Ready", "status": ready}]});
        self.merge_status("EventPolicy", &format!("t/b-ep-{CHANNEL}"), &status)
            .await;
    }

    async fn broker(&self, flags: Flags<'_>, channel: &Value) {
        let mut broker = object("Broker", "t/b");
        broker["metadata"]["annotations"] =
            json!({"eventing.knative.dev/broker.class": "MTChannelBasedBroker"});
        self.apply(&broker).await;
        let (address, addresses) = flags.of_broker();
        let annotations = json!({
            "knative.dev/channelAddress": channel["url"], "knative.dev/channelCACerts": channel["CACerts"],
            "knative.dev/channelAudience": channel["audience"], "knative.dev/channelName": CHANNEL,
        });
        let status =
            json!({"address": address, "addresses": addresses, "annotations": annotations});
        self.merge_status("Broker", "t/b", &status).await;
    }

    async fn trigger(&self, flags: Flags<'_>, wanted: &Wanted) -> Value {
        let mut trigger = object("Trigger", &format!("t/{}", wanted.name));
        trigger["spec"] = json!({
            "broker": "b", "filter": {"attributes": {"type": wanted.ty}}, "subscriber": {"uri": wanted.subscriber},
        });
        self.apply(&trigger).await;
        let status = json!({
            "subscriberUri": wanted.subscriber, "subscriberAudience": wanted.audience,
            "auth": self.identity(flags, wanted.name, "Trigger").await,
        });
        self.merge_status("Trigger", &format!("t/{}", wanted.name), &status)
            .await
    }

    /// `status.auth` of an object, whose ServiceAccount is made.
    async fn identity(&self, flags: Flags<'_>, name: &str, kind: &str) -> Value {
        if !flags.oidc {
            return Value::Null;
        }
        let account = account(name, kind);
        self.apply(&object("ServiceAccount", &format!("t/{account}")))
            .await;
        json!({"serviceAccountName": account})
    }

    /// The Subscription of a Trigger, and what stands of it in the channel; made anew, as any
    /// change does (contract 5.10).
    async fn subscription(&self, flags: Flags<'_>, trigger: &Value) -> Value {
        let text = |field: &str| trigger["metadata"][field].as_str().expect("text");
        let name = format!("b-{}-{}", text("name"), text("uid"));
        if self
            .get("Subscription", &format!("t/{name}"))
            .await
            .is_some()
        {
            self.delete("Subscription", &format!("t/{name}")).await;
        }
        let (address, addresses) = flags.of_broker();
        let to_broker = if addresses.is_null() {
            address
        } else {
            addresses[0].clone()
        };
        let reply = if flags.oidc {
            flags.of_filter(trigger, "/reply")
        } else {
            to_broker
        };
        let subscriber = flags.of_filter(trigger, "");
        let mut subscription = object("Subscription", &format!("t/{name}"));
        subscription["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "name": text("name"), "uid": text("uid"),
            "controller": true, "blockOwnerDeletion": true,
        }]);
        let destination = |address: &Value| json!({"uri": address["url"], "CACerts": address["CACerts"], "audience": address["audience"]});
        subscription["spec"] = json!({
            "channel": {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel", "name": CHANNEL},
            "subscriber": destination(&subscriber), "reply": destination(&reply),
        });
        let created = self.create(&subscription).await;
        let auth = self.identity(flags, &name, "Subscription").await;
        self.merge_status("Subscription", &format!("t/{name}"), &json!({"auth": auth}))
            .await;
        json!({
            "name": name, "uid": created["metadata"]["uid"], "generation": 1, "auth": auth,
            "subscriberUri": subscriber["url"], "subscriberCACerts": subscriber["CACerts"],
            "subscriberAudience": subscriber["audience"], "replyUri": reply["url"], "replyCACerts": reply["CACerts"],
            "replyAudience": reply["audience"],
        })
    }
}
