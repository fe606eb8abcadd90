//! A Prometheus of its own, with the configuration and the rules of `deploy/observability/`, but
//! quicker.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use url::Url;

use super::{list, string, text};
use crate::support::eventually_some;
use crate::support::sender::plain;

/// A running Prometheus; ended when it is dropped.
pub(super) struct Prometheus {
    child: Child,
    directory: TempDir,
    address: String,
}

impl Prometheus {
    /// One that scrapes these in the place of the local sealpost.
    pub(super) async fn scraping(targets: &[SocketAddr]) -> Self {
        let directory = TempDir::new().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let (local, collector) = (r#""127.0.0.1:9090""#, "127.0.0.1:8889");
        let written = text("prometheus/prometheus.yaml");
        assert!(
            written.contains(local) && written.contains(collector) && written.contains(": 15s"),
            "{written}"
        );
        let targets = targets
            .iter()
            .map(|target| format!("\"{target}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let quick = written
            .replace(": 15s", ": 500ms")
            .replace(local, &targets)
            .replace(collector, "127.0.0.1:1");
        fs::write(at("prometheus.yaml"), quick).expect("written");
        let rules = ["1m", "2m"]
            .iter()
            .fold(text("prometheus/rules.yaml"), |rules, own| {
                rules.replace(&format!("    interval: {own}\n"), "    interval: 500ms\n")
            });
        fs::write(at("rules.yaml"), rules).expect("written");
        let output = || {
            Stdio::from(
                fs::File::options()
                    .create(true)
                    .append(true)
                    .open(at("log"))
                    .expect("a file"),
            )
        };
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", at("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn()
            .expect("Prometheus starts: it is Debian's package prometheus, which .ci/run installs");
        let mut prometheus = Self {
            child,
            directory,
            address: String::new(),
        };
        prometheus.address = eventually_some("Prometheus is ready", || {
            let log = prometheus.log();
            let line = log
                .lines()
                .find(|line| line.contains("msg=\"Listening on\""))?;
            log.contains("Server is ready").then_some(())?;
            line.rsplit_once("address=")
                .map(|(_, address)| address.trim().to_owned())
        })
        .await;
        prometheus
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// What its API answers.
    pub(super) async fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = Url::parse_with_params(
            &format!("http://{}/api/v1/{path}", self.address),
            parameters,
        )
        .expect("a URL");
        let answer = plain()
            .get(url.as_str())
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a text");
        let answer: Value =
            serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].clone()
    }

    /// The answer to a query: labels and values, but those that are no numbers.
    pub(super) async fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let data = self.get("query", &[("query", query)]).await;
        assert_eq!(data["resultType"], "vector", "{query}");
        let row = |row: &Value| {
            let value: f64 = string(&row["value"][1]).parse().expect("a number");
            value.is_finite().then(|| (row["metric"].clone(), value))
        };
        list(&data["result"]).iter().filter_map(row).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of Prometheus ---\n{}", self.log());
        }
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().expect("ended");
            self.child.wait().expect("reaped");
        }
    }
}
