//! Limits of namespaces (`--namespace-limits`): one team takes no more than its part.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Response;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::support::dispatcher::{Builder, Dispatcher, replace};
use crate::support::rabbitmq::{namespace, shared};
use crate::support::sender::{event, plain, send};
use crate::support::subscriber::{Reply, Subscriber};
use crate::support::{ANY_PORTS, SOON, binary, eventually};

/// YAML of the channel `NAMESPACE/c` of a kind, and of its Subscription; `more` is flow style below
/// `spec`.
fn channel(kind: &str, namespace: &str, to: &Subscriber, more: &str) -> String {
    let version = if kind == "InMemoryChannel" {
        "v1"
    } else {
        "v1alpha1"
    };
    format!(
        "---\napiVersion: messaging.knative.dev/{version}\nkind: {kind}\n\
         metadata: {{name: c, namespace: {namespace}, annotations: {{messaging.knative.dev/async-handler: 'true'}}}}\n\
         ---\napiVersion: messaging.knative.dev/v1\nkind: Subscription\n\
         metadata: {{name: s, namespace: {namespace}}}\nspec:\n  \
         channel: {{apiVersion: messaging.knative.dev/{version}, kind: {kind}, name: c}}\n  \
         subscriber: {{uri: '{}'}}\n{more}",
        to.url()
    )
}

/// A delivery that tries again and again, as long as the test may take.
const PATIENT: &str = "  delivery: {retry: 1000, backoffPolicy: linear, backoffDelay: PT0.1S}\n";

/// A dispatcher of these manifests, with these limits.
fn limited(yaml: &str, limits: &str) -> Builder {
    let builder = Dispatcher::of(yaml).file("limits.yaml", limits);
    let file = builder.path("limits.yaml");
    builder
        .arg("--namespace-limits")
        .arg(file.to_str().expect("text"))
}

/// Sends an event of this size to the channel of a namespace.
async fn send_to(dispatcher: &Dispatcher, namespace: &str, size: usize) -> Response {
    let url = dispatcher.http_url(&format!("/{namespace}/c"));
    let request = event(&plain(), url, "i").body(vec![b'x'; size]);
    request.send().await.expect("an answer")
}

/// The text of a refusal, which says when to try again.
async fn refusal(answer: Response) -> String {
    assert_eq!(answer.status(), 429);
    assert!(answer.headers().contains_key("retry-after"));
    answer.text().await.expect("text")
}

/// Sends to a channel until it refuses; the number of events that it took, and the refusal.
async fn fill(dispatcher: &Dispatcher, namespace: &str, size: usize) -> (usize, String) {
    for taken in 0..2_000 {
        let answer = send_to(dispatcher, namespace, size).await;
        if answer.status() != 202 {
            return (taken, refusal(answer).await);
        }
    }
    panic!("everything was taken");
}

/// Floods the channel of a team whose subscriber takes nothing, while another team sends 200 events;
/// the number of those that were taken. The process ends only when they are delivered, since its
/// queues are in memory.
async fn taken_beside_a_flood(builder: Builder, calm: &Subscriber) -> usize {
    let before = calm.count();
    let dispatcher = builder
        .arg("--max-buffered-bytes")
        .arg("1MiB")
        .start()
        .await;
    let url = dispatcher.http_url("/noisy/c");
    let (mut flood, refused) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..8 {
        let (url, refused) = (url.clone(), Arc::clone(&refused));
        flood.spawn(async move {
            let client = plain();
            loop {
                let answer = event(&client, &url, "i").send().await;
                let is_refused = answer.is_ok_and(|answer| answer.status() == 429);
                refused.fetch_add(usize::from(is_refused), Ordering::Relaxed);
            }
        });
    }
    eventually("the flood is refused", || {
        refused.load(Ordering::Relaxed) > 10
    })
    .await;
    let (client, url, mut taken) = (plain(), dispatcher.http_url("/calm/c"), 0);
    for number in 0..200 {
        let status = send(&client, &url, &number.to_string()).await;
        taken += usize::from(status == 202);
    }
    flood.shutdown().await;
    calm.until(before + taken).await;
    taken
}

/// Whatever one team sends, the other one's events are taken: all of them with limits, and without
/// limits not.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_team_refuses_nothing_of_another() {
    let slow = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(600))).await;
    let calm = Subscriber::ok().await;
    let yaml = channel("InMemoryChannel", "noisy", &slow, "")
        + &channel("InMemoryChannel", "calm", &calm, "");
    for limits in [
        "noisy: {bufferedBytes: 512KiB}\n",
        "noisy: {queueCapacity: 20}\n",
        "noisy: {rate: 20/h}\n",
        "\"*\": {bufferedBytes: 512KiB}\n",
    ] {
        assert_eq!(
            taken_beside_a_flood(limited(&yaml, limits), &calm).await,
            200,
            "{limits}"
        );
    }
    calm.until(800).await;
    let unlimited = taken_beside_a_flood(Dispatcher::of(&yaml), &calm).await;
    assert!(unlimited < 200, "the flood fills the memory of all");
}

