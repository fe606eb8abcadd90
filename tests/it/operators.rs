//! Who may do what at the admin port and the admin socket, and where the socket is.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;

use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{client, plain, raw, tls};
use crate::support::{ANY_PORTS, binary, channel};

/// Paths that are for operators, of which the last one does not exist.
const GUARDED: [&str; 5] = [
    "/",
    "/api/v1/status",
    "/api/v1/channels",
    "/api/v1/parked",
    "/nothing",
];
const TOKEN: &str = "a-token-of-operators";

/// The status of an admin path, with this header if it is not empty, by the network's address.
async fn status(dispatcher: &Dispatcher, path: &str, authorization: &str) -> u16 {
    let request = plain().get(format!(
        "http://127.0.0.1:{}{path}",
        dispatcher.admin.port()
    ));
    let request = if authorization.is_empty() {
        request
    } else {
        request.header("authorization", authorization)
    };
    request.send().await.expect("an answer").status().as_u16()
}

/// Runs a command of the program; its exit code, and what it printed.
async fn sealpost(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .args(arguments)
        .output()
        .await
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

/// Elsewhere than on loopback, probes and metrics are open, and all else needs the token, of
/// programs and of browsers (contract IF-7).
#[tokio::test(flavor = "multi_thread")]
async fn the_network_needs_the_token() {
    let builder = Dispatcher::of(&channel(&[])).file("token", TOKEN);
    let token = builder.path("token");
    let builder = builder.arg("--admin-token-file").arg(text(&token));
    let dispatcher = builder.admin("0.0.0.0:0").start().await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(status(&dispatcher, path, "").await, 200, "{path}");
    }
    let bearer = format!("Bearer {TOKEN}");
    let [browser, mistyped] =
        [TOKEN, "wrong"].map(|text| format!("Basic {}", STANDARD.encode(format!("me:{text}"))));
    for path in GUARDED {
        let found = if path == "/nothing" { 404 } else { 200 };
        assert_eq!(status(&dispatcher, path, "").await, 401, "{path}");
        assert_eq!(
            status(&dispatcher, path, "Bearer wrong").await,
            403,
            "{path}"
        );
        assert_eq!(
            status(&dispatcher, path, &mistyped).await,
            401,
            "{path}: the browser asks again"
        );
        assert_eq!(status(&dispatcher, path, &bearer).await, found, "{path}");
        assert_eq!(status(&dispatcher, path, &browser).await, found, "{path}");
    }
    let url = format!("http://127.0.0.1:{}", dispatcher.admin.port());
    let refused = plain()
        .get(format!("{url}/api/v1/channels"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    assert!(is_remedy(&refused.text().await.expect("text")));

    let (code, told) = sealpost(&["get", "channels", "--admin", &url]).await;
    assert!(
        code == Some(1) && told.contains("--admin-token-file"),
        "{told}"
    );
    let (code, told) = sealpost(&[
        "get",
        "channels",
        "--admin",
        &url,
        "--admin-token-file",
        text(&token),
    ])
    .await;
    assert!(code == Some(0) && told.contains("default"), "{told}");
    let socket = dispatcher.path("state/admin.sock");
    let (code, told) = sealpost(&["get", "channels", "--admin-socket", text(&socket)]).await;
    assert!(code == Some(0) && told.contains("default"), "{told}");
}

/// Where no token is configured, nobody has one: the socket is the way in, and the answer says so.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_network_reads_nothing() {
    let dispatcher = Dispatcher::of(&channel(&[]))
        .admin("0.0.0.0:0")
        .start()
        .await;
    assert_eq!(status(&dispatcher, "/metrics", "").await, 200);
    for path in GUARDED {
        assert_eq!(status(&dispatcher, path, "").await, 403, "{path}");
        assert_eq!(
            status(&dispatcher, path, "Bearer 0123456789abcdef").await,
            403,
            "{path}"
        );
    }
    let url = format!("http://127.0.0.1:{}", dispatcher.admin.port());
    let refused = plain()
        .get(format!("{url}/api/v1/channels"))
        .send()
        .await
        .expect("an answer");
    assert!(is_remedy(&refused.text().await.expect("text")));
    let (code, told) = sealpost(&["get", "channels", "--admin", &url]).await;
    assert!(code == Some(1) && is_remedy(&told), "{told}");
    let socket = dispatcher.path("state/admin.sock");
    assert_eq!(
        sealpost(&["get", "channels", "--admin-socket", text(&socket)])
            .await
            .0,
        Some(0)
    );
}

/// One line that says what to do.
fn is_remedy(text: &str) -> bool {
    text.lines().count() == 1
        && text.contains("--admin-token-file")
        && text.contains("--admin-socket")
}

/// The status of a request with this head, sent as it is.
async fn head(address: SocketAddr, request: &str, headers: &[&str]) -> String {
    let headers: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    let answer = raw(address, format!("{request}\r\n{headers}\r\n").as_bytes()).await;
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// A page whose own name has become an address of loopback reads nothing, whatever it asks for; nor
/// does one that says twice, or not at all, whom it asks.
#[tokio::test(flavor = "multi_thread")]
async fn requests_say_whom_they_are_for() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let port = dispatcher.admin.port();
    for path in [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/status",
        "/api/v1/triggers",
        "/api/v1/parked",
    ] {
        let line = format!("GET {path} HTTP/1.1");
        for (headers, wanted) in [
            (&["Host: localhost"][..], "200"),
            (&[&*format!("Host: 127.0.0.1:{port}")], "200"),
            (&["Host: [::1]:1"], "200"),
            (&["Host: rebound.example"], "403"),
            (
                &[
                    &*format!("Host: rebound.example:{port}"),
                    &*format!("Origin: http://rebound.example:{port}"),
                ],
                "403",
            ),
            (&["Host: 0.0.0.0"], "403"),
            (&[], "400"),
            (&["Host: localhost", "Host: localhost"], "400"),
            (&["Host: localhost", "Host: rebound.example"], "400"),
            (
                &[
                    "Host: localhost",
                    "Sec-Fetch-Site: cross-site",
                    "Sec-Fetch-Mode: no-cors",
                ],
                "403",
            ),
            (
                &[
                    "Host: localhost",
                    "Sec-Fetch-Site: cross-site",
                    "Sec-Fetch-Mode: navigate",
                ],
                "200",
            ),
        ] {
            assert_eq!(
                head(dispatcher.admin, &line, headers).await,
                wanted,
                "{path} {headers:?}"
            );
        }
        let absolute = format!("GET http://rebound.example{path} HTTP/1.1");
        assert_eq!(
            head(dispatcher.admin, &absolute, &["Host: localhost"]).await,
            "403",
            "{path}"
        );
        assert_eq!(
            head(dispatcher.admin, &format!("GET {path} HTTP/1.0"), &[]).await,
            "400",
            "{path}"
        );
        for (authority, wanted) in [("localhost", 200), ("rebound.example", 403)] {
            let client = client(tls("", rustls::ALL_VERSIONS, &[])).http2_prior_knowledge();
            let client = client
                .resolve(authority, dispatcher.admin)
                .build()
                .expect("a client");
            let answer = client
                .get(format!("http://{authority}:{port}{path}"))
                .send()
                .await
                .expect("an answer");
            assert_eq!(
                (answer.version(), answer.status().as_u16()),
                (reqwest::Version::HTTP_2, wanted),
                "{path}"
            );
        }
    }
}

/// Where the port is not on loopback, probes and scrapes come under any name.
#[tokio::test(flavor = "multi_thread")]
async fn probes_come_under_any_name_over_the_network() {
    let dispatcher = Dispatcher::of(&channel(&[]))
        .admin("0.0.0.0:0")
        .start()
        .await;
    let address = SocketAddr::from(([127, 0, 0, 1], dispatcher.admin.port()));
    for path in ["/healthz", "/readyz", "/metrics"] {
        for host in [
            "Host: 10.1.2.3:9090",
            "Host: imc-dispatcher.knative-eventing.svc:9090",
        ] {
            assert_eq!(
                head(address, &format!("GET {path} HTTP/1.1"), &[host]).await,
                "200",
                "{path} {host}"
            );
        }
        assert_eq!(
            head(address, &format!("GET {path} HTTP/1.0"), &[]).await,
            "200",
            "{path}"
        );
    }
}

/// A page may send a form or a script's request to loopback, but changes nothing there, even if the
/// browser knows the token.
#[tokio::test(flavor = "multi_thread")]
async fn pages_change_nothing() {
    let builder = Dispatcher::of(&channel(&[])).file("token", TOKEN);
    let token = builder.path("token");
    let dispatcher = builder
        .arg("--admin-token-file")
        .arg(text(&token))
        .start()
        .await;
    let request = "POST /api/v1/parked/default/nothing/drop HTTP/1.1";
    let [bearer, browser] = [
        format!("Authorization: Bearer {TOKEN}"),
        format!(
            "Authorization: Basic {}",
            STANDARD.encode(format!("me:{TOKEN}"))
        ),
    ];
    for (headers, wanted) in [
        (&[&*bearer][..], "404"),
        (
            &[
                &*bearer,
                "Sec-Fetch-Site: same-origin",
                "Origin: http://localhost",
            ],
            "404",
        ),
        (&[&*bearer, "Origin: http://elsewhere.example"], "403"),
        (&[&*bearer, "Origin: http://localhost:1"], "403"),
        (&[&*bearer, "Origin: null"], "403"),
        (&[&*bearer, "Sec-Fetch-Site: same-site"], "403"),
        (
            &[
                &*bearer,
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
            ],
            "403",
        ),
        (&[&*browser], "403"),
        (&["Authorization: Bearer wrong"], "403"),
        (&[], "403"),
    ] {
        let headers = [&["Host: localhost", "Content-Length: 0"], headers].concat();
        assert_eq!(
            head(dispatcher.admin, request, &headers).await,
            wanted,
            "{headers:?}"
        );
    }
}

/// The socket is its owner's; a stale one is replaced, that of a running process is not; it is gone
/// at the end (contract IF-7).
#[tokio::test(flavor = "multi_thread")]
async fn the_socket() {
    let mut first = Dispatcher::standalone(&channel(&[])).await;
    let socket = first.path("state/admin.sock");
    let mode = std::fs::metadata(&socket)
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let directory = tempfile::TempDir::new().expect("a directory");
    let refused = async |flags: &[&str]| {
        let mut command = Command::new(binary());
        command
            .args(["run", "-f", "-"])
            .args(ANY_PORTS)
            .args(flags)
            .current_dir(directory.path())
            .stdin(std::process::Stdio::null());
        let output = command.output().await.expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, told) = refused(&["--admin-socket", text(&socket)]).await;
    assert!(
        code == Some(1) && told.contains("--admin-socket") && told.contains("process "),
        "{told}"
    );
    let long = directory.path().join("x".repeat(200));
    let (code, told) = refused(&["--admin-socket", text(&long)]).await;
    assert!(
        code == Some(1)
            && told.contains("--admin-socket")
            && told.contains("too long for a socket"),
        "{told}"
    );
    let short = directory.path().join("token");
    std::fs::write(&short, "short").expect("written");
    let (code, told) = refused(&["--admin-token-file", text(&short)]).await;
    assert!(
        code == Some(1) && told.contains("--admin-token-file") && !told.contains("\"short\""),
        "{told}"
    );

    // Behind a port that somebody forwards to it, a page may ask under a name of its own.
    for (host, wanted) in [("localhost", "200"), ("rebound.example:9090", "403")] {
        let mut stream = UnixStream::connect(&socket).await.expect("connected");
        let request =
            format!("GET /api/v1/channels HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert_eq!(answer.split(' ').nth(1), Some(wanted), "{answer}");
    }

    first.signal(Signal::KILL);
    first.ended().await;
    assert!(socket.exists(), "as it was left");
    let builder = Dispatcher::of(&channel(&[]))
        .arg("--admin-socket")
        .arg(text(&socket));
    let mut second = builder.start().await;
    assert_eq!(
        sealpost(&["get", "channels", "--admin-socket", text(&socket)])
            .await
            .0,
        Some(0)
    );
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
    assert_eq!(
        dispatcher
            .logged(&["There is no admin socket", "--admin-socket"])
            .len(),
        1
    );
    assert_eq!(status(&dispatcher, "/api/v1/channels", "").await, 200);
}
