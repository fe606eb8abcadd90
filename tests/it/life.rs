//! Start, readiness, stop (contract IF-1, SH-2 without its losses).

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::dispatcher::{Dispatcher, can_resolve};
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{binary, channel, eventually, eventually_some};

fn to(subscriber: &Subscriber) -> String {
    format!("subscriber: {{uri: '{}'}}", subscriber.url())
}

fn asynchronous(yaml: &str) -> String {
    yaml.replacen(
        "{name: c}",
        "{name: c, annotations: {messaging.knative.dev/async-handler: 'true'}}",
        1,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_port() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/api/v1/channels", 200),
        ("/x", 404),
    ] {
        assert_eq!(dispatcher.admin_text(path).await.0, status, "{path}");
    }
    let (_, other) = dispatcher
        .admin_text("/api/v1/channels?namespace=other")
        .await;
    assert_eq!(other, r#"{"apiVersion":"v1","kind":"List","items":[]}"#);
}

/// SIGTERM: readiness off at once, no new connections, what was accepted is delivered, exit 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_delivers_what_was_accepted() {
    let slow =
        Subscriber::answering(|_| Reply::status(200).after(Duration::from_millis(700))).await;
    let retried = Subscriber::replying(&[503, 200]).await;
    let delivery = "\ndelivery: {retry: 1, backoffPolicy: exponential, backoffDelay: PT1S}";
    let yaml = asynchronous(&channel(&[
        ("slow", to(&slow)),
        ("retried", to(&retried) + delivery),
    ]));
    let mut dispatcher = Dispatcher::standalone(&yaml).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    slow.until(1).await;
    retried.until(1).await;
    dispatcher.signal(Signal::TERM);
    let deadline = Instant::now() + Duration::from_secs(5);
    while dispatcher.admin_text("/readyz").await.0 != 503 {
        assert!(Instant::now() < deadline, "readiness stays");
    }
    let refused = plain().post(dispatcher.http_url("/default/c")).send().await;
    assert!(refused.is_err(), "no new connections");
    assert!(dispatcher.ended().await.success());
    assert_eq!(
        (slow.count(), retried.count()),
        (1, 2),
        "contract SH-2 is not copied"
    );
    assert_eq!(dispatcher.logged(&["Stopped", "\"left\":0"]).len(), 1);
}

/// A sync sender that waits is answered before the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_who_waits() {
    let slow =
        Subscriber::answering(|_| Reply::status(200).after(Duration::from_millis(700))).await;
    let mut dispatcher = Dispatcher::standalone(&channel(&[("slow", to(&slow))])).await;
    let url = dispatcher.http_url("/default/c");
    let sending = tokio::spawn(async move { send(&plain(), url, "1").await });
    slow.until(1).await;
    dispatcher.signal(Signal::TERM);
    assert_eq!(sending.await.expect("sent"), 202);
    assert!(dispatcher.ended().await.success());
}

/// The limit of the drain holds, and what is left is counted exactly.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_counted() {
    let stuck = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(60))).await;
    let builder = Dispatcher::of(&asynchronous(&channel(&[("stuck", to(&stuck))])));
    let mut dispatcher = builder
        .arg("--drain-timeout")
        .arg("PT0.5S")
        .arg("--concurrency")
        .arg("2")
        .start()
        .await;
    for id in 0..7 {
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), &id.to_string()).await,
            202
        );
    }
    stuck.until(2).await;
    let started = Instant::now();
    dispatcher.signal(Signal::TERM);
    assert_eq!(dispatcher.ended().await.code(), Some(1));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(
        dispatcher
            .logged(&["Stopped with deliveries left", "\"left\":7"])
            .len(),
        1
    );
}

/// SIGINT once drains, twice stops at once.
#[tokio::test(flavor = "multi_thread")]
async fn interrupted_twice() {
    let stuck = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(60))).await;
    let mut dispatcher =
        Dispatcher::standalone(&asynchronous(&channel(&[("stuck", to(&stuck))]))).await;
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    stuck.until(1).await;
    dispatcher.signal(Signal::INT);
    eventually("it is stopping", || {
        !dispatcher.logged(&["Stopping", "SIGINT"]).is_empty()
    })
    .await;
    assert!(!dispatcher.has_ended());
    let started = Instant::now();
    dispatcher.signal(Signal::INT);
    assert_eq!(dispatcher.ended().await.code(), Some(1));
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(
        dispatcher
            .logged(&["Stopped with deliveries left", "\"left\":1"])
            .len(),
        1
    );
}

