//! The process under test.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;
use crate::sink::Sink;
use crate::{Keeping, Receivers, Scenario, Wire};

/// A running `sealpost run`, ended when it is dropped.
pub(crate) struct Dispatcher {
    pub(crate) process: Process,
    started: Instant,
    directory: TempDir,
    /// Where plain events go.
    pub(crate) http: SocketAddr,
    /// Where events over TLS go.
    https: SocketAddr,
    admin: SocketAddr,
}

/// What is measured: the program that was built with this one, unless `SEALPOST_BENCH_BINARY` names
/// another.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("SEALPOST_BENCH_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_sealpost").into(), PathBuf::from)
}

impl Dispatcher {
    pub(crate) async fn start(scenario: &Scenario, sink: &Sink) -> Self {
        Self::start_on(&kept(scenario, manifest(scenario, sink)), &[]).await
    }

    /// One that serves these manifests, with these variables.
    pub(crate) async fn start_on(yaml: &str, variables: &[(&str, &str)]) -> Self {
        Self::of(&program(), yaml, variables).await
    }

    /// The same of this program.
    pub(crate) async fn of(program: &Path, yaml: &str, variables: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().expect("a directory");
        std::fs::write(directory.path().join("channel.yaml"), yaml).expect("written");
        Self::run_in(directory, program, variables).await
    }

    /// One that serves what an earlier one has served, with its certificate authority. Its ports
    /// are bound then.
    pub(crate) async fn start_in(directory: TempDir, variables: &[(&str, &str)]) -> Self {
        Self::run_in(directory, &program(), variables).await
    }

    async fn run_in(directory: TempDir, program: &Path, variables: &[(&str, &str)]) -> Self {
        let ports = directory.path().join("ports.json");
        let mut command = Process::pinned(program);
        command
            .args([
                "run",
                "--http-addr",
                "127.0.0.1:0",
                "--https-addr",
                "127.0.0.1:0",
                "--admin-addr",
                "127.0.0.1:0",
            ])
            .args(["--transport-encryption", "permissive"])
            .arg("-f")
            .arg(directory.path().join("channel.yaml"))
            .arg("--state-dir")
            .arg(directory.path().join("state"))
            .arg("--ports-file")
            .arg(&ports)
            .envs(variables.iter().copied());
        let started = Instant::now();
        let process = Process::start(command);
        let ports = wait_for(&ports).await;
        let address = |name: &str| {
            ports[name]
                .as_str()
                .expect("an address")
                .parse()
                .expect("an address")
        };
        let [http, https, admin] = ["http", "https", "admin"].map(address);
        Self {
            process,
            started,
            directory,
            http,
            https,
            admin,
        }
    }

    /// Ends it, and keeps what it has written but its ports.
    pub(crate) fn end(self) -> TempDir {
        let Self {
            process, directory, ..
        } = self;
        drop(process);
        std::fs::remove_file(directory.path().join("ports.json")).expect("removed");
        directory
    }

    /// Where events go by this wire, and the authority to trust there.
    pub(crate) fn entrance(&self, wire: Wire) -> (SocketAddr, Option<String>) {
        if wire == Wire::Plain {
            (self.http, None)
        } else {
            (self.https, Some(self.ca()))
        }
    }

