//! How long a start takes when the certificate authority is there already, and what an idle process
//! holds.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::case::CASES;
use super::measure::{mebibytes, milliseconds};
use super::table::Spread;
use crate::dispatcher::Dispatcher;
use crate::sink::Sink;

pub(crate) const ACCEPTED: &str = "start to the first 202, ms";
pub(crate) const READY: &str = "start to ready, ms";
pub(crate) const IDLE: &str = "idle memory, MiB";

/// How long a process has been idle when its memory is read.
const REST: Duration = Duration::from_millis(500);

/// Starts it so many times, prints the figures, and returns them.
pub(crate) async fn run(starts: usize, client: &reqwest::Client) -> Vec<(&'static str, Spread)> {
    let [case, ..] = &CASES;
    let sink = Sink::start(case.wire).await;
    let dispatcher = Dispatcher::start_on(&case.manifest(&sink), &[]).await;
    dispatcher.ready(client).await;
    let mut directory = dispatcher.end();
    let mut figures = [const { Vec::new() }; 3];
    for _ in 0..starts {
        let dispatcher = Dispatcher::start_in(directory, &[]).await;
        let (accepted, ready) =
            tokio::join!(accepted(&dispatcher, client), dispatcher.ready(client));
        tokio::time::sleep(REST).await;
        let idle = mebibytes(dispatcher.process.memory_kib());
        let now = [milliseconds(accepted), milliseconds(ready), idle];
        figures
            .iter_mut()
            .zip(now)
            .for_each(|(figures, figure)| figures.push(figure));
        directory = dispatcher.end();
    }
    let spreads: Vec<_> = [ACCEPTED, READY, IDLE]
        .into_iter()
        .zip(figures.map(Spread::of))
        .collect();
    println!("\n| {starts} starts | median [least..most] |\n|---|---|");
    spreads
        .iter()
        .for_each(|(name, spread)| println!("| {name} | {} |", spread.text(1)));
    spreads
}

/// How long it took until an event was accepted.
async fn accepted(dispatcher: &Dispatcher, client: &reqwest::Client) -> Duration {
    let url = format!("http://{}/default/c", dispatcher.http);
    let attributes = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/bench"),
        ("ce-type", "start"),
    ];
    let headers: HeaderMap = attributes
        .into_iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect();
    dispatcher
        .until(|| async {
            let answer = client.post(&url).headers(headers.clone()).send().await;
            answer.is_ok_and(|answer| answer.status() == StatusCode::ACCEPTED)
        })
        .await
}
