//! A RabbitMQ to test with: the one that the test command has started, or a node or a cluster of
//! one's own to ill-treat. Those that a test starts are of the version that
//! `SEALPOST_TEST_RABBITMQ_VERSION` names for the scripts: `3.10`, which is what it is without, or
//! `4`.

mod cluster;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::pki::{Ca, Identity};
pub(crate) use cluster::Cluster;

/// The URI of the node that all tests share.
pub(crate) fn shared() -> String {
    std::env::var("SEALPOST_TEST_RABBITMQ").expect(
        "no RabbitMQ to test with: run .ci/run, or start one with tests/rabbitmq/node start DIR and set \
         SEALPOST_TEST_RABBITMQ to what it prints",
    )
}

/// A namespace that no other test has.
pub(crate) fn namespace() -> String {
    format!("t{}", uuid::Uuid::new_v4().simple())
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/rabbitmq")
        .join(name)
}

/// A node of its own, stopped when it is dropped.
pub(crate) struct Node {
    directory: TempDir,
    pub(crate) uri: String,
}

impl Node {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let uri = run("node", "start", directory.path(), &[]);
        Self { directory, uri }
    }

    /// Starts one with these plugins.
    pub(crate) fn with_plugins(plugins: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let enabled = format!("[{plugins}].\n");
        std::fs::write(directory.path().join("plugins"), enabled).expect("written");
        let uri = run("node", "start", directory.path(), &[]);
        Self { directory, uri }
    }

    /// Makes a program of `rabbitmqctl` that speaks to this node.
    pub(crate) fn write_ctl(&self, path: &Path) {
        let (node, directory) = (script("node"), self.directory.path());
        let text = format!(
            "#!/bin/sh\nexec '{}' ctl '{}' \"$@\"\n",
            node.display(),
            directory.display()
        );
        std::fs::write(path, text).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("set");
    }

    /// Starts one that also speaks TLS; gives the port of that.
    pub(crate) fn with_tls(ca: &Ca, identity: &Identity) -> (Self, u16) {
        let directory = TempDir::new().expect("a directory");
        let files = [
            ("ca.pem", &ca.pem),
            ("cert.pem", &identity.chain_pem),
            ("key.pem", &identity.key_pem),
        ];
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).expect("written");
        }
        let uri = run("node", "start", directory.path(), &[]);
        let ports = std::fs::read_to_string(directory.path().join("ports")).expect("its ports");
        let port = ports
            .split_whitespace()
            .nth(3)
            .expect("the fourth")
            .parse()
            .expect("a port");
        (Self { directory, uri }, port)
    }

    /// Starts it again, with its data, at the same address.
    pub(crate) fn restart(&self) {
        assert_eq!(run("node", "start", self.directory.path(), &[]), self.uri);
    }

    /// Stops it.
    pub(crate) fn stop(&self) {
        run("node", "stop", self.directory.path(), &[]);
    }

    /// Its process does nothing from now on. A signal reaches one thread after the other, so that
    /// is waited for.
    pub(crate) fn pause(&self) {
        let pid = self.pid().expect("a process");
        rustix::process::kill_process(pid, Signal::STOP).expect("signalled");
        let deadline = std::time::Instant::now() + super::SOON;
        while !is_paused(pid) {
            assert!(std::time::Instant::now() < deadline, "the node goes on");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Its process goes on.
    pub(crate) fn resume(&self) {
        rustix::process::kill_process(self.pid().expect("a process"), Signal::CONT)
            .expect("signalled");
    }

    /// Its process, if it has been started and not stopped since.
    fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.directory.path().join("pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// `rabbitmqctl`.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        run("node", "ctl", self.directory.path(), arguments)
    }
}

impl Drop for Node {
    /// A test may have ended while the node was paused: it could not stop then.
    fn drop(&mut self) {
        if let Some(pid) = self.pid()
            && let Err(error) = rustix::process::kill_process(pid, Signal::CONT)
        {
            eprintln!("the node could not be resumed: {error}");
        }
        self.stop();
    }
}

/// Whether each thread of a process is stopped (`T` after the name in `/proc/PID/task/TID/stat`).
fn is_paused(pid: Pid) -> bool {
    let tasks =
        std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).expect("its threads");
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_none_or(|(_name, rest)| rest.starts_with('T'))
    })
}

