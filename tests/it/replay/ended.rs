//! How a replay ends that does not come to its end.

use std::fs;

use super::*;
use crate::support::eventually;
use crate::support::parked::ended;
use crate::support::subscriber::Subscriber;

/// A dispatcher that has retained events, and a replay of them that is under way.
async fn under_way(data: &TempDir) -> (Subscriber, Dispatcher, tokio::process::Child) {
    let subscriber = Subscriber::ok().await;
    let yaml = channel(&[("s", "", &subscriber.url())]);
    let dispatcher = on(data, &yaml).start().await;
    send_all(&dispatcher, 0..100).await;
    subscriber.until(100).await;
    let command = by_socket(&dispatcher, "replay");
    let child = command.start(&["default/s", "--from", "PT1H", "--rate", "20/s"]);
    eventually("some are replayed", || subscriber.count() >= 105).await;
    (subscriber, dispatcher, child)
}

/// A log that is moved away takes the rest of its replay with it, which is no success.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_whose_log_is_moved_fails() {
    let (data, aside) = [(); 2]
        .map(|()| TempDir::new().expect("a directory"))
        .into();
    let (_subscriber, dispatcher, child) = under_way(&data).await;
    let log = "channel+default+c";
    fs::rename(data.path().join(log), aside.path().join(log)).expect("moved");
    let replayed = ended(child).await;
    let told = "was moved, removed or replaced before everything was replayed";
    assert_eq!(replayed.code, Some(1), "{replayed:?}");
    assert!(replayed.stderr.contains(told), "{replayed:?}");
    let asked = by_socket(&dispatcher, "replay");
    let progress = asked.run(&["default/s", "--progress"]).await.stdout;
    assert!(progress.contains("its log was moved"), "{progress}");
    assert!(!progress.contains('%'), "{progress}");
    eventually("it is told", || {
        let told = ["ERROR", "A replay has ended before its end"];
        dispatcher.logged(&told).len() == 1
    })
    .await;
}

/// Whoever stops a replay has what was asked for; one that was stopped has no part of its way left.
#[tokio::test(flavor = "multi_thread")]
async fn who_stops_a_replay_succeeds() {
    let data = TempDir::new().expect("a directory");
    let (_subscriber, dispatcher, child) = under_way(&data).await;
    let asked = by_socket(&dispatcher, "replay");
    let stopped = asked.run(&["default/s", "--stop"]).await;
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert!(
        stopped.stdout.contains("go on with --from @"),
        "{stopped:?}"
    );
    let progress = asked.run(&["default/s", "--progress"]).await.stdout;
    let is_stopped = progress.trim_end().ends_with("stopped") && !progress.contains('%');
    assert!(is_stopped, "{progress}");
    // The command that was to replay everything has not.
    assert_eq!(ended(child).await.code, Some(1));
}
