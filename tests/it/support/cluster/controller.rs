//! What Knative's imc-controller does to a channel: its addresses and conditions (contract 1.16, 4,
//! 7.7).

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::StreamExt;
use futures_util::stream::{select, select_all};
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::SYSTEM;
use super::client::Admin;

/// What its answers depend on besides the channel.
#[derive(Default)]
pub(crate) struct Surroundings {
    /// `data` of `config-features`.
    pub(crate) features: Value,
    /// `ca.crt` of the dispatcher's Secret, if that is there.
    pub(crate) ca: Option<String>,
    /// Names of the EventPolicies of the channel's namespace that are ready and apply to it, in
    /// order.
    pub(crate) policies: Vec<String>,
}

impl Surroundings {
    fn flag(&self, name: &str) -> String {
        self.features[name]
            .as_str()
            .unwrap_or_default()
            .to_lowercase()
    }
}

/// imc-controller at work on all channels; ended when it is dropped.
pub(crate) struct Controller {
    _work: JoinSet<()>,
}

impl Controller {
    /// Starts it.
    pub(crate) fn start(admin: Admin) -> Self {
        let mut work = JoinSet::new();
        work.spawn(run(admin));
        Self { _work: work }
    }
}

/// Reconciles a channel when it changes, and all when something else does.
async fn run(admin: Admin) {
    let watched = |kind: &str, namespace: Option<&str>| {
        let events =
            watcher(admin.api(kind, namespace), watcher::Config::default()).default_backoff();
        events
            .applied_objects()
            .filter_map(|object| async { object.ok() })
            .boxed()
    };
    let system = [
        watched("ConfigMap", Some(SYSTEM)),
        watched("Secret", Some(SYSTEM)),
        watched("EventPolicy", None),
    ];
    let channels = watched("InMemoryChannel", None).map(|channel| Some(at(&channel)));
    let mut changes = select(channels, select_all(system).map(|_| None));
    while let Some(changed) = changes.next().await {
        let all = || async {
            admin
                .list_all("InMemoryChannel")
                .await
                .iter()
                .map(path_of)
                .collect()
        };
        let concerned = if let Some(channel) = changed {
            vec![channel]
        } else {
            all().await
        };
        for channel in concerned {
            admin.try_reconcile(&channel).await;
        }
    }
}

fn at(object: &DynamicObject) -> String {
    format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

fn path_of(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

impl Admin {
    /// Writes the status of a channel as imc-controller would now; `status.subscribers` is not its
    /// business.
    pub(crate) async fn reconcile(&self, at: &str) -> Value {
        self.try_reconcile(at).await.expect("a channel")
    }

    /// The same for a channel that may have gone.
    async fn try_reconcile(&self, at: &str) -> Option<Value> {
        let (namespace, name) = at.split_once('/').expect("a namespace and a name");
        let surroundings = self.surroundings(namespace, name).await;
        loop {
            let mut channel = self.get("InMemoryChannel", at).await?;
            channel["status"] = status(&channel, &surroundings);
            match self.replace_status(&channel).await {
                Ok(channel) => return Some(channel),
                Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn surroundings(&self, namespace: &str, name: &str) -> Surroundings {
        let features = self
            .get("ConfigMap", &format!("{SYSTEM}/config-features"))
            .await
            .unwrap_or_default();
        let secret = self
            .get("Secret", &format!("{SYSTEM}/imc-dispatcher-server-tls"))
            .await
            .unwrap_or_default();
        let ca = secret["data"]["ca.crt"]
            .as_str()
            .map(|text| BASE64.decode(text).expect("base64"));
        let ca = ca.map(|pem| String::from_utf8(pem).expect("text"));
        let policies = self.list("EventPolicy", namespace).await;
        let mut policies: Vec<String> = policies
            .iter()
            .filter(|policy| applies(policy, name))
            .map(name_of)
            .collect();
        policies.sort();
        Surroundings {
            features: features["data"].clone(),
            ca,
            policies,
        }
    }
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned()
}

/// Whether a policy is ready, and for this channel or for its whole namespace.
fn applies(policy: &Value, channel: &str) -> bool {
    let conditions = policy["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let to = policy["spec"]["to"].as_array().cloned().unwrap_or_default();
    let is_it = |target: &Value| {
        target["ref"]["kind"] == "InMemoryChannel" && target["ref"]["name"] == channel
    };
    ready && (to.is_empty() || to.iter().any(is_it))
}

/// The status of a channel in these surroundings, keeping what is not imc-controller's.
pub(crate) fn status(channel: &Value, surroundings: &Surroundings) -> Value {
    let mut status = if channel["status"].is_object() {
        channel["status"].clone()
    } else {
        json!({})
    };
    let mode = surroundings.flag("transport-encryption");
    let encrypts = ["permissive", "strict"].contains(&mode.as_str());
    let failed = encrypts && surroundings.ca.is_none();
    if !failed {
        let (http, https) = addresses(channel, surroundings);
        match mode.as_str() {
            "permissive" => {
                (status["address"], status["addresses"]) = (http.clone(), json!([https, http]))
            }
            "strict" => (status["address"], status["addresses"]) = (https.clone(), json!([https])),
            _ => status["address"] = http,
        }
    }
    let policy =
        |name: &String| json!({"apiVersion": "eventing.knative.dev/v1alpha1", "name": name});
    status["policies"] = surroundings.policies.iter().map(policy).collect();
    status["observedGeneration"] = channel["metadata"]["generation"].clone();
    status["conditions"] = conditions(if failed { "False" } else { "True" });
    status
}

fn addresses(channel: &Value, surroundings: &Surroundings) -> (Value, Value) {
    let text = |field: &str| channel["metadata"][field].as_str().unwrap_or_default();
    let (namespace, name) = (text("namespace"), text("name"));
    let http = format!("http://{name}-kn-channel.{namespace}.svc.cluster.local");
    let https = format!("https://imc-dispatcher.{SYSTEM}.svc.cluster.local/{namespace}/{name}");
    let (mut http, mut https) = (
        json!({"name": "http", "url": http}),
        json!({"name": "https", "url": https}),
    );
    if let Some(ca) = &surroundings.ca {
        https["CACerts"] = json!(ca);
    }
    if surroundings.flag("authentication-oidc") == "enabled" {
        for address in [&mut http, &mut https] {
            address["audience"] = json!(format!(
                "messaging.knative.dev/inmemorychannel/{namespace}/{name}"
            ));
        }
    }
    (http, https)
}

/// Its conditions, where only the address can be missing. The time is always the same, so nothing
/// changes when nothing does.
fn conditions(addressable: &str) -> Value {
    let condition = |(ty, status): (&str, &str)| json!({"type": ty, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let others = [
        "ChannelServiceReady",
        "DeadLetterSinkResolved",
        "DispatcherReady",
        "EndpointsReady",
    ];
    let others = others
        .into_iter()
        .chain(["EventPoliciesReady", "ServiceReady"])
        .map(|ty| (ty, "True"));
    others
        .chain([("Addressable", addressable), ("Ready", addressable)])
        .map(condition)
        .collect()
}