/// What will never fit is refused for good, so that nobody sends it again and again; what fits is
/// taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_the_limit_is_not_asked_for_again() {
    let calm = Subscriber::ok().await;
    let yaml = channel("InMemoryChannel", "small", &calm, "");
    let limits = "small: {bufferedBytes: 64KiB}\n";
    let dispatcher = limited(&yaml, limits).start().await;
    let refused = send_to(&dispatcher, "small", 70_000).await;
    let (status, again) = (
        refused.status(),
        refused.headers().get("retry-after").cloned(),
    );
    assert_eq!((status.as_u16(), again), (413, None));
    let told = refused.text().await.expect("text");
    assert!(told.contains("raise bufferedBytes of small"), "{told}");
    assert_eq!(send_to(&dispatcher, "small", 60_000).await.status(), 202);
    calm.until(1).await;
}

/// Each refusal names the namespace, the limit and the remedy, and is counted.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_do_and_are_counted() {
    let slow = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(600))).await;
    let names = ["bytes", "places", "rate"];
    let yaml = names.map(|name| channel("InMemoryChannel", name, &slow, ""));
    let limits = "bytes: {bufferedBytes: 1MiB}\nplaces: {queueCapacity: 7}\nrate: {rate: 5/m}\n";
    let dispatcher = limited(&yaml.concat(), limits).start().await;
    for (name, size, most, key, limit) in [
        (
            "bytes",
            100_000,
            10,
            "bufferedBytes",
            "limit=\"buffered_bytes\"",
        ),
        ("places", 10, 7, "queueCapacity", "limit=\"queue_capacity\""),
        // Twelve seconds are the time of one event.
        ("rate", 10, 1, "rate", "limit=\"rate\""),
    ] {
        let (taken, told) = fill(&dispatcher, name, size).await;
        assert_eq!(taken, most, "{name}: {told}");
        for word in [
            &*format!("namespace {name}"),
            key,
            "--namespace-limits",
            "try again in",
        ] {
            assert!(told.contains(word) && told.lines().count() == 1, "{told}");
        }
        let parts = [&*format!("event_namespace=\"{name}\""), limit];
        let refused = dispatcher.series_value("sealpost_namespace_refused_total", &parts);
        assert_eq!(refused.await, 1.0, "{name}");
    }
    let wait = send_to(&dispatcher, "rate", 1).await;
    let seconds = wait.headers()["retry-after"].to_str().expect("text");
    let seconds: u64 = seconds.parse().expect("a number");
    assert!((2..=12).contains(&seconds), "{seconds}");
    for (metric, name, value) in [
        ("sealpost_namespace_queued", "places", 7.0),
        ("sealpost_namespace_queue_capacity", "places", 7.0),
        (
            "sealpost_namespace_buffered_bytes_limit",
            "bytes",
            1_048_576.0,
        ),
    ] {
        let parts = [&*format!("event_namespace=\"{name}\"")];
        assert_eq!(
            dispatcher.series_value(metric, &parts).await,
            value,
            "{metric}"
        );
    }
    let used = dispatcher
        .series_value("sealpost_namespace_rate_used_ratio", &["rate"])
        .await;
    assert!(used > 0.5, "{used}");
}

/// Another file is in effect without a restart; one with a mistake changes nothing, is told with
/// its line, and counts as a problem of the configuration.
#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_read_again() {
    let slow = Subscriber::answering(|_| Reply::status(200).after(Duration::from_secs(600))).await;
    let yaml = channel("InMemoryChannel", "team", &slow, "");
    let dispatcher = limited(&yaml, "team: {queueCapacity: 3}\n").start().await;
    assert_eq!(fill(&dispatcher, "team", 1).await.0, 3);
    let file = dispatcher.path("limits.yaml");
    let logged = |words| move |dispatcher: &Dispatcher| !dispatcher.logged(&[words]).is_empty();
    replace(&file, "team: {queueCapacity: 5}\n");
    let applied = logged("Limits of namespaces applied");
    eventually("it is applied", || applied(&dispatcher)).await;
    assert_eq!(fill(&dispatcher, "team", 1).await.0, 2);
    replace(&file, "team:\n  queueCapacity: many\n");
    let told = logged("limits.yaml:2: team.queueCapacity: is no number");
    eventually("it is told", || told(&dispatcher)).await;
    assert_eq!(
        fill(&dispatcher, "team", 1).await.0,
        0,
        "the one before stays"
    );
    let errors = ["severity=\"error\""];
    let deadline = std::time::Instant::now() + SOON;
    while dispatcher
        .series_value("sealpost_configuration_problems", &errors)
        .await
        != 1.0
    {
        assert!(std::time::Instant::now() < deadline, "it is counted");
    }
    std::fs::remove_file(&file).expect("removed");
    let gone = logged("cannot be read, those before stay");
    eventually("it is told", || gone(&dispatcher)).await;
    assert_eq!(
        fill(&dispatcher, "team", 1).await.0,
        0,
        "the one before stays"
    );
    replace(&file, "team: {queueCapacity: 6}\n");
    let deadline = std::time::Instant::now() + SOON;
    while send_to(&dispatcher, "team", 1).await.status() != 202 {
        assert!(std::time::Instant::now() < deadline, "it is applied");
    }
}

