//! The tap: what it shows, to whom, and that it delays nothing.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{ObservedBroker, Tap, filled_events, on, send_crowd, text};
use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{SOON, channel, eventually};

/// Each thing that happens is a line, of all objects or of one.
#[tokio::test(flavor = "multi_thread")]
async fn lines_are_of_what_is_asked_for() {
    let broker = ObservedBroker::start().await;
    let everything = Tap::open(&broker.dispatcher, &["-o", "json"]).await;
    let of_broker = Tap::open(&broker.dispatcher, &["broker", "b", "-n", "default"]).await;
    let mut of_trigger = Tap::open(&broker.dispatcher, &["trigger", "other"]).await;
    let filtered = Tap::open(&broker.dispatcher, &["--filter", "id LIKE 'e2%'"]).await;
    let elsewhere = Tap::open(&broker.dispatcher, &["-n", "elsewhere"]).await;
    for id in ["e1", "e2"] {
        assert_eq!(send(&plain(), broker.url(), id).await, 202);
    }
    of_broker
        .until(&["accepted", "e1", "broker default/b"])
        .await;
    of_broker
        .until(&["filtered", "e1", "trigger default/other: exact.type: is"])
        .await;
    of_broker
        .until(&["attempt", "e1", "default/a", "503"])
        .await;
    of_broker.until(&["delivered", "e1", "default/a"]).await;
    of_broker.until(&["dead letter e1", "default/broken"]).await;
    of_broker.until(&["dead letter e2", "default/broken"]).await;
    filtered.until(&["dead letter e2"]).await;
    assert!(filtered.lines().iter().all(|line| line.contains("e2")));
    of_trigger.until(&["filtered", "e2", "default/other"]).await;
    let others = ["default/a", "default/broken"];
    let is_other = |line: &String| others.iter().any(|other| line.contains(other));
    assert!(
        !of_trigger.lines().iter().any(is_other),
        "{:?}",
        of_trigger.lines()
    );
    let last = everything.until(&["dead letter\"", "e2"]).await;
    let last: Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(
        [&last["id"], &last["source"], &last["subscription"]],
        ["e2", "/test", "trigger default/broken"]
    );
    assert!(elsewhere.lines().is_empty());
    // It ends in order when it is interrupted.
    let pid = of_trigger
        .process
        .id()
        .and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
    kill_process(pid.expect("it runs"), Signal::INT).expect("told");
    assert_eq!(
        of_trigger.process.wait().await.expect("ended").code(),
        Some(0)
    );
}

/// What is not there, or is no filter, or may not be seen.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_tapped_is_said() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    for (arguments, code, told) in [
        (
            &["tap", "channel", "none"][..],
            1,
            "channel default/none is not served here: see sealpost get channels",
        ),
        (
            &["tap", "sub", "c"],
            1,
            "subscription default/c is not served",
        ),
        (&["tap", "--filter", "type ="], 1, "filter: "),
        (&["tap", "--filter", "NOTHING(type)"], 1, "filter: "),
        (&["tap", "--data"], 1, "--admin-socket"),
        (
            &["tap", "pod", "x"],
            2,
            "use channel, broker, trigger or subscription",
        ),
        (&["tap", "channel"], 2, "<NAME>"),
    ] {
        let tapped = on(&dispatcher, arguments).await;
        assert_eq!(tapped.status.code(), Some(code), "{arguments:?}");
        let said = text(&tapped.stderr);
        assert!(said.contains(told), "{arguments:?}: {said}");
    }
}

