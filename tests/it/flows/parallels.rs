//! Parallels: filters, replies of branches and the common one, and other flows within.

use super::{answer, parallel, sequence, sequence_of, step, to, total, trails};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{plain, send};
use crate::support::subscriber::{Reply, Subscriber};

/// A filter that lets events pass whose id begins so: it answers with the event, or with nothing.
async fn filter(beginning: &'static str) -> Subscriber {
    Subscriber::answering(move |received| match received.id().starts_with(beginning) {
        true => answer(beginning, received),
        false => Reply::status(202),
    })
    .await
}

/// Two branches, each behind a filter; the first one has a reply of its own, the second one the
/// common one.
#[tokio::test(flavor = "multi_thread")]
async fn two_branches_with_filters_and_replies() {
    let (even, odd) = (filter("e").await, filter("o").await);
    let (a, b, own, common) = (
        step("a").await,
        step("b").await,
        Subscriber::ok().await,
        Subscriber::ok().await,
    );
    let yaml = parallel(
        "p",
        &format!(
            "branches:\n- filter: {{{}}}\n  subscriber: {{{}}}\n  reply: {{{}}}\n- filter: {{{}}}\n  subscriber: {{{}}}\nreply: {{{}}}",
            to(&even),
            to(&a),
            to(&own),
            to(&odd),
            to(&b),
            to(&common),
        ),
    );
    let dispatcher = Dispatcher::standalone(&yaml).await;
    let url = dispatcher.http_url("/default/p-kn-parallel");
    for id in ["e1", "o1", "o2", "x"] {
        assert_eq!(send(&plain(), &url, id).await, 202, "{id}");
    }
    assert_eq!(
        (even.count(), odd.count()),
        (4, 4),
        "each filter sees every event"
    );
    assert_eq!(
        (trails(&a), trails(&b)),
        (vec!["e".to_owned()], vec!["o".to_owned(); 2])
    );
    assert_eq!(
        (trails(&own), trails(&common)),
        (vec!["ea".to_owned()], vec!["ob".to_owned(); 2])
    );
}

/// A branch without a filter gets everything, another Sequence is a branch, and nothing of it goes
/// over the network.
#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_in_a_branch_and_a_parallel_in_a_step() {
    let (a, b, c, end) = (
        step("a").await,
        step("b").await,
        step("c").await,
        Subscriber::ok().await,
    );
    let named = |kind: &str, name: &str| {
        format!("ref: {{apiVersion: flows.knative.dev/v1, kind: {kind}, name: {name}}}")
    };
    let yaml = parallel(
        "p",
        &format!(
            "branches:\n- subscriber: {{{}}}\n- subscriber: {{{}}}\nreply: {{{}}}",
            named("Sequence", "inner"),
            to(&c),
            to(&end)
        ),
    ) + &sequence_of("inner", &[&a, &b], &end)
        + &sequence(
            "outer",
            &format!("steps:\n- {}\n- {}", to(&a), named("Parallel", "p")),
        );
    let dispatcher = Dispatcher::standalone(&yaml).await;
    assert_eq!(
        send(
            &plain(),
            dispatcher.http_url("/default/outer-kn-sequence-0"),
            "1"
        )
        .await,
        202
    );
    let mut ends = trails(&end);
    ends.sort();
    assert_eq!(ends, ["aab", "ac"]);
    assert_eq!(
        total(&dispatcher, "http_server_request_duration_seconds_count").await,
        1
    );
}

/// The delivery of a branch is that of its subscriber: retries and dead letter sink. A filter that
/// fails lets nothing pass.
#[tokio::test(flavor = "multi_thread")]
async fn branches_that_fail() {
    let (failing, dead, other) = (
        Subscriber::replying(&[503]).await,
        Subscriber::ok().await,
        Subscriber::ok().await,
    );
    let closed = Subscriber::replying(&[500]).await;
    let branch = format!(
        "- subscriber: {{{}}}\n  delivery: {{retry: 1, deadLetterSink: {{{}}}}}\n- filter: {{{}}}\n  subscriber: {{{}}}",
        to(&failing),
        to(&dead),
        to(&closed),
        to(&other)
    );
    let dispatcher = Dispatcher::standalone(&parallel("p", &format!("branches:\n{branch}"))).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/p-kn-parallel"), "1").await,
        500,
        "the filter has no sink"
    );
    assert_eq!(
        (failing.count(), dead.count(), closed.count(), other.count()),
        (2, 1, 1, 0)
    );
}
