//! What Knative's imc-controller does to a channel: its addresses and conditions (control-plane.md 1.16, 4, 7.7).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::SYSTEM;
use super::client::Admin;

/// What its answers depend on besides the channel.
#[derive(Default)]
pub(crate) struct Surroundings {
    /// `data` of `config-features`.
    pub(crate) features: Value,
    /// `ca.crt` of the dispatcher's Secret, if that is there.
    pub(crate) ca: Option<String>,
    /// Names of the EventPolicies of the channel's namespace that are ready and apply to it, in order.
    pub(crate) policies: Vec<String>,
}

impl Admin {
    /// Writes the status of a channel as imc-controller would now; `status.subscribers` is not its business.
    pub(crate) async fn reconcile(&self, at: &str) -> Value {
        let (namespace, name) = at.split_once('/').expect("a namespace and a name");
        let features = self.get("ConfigMap", &format!("{SYSTEM}/config-features")).await.unwrap_or_default();
        let secret = self.get("Secret", &format!("{SYSTEM}/imc-dispatcher-server-tls")).await.unwrap_or_default();
        let ca = secret["data"]["ca.crt"].as_str().map(|text| BASE64.decode(text).expect("base64"));
        let ca = ca.map(|pem| String::from_utf8(pem).expect("text"));
        let policies = self.list("EventPolicy", namespace).await;
        let mut policies: Vec<String> = policies.iter().filter(|policy| applies(policy, name)).map(name_of).collect();
        policies.sort();
        let surroundings = Surroundings { features: features["data"].clone(), ca, policies };
        loop {
            let mut channel = self.get("InMemoryChannel", at).await.expect("a channel");
            channel["status"] = status(&channel, &surroundings);
            match self.replace_status(&channel).await {
                Ok(channel) => return channel,
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}

/// Whether a policy is ready, and for this channel or for its whole namespace.
fn applies(policy: &Value, channel: &str) -> bool {
    let conditions = policy["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let to = policy["spec"]["to"].as_array().cloned().unwrap_or_default();
    let is_it = |target: &Value| target["ref"]["kind"] == "InMemoryChannel" && target["ref"]["name"] == channel;
    ready && (to.is_empty() || to.iter().any(is_it))
}

/// The status of a channel in these surroundings, keeping what is not imc-controller's.
pub(crate) fn status(channel: &Value, surroundings: &Surroundings) -> Value {
    let mut status = if channel["status"].is_object() { channel["status"].clone() } else { json!({}) };
    let flag = |name: &str| surroundings.features[name].as_str().unwrap_or_default().to_lowercase();
    let mode = flag("transport-encryption");
    let encrypts = ["permissive", "strict"].contains(&mode.as_str());
    let failed = encrypts && surroundings.ca.is_none();
    if !failed {
        let (http, https) = addresses(channel, surroundings.ca.as_deref(), flag("authentication-oidc") == "enabled");
        match mode.as_str() {
            "permissive" => (status["address"], status["addresses"]) = (http.clone(), json!([https, http])),
            "strict" => (status["address"], status["addresses"]) = (https.clone(), json!([https])),
            _ => status["address"] = http,
        }
    }
    let policy = |name: &String| json!({"apiVersion": "eventing.knative.dev/v1alpha1", "name": name});
    status["policies"] = surroundings.policies.iter().map(policy).collect();
    status["observedGeneration"] = channel["metadata"]["generation"].clone();
    status["conditions"] = conditions(if failed { "False" } else { "True" });
    status
}

fn addresses(channel: &Value, ca: Option<&str>, oidc: bool) -> (Value, Value) {
    let text = |field: &str| channel["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let http = format!("http://{name}-kn-channel.{namespace}.svc.cluster.local");
    let https = format!("https://imc-dispatcher.{SYSTEM}.svc.cluster.local/{namespace}/{name}");
    let (mut http, mut https) = (json!({"name": "http", "url": http}), json!({"name": "https", "url": https}));
    if let Some(ca) = ca {
        https["CACerts"] = json!(ca);
    }
    if oidc {
        for address in [&mut http, &mut https] {
            address["audience"] = json!(format!("messaging.knative.dev/inmemorychannel/{namespace}/{name}"));
        }
    }
    (http, https)
}

/// Its conditions, where only the address can be missing. The time is always the same, so nothing changes when nothing
/// does.
fn conditions(addressable: &str) -> Value {
    let condition = |(ty, status): (&str, &str)| json!({"type": ty, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let others = ["ChannelServiceReady", "DeadLetterSinkResolved", "DispatcherReady", "EndpointsReady"];
    let others = others.into_iter().chain(["EventPoliciesReady", "ServiceReady"]).map(|ty| (ty, "True"));
    others.chain([("Addressable", addressable), ("Ready", addressable)]).map(condition).collect()
}
