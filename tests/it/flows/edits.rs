//! Flows that are edited and removed while events go through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{sequence, sequence_of, step, to, trails};
use crate::support::dispatcher::{Dispatcher, ready};
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;

/// A step is added, changed and removed, and the Sequence itself; the next event goes as the file
/// says.
#[tokio::test(flavor = "multi_thread")]
async fn steps_come_change_and_go() {
    let (a, b, c, end) = (
        step("a").await,
        step("b").await,
        step("c").await,
        Subscriber::ok().await,
    );
    let of = |steps: &[&Subscriber]| {
        let steps: String = steps
            .iter()
            .map(|step| format!("- {}\n", to(step)))
            .collect();
        sequence("s", &format!("steps:\n{steps}reply: {{{}}}", to(&end)))
    };
    let dispatcher = Dispatcher::standalone(&of(&[&a])).await;
    let url = dispatcher.http_url("/default/s-kn-sequence-0");
    let mut expected = Vec::new();
    for (steps, trail) in [
        (&[&a][..], "a"),
        (&[&a, &b], "ab"),
        (&[&a, &b, &c], "abc"),
        (&[&c, &b, &a], "cba"),
        (&[&b, &a], "ba"),
        (&[&b], "b"),
    ] {
        if !expected.is_empty() {
            dispatcher.apply(&of(steps)).await;
        }
        assert_eq!(send(&plain(), &url, trail).await, 202);
        expected.push(trail.to_owned());
        assert_eq!(trails(&end), expected);
        assert_eq!(
            dispatcher.object("sequences", "s").await["status"]["channelStatuses"]
                .as_array()
                .map(Vec::len),
            Some(steps.len())
        );
    }
    assert_eq!(
        send(
            &plain(),
            dispatcher.http_url("/default/s-kn-sequence-1"),
            "x"
        )
        .await,
        404,
        "a step that is gone"
    );
    dispatcher
        .apply("apiVersion: messaging.knative.dev/v1\nkind: Channel\nmetadata: {name: other}\n")
        .await;
    assert_eq!(send(&plain(), &url, "x").await, 404);
}

/// While a Sequence grows and shrinks under load, no event fails: a step never sends into a channel
/// that is not there yet.
#[tokio::test(flavor = "multi_thread")]
async fn no_event_fails_while_a_sequence_grows() {
    const SENDERS: usize = 8;
    let (a, b, c, end) = (
        step("a").await,
        step("b").await,
        step("c").await,
        Subscriber::ok().await,
    );
    let short = sequence_of("s", &[&a], &end);
    let long = sequence_of("s", &[&a, &b, &c], &end);
    let dispatcher = Dispatcher::standalone(&short).await;
    let (url, stop, sent) = (
        dispatcher.http_url("/default/s-kn-sequence-0"),
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (url, stop, sent) = (url.clone(), Arc::clone(&stop), Arc::clone(&sent));
            tokio::spawn(async move {
                let client = plain();
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(send(&client, &url, "1").await, 202);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for yaml in [&long, &short, &long, &short, &long] {
        let before = sent.load(Ordering::Relaxed);
        dispatcher.apply(yaml).await;
        crate::support::eventually("events go on", || {
            sent.load(Ordering::Relaxed) > before + 2 * SENDERS
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.expect("every event was taken");
    }
    assert_eq!(
        end.count(),
        sent.load(Ordering::Relaxed),
        "each event has come to the end once"
    );
    assert_eq!(dispatcher.counter("deliveries_lost_total").await, 0);
    assert!(
        trails(&end)
            .iter()
            .all(|trail| trail == "a" || trail == "abc")
    );
}

/// A Sequence that cannot work after an edit goes on as it was, as a whole, and says why; mended,
/// it is served anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_edit_changes_nothing() {
    let (a, b, end) = (step("a").await, step("b").await, Subscriber::ok().await);
    let of = |steps: &str| sequence("s", &format!("steps:\n{steps}\nreply: {{{}}}", to(&end)));
    let good = of(&format!("- {}\n- {}", to(&a), to(&b)));
    let dispatcher = Dispatcher::standalone(&good).await;
    let url = dispatcher.http_url("/default/s-kn-sequence-0");
    let nobody = "- ref: {apiVersion: v1, kind: Service, name: nobody}";
    let mut expected = Vec::new();
    for (bad, field) in [
        (
            of(&format!("{nobody}\n- {}\n- {}", to(&a), to(&b))),
            "spec.steps[0].ref: there is no Service",
        ),
        (
            of(&format!("- {}\n  deliveri: {{retry: 1}}", to(&b))),
            "spec.steps[0].deliveri: is not a field",
        ),
        (of(""), "spec.steps: is missing"),
    ] {
        dispatcher.apply(&bad).await;
        let object = dispatcher.object("sequences", "s").await;
        let message = ready(&object)["message"]
            .as_str()
            .expect("a message")
            .to_owned();
        assert!(
            message.starts_with(field) && message.ends_with("(its last good form is still served)"),
            "{message}"
        );
        assert_eq!(send(&plain(), &url, "1").await, 202);
        expected.push("ab".to_owned());
        assert_eq!(trails(&end), expected);
        dispatcher.apply(&good).await;
        assert_eq!(
            ready(&dispatcher.object("sequences", "s").await)["status"],
            "True"
        );
    }
}
