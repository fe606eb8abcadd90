//! What the tests are written in: a dispatcher, subscribers, certificates, senders.

pub(crate) mod amqp_proxy;
pub(crate) mod chromium;
pub(crate) mod cluster;
pub(crate) mod collector;
pub(crate) mod dispatcher;
pub(crate) mod parked;
pub(crate) mod pki;
pub(crate) mod pod;
pub(crate) mod rabbitmq;
pub(crate) mod sender;
pub(crate) mod subscriber;
pub(crate) mod system_calls;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long anything may take that should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The flags of `run` by which all of its ports are on loopback, and of the system's choice.
pub(crate) const ANY_PORTS: [&str; 6] = [
    "--http-addr",
    "127.0.0.1:0",
    "--https-addr",
    "127.0.0.1:0",
    "--admin-addr",
    "127.0.0.1:0",
];

/// The program under test: the one that was built with the tests, unless `SEALPOST_TEST_BINARY`
/// names another build of it.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("SEALPOST_TEST_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_sealpost").into(), PathBuf::from)
}

/// Waits until `condition` holds, and fails the test if it does not soon.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(())).await;
}

/// Waits until `attempt` gives something.
pub(crate) async fn eventually_some<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < deadline, "not soon: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// YAML of an in-memory channel `default/c` and its subscriptions: name, spec below `channel`,
/// indented by two.
pub(crate) fn channel(subscriptions: &[(&str, String)]) -> String {
    let mut yaml =
        "apiVersion: messaging.knative.dev/v1\nkind: InMemoryChannel\nmetadata: {name: c}\n"
            .to_owned();
    for (name, spec) in subscriptions {
        yaml.push_str(&subscription(name, spec));
    }
    yaml
}

/// YAML of a subscription of `default/c`.
pub(crate) fn subscription(name: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: {name}}}\nspec:\n  \
         channel: {{apiVersion: messaging.knative.dev/v1, kind: InMemoryChannel, name: c}}\n{spec}"
    )
}

/// YAML of `config-features` with this mode.
pub(crate) fn features(mode: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-features, namespace: knative-eventing}}\ndata:\n  \
         transport-encryption: {mode}\n"
    )
}

/// Text as a YAML block, indented by `spaces`.
pub(crate) fn block(text: &str, spaces: usize) -> String {
    let lines: String = text
        .lines()
        .map(|line| format!("\n{:spaces$}{line}", ""))
        .collect();
    format!("|{lines}\n")
}
