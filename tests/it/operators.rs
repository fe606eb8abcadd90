//! Who may do what at the admin port and the admin socket, and where the socket is.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use tokio::process::Command;

use crate::support::dispatcher::Dispatcher;
use crate::support::sender::plain;
use crate::support::{binary, channel};

const TOKEN: &str = "a-token-of-operators";

/// The status of an admin path, with this header if it is not empty, by the network's address.
async fn status(dispatcher: &Dispatcher, path: &str, authorization: &str) -> u16 {
    let request = plain().get(format!("http://127.0.0.1:{}{path}", dispatcher.admin.port()));
    let request = if authorization.is_empty() { request } else { request.header("authorization", authorization) };
    request.send().await.expect("an answer").status().as_u16()
}

/// Runs a command of the program; its exit code, and what it printed.
async fn sealpost(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary()).args(arguments).output().await.expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// Elsewhere than on loopback, probes and metrics are open, and all else needs the token, of programs and of browsers.
#[tokio::test(flavor = "multi_thread")]
async fn the_network_needs_the_token() {
    let builder = Dispatcher::of(&channel(&[])).file("token", TOKEN);
    let token = builder.path("token");
    let builder = builder.arg("--admin-token-file").arg(text(&token));
    let dispatcher = builder.admin("0.0.0.0:0").start().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(status(&dispatcher, path, "").await, 200, "{path}");
    }
    let [bearer, browser] = [format!("Bearer {TOKEN}"), format!("Basic {}", STANDARD.encode(format!("me:{TOKEN}")))];
    for path in ["/", "/api/v1/status", "/api/v1/channels", "/api/v1/parked", "/nothing"] {
        let found = if path == "/nothing" { 404 } else { 200 };
        assert_eq!(status(&dispatcher, path, "").await, 401, "{path}");
        assert_eq!(status(&dispatcher, path, "Bearer wrong").await, 401, "{path}");
        assert_eq!(status(&dispatcher, path, &bearer).await, found, "{path}");
        assert_eq!(status(&dispatcher, path, &browser).await, found, "{path}");
    }
    let url = format!("http://127.0.0.1:{}", dispatcher.admin.port());
    let refused = plain().get(format!("{url}/api/v1/channels")).send().await.expect("an answer");
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    let remedy = refused.text().await.expect("text");
    assert!(remedy.lines().count() == 1 && remedy.contains("--admin-token-file") && remedy.contains("--admin-socket"));

    let (code, told) = sealpost(&["get", "channels", "--admin", &url]).await;
    assert!(code == Some(1) && told.contains("--admin-token-file"), "{told}");
    let (code, told) = sealpost(&["get", "channels", "--admin", &url, "--admin-token-file", text(&token)]).await;
    assert!(code == Some(0) && told.contains("default"), "{told}");
    let socket = dispatcher.path("state/admin.sock");
    let (code, told) = sealpost(&["get", "channels", "--admin-socket", text(&socket)]).await;
    assert!(code == Some(0) && told.contains("default"), "{told}");
}

/// The socket is its owner's; a stale one is replaced, that of a running process is not; it is gone at the end.
#[tokio::test(flavor = "multi_thread")]
async fn the_socket() {
    let mut first = Dispatcher::standalone(&channel(&[])).await;
    let socket = first.path("state/admin.sock");
    let mode = std::fs::metadata(&socket).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let run =
        ["run", "-f", "-", "--http-addr", "127.0.0.1:0", "--https-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"];
    let directory = tempfile::TempDir::new().expect("a directory");
    let refused = async |flags: &[&str]| {
        let mut command = Command::new(binary());
        command.args(run).args(flags).current_dir(directory.path()).stdin(std::process::Stdio::null());
        let output = command.output().await.expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, told) = refused(&["--admin-socket", text(&socket)]).await;
    assert!(code == Some(1) && told.contains("--admin-socket") && told.contains("process "), "{told}");
    let long = directory.path().join("x".repeat(200));
    let (code, told) = refused(&["--admin-socket", text(&long)]).await;
    assert!(code == Some(1) && told.contains("--admin-socket") && told.contains("too long for a socket"), "{told}");
    let short = directory.path().join("token");
    std::fs::write(&short, "short").expect("written");
    let (code, told) = refused(&["--admin-token-file", text(&short)]).await;
    assert!(code == Some(1) && told.contains("--admin-token-file") && !told.contains("\"short\""), "{told}");

    first.signal(Signal::KILL);
    first.ended().await;
    assert!(socket.exists(), "as it was left");
    let builder = Dispatcher::of(&channel(&[])).arg("--admin-socket").arg(text(&socket));
    let mut second = builder.start().await;
    assert_eq!(sealpost(&["get", "channels", "--admin-socket", text(&socket)]).await.0, Some(0));
    second.signal(Signal::TERM);
    assert!(second.ended().await.success());
    assert!(!socket.exists(), "it is removed");
}

/// A default that cannot be there is told once, and stops nothing.
#[tokio::test(flavor = "multi_thread")]
async fn no_room_for_the_default_socket() {
    let builder = Dispatcher::of(&channel(&[]));
    std::fs::create_dir_all(builder.path("state/admin.sock")).expect("made");
    let dispatcher = builder.start().await;
    assert_eq!(dispatcher.logged(&["There is no admin socket", "--admin-socket"]).len(), 1);
    assert_eq!(status(&dispatcher, "/api/v1/channels", "").await, 200);
}
