//! Four tenants of one dispatcher, one of them hostile: what the other three notice, in turn
//! without it and with it.
//!
//! The hostile tenant runs in a process of its own (`--hostile`), at the lowest priority on the
//! processor that it shares with the senders and the sinks of the others: what they notice is to
//! come from sealpost, not from the lack of a third processor.

mod hostile;

use std::fmt::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;

use crate::Wire;
use crate::dispatcher::Dispatcher;
use crate::load::{Load, Mail};
use crate::sink::Sink;

pub(crate) use hostile::run as attack;

/// Tenants that do what they should.
const DECENT: usize = 3;
/// Events a second of each.
const RATE: f64 = 100.0;
/// What events may hold in memory, so that what a tenant may hold of it is seen.
const MAX_BUFFERED: &str = "64MiB";

/// A Broker of the namespace `tN`, and a Trigger to this subscriber.
fn tenant(number: usize, subscriber: &str) -> String {
    format!(
        "---\napiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {{name: b, namespace: t{number}}}\n---\n\
         apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {{name: t, namespace: t{number}}}\nspec:\n  \
         broker: b\n  filters: [{{prefix: {{type: dev.sealpost}}}}]\n  subscriber: {{uri: '{subscriber}'}}\n"
    )
}

/// Measures for so long without and for so long with the hostile tenant, and prints a line for each
/// tenant.
pub(crate) async fn run(time: Duration) {
    println!(
        "{:<10} {:>7} {:>9} {:>8} {:>8} {:>8} {:>10} {:>9}",
        "hostile", "tenant", "events", "refused", "p50 ms", "p99 ms", "of deliv.", "peak MiB"
    );
    for hostile in [false, true] {
        measure(hostile.then_some(time), time).await;
    }
}

async fn measure(hostile: Option<Duration>, time: Duration) {
    let sinks = join_all((0..DECENT).map(|_| Sink::start(Wire::Plain))).await;
    let mut yaml = String::new();
    for (number, sink) in sinks.iter().enumerate() {
        yaml.push_str(&tenant(number, sink.url()));
    }
    let subscribers = hostile::Subscribers::start().await;
    if hostile.is_some() {
        write!(yaml, "{}", hostile::manifests(&subscribers)).expect("a string");
    }
    let dispatcher =
        Dispatcher::start_on(&yaml, &[("SEALPOST_MAX_BUFFERED_BYTES", MAX_BUFFERED)]).await;
    dispatcher.ready(&reqwest::Client::new()).await;
    let attack = hostile.map(|time| Attack::start(&dispatcher, time));
    let decent = join_all((0..DECENT).map(|number| send(&dispatcher, number, time))).await;
    let peak = dispatcher.process.peak_memory_kib() as f64 / 1024.0;
    for (number, (report, sink)) in decent.iter().zip(&sinks).enumerate() {
        let arrivals = sink.take_arrivals();
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "{:<10} {number:>7} {:>9} {:>8} {:>8.2} {:>8.2} {:>10.2} {peak:>9.1}",
            if hostile.is_some() { "with" } else { "without" },
            report.accepted,
            report.refused,
            millis(report.percentile(0.50)),
            millis(report.percentile(0.99)),
            millis(arrivals.percentile(0.99)),
        );
        assert_eq!(
            sink.count(),
            report.accepted,
            "what was accepted of tenant {number} has come"
        );
    }
    if let Some(attack) = attack {
        println!("the hostile tenant was answered: {}", attack.end());
    }
}

async fn send(dispatcher: &Dispatcher, number: usize, time: Duration) -> crate::load::Report {
    let mail = Mail {
        path: Some(format!("/t{number}/b")),
        stamped: true,
        concurrency: 16,
        ..Mail::default()
    };
    let mut load = Load::new(dispatcher, Wire::Plain, &mail).await;
    load.paced(RATE, time).await
}

/// The hostile tenant's senders, a process.
struct Attack(Child);

impl Attack {
    fn start(dispatcher: &Dispatcher, time: Duration) -> Self {
        let mut command = Command::new("nice");
        command
            .args(["-n", "19"])
            .arg(std::env::current_exe().expect("this program"));
        command
            .arg("--hostile")
            .arg(dispatcher.http.to_string())
            .arg("--seconds")
            .arg(time.as_secs().to_string());
        Self(
            command
                .stdout(Stdio::piped())
                .spawn()
                .expect("a program that starts"),
        )
    }

    /// What it was answered.
    fn end(self) -> String {
        let output = self.0.wait_with_output().expect("it ends");
        assert!(output.status.success(), "the hostile tenant failed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