/// Stops under load: whoever gets an answer is told 202, or 503; never that there is no such
/// channel. `SEALPOST_TEST_STOPS=20` makes it longer.
#[tokio::test(flavor = "multi_thread")]
async fn stops_under_load() {
    let stops =
        std::env::var("SEALPOST_TEST_STOPS").map_or(2, |stops| stops.parse().expect("a number"));
    let subscriber = Subscriber::ok().await;
    let mut answers = std::collections::BTreeMap::<String, usize>::new();
    for stop in 0..stops {
        let yaml = channel(&[("s", to(&subscriber))]);
        let yaml = if stop % 2 == 0 {
            yaml
        } else {
            asynchronous(&yaml)
        };
        let mut dispatcher = Dispatcher::standalone(&yaml).await;
        let url = dispatcher.http_url("/default/c");
        let (said, mut heard) = tokio::sync::mpsc::channel(1024);
        let mut senders = tokio::task::JoinSet::new();
        for sender in 0..32 {
            let (said, url) = (said.clone(), url.clone());
            senders.spawn(until_gone(url, sender, said));
        }
        drop(said);
        for _ in 0..500 {
            *answers
                .entry(heard.recv().await.expect("an answer"))
                .or_default() += 1;
        }
        dispatcher.signal(Signal::TERM);
        while let Some(word) = heard.recv().await {
            *answers.entry(word).or_default() += 1;
        }
        senders.join_all().await;
        assert!(dispatcher.ended().await.success(), "stop {stop}");
    }
    println!("{stops} stops: {answers:?}");
    assert!(
        answers
            .keys()
            .all(|word| ["202", "503", "cut off"].contains(&word.as_str())),
        "{answers:?}"
    );
    // The system may complete a connection in the moment between the last look for one and the end
    // of the listener.
    assert!(
        answers
            .get("cut off")
            .is_none_or(|count| *count <= 5 * stops),
        "{answers:?}"
    );
}

/// Sends one event after the other until nobody listens any more, and says how each was answered.
async fn until_gone(url: String, sender: usize, said: tokio::sync::mpsc::Sender<String>) {
    let client = plain();
    for id in 0.. {
        let answer = event(&client, &url, &format!("{sender}-{id}")).send().await;
        let word = match &answer {
            Ok(answer) => answer.status().as_u16().to_string(),
            Err(error) if error.is_connect() => return,
            Err(_) => "cut off".to_owned(),
        };
        said.send(word).await.expect("somebody listens");
    }
}

/// Names that nobody answers for hold up neither a stop nor what goes elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn names_without_an_answer() {
    if !can_resolve() {
        eprintln!("skipped: there can be no file system of its own here");
        return;
    }
    let silent = tokio::net::UdpSocket::bind("127.0.0.53:53").await;
    let other = Subscriber::ok().await;
    let mut subscriptions: Vec<_> = (0..100)
        .map(|at| {
            (
                format!("hangs{at}"),
                format!("subscriber: {{uri: 'http://host{at}.example/'}}"),
            )
        })
        .collect();
    subscriptions.push((
        "other".to_owned(),
        format!(
            "subscriber: {{uri: '{}'}}",
            other.url().replace("127.0.0.1", "localhost")
        ),
    ));
    let named: Vec<_> = subscriptions
        .iter()
        .map(|(name, spec)| (name.as_str(), spec.clone()))
        .collect();
    let builder = Dispatcher::of(&asynchronous(&channel(&named))).resolver("127.0.0.53");
    let mut dispatcher = builder.arg("--drain-timeout").arg("PT1S").start().await;
    let started = Instant::now();
    assert_eq!(
        send(&plain(), dispatcher.http_url("/default/c"), "1").await,
        202
    );
    other.until(1).await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "the other host waited for {:?}",
        started.elapsed()
    );
    let started = Instant::now();
    dispatcher.signal(Signal::TERM);
    assert_eq!(dispatcher.ended().await.code(), Some(1));
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "it ended after {:?}",
        started.elapsed()
    );
    drop(silent);
}

