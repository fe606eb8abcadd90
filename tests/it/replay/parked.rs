//! `sealpost parked` for channels on disk: on a running process, and without one.

use super::*;
use crate::support::eventually;

const TOKEN: &str = "a-token-of-operators";

/// A directory in which five events of `default/s` are parked.
async fn five_parked(subscriber: &Subscriber) -> (TempDir, Dispatcher) {
    let data = TempDir::new().expect("a directory");
    let yaml = channel(&[("s", "", &subscriber.url())]);
    let builder = on(&data, &yaml).file("token", TOKEN);
    let token = builder.path("token");
    let dispatcher = builder.arg("--admin-token-file").arg(text(&token));
    let dispatcher = dispatcher.start().await;
    send_all(&dispatcher, 0..5).await;
    subscriber.until(5).await;
    let by_socket = by_socket(&dispatcher, "parked");
    let deadline = std::time::Instant::now() + crate::support::SOON;
    while by_socket.run(&["list"]).await.stdout != "subscription default/s: 5\n" {
        assert!(std::time::Instant::now() < deadline, "not parked");
    }
    (data, dispatcher)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_process_is_asked() {
    let statuses = &[400, 400, 400, 400, 400, 200];
    let subscriber = Subscriber::replying(statuses).await;
    let (_data, dispatcher) = five_parked(&subscriber).await;
    let admin = format!("http://{}", dispatcher.admin);
    let token = dispatcher.path("token");
    let by_port = Parked::with(&["--admin", &admin]);
    let by_token = Parked::with(&["--admin", &admin, "--admin-token-file", text(&token)]);

    let shown = by_port.run(&["show", "default/s"]).await.stdout;
    assert!(
        shown.starts_with("subscription default/s: 5 parked\n  id 0, type "),
        "{shown}"
    );
    assert!(
        shown.contains("attempts 1, status 400, parked at 2"),
        "{shown}"
    );
    let refused = by_port.run(&["replay", "default/s"]).await;
    assert_eq!(refused.code, Some(1));
    for part in ["403", "--admin-token-file", "--admin-socket"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let older = by_token
        .run(&["replay", "default/s", "--older-than", "PT1H"])
        .await;
    assert_eq!(older.stdout, "subscription default/s: 0 replayed\n");
    let done = by_socket(&dispatcher, "parked")
        .run(&["replay", "default/s"])
        .await;
    assert_eq!(done.stdout, "subscription default/s: 5 replayed\n");
    let ids: Vec<u32> = seen(&subscriber.until(10).await)[5..]
        .iter()
        .map(|(id, _)| *id)
        .collect();
    let mut sorted = ids;
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 1, 2, 3, 4]);
    let left = by_port.run(&["list"]).await.stdout;
    assert_eq!(left, "subscription default/s: 0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_process_the_directory_is_asked() {
    let subscriber = Subscriber::replying(&[400, 400, 400, 400, 400, 200]).await;
    let (data, dispatcher) = five_parked(&subscriber).await;
    let manifests = dispatcher.path("manifests");
    let direct = Parked::with(&["-f", text(&manifests), "--data-dir", text(data.path())]);

    // As long as a process has the directory, it is named.
    let refused = direct.run(&["list"]).await;
    assert_eq!(refused.code, Some(1));
    let owner = format!("process {}", dispatcher.id());
    assert!(refused.stderr.contains(&owner), "{}", refused.stderr);
    assert!(
        refused.stderr.contains(text(data.path())),
        "{}",
        refused.stderr
    );
    let kept = TempDir::new().expect("a directory");
    std::fs::copy(manifests.join("m.yaml"), kept.path().join("m.yaml")).expect("copied");
    let direct = Parked::with(&["-f", text(kept.path()), "--data-dir", text(data.path())]);
    end(dispatcher).await;

    assert_eq!(
        direct.run(&["list"]).await.stdout,
        "subscription default/s: 5\n"
    );
    let shown = direct.run(&["show"]).await.stdout;
    assert!(shown.contains("\n  id 4, type "), "{shown}");
    let replayed = direct.run(&["replay", "default/s"]).await;
    assert_eq!(replayed.stdout, "subscription default/s: 5 replayed\n");
    assert_eq!(
        direct.run(&["list"]).await.stdout,
        "subscription default/s: 0\n"
    );
    let unknown = direct.run(&["list", "default/x"]).await;
    assert_eq!(unknown.code, Some(1));
    let nowhere = Parked::with(&["-f", text(kept.path()), "--data-dir", "/nowhere"]);
    let nowhere = nowhere.run(&["list"]).await;
    assert!(
        nowhere.code == Some(1) && nowhere.stderr.contains("--data-dir"),
        "{nowhere:?}"
    );

    // The next process delivers them.
    let yaml = std::fs::read_to_string(kept.path().join("m.yaml")).expect("a file");
    let _dispatcher = on(&data, &yaml).start().await;
    subscriber.until(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_is_gone_after_a_kill() {
    let subscriber = Subscriber::replying(&[400]).await;
    let (data, dispatcher) = five_parked(&subscriber).await;
    let dropped = by_socket(&dispatcher, "parked")
        .run(&["drop", "--yes", "default/s"])
        .await;
    assert_eq!(dropped.stdout, "subscription default/s: 5 dropped\n");
    let yaml = std::fs::read_to_string(dispatcher.path("manifests/m.yaml")).expect("a file");
    kill(dispatcher).await;
    let dispatcher = on(&data, &yaml).start().await;
    let parked = by_socket(&dispatcher, "parked");
    eventually("it is served", || dispatcher.log().contains("Ready")).await;
    assert_eq!(
        parked.run(&["list"]).await.stdout,
        "subscription default/s: 0\n"
    );
}