    /// PEM of the certificate authority that signed the server's certificate.
    fn ca(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("state/ca.crt"))
            .expect("a CA certificate")
    }

    /// Waits until it says that it is ready: how long that took since its start.
    pub(crate) async fn ready(&self, client: &reqwest::Client) -> Duration {
        let url = format!("http://{}/readyz", self.admin);
        self.until(|| async {
            client
                .get(&url)
                .send()
                .await
                .is_ok_and(|answer| answer.status() == 200)
        })
        .await
    }

    /// How long it took from the start until this was so.
    pub(crate) async fn until(&self, is_so: impl AsyncFn() -> bool) -> Duration {
        while !is_so().await {
            assert!(
                self.started.elapsed() < Duration::from_secs(60),
                "sealpost did not become ready"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.started.elapsed()
    }

    /// Its metrics, as text.
    pub(crate) async fn metrics(&self, client: &reqwest::Client) -> String {
        let answer = client
            .get(format!("http://{}/metrics", self.admin))
            .send()
            .await
            .expect("an answer");
        answer.text().await.expect("a text")
    }
}

async fn wait_for(ports: &Path) -> serde_json::Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(ports) = std::fs::read(ports)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
        {
            return ports;
        }
        assert!(Instant::now() < deadline, "sealpost did not start");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn manifest(scenario: &Scenario, sink: &Sink) -> String {
    match scenario.receivers {
        Receivers::Subscriptions(count) => channel(count, sink),
        Receivers::OneTriggerOf(count) => broker(count, sink.url(), |index| match index {
            0 => "exact: {type: dev.sealpost.bench}".to_owned(),
            _ => format!("exact: {{type: other.{index}}}"),
        }),
        Receivers::OneExpressionOf(count) => broker(count, sink.url(), |index| match index {
            0 => "cesql: \"source LIKE '/bench%'\"".to_owned(),
            _ => format!("cesql: \"source LIKE '/other/{index}/%'\""),
        }),
        Receivers::OneThatReplies => broker(1, &sink.replying_url(), |_| {
            "exact: {type: dev.sealpost.bench}".to_owned()
        }),
    }
}

/// The manifests with the channel kept as the scenario says.
fn kept(scenario: &Scenario, yaml: String) -> String {
    match scenario.keeping {
        Keeping::Synchronous => yaml,
        Keeping::Asynchronous => yaml.replace(
            "metadata: {name: c}",
            "metadata: {name: c, annotations: {messaging.knative.dev/async-handler: 'true'}}",
        ),
        Keeping::OnDisk => on_disk(&yaml),
    }
}

/// The manifests with channels on disk.
pub(crate) fn on_disk(yaml: &str) -> String {
    yaml.replace("v1\nkind: InMemoryChannel", "v1alpha1\nkind: DiskChannel")
        .replace("v1, kind: InMemoryChannel", "v1alpha1, kind: DiskChannel")
}

/// A channel in memory with one subscription.
pub(crate) fn channel_of(subscriber: &str) -> String {
    channel_manifest("c") + &subscription_manifest("s0", "c", subscriber, None)
}

fn channel(subscriptions: usize, sink: &Sink) -> String {
    let mut yaml = channel_manifest("c");
    for index in 0..subscriptions {
        yaml.push_str(&subscription_manifest(
            &format!("s{index}"),
            "c",
            sink.url(),
            sink.ca(),
        ));
    }
    yaml
}

/// A channel in memory of this name.
pub(crate) fn channel_manifest(name: &str) -> String {
    format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {{name: {name}}}\n"
    )
}

/// A subscription of this name to a channel, with the authorities that its subscriber's certificate
/// may have.
pub(crate) fn subscription_manifest(
    name: &str,
    channel: &str,
    url: &str,
    authorities: Option<&str>,
) -> String {
    let mut yaml = format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: {name}}}\nspec:\n  channel: \
         {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: {channel}}}\n  subscriber:\n    uri: {url}\n"
    );
    if let Some(authorities) = authorities {
        yaml.push_str("    CACerts: |\n");
        authorities
            .lines()
            .for_each(|line| writeln!(yaml, "      {line}").expect("a string"));
    }
    yaml
}

/// The filter of the first Trigger lets pass what is sent, those of the others do not.
fn broker(triggers: usize, subscriber: &str, filter: impl Fn(usize) -> String) -> String {
    let mut yaml =
        String::from("apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: c}\n");
    for index in 0..triggers {
        write!(
            yaml,
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t{index}}}\nspec:\n  \
             broker: c\n  filters: [{{{}}}]\n  subscriber: {{uri: '{subscriber}'}}\n",
            filter(index)
        )
        .expect("a string");
    }
    yaml
}