/// What cannot start says why and exits 1; a wrong command line exits 2.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_starts() {
    let dispatcher = Dispatcher::standalone(&channel(&[])).await;
    let taken = dispatcher.http.to_string();
    let directory = tempfile::TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("m.yaml"), channel(&[])).expect("written");
    std::fs::write(directory.path().join("empty.yaml"), "").expect("written");
    std::fs::write(directory.path().join("file"), "not a directory").expect("written");
    std::fs::create_dir(directory.path().join("bad")).expect("made");
    std::fs::write(directory.path().join("bad/ca.crt"), "no certificate").expect("written");
    for (arguments, code, message) in [
        (
            &["-f", "m.yaml", "--http-addr", &taken][..],
            1,
            "--http-addr 127.0.0.1:",
        ),
        (
            &["-f", "none.yaml"],
            1,
            "-f none.yaml: no such file or directory",
        ),
        (
            &["-f", "m.yaml", "-f", "empty.yaml"],
            1,
            "-f empty.yaml: is empty: write the objects into it, or leave it out",
        ),
        (
            &["-f", "m.yaml", "--state-dir", "file/state"],
            1,
            "choose another one by --state-dir",
        ),
        (
            &["-f", "m.yaml", "--state-dir", "bad"],
            1,
            "remove ca.crt and ca.key there",
        ),
        (
            &[
                "-f",
                "m.yaml",
                "--tls-cert",
                "m.yaml",
                "--tls-key",
                "m.yaml",
            ],
            1,
            "--tls-cert and --tls-key",
        ),
        (&["-f", "m.yaml", "--log-level", "a=b=c"], 2, "--log-level"),
        (&["-f", "m.yaml", "--nonsense"], 2, "--nonsense"),
        (&[], 2, "give manifests with -f PATH"),
        (&["-f", "m.yaml", "--kubernetes"], 2, "cannot be used with"),
        (&["--kubernetes"], 2, "SYSTEM_NAMESPACE"),
        (
            &["--kubernetes", "--system-namespace", "ke"],
            2,
            "--kubeconfig FILE",
        ),
        (
            &[
                "--kubernetes",
                "--system-namespace",
                "ke",
                "--kubeconfig",
                "none",
            ],
            1,
            "kubeconfig none",
        ),
    ] {
        let mut command = Command::new(binary());
        command
            .arg("run")
            .args(arguments)
            .current_dir(directory.path());
        for port in ["HTTP", "HTTPS", "ADMIN"] {
            command.env(format!("SEALPOST_{port}_ADDR"), "127.0.0.1:0");
        }
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}

/// Two that start at once in one state directory end up with one CA.
#[tokio::test(flavor = "multi_thread")]
async fn one_ca_for_two() {
    let first = Dispatcher::of(&channel(&[]));
    let state = first.path("shared");
    let argument = format!("--state-dir={}", state.display());
    std::fs::create_dir(first.path("shared")).expect("made");
    let others: Vec<_> = (0..4)
        .map(|at| {
            let yaml = first.path("manifests/m.yaml");
            let mut command = Command::new(binary());
            for port in ["HTTP", "HTTPS", "ADMIN"] {
                command.env(format!("SEALPOST_{port}_ADDR"), "127.0.0.1:0");
            }
            let log = std::fs::File::create(first.path(&format!("log{at}"))).expect("a file");
            (
                at,
                command
                    .arg("run")
                    .arg("-f")
                    .arg(yaml)
                    .arg(&argument)
                    .stderr(log)
                    .spawn()
                    .expect("it starts"),
            )
        })
        .collect();
    for (at, mut child) in others {
        let log = first.path(&format!("log{at}"));
        let said = eventually_some("it is ready", || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            let ended = child.try_wait().expect("a child").is_some();
            (ended || said.contains("Ready")).then_some(said)
        })
        .await;
        child.kill().expect("ended");
        child.wait().expect("reaped");
        assert!(said.contains("Ready"), "{said}");
    }
    let files = std::fs::read_dir(state)
        .expect("a directory")
        .map(|entry| entry.expect("a file").file_name());
    let mut files: Vec<_> = files.filter(|name| name != "admin.sock").collect();
    files.sort();
    assert_eq!(files, ["ca.crt", "ca.key"]);
}
