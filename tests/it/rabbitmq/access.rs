//! How RabbitMQ is reached: TLS, names, passwords.

use super::{channel, on, subscription, take_events};
use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::rabbitmq::{Node, namespace, shared};
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{ANY_PORTS, binary, eventually};

/// amqps: the certificate is verified with the CA that is given, for the host of the URI; user name
/// and password come from the environment, and appear nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn amqps_is_verified() {
    let ca = Ca::new("rabbitmq");
    let (node, port) = Node::with_tls(&ca, &ca.issue(&["localhost"]));
    node.ctl(&["add_user", "sealpost", "s3cret"]);
    node.ctl(&["set_permissions", "sealpost", ".*", ".*", ".*"]);
    let (namespace, subscriber) = (namespace(), Subscriber::ok().await);
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let path = format!("/{namespace}/c");
    let with = |host: &str, ca: &Ca, password: &str| {
        let dispatcher = Dispatcher::of(&yaml).file("ca.pem", &ca.pem);
        let file = dispatcher.path("ca.pem").display().to_string();
        let uri = format!("amqps://guest:guest@{host}:{port}/%2f");
        let dispatcher = dispatcher
            .env("SEALPOST_RABBITMQ_URI", &uri)
            .env("SEALPOST_RABBITMQ_CA", &file);
        dispatcher
            .env("SEALPOST_RABBITMQ_USERNAME", "sealpost")
            .env("SEALPOST_RABBITMQ_PASSWORD", password)
            .start()
    };
    let good = with("localhost", &ca, "s3cret").await;
    take_events(&good, &path).await;
    subscriber.until(1).await;
    assert!(
        node.ctl(&["list_connections", "user", "ssl"])
            .contains("sealpost\ttrue")
    );
    let other = Ca::new("another");
    for (refused, why) in [
        (with("localhost", &other, "s3cret").await, "UnknownIssuer"),
        (
            with("127.0.0.1", &ca, "s3cret").await,
            "certificate not valid for name",
        ),
        (with("localhost", &ca, "wrong").await, "ACCESS_REFUSED"),
    ] {
        eventually(why, || refused.log().contains(why)).await;
        assert_eq!(refused.admin_text("/readyz").await.0, 503, "{why}");
        assert!(
            !refused.log().contains("s3cret") && !refused.log().contains("wrong"),
            "a password is logged"
        );
    }
    assert!(!good.log().contains("s3cret"), "a password is logged");
}

/// A password that is changed, in RabbitMQ and in the file, counts from the next connection on: a
/// connection that RabbitMQ closes comes back with it, and the process goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_in_its_file_needs_no_restart() {
    let (namespace, subscriber, node) = (namespace(), Subscriber::ok().await, Node::start());
    node.ctl(&["add_user", "sealpost", "f1rst"]);
    node.ctl(&["set_permissions", "sealpost", ".*", ".*", ".*"]);
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let path = format!("/{namespace}/c");
    let builder = on(&node.uri, &yaml)
        .file("username", "sealpost")
        .file("password", "f1rst\n");
    let [username, password] = ["username", "password"].map(|name| builder.path(name));
    let dispatcher = builder
        .env(
            "SEALPOST_RABBITMQ_USERNAME_FILE",
            &username.display().to_string(),
        )
        .env(
            "SEALPOST_RABBITMQ_PASSWORD_FILE",
            &password.display().to_string(),
        )
        .start()
        .await;
    take_events(&dispatcher, &path).await;
    node.ctl(&["change_password", "sealpost", "s3cond"]);
    node.ctl(&["close_all_connections", "the password has changed"]);
    eventually("the old password is refused", || {
        dispatcher.log().contains("ACCESS_REFUSED")
    })
    .await;
    assert_eq!(dispatcher.admin_text("/readyz").await.0, 503);
    std::fs::remove_file(&password).expect("removed");
    let named = format!("--rabbitmq-password-file {}", password.display());
    eventually("it is told which file is not there", || {
        dispatcher.log().contains(&named)
    })
    .await;
    std::fs::write(&password, "s3cond").expect("written");
    take_events(&dispatcher, &path).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url(&path), "after").await,
        202
    );
    eventually("the event after it arrives", || {
        subscriber
            .received()
            .iter()
            .any(|event| event.id() == "after")
    })
    .await;
    let connections = node.ctl(&["list_connections", "user"]);
    assert!(
        connections.contains("sealpost") && !connections.contains("guest"),
        "{connections}"
    );
    assert!(
        !dispatcher.log().contains("f1rst") && !dispatcher.log().contains("s3cond"),
        "a password is logged"
    );
}

