//! A dispatcher as a pod of a cluster: upstream's environment and no argument (contract 1.3, 1.5,
//! 5.11, 5.12).

use std::fs;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::binary;
use super::cluster::{Cluster, SYSTEM};
use super::dispatcher::Dispatcher;

/// What all of upstream's manifests set, but for the API server's address (contract 1.5).
const ENVIRONMENT: [(&str, &str); 4] = [
    ("SYSTEM_NAMESPACE", SYSTEM),
    ("CONFIG_LOGGING_NAME", "config-logging"),
    ("CONFIG_OBSERVABILITY_NAME", "config-observability"),
    ("METRICS_DOMAIN", "knative.dev/internal/eventing"),
];

const DISPATCHER: [(&str, &str); 3] = [
    ("CONTAINER_NAME", "dispatcher"),
    ("MAX_IDLE_CONNS", "1000"),
    ("MAX_IDLE_CONNS_PER_HOST", "1000"),
];
const INGRESS: [(&str, &str); 4] = [
    ("CONTAINER_NAME", "ingress"),
    ("NAMESPACE", SYSTEM),
    ("INGRESS_PORT", "8080"),
    ("INGRESS_PORT_HTTPS", "8443"),
];
const FILTER: [(&str, &str); 4] = [
    ("CONTAINER_NAME", "filter"),
    ("NAMESPACE", SYSTEM),
    ("FILTER_PORT", "8080"),
    ("FILTER_PORT_HTTPS", "8443"),
];

/// A pod that is to be started.
pub(crate) struct Pod {
    directory: TempDir,
    environment: Vec<(String, String)>,
}

impl Pod {
    /// A pod of `imc-dispatcher` in this cluster.
    pub(crate) async fn of(cluster: &Cluster) -> Self {
        Self::named(cluster, "imc-dispatcher", &DISPATCHER).await
    }

    /// A pod of `mt-broker-ingress`.
    pub(crate) async fn ingress(cluster: &Cluster) -> Self {
        Self::named(cluster, "mt-broker-ingress", &INGRESS).await
    }

    /// A pod of `mt-broker-filter`.
    pub(crate) async fn filter(cluster: &Cluster) -> Self {
        Self::named(cluster, "mt-broker-filter", &FILTER).await
    }

    /// A pod of this name in `deploy/kubernetes/rabbitmq-channel` or `disk-channel`, with its
    /// ServiceAccount.
    pub(crate) async fn of_ours(cluster: &Cluster, name: &str) -> Self {
        Self::named(cluster, name, &DISPATCHER).await
    }

    async fn named(cluster: &Cluster, name: &str, own: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().expect("a directory");
        fs::create_dir(directory.path().join("account")).expect("made");
        fs::create_dir(directory.path().join("root")).expect("made");
        fs::write(directory.path().join("account/ca.crt"), cluster.ca()).expect("written");
        cluster
            .write_token(&directory.path().join("account"), name)
            .await;
        let url: url::Url = cluster.url().parse().expect("a URL");
        let port = url.port().expect("a port").to_string();
        let mut pod = Self {
            directory,
            environment: Vec::new(),
        };
        for (name, value) in ENVIRONMENT.iter().chain(own) {
            pod = pod.env(name, value);
        }
        pod = pod.env("POD_NAME", &format!("{name}-0"));
        // The sinks of most tests are reached by http; `token::tests` say what is so without this.
        pod = pod.env("SEALPOST_TOKENS_OVER_HTTP", "true");
        pod = pod
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", &port);
        for port in ["HTTP", "HTTPS", "ADMIN"] {
            pod = pod.env(&format!("SEALPOST_{port}_ADDR"), "127.0.0.1:0");
        }
        pod
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The program in its surroundings.
    fn command(&self) -> Command {
        let at = |name: &str| self.directory.path().join(name);
        let mut command = Command::new(binary());
        command
            .env_clear()
            .envs(self.environment.clone())
            .env("SEALPOST_SERVICE_ACCOUNT_DIR", at("account"))
            .env("SEALPOST_PORTS_FILE", at("ports.json"))
            .current_dir(at("root"))
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end, which should be soon.
    pub(crate) fn output(&self) -> Output {
        self.command().output().expect("sealpost starts")
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn listening(self) -> Dispatcher {
        let mut command = self.command();
        let Self { directory, .. } = self;
        let at = |name: &str| directory.path().join(name);
        let output = |name: &str| Stdio::from(fs::File::create(at(name)).expect("a file"));
        let child = command
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .expect("sealpost starts");
        Dispatcher::listening(child, directory).await
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(self) -> Dispatcher {
        let dispatcher = self.listening().await;
        dispatcher.until_ready().await;
        dispatcher
    }
}
