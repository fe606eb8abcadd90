//! Objects of a cluster in short: what users and Knative's controllers write.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::SYSTEM;
use super::resource::Resource;
use crate::support::pki::Identity;

/// An empty object of a kind, at `namespace/name` or `name`.
pub(crate) fn object(kind: &str, at: &str) -> Value {
    let api_version = Resource::of(kind).api_version();
    let metadata = match at.split_once('/') {
        Some((namespace, name)) => json!({"name": name, "namespace": namespace}),
        None => json!({"name": at}),
    };
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata})
}

/// An InMemoryChannel with these subscribers.
pub(crate) fn channel(at: &str, subscribers: &[Value]) -> Value {
    let mut channel = object("InMemoryChannel", at);
    channel["metadata"]["annotations"] = json!({"messaging.knative.dev/subscribable": "v1"});
    channel["spec"] = json!({"subscribers": subscribers});
    channel
}

/// An entry of `spec.subscribers`: the uid is made of the name. More fields are set by the caller.
pub(crate) fn subscriber(name: &str, url: &str) -> Value {
    json!({"name": name, "uid": format!("uid-of-{name}"), "generation": 1, "subscriberUri": url})
}

/// A ConfigMap of the system namespace.
pub(crate) fn config_map(name: &str, data: &[(&str, &str)]) -> Value {
    let mut map = object("ConfigMap", &format!("{SYSTEM}/{name}"));
    map["data"] = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect::<Map<_, _>>()
        .into();
    map
}

/// `config-features` with these flags.
pub(crate) fn features(flags: &[(&str, &str)]) -> Value {
    config_map("config-features", flags)
}

/// A trust bundle of the system namespace.
pub(crate) fn trust_bundle(name: &str, pem: &str) -> Value {
    let mut map = config_map(name, &[("bundle.pem", pem)]);
    map["metadata"]["labels"] = json!({"networking.knative.dev/trust-bundle": "true"});
    map
}

/// A TLS Secret of the system namespace, such as `imc-dispatcher-server-tls`.
pub(crate) fn tls_secret(name: &str, identity: &Identity, ca: &str) -> Value {
    let mut secret = object("Secret", &format!("{SYSTEM}/{name}"));
    let encoded = |pem: &str| BASE64.encode(pem);
    secret["type"] = json!("kubernetes.io/tls");
    secret["data"] = json!({
        "tls.crt": encoded(&identity.chain_pem), "tls.key": encoded(&identity.key_pem), "ca.crt": encoded(ca),
    });
    secret
}
