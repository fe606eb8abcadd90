//! A Kubernetes API to test against: a fake that lists, watches, patches and refuses as a real server does. Tests act on
//! it as its administrator; a dispatcher comes through a gate, with the rights that Knative's installation gives it.

mod access;
mod api;
mod client;
mod fake;
mod gate;
mod journal;
pub(crate) mod objects;
mod refusal;
mod resource;
mod selector;
mod store;
mod tokens;
mod watching;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) use fake::{Expiry, Fake};
pub(crate) use gate::{Gate, Passage};
pub(crate) use journal::Entry;
pub(crate) use tokens::ISSUER;

use super::eventually_some;
use super::pki::Ca;
use resource::{RESOURCES, Resource};

/// Where Knative is installed.
pub(crate) const SYSTEM: &str = "knative-eventing";

/// The service accounts of [`SYSTEM`] that have rights.
const ACCOUNTS: [&str; 4] = ["imc-dispatcher", "mt-broker-ingress", "mt-broker-filter", "mt-broker-ingress-oidc"];

/// An API server with Knative's kinds, Roles and service accounts in it; ended when it is dropped.
pub(crate) struct Cluster {
    pub(crate) gate: Gate,
    client: Client,
    ca: String,
    fake: Fake,
}

impl Cluster {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        let authority = Ca::new("cluster");
        let identity = authority.issue(&["localhost", "127.0.0.1", "kubernetes.default.svc"]);
        let admin = uuid::Uuid::new_v4().to_string();
        let fake = Fake::start(&identity, &admin).await;
        let gate = Gate::to(fake.address).await;
        fake.server.url.set(url(gate.address)).expect("once");
        let client = client_of(fake.address, &authority.pem, json!({"token": admin})).await;
        let cluster = Self { gate, client, ca: authority.pem, fake };
        cluster.install().await;
        cluster
    }

    async fn install(&self) {
        for resource in RESOURCES.iter().filter(|resource| resource.custom) {
            self.create(&definition(resource)).await;
        }
        self.namespace(SYSTEM).await;
        for name in ACCOUNTS {
            self.create(&objects::object("ServiceAccount", &format!("{SYSTEM}/{name}"))).await;
        }
        for role in serde_saphyr::from_multiple(include_str!("cluster/roles.yaml")).expect("YAML") {
            self.create(&role).await;
        }
    }

    /// A client that may do everything, and does not come through the gate.
    pub(crate) fn admin(&self) -> Client {
        self.client.clone()
    }

    /// A client with the rights of a service account of the system namespace, through the gate.
    pub(crate) async fn client(&self, account: &str) -> Client {
        let token = self.token(&format!("{SYSTEM}/{account}"), None).await;
        client_of(self.gate.address, &self.ca, json!({"token": token})).await
    }

    /// The base URL of the API, through the gate.
    pub(crate) fn url(&self) -> String {
        url(self.gate.address)
    }

    /// The CA that its certificate is of.
    pub(crate) fn ca(&self) -> &str {
        &self.ca
    }

    /// Writes `kubeconfig` and `token` into a directory, for a service account of the system namespace; the path of the
    /// first one.
    pub(crate) async fn kubeconfig(&self, directory: &Path, account: &str) -> PathBuf {
        self.write_token(directory, account).await;
        let user = json!({"tokenFile": directory.join("token")});
        let path = directory.join("kubeconfig");
        fs::write(&path, kubeconfig(self.gate.address, &self.ca, &user).to_string()).expect("written");
        path
    }

    /// Replaces the file `token` in a directory by a new token of this account, as a kubelet does; the new token.
    pub(crate) async fn write_token(&self, directory: &Path, account: &str) -> String {
        let token = self.token(&format!("{SYSTEM}/{account}"), None).await;
        super::dispatcher::replace(&directory.join("token"), &token);
        token
    }

    /// What only the fake can be made to do. A test that cannot do without says why, and does not run against another
    /// server.
    pub(crate) fn only_fake(&self, why: &str) -> Option<&Fake> {
        let _ = why;
        Some(&self.fake)
    }

    /// What was asked so far.
    pub(crate) fn log(&self) -> Vec<Entry> {
        self.fake.server.journal.entries()
    }

    /// Waits for a request that was answered.
    pub(crate) async fn until_logged(&self, what: &str, matches: impl Fn(&Entry) -> bool) -> Entry {
        eventually_some(what, || self.log().into_iter().find(&matches)).await
    }
}

fn url(address: SocketAddr) -> String {
    format!("https://127.0.0.1:{}", address.port())
}

async fn client_of(address: SocketAddr, ca: &str, user: Value) -> Client {
    let config: Kubeconfig = serde_json::from_value(kubeconfig(address, ca, &user)).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.expect("a configuration");
    Client::try_from(config).expect("a client")
}

/// JSON, which is YAML.
fn kubeconfig(address: SocketAddr, ca: &str, user: &Value) -> Value {
    let cluster = json!({"server": url(address), "certificate-authority-data": BASE64.encode(ca)});
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": SYSTEM}}],
    })
}

/// A CustomResourceDefinition that takes anything.
fn definition(resource: &Resource) -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = json!({
        "name": resource.version, "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    });
    let names = json!({"plural": resource.plural, "singular": resource.kind.to_lowercase(), "kind": resource.kind});
    let mut object = objects::object("CustomResourceDefinition", &resource.full_name());
    object["spec"] = json!({"group": resource.group, "scope": "Namespaced", "names": names, "versions": [version]});
    object
}

fn now() -> String {
    time(SystemTime::now())
}

fn time(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at).replace_nanosecond(0).expect("a time");
    at.format(&Rfc3339).expect("a text")
}
