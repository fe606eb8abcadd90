//! How metrics are handed out: in the format and coding that a scraper asks for, and so that the
//! parser of Prometheus' client for Python, which is not ours, reads them.

use std::io::Read;
use std::process::Stdio;

use flate2::read::GzDecoder;
use http::HeaderMap;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{channel, subscription};
use crate::python::python;
use crate::roles::{broker, path, role, to_trigger, trigger};
use crate::support::SOON;
use crate::support::collector::Collector;
use crate::support::dispatcher::{Builder, Dispatcher};
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::Subscriber;

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
/// What a Prometheus sends that would rather have OpenMetrics.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// Asks the admin port with these header fields; nothing is decoded.
async fn scrape(dispatcher: &Dispatcher, fields: &[(&str, &str)]) -> (HeaderMap, Vec<u8>) {
    let mut request = plain().get(format!("http://{}/metrics", dispatcher.admin));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    (headers, answer.bytes().await.expect("a body").into())
}

async fn open_metrics(dispatcher: &Dispatcher) -> String {
    let (headers, body) = scrape(dispatcher, &[("accept", OPEN_METRICS)]).await;
    let content_type = headers["content-type"].to_str().expect("text");
    assert!(
        content_type.starts_with("application/openmetrics-text; version=1.0.0"),
        "{content_type}"
    );
    String::from_utf8(body).expect("UTF-8")
}

/// RFC 9110, 12.5: each header field decides its own part of the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_scraper_gets_what_it_asks_for() {
    let dispatcher = Dispatcher::standalone(&channel("")).await;
    let text = ("text/plain; version=0.0.4; charset=utf-8", false);
    let open = (
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        true,
    );
    for (accept, (content_type, is_open)) in [
        (None, text),
        (Some("*/*"), text),
        (Some("text/plain;version=0.0.4"), text),
        (Some("application/openmetrics-text;version=0.0.1"), text),
        (Some("application/openmetrics-text;q=0.2,text/plain"), text),
        (Some(OPEN_METRICS), open),
        (Some(PROMETHEUS), open),
    ] {
        for (coding, is_gzip) in [
            (None, false),
            (Some("identity"), false),
            (Some("gzip;q=0"), false),
            (Some("br, gzip"), true),
        ] {
            let fields = [("accept", accept), ("accept-encoding", coding)];
            let fields: Vec<_> = fields
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            let (headers, body) = scrape(&dispatcher, &fields).await;
            assert_eq!(headers["content-type"], content_type, "{fields:?}");
            assert_eq!(headers["vary"], "accept, accept-encoding");
            let encoding = headers.get("content-encoding");
            assert_eq!(encoding.is_some_and(|coding| coding == "gzip"), is_gzip);
            assert_eq!(encoding.is_some(), is_gzip, "{fields:?}");
            let mut told = String::new();
            let read = if is_gzip {
                GzDecoder::new(&*body).read_to_string(&mut told)
            } else {
                (&*body).read_to_string(&mut told)
            };
            read.expect("what the header fields say it is");
            let described = match is_open {
                true => "# TYPE sealpost_events_accepted counter\n",
                false => "# TYPE sealpost_events_accepted_total counter\n",
            };
            assert!(told.contains(described), "{fields:?}: {told}");
            assert_eq!(told.ends_with("\n# EOF\n"), is_open, "{fields:?}");
        }
    }
}

/// Has a text read by `prometheus_client`; returns the names of the samples that have an exemplar.
async fn read_by_python(text: &str) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/open_metrics.py");
    let mut reader = Command::new(python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut stdin = reader.stdin.take().expect("its standard input");
    stdin.write_all(text.as_bytes()).await.expect("written");
    drop(stdin);
    let read = reader.wait_with_output().await.expect("Python runs");
    let errors = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{errors}\n{text}");
    let names = String::from_utf8(read.stdout).expect("UTF-8");
    names.lines().map(str::to_owned).collect()
}

fn traced(builder: Builder, collector: &Collector) -> Builder {
    builder.arg("--tracing-endpoint").arg(collector.url())
}

/// Each histogram of durations has exemplars, and the whole is OpenMetrics.
async fn check_exemplars(dispatcher: &Dispatcher, histograms: &[&str]) {
    let text = open_metrics(dispatcher).await;
    let with_exemplars = read_by_python(&text).await;
    let wanted: Vec<String> = histograms
        .iter()
        .map(|name| format!("{name}_duration_seconds_bucket"))
        .collect();
    assert_eq!(with_exemplars, wanted, "{text}");
}

/// In every role, the numbers of an event that was traced.
#[tokio::test(flavor = "multi_thread")]
async fn another_parser_reads_open_metrics() {
    let (collector, sink) = (Collector::start().await, Subscriber::ok().await);
    let yaml = channel(&subscription("s", &sink, ""));
    let whole = traced(Dispatcher::of(&yaml), &collector).start().await;
    assert_eq!(send(&plain(), whole.http_url("/ns/c"), "1").await, 202);
    super::until(&whole, "sealpost_deliveries_delivered_total", &[], 1.0).await;
    let (dispatch, client, server) = (
        "kn_eventing_dispatch",
        "http_client_request",
        "http_server_request",
    );
    check_exemplars(&whole, &[client, server, dispatch]).await;

    let at_ingress = Dispatcher::of(&broker(&sink.url()))
        .arg("--role")
        .arg("ingress");
    let ingress = traced(at_ingress, &collector).start().await;
    let request = event(&plain(), ingress.http_url("/default/b"), "2");
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    check_exemplars(&ingress, &[client, server, dispatch]).await;

    let uri = format!("subscriberUri: '{}'", sink.url());
    let at_filter = Dispatcher::of(&trigger("all", "", &uri))
        .arg("--role")
        .arg("filter");
    let filter = traced(at_filter, &collector).start().await;
    let request = to_trigger(&filter, &path("all"), "3");
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    let process = "kn_eventing_process";
    check_exemplars(&filter, &[client, server, dispatch, process]).await;

    let untraced = role("ingress", &broker(&sink.url())).await;
    let request = event(&plain(), untraced.http_url("/default/b"), "4");
    assert_eq!(request.send().await.expect("an answer").status(), 200);
    check_exemplars(&untraced, &[]).await;
}

/// A gauge and a counter have nearly the same name; only OpenMetrics could take one for the other.
#[tokio::test(flavor = "multi_thread")]
async fn another_parser_reads_what_is_told_of_rabbitmq() {
    let nobody = Dispatcher::of(&channel(""))
        .arg("--rabbitmq-uri")
        .arg("amqp://guest:guest@127.0.0.1:1");
    let dispatcher = nobody.launch().await;
    let deadline = std::time::Instant::now() + SOON;
    let text = loop {
        let text = open_metrics(&dispatcher).await;
        if text.contains("\nsealpost_rabbitmq_blocked ") {
            break text;
        }
        assert!(std::time::Instant::now() < deadline, "no gauge: {text}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(read_by_python(&text).await.is_empty());
    for line in [
        "# TYPE sealpost_rabbitmq_blocked gauge",
        "sealpost_rabbitmq_blocked 0",
        "# TYPE sealpost_rabbitmq_blocked_total unknown",
        "sealpost_rabbitmq_blocked_total 0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}: {text}");
    }
    let older = dispatcher.admin_text("/metrics").await.1;
    let counter = "# TYPE sealpost_rabbitmq_blocked_total counter\n";
    assert!(older.contains(counter), "{older}");
}
