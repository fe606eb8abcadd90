//! What whoever reaches a port gets there without any right: each cell of the table in
//! docs/SECURITY_MODEL.md, asked for.

use reqwest::{Client, Method};

use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{client, plain, tls};
use crate::support::{channel, subscription};

/// The heading over the table.
const HEADING: &str = "## The reach of each port";

/// One row: the port, who asks, what is asked for, and the statuses that the table tells.
struct Row {
    port: String,
    who: String,
    requests: Vec<(Method, String)>,
    statuses: [u16; 2],
}

/// The rows of the table, without its head.
fn rows(page: &str) -> Vec<Row> {
    let (_, below) = page.split_once(HEADING).expect("the heading");
    let lines = below
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    lines.skip(2).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [port, who, requests, open, closed] = cells[..] else {
        panic!("five cells: {line}")
    };
    let requests = requests.split('`').skip(1).step_by(2).map(|request| {
        let (method, path) = request.split_once(' ').expect("a method and a path");
        (method.parse().expect("a method"), path.to_owned())
    });
    let statuses = [open, closed].map(|status| status.parse().expect("a status"));
    Row {
        port: port.to_owned(),
        who: who.to_owned(),
        requests: requests.collect(),
        statuses,
    }
}

/// A dispatcher as it is in a pod: its admin port listens on every address.
async fn dispatcher(features: &str, flags: &[&str]) -> Dispatcher {
    let features = format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config-features, namespace: knative-eventing}}\ndata: {features}\n"
    );
    let yaml =
        channel(&[]) + &subscription("s", "subscriber: {uri: 'http://127.0.0.1:1'}\n") + &features;
    let builder = Dispatcher::of(&yaml)
        .file("token", "a-token-of-operators")
        .admin("0.0.0.0:0");
    let token = builder.path("token");
    let flags = flags
        .iter()
        .map(|flag| flag.replace("TOKEN", token.to_str().expect("a path")));
    flags
        .fold(builder, |builder, flag| builder.arg(flag))
        .start()
        .await
}

/// What somebody sends who has no right; nobody needs one to say of himself who he is.
async fn status(dispatcher: &Dispatcher, row: &Row, (method, path): &(Method, String)) -> u16 {
    let trusting = || -> Client {
        client(tls(&dispatcher.ca(), rustls::ALL_VERSIONS, &[]))
            .build()
            .expect("a client")
    };
    let (client, url) = match row.port.as_str() {
        "8080" => (plain(), dispatcher.http_url(path)),
        "8443" => (trusting(), dispatcher.https_url(path)),
        "9090" => (
            plain(),
            format!("http://127.0.0.1:{}{path}", dispatcher.admin.port()),
        ),
        port => panic!("no port {port}"),
    };
    let request = client.request(method.clone(), url);
    let request = match row.who.as_str() {
        "sender" => request
            .header("ce-specversion", "1.0")
            .header("ce-id", "1")
            .header("ce-source", "/test")
            .header("ce-type", "test.event"),
        "kubelet" => request.header("user-agent", "kube-probe/1.33"),
        "anybody" => request,
        who => panic!("nobody is called {who}"),
    };
    request.send().await.expect("an answer").status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_tells_what_is_answered() {
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/SECURITY_MODEL.md"
    ))
    .expect("a page");
    let rows = rows(&page);
    for port in ["8080", "8443", "9090"] {
        assert!(
            rows.iter().filter(|row| row.port == port).count() > 2,
            "{port}"
        );
    }
    let open = dispatcher("{transport-encryption: permissive}", &[]).await;
    let closed = dispatcher(
        "{transport-encryption: strict, authentication-oidc: enabled}",
        &["--admin-token-file", "TOKEN"],
    )
    .await;
    let mut wrong = Vec::new();
    for row in &rows {
        assert!(!row.requests.is_empty(), "a row that asks for nothing");
        for request in &row.requests {
            let found = [
                status(&open, row, request).await,
                status(&closed, row, request).await,
            ];
            if found != row.statuses {
                wrong.push(format!(
                    "{} {} {} {}: {found:?}, not {:?}",
                    row.port, row.who, request.0, request.1, row.statuses
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/SECURITY_MODEL.md:\n{}",
        wrong.join("\n")
    );
}

/// Every path that the admin port knows is in the table, whatever is added later.
#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_every_path_of_the_admin_port() {
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/SECURITY_MODEL.md"
    ))
    .expect("a page");
    let asked: Vec<String> = rows(&page)
        .into_iter()
        .filter(|row| row.port == "9090")
        .flat_map(|row| row.requests.into_iter().map(|(_, path)| path))
        .collect();
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let (_, told) = dispatcher.admin_text("/nothing").await;
    let told = told.trim().strip_prefix("try ").expect("what there is");
    let (plain, kinds) = told.split_once("/api/v1/{").expect("kinds");
    let plain = plain
        .split([',', ' '])
        .filter(|word| word.starts_with('/'))
        .map(str::to_owned);
    let kinds = kinds
        .trim_end_matches('}')
        .split(',')
        .map(|kind| format!("/api/v1/{kind}"));
    for path in plain.chain(kinds) {
        assert!(
            asked.contains(&path),
            "{path} is not in docs/SECURITY_MODEL.md"
        );
    }
}

/// A browser sends no event for a page from elsewhere: it asks by `OPTIONS` first, and is told
/// nothing of origins; and what it sends without asking is no event.
#[tokio::test(flavor = "multi_thread")]
async fn pages_send_no_events() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let url = dispatcher.http_url("/default/c");
    let asked = plain()
        .request(Method::OPTIONS, &url)
        .header("origin", "http://elsewhere.example");
    let asked = asked.header("access-control-request-method", "POST");
    let asked = asked.header(
        "access-control-request-headers",
        "ce-id,ce-source,ce-specversion,ce-type",
    );
    let told = asked.send().await.expect("an answer");
    let allows = |name: &str| name.starts_with("access-control-");
    assert!(
        told.headers().keys().all(|name| !allows(name.as_str())),
        "{:?}",
        told.headers()
    );
    let event = r#"{"specversion": "1.0", "id": "1", "source": "/test", "type": "test.event"}"#;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        let sent = plain()
            .post(&url)
            .header("content-type", content_type)
            .header("origin", "null")
            .body(event);
        assert_eq!(
            sent.send().await.expect("an answer").status(),
            400,
            "{content_type}"
        );
    }
    assert_eq!(dispatcher.counter("events_accepted_total").await, 0);
}
