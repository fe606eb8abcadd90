//! A CloudEvents client that is not ours: Python's SDK sends binary and structured events, and
//! reads what is delivered.

use std::path::PathBuf;

use tokio::process::Command;

use crate::support::dispatcher::Dispatcher;
use crate::support::{channel, eventually_some};

/// The Python of the virtual environment that `.ci/run` makes.
pub(crate) fn python() -> PathBuf {
    let python = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/target/python/bin/python"
    ));
    assert!(
        python.exists(),
        "no Python with the packages of the tests at {}: run tests/python/setup",
        python.display()
    );
    python
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_sends_and_receives() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/sdk.py");
    let directory = tempfile::TempDir::new().expect("a directory");
    let port_file = directory.path().join("port");
    let output = directory.path().join("received");
    let _receiver = Command::new(python())
        .arg(script)
        .arg("receive")
        .arg(&port_file)
        .arg(&output)
        .kill_on_drop(true)
        .spawn()
        .expect("Python starts");
    let port = eventually_some("the receiver listens", || {
        std::fs::read_to_string(&port_file)
            .ok()
            .filter(|port| port.ends_with('\n'))
    })
    .await;
    let yaml = channel(&[(
        "s",
        format!(
            "subscriber: {{uri: 'http://127.0.0.1:{}/'}}",
            port.trim_end()
        ),
    )]);
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let sent = Command::new(python())
        .arg(script)
        .arg("send")
        .arg(dispatcher.http_url("/default/c"))
        .output()
        .await;
    let sent = sent.expect("Python runs");
    assert!(
        sent.status.success(),
        "{}",
        String::from_utf8_lossy(&sent.stderr)
    );
    let received = std::fs::read_to_string(output).expect("received");
    let expected = "\
binary /python test.binary application/json {\"value\": 1} subject=a b é
structured /python test.structured application/json {\"value\": 2} subject=a b é
binary-bytes /python test.bytes application/octet-stream b'\\x00\\xff' subject=None
";
    assert_eq!(received, expected);
}
