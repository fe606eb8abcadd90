//! `sealpost replay`.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Child;

use super::*;
use crate::support::parked::{Ended, ended};
use crate::support::subscriber::Reply;
use crate::support::{SOON, eventually};

async fn replay(dispatcher: &Dispatcher, arguments: &[&str]) -> Ended {
    by_socket(dispatcher, "replay").run(arguments).await
}

fn interrupt(child: &Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process");
    rustix::process::kill_process(pid, Signal::INT).expect("signalled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_retained_comes_again() {
    let (first, second) = (Subscriber::ok().await, Subscriber::ok().await);
    let yaml = channel(&[("s", "", &first.url()), ("t", "", &second.url())]);
    let data = TempDir::new().expect("a directory");
    let dispatcher = on(&data, &yaml).start().await;
    send_all(&dispatcher, 0..50).await;
    first.until(50).await;
    second.until(50).await;

    let counted = replay(&dispatcher, &["default/s", "--from", "PT1H", "--dry-run"]).await;
    assert_eq!(
        counted.stdout,
        "subscription default/s: 50 events would be replayed, of 50 retained\n"
    );
    assert_eq!(first.count(), 50, "nothing was sent");
    let done = replay(&dispatcher, &["default/s", "--from", "PT1H"]).await;
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(0), "subscription default/s: 50 replayed\n")
    );
    let received = seen(&first.until(100).await);
    let (live, again) = received.split_at(50);
    assert!(live.iter().all(|(_, replay)| replay.is_none()));
    let id = again[0].1.clone().expect("the id of the replay");
    assert!(done.stderr.contains(&id), "{}", done.stderr);
    assert!(again.iter().all(|(_, replay)| replay.as_ref() == Some(&id)));
    assert_eq!(second.count(), 50, "only the one that was asked for");

    let filtered = ["default/s", "--from", "PT1H", "--filter", "INT(id) >= 40"];
    let counted = replay(&dispatcher, &[&filtered[..], &["--dry-run"]].concat()).await;
    assert!(counted.stdout.contains(": 10 events would"), "{counted:?}");
    let done = replay(&dispatcher, &filtered).await;
    assert_eq!(done.stdout, "subscription default/s: 10 replayed\n");
    assert_eq!(first.until(110).await.len(), 110);
    // What was replayed is no history of its own.
    let counted = replay(&dispatcher, &["default/s", "--from", "PT1H", "--dry-run"]).await;
    assert!(counted.stdout.contains(": 50 events would"), "{counted:?}");
    let status = replay(&dispatcher, &["default/s", "--progress"]).await;
    assert!(
        status.stdout.contains("10 replayed, 100 %") && status.stdout.contains("ended"),
        "{status:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept() {
    let subscriber = Subscriber::ok().await;
    let ordered = "sealpost.dev/delivery-order: ordered";
    let yaml = channel(&[("s", ordered, &subscriber.url())]);
    let data = TempDir::new().expect("a directory");
    let dispatcher = on(&data, &yaml).start().await;
    send_all(&dispatcher, 0..100).await;
    subscriber.until(100).await;
    let filtered = [
        "default/s",
        "--from",
        "earliest",
        "--filter",
        "INT(id) % 2 = 0",
    ];
    let done = replay(&dispatcher, &filtered).await;
    assert_eq!(
        done.stdout, "subscription default/s: 50 replayed\n",
        "{done:?}"
    );
    let expected: Vec<u32> = (0..100).step_by(2).collect();
    assert_eq!(replayed(&subscriber), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_replayed_is_told_with_the_remedy() {
    let subscriber = Subscriber::ok().await;
    let bare = channel(&[]).replace("sealpost.dev/retain: P1D", "");
    let bare = bare.replace("name: c,", "name: bare,") + "---\n";
    let of_bare = subscription("b", "", &subscriber.url()).replace("name: c}", "name: bare}");
    let memory =
        crate::support::channel(&[("m", format!("subscriber: {{uri: '{}'}}", subscriber.url()))]);
    let memory = memory.replace("name: c}", "name: mem}");
    let yaml =
        channel(&[("s", "", &subscriber.url())]) + "---\n" + &bare + &of_bare + "---\n" + &memory;
    let data = TempDir::new().expect("a directory");
    let dispatcher = on(&data, &yaml).start().await;
    for (arguments, parts) in [
        (
            &["default/x", "--from", "PT1H"][..],
            &["default/x", "no subscription or Trigger"][..],
        ),
        (
            &["default/m", "--from", "PT1H"],
            &["in memory", "DiskChannel"],
        ),
        (
            &["default/b", "--from", "PT1H"],
            &["channel default/bare", "sealpost.dev/retain"],
        ),
        (
            &["default/s", "--from", "PT1H"],
            &["has retained nothing", "--from"],
        ),
        (
            &["default/s", "--from", "PT1H", "--filter", "type ="],
            &["filter", "not understood"],
        ),
        (
            &["default/s", "--from", "PT1H", "--filter", "NOSUCH(type)"],
            &["filter", "NOSUCH"],
        ),
        (&["default/s", "--stop"], &["no replay", "under way"]),
    ] {
        for dry in [false, true] {
            let mut arguments = arguments.to_vec();
            if dry && arguments.contains(&"--from") {
                arguments.push("--dry-run");
            }
            let told = replay(&dispatcher, &arguments).await;
            assert_eq!(
                (told.code, told.stdout.as_str()),
                (Some(1), ""),
                "{arguments:?} {told:?}"
            );
            for part in parts {
                assert!(told.stderr.contains(part), "{arguments:?} {}", told.stderr);
            }
        }
    }
    for usage in [
        &["default/s"][..],
        &["s", "--from", "PT1H"],
        &["default/s", "--from", "soon"],
        &["default/s", "--from", "PT1H", "--rate", "0"],
    ] {
        assert_eq!(replay(&dispatcher, usage).await.code, Some(2), "{usage:?}");
    }
    // Reading is open on loopback, changing is not.
    send_all(&dispatcher, 0..1).await;
    subscriber.until(1).await;
    let admin = format!("http://{}", dispatcher.admin);
    let by_port = Parked::with(&["--admin", &admin]).command("replay");
    let counted = by_port
        .run(&["default/s", "--from", "PT1H", "--dry-run"])
        .await;
    assert_eq!(counted.code, Some(0), "{counted:?}");
    let refused = by_port.run(&["default/s", "--from", "PT1H"]).await;
    assert!(
        refused.code == Some(1)
            && refused.stderr.contains("--admin-token-file")
            && refused.stderr.contains("--admin-socket"),
        "{refused:?}"
    );
}

/// SIGINT stops the sending; a replay from the position that is told sends the rest, and nothing
/// twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_replay_tells_where_to_go_on() {
    let subscriber = Subscriber::ok().await;
    let data = TempDir::new().expect("a directory");
    let dispatcher = on(&data, &channel(&[("s", "", &subscriber.url())]))
        .start()
        .await;
    send_all(&dispatcher, 0..200).await;
    subscriber.until(200).await;
    let command = by_socket(&dispatcher, "replay");
    let child = command.start(&["default/s", "--from", "PT1H", "--rate", "50/s"]);
    eventually("some are replayed", || replayed(&subscriber).len() >= 10).await;
    let busy = replay(&dispatcher, &["default/s", "--from", "PT1H"]).await;
    assert!(
        busy.code == Some(1) && busy.stderr.contains("--stop"),
        "{busy:?}"
    );
    interrupt(&child);
    let stopped = ended(child).await;
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    let (count, position) = stopped
        .stdout
        .trim_end()
        .split_once(" --from ")
        .expect("a position");
    let sent = replayed(&subscriber).len();
    assert!(
        count.starts_with(&format!("subscription default/s: {sent} replayed")),
        "{count} {sent}"
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(replayed(&subscriber).len(), sent, "the sending has ended");
    let rest = replay(&dispatcher, &["default/s", "--from", position]).await;
    assert_eq!(
        rest.stdout,
        format!("subscription default/s: {} replayed\n", 200 - sent)
    );
    let mut all = replayed(&subscriber);
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
}

/// A replay is on the disk: one that its process has left goes on in the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_outlives_the_process() {
    let subscriber = Subscriber::ok().await;
    let data = TempDir::new().expect("a directory");
    let yaml = channel(&[("s", "", &subscriber.url())]);
    let dispatcher = on(&data, &yaml).start().await;
    send_all(&dispatcher, 0..200).await;
    subscriber.until(200).await;
    let command = by_socket(&dispatcher, "replay");
    let mut child = command.start(&["default/s", "--from", "PT1H", "--rate", "100/s"]);
    // Before, the command does not know that there is a replay.
    let mut remarks = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut told = String::new();
    remarks.read_line(&mut told).await.expect("a remark");
    assert!(told.contains(" begins"), "{told}");
    eventually("some are replayed", || replayed(&subscriber).len() >= 20).await;
    kill(dispatcher).await;
    remarks.read_to_string(&mut told).await.expect("remarks");
    let code = ended(child).await.code;
    assert!(
        code == Some(1) && told.contains("goes on when the process runs again"),
        "{code:?} {told}"
    );
    let dispatcher = on(&data, &yaml).start().await;
    let distinct = || {
        replayed(&subscriber)
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    eventually("all are replayed", || distinct() == 200).await;
    assert!(
        replayed(&subscriber).len() <= 200 + 16,
        "those in flight come again at most"
    );
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let progress = replay(&dispatcher, &["default/s", "--progress"]).await;
        if progress.stdout.contains("ended") {
            // What the first process sent, nobody knows any more.
            let told = "replayed since the process was started, 100 % of the way";
            assert!(progress.stdout.contains(told), "{progress:?}");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{progress:?}");
    }
    end(dispatcher).await;
}

/// What nobody takes is parked as any other event, and a replayed event keeps its mark.
#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_event_is_delivered_as_any_other() {
    let subscriber = Subscriber::answering(|received| {
        let tries = received.header("ce-sealpostreplay").is_some() && received.number < 12;
        Reply::status(if tries { 400 } else { 200 })
    });
    let subscriber = subscriber.await;
    let data = TempDir::new().expect("a directory");
    let dispatcher = on(&data, &channel(&[("s", "", &subscriber.url())]))
        .start()
        .await;
    send_all(&dispatcher, 0..10).await;
    subscriber.until(10).await;
    let done = replay(&dispatcher, &["default/s", "--from", "PT1H"]).await;
    assert_eq!(done.stdout, "subscription default/s: 10 replayed\n");
    subscriber.until(20).await;
    let parked = by_socket(&dispatcher, "parked");
    assert_eq!(
        parked.run(&["list"]).await.stdout,
        "subscription default/s: 2\n"
    );
    let again = parked.run(&["replay"]).await;
    assert_eq!(again.stdout, "subscription default/s: 2 replayed\n");
    let received = seen(&subscriber.until(22).await);
    assert!(
        received[20].1.is_some() && received[21].1.is_some(),
        "{received:?}"
    );
    let listed = || parked.run(&["list"]);
    assert_eq!(listed().await.stdout, "subscription default/s: 0\n");
}
