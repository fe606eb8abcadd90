//! Channels on disk for operators: what nobody took, and what was retained, goes to a subscription
//! again.

mod ended;
mod live;
mod parked;
mod retained;
mod start_at;

use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::dispatcher::{Builder, Dispatcher};
use crate::support::parked::Parked;
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Received, Subscriber};

/// YAML of a DiskChannel `default/c` that retains for a day, and of subscriptions of it: each with
/// its annotations and the URL of its subscriber.
fn channel(subscriptions: &[(&str, &str, &str)]) -> String {
    let mut yaml = "apiVersion: messaging.knative.dev/v1alpha1\nkind: DiskChannel\n\
         metadata: {name: c, annotations: {sealpost.dev/retain: P1D}}\n"
        .to_owned();
    for (name, annotations, url) in subscriptions {
        yaml.push_str(&subscription(name, annotations, url));
    }
    yaml
}

fn subscription(name: &str, annotations: &str, url: &str) -> String {
    format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\n\
         metadata: {{name: {name}, annotations: {{{annotations}}}}}\nspec:\n  \
         channel: {{apiVersion: messaging.knative.dev/v1alpha1, kind: DiskChannel, name: c}}\n  \
         subscriber: {{uri: '{url}'}}\n"
    )
}

/// One that keeps its channels in this directory.
fn on(data: &TempDir, yaml: &str) -> Builder {
    let path = data.path().to_str().expect("a path");
    Dispatcher::of(yaml).arg("--data-dir").arg(path)
}

/// A command that asks by the admin socket.
fn by_socket(dispatcher: &Dispatcher, command: &'static str) -> Parked {
    let socket = dispatcher.path("state/admin.sock");
    let socket = socket.to_str().expect("a path");
    Parked::with(&["--admin-socket", socket]).command(command)
}

async fn send_all(dispatcher: &Dispatcher, ids: std::ops::Range<u32>) {
    let client = plain();
    for id in ids {
        let url = dispatcher.http_url("/default/c");
        assert_eq!(send(&client, url, &id.to_string()).await, 202);
    }
}

/// Ids of the events that came, with the id of their replay.
fn seen(received: &[Received]) -> Vec<(u32, Option<String>)> {
    let each = received.iter().map(|event| {
        let replay = event.header("ce-sealpostreplay").map(str::to_owned);
        (event.id().parse().expect("a number"), replay)
    });
    each.collect()
}

/// Ids of the events that came by a replay, in their order.
fn replayed(subscriber: &Subscriber) -> Vec<u32> {
    let seen = seen(&subscriber.received()).into_iter();
    seen.filter(|(_, replay)| replay.is_some())
        .map(|(id, _)| id)
        .collect()
}

async fn kill(mut dispatcher: Dispatcher) {
    dispatcher.signal(Signal::KILL);
    dispatcher.ended().await;
}

async fn end(mut dispatcher: Dispatcher) {
    dispatcher.signal(Signal::TERM);
    assert!(dispatcher.ended().await.success());
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}