/// What waits on a disk counts, after a restart as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_a_disk_counts() {
    let data = TempDir::new().expect("a directory");
    let mut away = Subscriber::ok().await;
    away.stop().await;
    let back = Subscriber::ok().await;
    let yaml = |to: &Subscriber| channel("DiskChannel", "team", to, PATIENT);
    let start = async |to: &Subscriber| {
        let builder = limited(&yaml(to), "team: {queueCapacity: 9}\n");
        let builder = builder
            .arg("--data-dir")
            .arg(data.path().to_str().expect("text"));
        builder.start().await
    };
    let mut first = start(&away).await;
    let (taken, told) = fill(&first, "team", 10).await;
    assert!(
        (9..=10).contains(&taken) && told.contains("queueCapacity"),
        "{taken}: {told}"
    );
    first.signal(Signal::KILL);
    first.ended().await;
    let second = start(&away).await;
    let full = ["event_namespace=\"team\""];
    let deadline = std::time::Instant::now() + SOON;
    while second
        .series_value("sealpost_namespace_queued", &full)
        .await
        < 9.0
    {
        assert!(std::time::Instant::now() < deadline, "they are counted");
    }
    assert!(fill(&second, "team", 10).await.1.contains("queueCapacity"));
    second.apply(&yaml(&back)).await;
    back.until(9).await;
    let deadline = std::time::Instant::now() + SOON;
    while send_to(&second, "team", 10).await.status() != 202 {
        assert!(std::time::Instant::now() < deadline, "there is room again");
    }
}

/// What waits on RabbitMQ counts from the next look at its queue on.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_rabbitmq_counts() {
    let (name, mut away) = (namespace(), Subscriber::ok().await);
    away.stop().await;
    let back = Subscriber::ok().await;
    let yaml = |to: &Subscriber| channel("RabbitmqChannel", &name, to, PATIENT);
    let limits = format!("{name}: {{queueCapacity: 9}}\n");
    let builder = limited(&yaml(&away), &limits).env("SEALPOST_RABBITMQ_URI", &shared());
    let dispatcher = builder.start().await;
    let deadline = std::time::Instant::now() + 2 * SOON;
    let told = loop {
        let answer = send_to(&dispatcher, &name, 10).await;
        if answer.status() == 429 {
            break refusal(answer).await;
        }
        assert!(std::time::Instant::now() < deadline, "everything is taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        told.contains("queueCapacity") && told.contains(&name),
        "{told}"
    );
    dispatcher.apply(&yaml(&back)).await;
    back.until(9).await;
    let deadline = std::time::Instant::now() + 2 * SOON;
    while send_to(&dispatcher, &name, 10).await.status() != 202 {
        assert!(std::time::Instant::now() < deadline, "there is room again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// `check` tells every mistake with its line, `run` ends with the same words, and a process that
/// keeps no events takes no limits.
#[tokio::test]
async fn mistakes_are_told_before_anything_starts() {
    let directory = TempDir::new().expect("a directory");
    let at = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    };
    let manifests = at(
        "m.yaml",
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b}\n",
    );
    let good = at("good.yaml", "\"*\": {rate: 100/s}\n");
    let bad = at("bad.yaml", "a:\n  rate: fast\nb:\n  size: 1\n");
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(binary());
        let output = command
            .args(arguments)
            .current_dir(directory.path())
            .output()
            .await;
        let output = output.expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    let (code, told) = run(&["check", "--namespace-limits", &good, &manifests]).await;
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = run(&["check", "--namespace-limits", &bad, &manifests]).await;
    assert_eq!(code, Some(1));
    for words in [
        "bad.yaml:2: a.rate: is no rate",
        "bad.yaml:4: b.size: is not known",
    ] {
        assert!(told.contains(words), "{told}");
    }
    let start = [
        &["run", "-f", &manifests, "--namespace-limits", &bad],
        &ANY_PORTS[..],
    ]
    .concat();
    let (code, told) = run(&start).await;
    assert!(
        code == Some(1) && told.contains("bad.yaml:2: a.rate"),
        "{told}"
    );
    let start = [
        "run",
        "--role",
        "ingress",
        "-f",
        &manifests,
        "--namespace-limits",
        &good,
    ];
    let (code, told) = run(&start).await;
    assert!(
        code == Some(2) && told.contains("--namespace-limits"),
        "{told}"
    );
}
