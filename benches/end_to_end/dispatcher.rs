//! The process under test.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;
use crate::sink::Sink;
use crate::{Receivers, Scenario};

/// A running `sealpost run`, ended when it is dropped.
pub(crate) struct Dispatcher {
    pub(crate) process: Process,
    directory: TempDir,
    /// Where plain events go.
    pub(crate) http: SocketAddr,
    /// Where events over TLS go.
    pub(crate) https: SocketAddr,
}

impl Dispatcher {
    pub(crate) async fn start(scenario: &Scenario, sink: &Sink) -> Self {
        Self::start_on(&manifest(scenario, sink), &[]).await
    }

    /// One that serves these manifests, with these variables.
    pub(crate) async fn start_on(yaml: &str, variables: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().expect("a directory");
        std::fs::write(directory.path().join("channel.yaml"), yaml).expect("written");
        let ports = directory.path().join("ports.json");
        let mut command = Process::pinned(Path::new(env!("CARGO_BIN_EXE_sealpost")));
        command
            .args(["run", "--http-addr", "127.0.0.1:0", "--https-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"])
            .args(["--transport-encryption", "permissive"])
            .arg("-f")
            .arg(directory.path().join("channel.yaml"))
            .arg("--state-dir")
            .arg(directory.path().join("state"))
            .arg("--ports-file")
            .arg(&ports)
            .envs(variables.iter().copied());
        let process = Process::start(command);
        let ports = wait_for(&ports).await;
        let address = |name: &str| ports[name].as_str().expect("an address").parse().expect("an address");
        Self { process, http: address("http"), https: address("https"), directory }
    }

    /// PEM of the certificate authority that signed the server's certificate.
    pub(crate) fn ca(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("state/ca.crt")).expect("a CA certificate")
    }
}

async fn wait_for(ports: &Path) -> serde_json::Value {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(ports) = std::fs::read(ports).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
            return ports;
        }
        assert!(Instant::now() < deadline, "sealpost did not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn manifest(scenario: &Scenario, sink: &Sink) -> String {
    match scenario.receivers {
        Receivers::Subscriptions(count) => channel(count, sink),
        Receivers::OneTriggerOf(count) => broker(count, sink, |index| match index {
            0 => "exact: {type: dev.sealpost.bench}".to_owned(),
            _ => format!("exact: {{type: other.{index}}}"),
        }),
        Receivers::OneExpressionOf(count) => broker(count, sink, |index| match index {
            0 => "cesql: \"source LIKE '/bench%'\"".to_owned(),
            _ => format!("cesql: \"source LIKE '/other/{index}/%'\""),
        }),
    }
}

fn channel(subscriptions: usize, sink: &Sink) -> String {
    let mut yaml = String::from("apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: c}\n");
    for index in 0..subscriptions {
        write!(
            yaml,
            "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: s{index}}}\nspec:\n  \
             channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}\n  subscriber:\n    uri: {}\n",
            sink.url()
        )
        .expect("a string");
        if let Some(ca) = sink.ca() {
            yaml.push_str("    CACerts: |\n");
            ca.lines().for_each(|line| writeln!(yaml, "      {line}").expect("a string"));
        }
    }
    yaml
}

/// The filter of the first Trigger lets pass what is sent, those of the others do not.
fn broker(triggers: usize, sink: &Sink, filter: impl Fn(usize) -> String) -> String {
    let mut yaml = String::from("apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: c}\n");
    for index in 0..triggers {
        write!(
            yaml,
            "---\napiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t{index}}}\nspec:\n  \
             broker: c\n  filters: [{{{}}}]\n  subscriber: {{uri: '{}'}}\n",
            filter(index),
            sink.url()
        )
        .expect("a string");
    }
    yaml
}
