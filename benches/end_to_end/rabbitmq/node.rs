//! A RabbitMQ of its own for one measurement, so that none finds what another has left.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use lapin::{Connection, ConnectionProperties};
use tempfile::TempDir;

use crate::process::cpu_of;

/// A node on both processors, with its data in a temporary directory; stopped when it is dropped.
pub(super) struct Node {
    directory: TempDir,
    pub(super) uri: String,
    process: u32,
}

impl Node {
    pub(super) fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let uri = text(&control("start", &directory));
        let process = text(&control("pid", &directory)).parse().expect("a number");
        Self {
            directory,
            uri,
            process,
        }
    }

    pub(super) async fn connect(&self) -> Connection {
        Connection::connect(&self.uri, ConnectionProperties::default())
            .await
            .expect("a connection")
    }

    /// User and system time so far.
    pub(super) fn cpu(&self) -> Duration {
        cpu_of(&PathBuf::from(format!("/proc/{}", self.process)))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        control("stop", &self.directory);
    }
}

/// Runs the script of the tests. This program is bound to one processor, and what it starts would
/// be, too.
fn control(command: &str, directory: &TempDir) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rabbitmq/node");
    let mut node = Command::new("taskset");
    node.args(["-c", "0,1", script, command])
        .arg(directory.path());
    node.output().expect("a script")
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
