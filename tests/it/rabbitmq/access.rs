//! How RabbitMQ is reached: TLS, names, passwords.

use super::{channel, subscription, take_events};
use crate::support::dispatcher::Dispatcher;
use crate::support::pki::Ca;
use crate::support::rabbitmq::{Node, namespace, shared};
use crate::support::subscriber::Subscriber;
use crate::support::{binary, eventually};

/// amqps: the certificate is verified with the CA that is given, for the host of the URI; user name and password come
/// from the environment, and appear nowhere.
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
        let dispatcher = dispatcher.env("SEALPOST_RABBITMQ_URI", &uri).env("SEALPOST_RABBITMQ_CA", &file);
        dispatcher.env("SEALPOST_RABBITMQ_USERNAME", "sealpost").env("SEALPOST_RABBITMQ_PASSWORD", password).start()
    };
    let good = with("localhost", &ca, "s3cret").await;
    take_events(&good, &path).await;
    subscriber.until(1).await;
    assert!(node.ctl(&["list_connections", "user", "ssl"]).contains("sealpost\ttrue"));
    let other = Ca::new("another");
    for (refused, why) in [
        (with("localhost", &other, "s3cret").await, "UnknownIssuer"),
        (with("127.0.0.1", &ca, "s3cret").await, "certificate not valid for name"),
        (with("localhost", &ca, "wrong").await, "ACCESS_REFUSED"),
    ] {
        eventually(why, || refused.log().contains(why)).await;
        assert_eq!(refused.admin_text("/readyz").await.0, 503, "{why}");
        assert!(!refused.log().contains("s3cret") && !refused.log().contains("wrong"), "a password is logged");
    }
    assert!(!good.log().contains("s3cret"), "a password is logged");
}

/// What cannot be right is refused at once, without repeating a password.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_are_refused() {
    for (uri, flags, part) in [
        ("http://user:s3cret@host", &[][..], "--rabbitmq-uri"),
        ("amqp://user:s3cret@host:port", &[], "--rabbitmq-uri"),
        (&shared(), &["--rabbitmq-ca", "no-such-file"], "--rabbitmq-ca no-such-file"),
    ] {
        let mut command = tokio::process::Command::new(binary());
        command.args(["run", "-f", "-", "--http-addr", "127.0.0.1:0", "--https-addr", "127.0.0.1:0"]);
        command.args(["--admin-addr", "127.0.0.1:0"]).args(flags).env("SEALPOST_RABBITMQ_URI", uri);
        let directory = tempfile::TempDir::new().expect("a directory");
        let output = command.current_dir(directory.path()).stdin(std::process::Stdio::null()).output().await;
        let output = output.expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(part) && !text.contains("s3cret"), "{text}");
    }
    let mut command = tokio::process::Command::new(binary());
    let output = command.args(["parked", "list", "-f", "-"]).output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("set SEALPOST_RABBITMQ_URI"));
}