/// A user who may not publish, at the start or any more: nobody is told that all is well, and
/// senders are refused at once.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_publish_is_not_ready() {
    let (namespace, subscriber, node) = (namespace(), Subscriber::ok().await, Node::start());
    let yaml = channel(&namespace) + &subscription(&namespace, "a", &subscriber, "");
    let path = format!("/{namespace}/c");
    let dispatcher = on(&node.uri, &yaml).start().await;
    take_events(&dispatcher, &path).await;
    let is_ready = async || dispatcher.admin_text("/readyz").await.0 == 200;
    for allowed in ["sealpost:.*", ".*", "sealpost:.*", ".*"] {
        node.ctl(&["set_permissions", "guest", ".*", allowed, ".*"]);
        // RabbitMQ remembers for each channel what was allowed, for up to a minute.
        node.ctl(&["close_all_connections", "permissions have changed"]);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let expected = if allowed == ".*" { 202 } else { 503 };
        while send(&plain(), dispatcher.http_url(&path), "x").await != expected
            || is_ready().await != (expected == 202)
        {
            assert!(
                std::time::Instant::now() < deadline,
                "{allowed}: {}",
                dispatcher.admin_text("/readyz").await.1
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    assert!(
        !dispatcher
            .logged(&["No channel to publish on", "ACCESS_REFUSED"])
            .is_empty(),
        "{}",
        dispatcher.log()
    );
}

/// One queue that RabbitMQ refuses to deliver stops neither its Broker nor readiness: its events
/// wait, and come.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_may_not_be_read_is_the_only_one_that_waits() {
    let (namespace, node) = (namespace(), Node::start());
    let (first, second) = (Subscriber::ok().await, Subscriber::ok().await);
    let [a, b] =
        [("a", &first), ("b", &second)].map(|(name, to)| subscription(&namespace, name, to, ""));
    let read = "sealpost:(wait|returned|.*:b).*";
    node.ctl(&["set_permissions", "guest", ".*", ".*", read]);
    let dispatcher = on(&node.uri, &(channel(&namespace) + &a + &b))
        .start()
        .await;
    let path = format!("/{namespace}/c");
    take_events(&dispatcher, &path).await;
    assert_eq!(send(&plain(), dispatcher.http_url(&path), "1").await, 202);
    second.until(2).await;
    let (status, text) = dispatcher.admin_text("/readyz").await;
    assert!(
        status == 200 && text.contains("ACCESS_REFUSED"),
        "{status} {text}"
    );
    assert_eq!(first.count(), 0);
    node.ctl(&["set_permissions", "guest", ".*", ".*", ".*"]);
    first.until(2).await;
}

/// What cannot be right is refused at once, without repeating a password.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_are_refused() {
    for (uri, flags, part) in [
        ("http://user:s3cret@host", &[][..], "--rabbitmq-uri"),
        ("amqp://user:s3cret@host:port", &[], "--rabbitmq-uri"),
        (
            &shared(),
            &["--rabbitmq-ca", "no-such-file"],
            "--rabbitmq-ca no-such-file",
        ),
        (
            &shared(),
            &["--rabbitmq-password-file", "no-such-file"],
            "--rabbitmq-password-file no-such-file",
        ),
        (
            &shared(),
            &[
                "--rabbitmq-password-file",
                "a",
                "--rabbitmq-password",
                "s3cret",
            ],
            "cannot be used with",
        ),
    ] {
        let mut command = tokio::process::Command::new(binary());
        command
            .args(["run", "-f", "-"])
            .args(ANY_PORTS)
            .args(flags)
            .env("SEALPOST_RABBITMQ_URI", uri);
        let directory = tempfile::TempDir::new().expect("a directory");
        let output = command
            .current_dir(directory.path())
            .stdin(std::process::Stdio::null())
            .output()
            .await;
        let output = output.expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && text.contains(part) && !text.contains("s3cret"),
            "{text}"
        );
    }
}

/// What is parked on RabbitMQ cannot be read without it; other channels can.
#[tokio::test(flavor = "multi_thread")]
async fn parked_events_need_an_address() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let file = directory.path().join("channel.yaml");
    let subscriber = Subscriber::ok().await;
    let manifests = channel("default") + &subscription("default", "a", &subscriber, "");
    std::fs::write(&file, manifests).expect("written");
    let mut command = tokio::process::Command::new(binary());
    let output = command
        .args(["parked", "list", "-f"])
        .arg(&file)
        .current_dir(directory.path())
        .output()
        .await
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("set SEALPOST_RABBITMQ_URI"), "{text}");
}