fn run(name: &str, command: &str, directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(script(name))
        .arg(command)
        .arg(directory)
        .args(arguments)
        .output()
        .expect("the script runs");
    assert!(
        output.status.success(),
        "{name} {command} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// An ordinary client of RabbitMQ.
pub(crate) struct Client {
    _connection: Connection,
    channel: Channel,
}

impl Client {
    pub(crate) async fn new(uri: &str) -> Self {
        let connection = Connection::connect(uri, ConnectionProperties::default())
            .await
            .expect("connected");
        let channel = connection.create_channel().await.expect("a channel");
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .expect("confirms");
        Self {
            _connection: connection,
            channel,
        }
    }

    /// Declares a durable quorum queue, unless there is one of that name.
    pub(crate) async fn declare(&self, queue: &str) {
        let asking = self._connection.create_channel().await.expect("a channel");
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        if asking
            .queue_declare(short(queue), passive, FieldTable::default())
            .await
            .is_ok()
        {
            return;
        }
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let mut arguments = FieldTable::default();
        arguments.insert(
            short("x-queue-type"),
            AMQPValue::LongString("quorum".into()),
        );
        self.channel
            .queue_declare(short(queue), options, arguments)
            .await
            .expect("declared");
    }

    /// Takes a message out of a queue, if there is one.
    pub(crate) async fn take(&self, queue: &str) -> Option<(BasicProperties, Vec<u8>)> {
        let got = self
            .channel
            .basic_get(short(queue), BasicGetOptions::default())
            .await
            .expect("a queue")?;
        got.delivery
            .acker
            .ack(BasicAckOptions::default())
            .await
            .expect("acknowledged");
        Some((got.delivery.properties.clone(), got.delivery.data.clone()))
    }

    /// How many messages are ready in a queue; `None` if there is no such queue.
    pub(crate) async fn ready(uri: &str, queue: &str) -> Option<u32> {
        let client = Self::new(uri).await;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let found = client
            .channel
            .queue_declare(short(queue), passive, FieldTable::default())
            .await
            .ok()?;
        Some(found.message_count())
    }

    /// Makes a queue that nobody else may use or declare, as long as this client is connected.
    pub(crate) async fn lock_queue(&self, name: &str) {
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        self.channel
            .queue_declare(short(name), exclusive, FieldTable::default())
            .await
            .expect("declared");
    }

    /// Deletes a queue, whoever uses it.
    pub(crate) async fn delete_queue(&self, name: &str) {
        self.channel
            .queue_delete(short(name), QueueDeleteOptions::default())
            .await
            .expect("deleted");
    }

    /// Waits for a message in a queue.
    pub(crate) async fn wait(&self, queue: &str) -> (BasicProperties, Vec<u8>) {
        let deadline = std::time::Instant::now() + super::SOON;
        loop {
            if let Some(message) = self.take(queue).await {
                return message;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "nothing comes into {queue}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Puts so many events of 1 KiB straight into a queue.
    pub(crate) async fn fill(&self, queue: &str, count: usize) {
        let mut table = FieldTable::default();
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", "i"),
            ("source", "/s"),
            ("type", "t"),
        ] {
            table.insert(
                short(&format!("cloudEvents_{name}")),
                AMQPValue::LongString(value.into()),
            );
        }
        let properties = BasicProperties::default()
            .with_headers(table)
            .with_delivery_mode(2);
        let (next, mut fillers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        for _ in 0..64 {
            let (channel, properties, next, queue) = (
                self.channel.clone(),
                properties.clone(),
                Arc::clone(&next),
                short(queue),
            );
            fillers.spawn(async move {
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let (options, properties) =
                        (BasicPublishOptions::default(), properties.clone());
                    let confirm = channel.basic_publish(
                        short(""),
                        queue.clone(),
                        options,
                        &[b'x'; 1024],
                        properties,
                    );
                    confirm.await.expect("published").await.expect("confirmed");
                }
            });
        }
        fillers.join_all().await;
    }

    /// Puts a message with these headers straight into a queue.
    pub(crate) async fn put(
        &self,
        queue: &str,
        content_type: &str,
        headers: &[(&str, AMQPValue)],
        body: &[u8],
    ) {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert(short(name), value.clone());
        }
        let properties = BasicProperties::default()
            .with_headers(table)
            .with_content_type(short(content_type));
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirm =
            self.channel
                .basic_publish(short(""), short(queue), options, body, properties);
        let confirm = confirm.await.expect("published").await.expect("confirmed");
        assert!(confirm.is_ack(), "not stored in {queue}");
        assert!(
            confirm.take_message().is_none(),
            "there is no queue {queue}"
        );
    }
}

fn short(text: &str) -> ShortString {
    ShortString::try_new(text).expect("a short text")
}

/// A header's text.
pub(crate) fn header(properties: &BasicProperties, name: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::LongInt(number) => Some(number.to_string()),
        AMQPValue::LongUInt(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}
