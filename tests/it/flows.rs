//! Sequences and Parallels over real sockets: what goes in comes out step by step, and nothing goes
//! over the network in between.

mod edits;
mod parallels;
mod rabbitmq;
mod sequences;
mod shown;

use crate::support::dispatcher::Dispatcher;
use crate::support::subscriber::{Received, Reply, Subscriber};

/// YAML of a Sequence, whose spec is indented by two.
fn sequence(name: &str, spec: &str) -> String {
    flow("Sequence", name, spec)
}

/// YAML of a Sequence of these steps, whose last one's replies go to `reply`.
fn sequence_of(name: &str, steps: &[&Subscriber], reply: &Subscriber) -> String {
    let steps: String = steps
        .iter()
        .map(|step| format!("- {}\n", to(step)))
        .collect();
    sequence(name, &format!("steps:\n{steps}reply: {{{}}}", to(reply)))
}

/// YAML of a Parallel.
fn parallel(name: &str, spec: &str) -> String {
    flow("Parallel", name, spec)
}

fn flow(kind: &str, name: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "---\napiVersion: flows.knative.dev/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{spec}"
    )
}

/// A destination by URL.
fn to(subscriber: &Subscriber) -> String {
    format!("uri: '{}'", subscriber.url())
}

/// A subscriber that answers each event with itself: `name` appended to its extension `trail`, and
/// the type `name`.
async fn step(name: &'static str) -> Subscriber {
    Subscriber::answering(move |received| answer(name, received)).await
}

fn answer(name: &str, received: &Received) -> Reply {
    let trail = received.header("ce-trail").unwrap_or_default();
    let mut reply = Reply::event(name, received.id());
    reply.body = received.body.clone();
    reply
        .header("ce-trail", format!("{trail}{name}"))
        .header("content-type", "application/json")
}

/// What each event has gone through that came here.
fn trails(subscriber: &Subscriber) -> Vec<String> {
    subscriber
        .received()
        .iter()
        .map(|received| received.header("ce-trail").unwrap_or_default().to_owned())
        .collect()
}

/// The sum of all series of a metric whose names begin so.
async fn total(dispatcher: &Dispatcher, name: &str) -> u64 {
    let (_, metrics) = dispatcher.admin_text("/metrics").await;
    let values = metrics
        .lines()
        .filter(|line| line.starts_with(name))
        .map(|line| {
            let (_, value) = line.rsplit_once(' ').expect("a value");
            value.parse::<u64>().expect("a whole number")
        });
    values.sum()
}
