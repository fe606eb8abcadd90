//! A Kubernetes API to test against: a fake that lists, watches, patches and refuses as a real
//! server does. Tests act on it as its administrator; a dispatcher comes through a gate, with the
//! rights that Knative's installation gives it.

mod access;
mod api;
pub(crate) mod broker;
mod client;
pub(crate) mod controller;
mod fake;
mod gate;
mod journal;
pub(crate) mod objects;
mod real;
mod refusal;
mod resource;
mod selector;
pub(crate) mod services;
mod store;
mod tokens;
mod validate;
mod watching;

use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) use client::Admin;
pub(crate) use fake::{Expiry, Fake};
pub(crate) use gate::{Gate, Passage};
pub(crate) use journal::Entry;
pub(crate) use tokens::{ISSUER, Tokens};

use super::eventually_some;
use super::pki::Ca;
use real::Real;
use resource::{RESOURCES, Resource};

/// Where Knative is installed.
pub(crate) const SYSTEM: &str = "knative-eventing";

/// The service accounts of [`SYSTEM`] that have rights.
const ACCOUNTS: [&str; 4] = [
    "imc-dispatcher",
    "mt-broker-ingress",
    "mt-broker-filter",
    "mt-broker-ingress-oidc",
];

/// An API server with Knative's kinds, Roles and service accounts in it; ended when it is dropped.
/// What its administrator can do is what it can do.
pub(crate) struct Cluster {
    pub(crate) gate: Gate,
    admin: Admin,
    ca: String,
    server: Server,
}

enum Server {
    Fake(Fake),
    Real(Real),
}

impl Deref for Cluster {
    type Target = Admin;

    fn deref(&self) -> &Admin {
        &self.admin
    }
}

impl Cluster {
    /// Starts one: a real one if `KUBEBUILDER_ASSETS` names a directory that has its programs, else
    /// the fake.
    pub(crate) async fn start() -> Self {
        let authority = Ca::new("cluster");
        let identity = authority.issue(&["localhost", "127.0.0.1", "kubernetes.default.svc"]);
        let token = uuid::Uuid::new_v4().to_string();
        let (gate, server) = match real::assets() {
            Some(assets) => {
                let address = real::free_address();
                let gate = Gate::to(address).await;
                let real = Real::start(&assets, address, &url(gate.address), &identity, &token);
                (gate, Server::Real(real))
            }
            None => {
                let fake = Fake::start(&identity, &token).await;
                let gate = Gate::to(fake.address).await;
                fake.server.url.set(url(gate.address)).expect("once");
                (gate, Server::Fake(fake))
            }
        };
        let address = match &server {
            Server::Fake(fake) => fake.address,
            Server::Real(real) => real.address,
        };
        let admin = Admin(client_of(address, &authority.pem, json!({"token": token})).await);
        let cluster = Self {
            gate,
            admin,
            ca: authority.pem,
            server,
        };
        cluster.until_ready().await;
        cluster.install().await;
        cluster
    }

    async fn until_ready(&self) {
        let Server::Real(real) = &self.server else {
            return;
        };
        let deadline = Instant::now() + Duration::from_secs(90);
        while self
            .ask_text("/readyz")
            .await
            .is_none_or(|answer| answer != "ok")
        {
            assert!(
                Instant::now() < deadline,
                "the API server does not become ready\n{}",
                real.output()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn install(&self) {
        let custom = || RESOURCES.iter().filter(|resource| resource.custom);
        for resource in custom() {
            self.create(&definition(resource)).await;
        }
        self.namespace(SYSTEM).await;
        for name in ACCOUNTS {
            self.create(&objects::object(
                "ServiceAccount",
                &format!("{SYSTEM}/{name}"),
            ))
            .await;
        }
        // Those of our own kinds are tried as they are delivered.
        let roles = [
            include_str!("cluster/roles.yaml"),
            include_str!("../../../deploy/kubernetes/rabbitmq-channel/dispatcher-rbac.yaml"),
            include_str!("../../../deploy/kubernetes/rabbitmq-channel/controller-rbac.yaml"),
            include_str!("../../../deploy/kubernetes/disk-channel/dispatcher-rbac.yaml"),
            include_str!("../../../deploy/kubernetes/disk-channel/controller-rbac.yaml"),
        ];
        for object in roles
            .into_iter()
            .flat_map(|text| serde_saphyr::from_multiple::<Value>(text).expect("YAML"))
        {
            self.create(&object).await;
        }
        for resource in custom() {
            self.until_served(resource).await;
        }
    }

    /// The administrator, for a task of its own.
    pub(crate) fn admin(&self) -> Admin {
        self.admin.clone()
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

    /// Writes `kubeconfig` and `token` into a directory, for a service account of the system
    /// namespace; the path of the first one.
    pub(crate) async fn kubeconfig(&self, directory: &Path, account: &str) -> PathBuf {
        self.write_token(directory, account).await;
        let user = json!({"tokenFile": directory.join("token")});
        let path = directory.join("kubeconfig");
        fs::write(
            &path,
            kubeconfig(self.gate.address, &self.ca, &user).to_string(),
        )
        .expect("written");
        path
    }

    /// Replaces the file `token` in a directory by a new token of this account, as a kubelet does;
    /// the new token.
    pub(crate) async fn write_token(&self, directory: &Path, account: &str) -> String {
        let token = self.token(&format!("{SYSTEM}/{account}"), None).await;
        super::dispatcher::replace(&directory.join("token"), &token);
        token
    }

    /// What only the fake can be made to do. Where another server runs, there is none, and this
    /// says why; the test then is one of the fake's only.
    pub(crate) fn only_fake(&self, why: &str) -> Option<&Fake> {
        match &self.server {
            Server::Fake(fake) => Some(fake),
            Server::Real(_) => {
                eprintln!("not tested with this API server: {why}");
                None
            }
        }
    }

    /// What was asked so far, in the order of the answers.
    pub(crate) fn log(&self) -> Vec<Entry> {
        match &self.server {
            Server::Fake(fake) => fake.server.journal.entries(),
            Server::Real(real) => real.entries(),
        }
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
    let config: Kubeconfig =
        serde_json::from_value(kubeconfig(address, ca, &user)).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .expect("a configuration");
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
    let at = OffsetDateTime::from(at)
        .replace_nanosecond(0)
        .expect("a time");
    at.format(&Rfc3339).expect("a text")
}
