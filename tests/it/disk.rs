//! Channels on disk: what was answered 202 outlives the process, and what a disk may do to it.

mod failing;
mod faults;
mod kept;
mod killed;
mod looked_at;
mod moved;
mod removed;

use std::path::Path;
use std::process::{Command, Output};

use crate::support::binary;
use crate::support::dispatcher::{Builder, Dispatcher};
use crate::support::subscriber::{Received, Subscriber};

/// YAML of the DiskChannel `default/NAME`.
fn disk_channel(name: &str) -> String {
    format!(
        "---\napiVersion: messaging.knative.dev/v1alpha1\nkind: DiskChannel\nmetadata: {{name: {name}}}\n"
    )
}

/// YAML of a Subscription of a DiskChannel with this subscriber; `more` is flow style below `spec`.
fn disk_subscription(channel: &str, name: &str, subscriber: &Subscriber, more: &str) -> String {
    let uri = subscriber.url();
    format!(
        "---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\nmetadata: {{name: {name}}}\nspec:\n  \
         channel: {{apiVersion: messaging.knative.dev/v1alpha1, kind: DiskChannel, name: {channel}}}\n  \
         subscriber: {{uri: '{uri}'}}\n{more}"
    )
}

/// The `delivery` of a Subscription.
fn delivery(fields: &str) -> String {
    format!("  delivery: {{{fields}}}\n")
}

/// A dispatcher of these manifests whose channels are in this directory.
fn in_directory(yaml: &str, directory: &Path) -> Builder {
    Dispatcher::of(yaml)
        .arg("--data-dir")
        .arg(directory.to_str().expect("text"))
}

/// A subscriber at whose address nobody listens.
async fn away() -> Subscriber {
    let mut subscriber = Subscriber::ok().await;
    subscriber.stop().await;
    subscriber
}

/// Ids of events, in the order of their text.
fn sorted_ids(received: &[Received]) -> Vec<&str> {
    let mut ids: Vec<&str> = received.iter().map(Received::id).collect();
    ids.sort_unstable();
    ids
}

/// What `sealpost disk` says of a directory.
fn run_disk(arguments: &[&str], data: &Path) -> Output {
    let mut command = Command::new(binary());
    let command = command.arg("disk").args(arguments).arg("--data-dir");
    command.arg(data).output().expect("sealpost runs")
}

/// Demands that everything in a directory is whole.
fn verify(data: &Path) {
    let verified = run_disk(&["verify"], data);
    let told = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{told}");
}