/// Data are shown by the socket, and by the token; text as text, and everything cut.
#[tokio::test(flavor = "multi_thread")]
async fn data_are_shown_to_those_who_may_see_them() {
    let builder = Dispatcher::of(&channel(&[])).file("token", "a-token-of-operators");
    let token = builder.path("token");
    let builder = builder.arg("--admin-token-file");
    let builder = builder.arg(token.to_str().expect("a path"));
    let dispatcher = builder.start().await;
    let socket = dispatcher.path("state/admin.sock");
    let socket = Tap::at(
        &["--admin-socket", socket.to_str().expect("a path")],
        &["--data", "-o", "json"],
    )
    .await;
    let admin = format!("http://{}", dispatcher.admin);
    let by_token = [
        "--admin",
        &admin,
        "--admin-token-file",
        token.to_str().expect("a path"),
    ];
    let by_token = Tap::at(&by_token, &["--data"]).await;
    let without = Tap::open(&dispatcher, &["-o", "json"]).await;
    let url = dispatcher.http_url("/default/c");
    let long = "ä".repeat(4000);
    for (id, body) in [
        ("text", "{\"secret\": 1}".as_bytes()),
        ("bytes", &[0xff, 0]),
        ("long", long.as_bytes()),
    ] {
        let sent = event(&plain(), &url, id).body(body.to_vec()).send().await;
        assert_eq!(sent.expect("an answer").status(), 202);
    }
    let line = async |id: &str| -> Value {
        let line = socket.until(&["accepted", id]).await;
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(line("text").await["data"], "{\"secret\": 1}");
    assert_eq!(line("bytes").await["data_base64"], "/wA=");
    let cut = line("long").await;
    assert_eq!(cut["dataBytes"], 8000);
    assert_eq!(cut["data"].as_str().map(str::len), Some(4096));
    by_token.until(&["    {\"secret\": 1}"]).await;
    let line = without.until(&["accepted", "text"]).await;
    assert!(!line.contains("secret"), "{line}");
}

/// There are only so many taps; each place is free again when its reader is gone.
#[tokio::test(flavor = "multi_thread")]
async fn readers_are_few_and_leave_nothing_behind() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let url = format!("http://{}/api/v1/tap", dispatcher.admin);
    let open = async || plain().get(&url).send().await.expect("an answer");
    let mut taps = Vec::new();
    for _ in 0..16 {
        let tap = open().await;
        assert_eq!(tap.status(), 200);
        taps.push(tap);
    }
    let refused = open().await;
    assert_eq!(refused.status(), 503);
    assert!(
        refused
            .text()
            .await
            .expect("a text")
            .starts_with("16 taps are open")
    );
    drop(taps);
    let again = async {
        while open().await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let again = tokio::time::timeout(SOON, again).await;
    again.expect("places are free again");
}

/// Opens a tap by hand, of which nothing is read but what is asked for.
async fn raw_tap(dispatcher: &Dispatcher) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("small");
    let mut stream = socket.connect(dispatcher.admin).await.expect("connected");
    let request = "GET /api/v1/tap HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("a response");
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

/// A reader that does not read delays no event, and is told how many lines it has lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_loses_lines() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let mut slow = raw_tap(&dispatcher).await;
    let (client, url) = (plain(), dispatcher.http_url("/default/c"));
    // More than queue and sockets of the tap have room for: 2 MiB, and some.
    send_crowd(400, 202, filled_events(&client, &url)).await;
    let (mut all, mut piece) = (String::new(), vec![0; 1 << 20]);
    let lost = loop {
        let length = slow.read(&mut piece).await.expect("read");
        assert!(length > 0, "the tap has ended");
        let from = all.len().saturating_sub(100);
        all.push_str(&String::from_utf8_lossy(&piece[..length]));
        if let Some((_, rest)) = all[from..].split_once("\"what\":\"lines lost\",\"lines\":") {
            let number = rest
                .split_once('}')
                .map(|(number, _)| number.parse::<usize>());
            if let Some(number) = number {
                break number.expect("a number");
            }
        }
    };
    let shown = all.matches("\"what\":\"accepted\"").count();
    assert!(
        lost > 0 && shown > 500 && shown + lost <= 6_400,
        "{shown}, {lost} lost"
    );
}

/// A stop does not wait for taps.
#[tokio::test(flavor = "multi_thread")]
async fn a_tap_ends_with_the_process() {
    let mut dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let mut tap = Tap::open(&dispatcher, &[]).await;
    dispatcher.signal(Signal::TERM);
    assert_eq!(dispatcher.ended().await.code(), Some(0));
    assert_eq!(tap.process.wait().await.expect("ended").code(), Some(1));
}

/// A tap of a Broker tells of Triggers that come while it is open.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_later_is_tapped_too() {
    let sink = Subscriber::ok().await;
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let tap = Tap::open(&dispatcher, &["imc", "c"]).await;
    let later = channel(&[("s", format!("subscriber: {{uri: '{}'}}", sink.url()))]);
    dispatcher.apply(&later).await;
    let url = dispatcher.http_url("/default/c");
    assert_eq!(send(&plain(), &url, "1").await, 202);
    eventually("delivered", || sink.count() == 1).await;
    tap.until(&["delivered", "subscription default/s"]).await;
}
